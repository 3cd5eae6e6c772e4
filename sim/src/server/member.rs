//! A server as a member of a replica set: what the set tells it, and how it writes and replicates.

use std::sync::Arc;

use bson::oid::ObjectId;
use mongo_client_core::time::Instant;

use super::{Entry, OpTime, Retry, SimServer};
use crate::{set::Config, store::Op};

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Arbiter,
    Primary,
    Recovering,
    /// In no configuration.
    Removed,
    Secondary,
    /// Fetching all data.
    Startup,
}

/// What a server knows of its replica set.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) set: String,
    /// The set's configuration, and the place of the server in it.
    pub(crate) config: Option<Arc<Config>>,
    pub(crate) place: Option<usize>,
    pub(crate) state: State,
    /// The term that the member knows; as primary, the one that it was elected in.
    pub(crate) term: i64,
    /// Who the member believes is primary.
    pub(crate) primary: Option<String>,
    /// What each member has applied, as far as this one knows.
    pub(crate) progress: Vec<OpTime>,
}

impl Membership {
    /// A server that may become a member of a set.
    pub(crate) fn new(set: &str) -> Self {
        Self {
            set: set.to_owned(),
            config: None,
            place: None,
            state: State::Removed,
            term: 0,
            primary: None,
            progress: Vec::new(),
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.state == State::Primary
    }

    pub(crate) fn election_id(&self) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        bytes[4..].copy_from_slice(&self.term.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }
}

impl SimServer {
    /// Whether the server takes writes.
    pub(crate) fn is_writable(&self) -> bool {
        self.membership.as_ref().is_none_or(Membership::is_primary)
    }

    /// Changes what the server knows of its set; who waits for news of the topology gets them if
    /// anything is different.
    pub(crate) fn set_state(&mut self, state: State, term: i64, primary: Option<String>) {
        let Some(member) = &mut self.membership else {
            return;
        };
        if member.state == state && member.term == term && member.primary == primary {
            return;
        }
        member.state = state;
        member.term = term;
        member.primary = primary;
        self.version += 1;
    }

    /// Takes over a configuration.
    pub(crate) fn set_config(&mut self, config: Arc<Config>, place: Option<usize>) {
        if let Some(member) = &mut self.membership {
            member.config = Some(config);
            member.place = place;
            self.version += 1;
        }
    }

    /// Changes which wire versions the server's process speaks, as an upgrade does.
    pub fn set_wire_versions(&mut self, min: i32, max: i32) {
        self.wire_versions = (min, max);
        self.version += 1;
    }

    /// The longest message that hellos from here on announce.
    pub fn set_message_len_max(&mut self, most: i32) {
        self.message_len_max = most;
    }

    /// Writes an entry of one's own; returns its place.
    pub(crate) fn write(&mut self, op: Op, retry: Option<Retry>, now: Instant) -> OpTime {
        let at = self.tick(now);
        self.data.append(Arc::new(Entry {
            at,
            written: now,
            op,
            retry,
        }));
        if self.membership.is_none() {
            self.data.commit(at);
            self.data.trim(at);
        }
        at
    }

    /// Applies an entry of the primary.
    pub(crate) fn replicate(&mut self, entry: Arc<Entry>) {
        self.observe(entry.at);
        self.data.append(entry);
    }
}
