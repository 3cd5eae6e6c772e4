//! Structured log events and spans by the `tracing` crate (specification: "Logging").
//!
//! Messages, levels and the names of fields are the specification's; each of its components is a
//! target. Whether anybody listens is asked where a client starts (connections, topology) and for
//! each command, selection and operation; while nobody does, nothing is built or formatted.
//! Events are told outside all locks: those of machines pass through the outbox first.
//!
//! This module is compiled with the feature `tracing` only; `trace/off.rs` stands in without it.

mod command;
mod connection;
mod describe;
mod json;
mod operation;
mod selection;
mod topology;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mongo_client_core::{
    event::{cmap::CmapEvent, sdam::SdamEvent},
    net::ServerAddress,
    options::ClientOptions,
};
use tracing::{Level, enabled};

pub(crate) use self::{
    operation::{OperationSpan, attempt, pause},
    selection::{Waited, selected, selecting},
};
use crate::environment;

const COMMAND: &str = "mongo_client::command";
const CONNECTION: &str = "mongo_client::connection";
const OPERATION: &str = "mongo_client::operation";
const SELECTION: &str = "mongo_client::server_selection";
const TOPOLOGY: &str = "mongo_client::topology";

/// The length of documents in events, in bytes, where neither option nor environment say more.
const DOCUMENT_LEN_MAX: usize = 1_000;

/// What a client's log events have in common.
#[derive(Debug)]
pub(crate) struct Log {
    /// The id of the topology whose events are told: events of two are never mixed, and each
    /// topology's begin with its opening.
    topology: AtomicU64,
    document_len_max: usize,
    cmap: bool,
    sdam: bool,
}

impl Log {
    /// Finds out who listens; it stays so for the life of the client.
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let document_len_max = options
            .tracing_max_document_length_bytes
            .or_else(environment::log_document_len_max)
            .unwrap_or(DOCUMENT_LEN_MAX);
        Self {
            topology: AtomicU64::default(),
            document_len_max,
            cmap: enabled!(target: CONNECTION, Level::DEBUG),
            sdam: enabled!(target: TOPOLOGY, Level::DEBUG),
        }
    }

    pub(crate) fn wants_cmap(&self) -> bool {
        self.cmap
    }

    pub(crate) fn wants_sdam(&self) -> bool {
        self.sdam
    }

    /// Asked for each command: subscribers may come and go.
    pub(crate) fn wants_commands(&self) -> bool {
        enabled!(target: COMMAND, Level::DEBUG)
    }

    /// Tells of a pool's event; call without any lock.
    pub(crate) fn cmap(&self, event: &CmapEvent) {
        if self.cmap {
            connection::emit(self, event);
        }
    }

    /// Tells of the topology's or a monitor's event; call without any lock.
    pub(crate) fn sdam(&self, event: &SdamEvent) {
        if self.sdam {
            if let SdamEvent::TopologyOpening(e) = event {
                self.topology.store(e.topology_id.0, Ordering::Relaxed);
            }
            topology::emit(self, event);
        }
    }
}

/// A duration as the specification's `durationMS`: with what is below a millisecond.
fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The fields `serverHost` and `serverPort`.
fn host_and_port(address: &ServerAddress) -> (std::borrow::Cow<'_, str>, Option<u16>) {
    (address.host(), address.port())
}
