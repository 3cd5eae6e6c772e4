//! What follows from a hello reply: the server's type, compatibility, equality of descriptions.

use std::sync::Arc;

use super::{ServerDescription, ServerType, TopologyDescription};
use crate::{
    error::Error,
    hello::{HelloReply, TopologyVersion},
    net::ServerAddress,
    time::Instant,
};

/// The oldest wire version that this client speaks (MongoDB 4.2).
pub const MIN_WIRE_VERSION: i32 = 8;
/// The newest wire version that this client speaks.
pub const MAX_WIRE_VERSION: i32 = 29;

impl ServerType {
    /// The type of a server that answered with this reply (SDAM: "type").
    #[must_use]
    pub fn of(hello: &HelloReply) -> Self {
        if !hello.ok {
            Self::Unknown
        } else if hello.is_replica_set {
            Self::RsGhost
        } else if hello.set_name.is_some() {
            match hello {
                HelloReply { hidden: true, .. } => Self::RsOther,
                HelloReply {
                    is_writable_primary: true,
                    ..
                } => Self::RsPrimary,
                HelloReply {
                    secondary: true, ..
                } => Self::RsSecondary,
                HelloReply {
                    arbiter_only: true, ..
                } => Self::RsArbiter,
                _ => Self::RsOther,
            }
        } else if hello.msg.as_deref() == Some("isdbgrid") {
            Self::Mongos
        } else {
            Self::Standalone
        }
    }
}

impl ServerDescription {
    /// A server that answered a check.
    pub(super) fn known(address: ServerAddress, hello: Arc<HelloReply>, now: Instant) -> Self {
        Self {
            server_type: ServerType::of(&hello),
            topology_version: hello.topology_version,
            hello: Some(hello),
            last_update: Some(now),
            ..Self::unknown(address)
        }
    }

    /// A server that is unknown because of an error.
    pub(super) fn failed(
        address: ServerAddress,
        error: Error,
        topology_version: Option<TopologyVersion>,
        last_update: Option<Instant>,
    ) -> Self {
        Self {
            error: Some(error),
            topology_version,
            last_update,
            ..Self::unknown(address)
        }
    }

    /// The text for a server whose wire versions do not overlap with the client's.
    pub(super) fn incompatibility(&self) -> Option<String> {
        let hello = self.hello.as_ref()?;
        let address = &self.address;
        if hello.min_wire_version > MAX_WIRE_VERSION {
            Some(format!(
                "Server at {address} requires wire version {}, but this version of mongo-client \
                 only supports up to {MAX_WIRE_VERSION}.",
                hello.min_wire_version
            ))
        } else if hello.max_wire_version < MIN_WIRE_VERSION {
            Some(format!(
                "Server at {address} reports wire version {}, but this version of mongo-client \
                 requires at least {MIN_WIRE_VERSION} (MongoDB 4.2).",
                hello.max_wire_version
            ))
        } else {
            None
        }
    }
}

/// Whether two descriptions of a server are equal for events (SDAM: "Server Description
/// Equality"): round-trip times, last write and last update do not count.
pub(super) fn same_server(a: &Arc<ServerDescription>, b: &Arc<ServerDescription>) -> bool {
    Arc::ptr_eq(a, b)
        || (a.address == b.address
            && a.server_type == b.server_type
            && a.topology_version == b.topology_version
            && text(a.error.as_ref()) == text(b.error.as_ref())
            && same_hello(a.hello.as_deref(), b.hello.as_deref()))
}

fn text(error: Option<&Error>) -> Option<String> {
    error.map(ToString::to_string)
}

fn same_hello(a: Option<&HelloReply>, b: Option<&HelloReply>) -> bool {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => return true,
        _ => return false,
    };
    a.min_wire_version == b.min_wire_version
        && a.max_wire_version == b.max_wire_version
        && a.me == b.me
        && same_set(&a.hosts, &b.hosts)
        && same_set(&a.passives, &b.passives)
        && same_set(&a.arbiters, &b.arbiters)
        && a.tags == b.tags
        && a.set_name == b.set_name
        && a.election_id == b.election_id
        && a.set_version == b.set_version
        && a.primary == b.primary
        && a.logical_session_timeout == b.logical_session_timeout
        && a.raw.get("iscryptd") == b.raw.get("iscryptd")
}

fn same_set(a: &[ServerAddress], b: &[ServerAddress]) -> bool {
    let sorted = |list: &[ServerAddress]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    a == b || sorted(a) == sorted(b)
}

/// Whether two descriptions of the deployment are equal for events.
pub(super) fn same_topology(a: &TopologyDescription, b: &TopologyDescription) -> bool {
    a.topology_type == b.topology_type
        && a.set_name == b.set_name
        && a.max_set_version == b.max_set_version
        && a.max_election_id == b.max_election_id
        && a.logical_session_timeout == b.logical_session_timeout
        && a.compatibility_error == b.compatibility_error
        && a.servers.len() == b.servers.len()
        && a.servers
            .iter()
            .zip(&b.servers)
            .all(|((id_a, a), (id_b, b))| id_a == id_b && same_server(a, b))
}
