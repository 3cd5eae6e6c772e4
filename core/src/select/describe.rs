//! Says why no server was found.

use std::fmt::Write;

use super::{Criteria, suitable};
use crate::{op::Target, read_preference::ReadPreference, topology::TopologyView};

/// One line for the error of a failed selection: what was wanted, the type of the deployment, and
/// each server with its type and last error.
#[must_use]
pub fn describe_failure(view: &TopologyView, criteria: &Criteria) -> String {
    let mut out = String::from("no suitable server for ");
    match &criteria.target {
        Target::Read(preference) => write_preference(&mut out, preference),
        Target::Output(preference) => write_preference(&mut out, preference),
        Target::Server(id) => {
            let _ = write!(out, "a cursor or transaction that is bound to {id}");
        }
        Target::Write => out.push_str("a write"),
    }
    let topology = &view.description;
    let _ = write!(out, "; topology type {}", topology.topology_type);
    if let Some(name) = &topology.set_name {
        let _ = write!(out, ", replica set {name:?}");
    }
    if view.closed {
        out.push_str("; the client is closed");
    }
    if let Err(error) = suitable(view, criteria) {
        let _ = write!(out, "; {error}");
    }
    if topology.servers.is_empty() {
        out.push_str("; no servers");
        if let Some(dropped) = &view.last_dropped {
            let _ = write!(out, ": {dropped}");
        }
    }
    for server in topology.servers.values() {
        let _ = write!(out, "; {}: {}", server.address, server.server_type);
        if let Some(error) = &server.error {
            let _ = write!(out, " ({error})");
        }
    }
    out
}

fn write_preference(out: &mut String, preference: &ReadPreference) {
    out.push_str("a read with read preference ");
    out.push_str(preference.mode());
    let Some(options) = preference.options() else {
        return;
    };
    if let Some(sets) = options.tag_sets.as_ref().filter(|s| !s.is_empty()) {
        let _ = write!(out, ", tag sets {sets:?}");
    }
    if let Some(max) = options.max_staleness {
        let _ = write!(out, ", maxStalenessSeconds {}", max.as_secs());
    }
}
