//! The component "topology" (specification: "SDAM Logging and Monitoring").
//!
//! These events have no parent, like those of connections.

use std::sync::atomic::Ordering;

use bson::{Document, RawDocumentBuf};
use mongo_client_core::event::sdam::SdamEvent;
use tracing::debug;

use super::{
    Log, TOPOLOGY,
    describe::{self, Topology},
    host_and_port, json, millis,
};

pub(super) fn emit(log: &Log, event: &SdamEvent) {
    let id = log.topology.load(Ordering::Relaxed);
    /// An event of the topology.
    macro_rules! tell {
        ($message:literal $(, $field:ident = $value:expr)*) => {
            debug!(target: TOPOLOGY, parent: None, topologyId = id, $($field = $value,)* $message)
        };
    }
    /// An event of one server.
    macro_rules! tell_of {
        ($address:expr, $message:literal $(, $field:ident = $value:expr)*) => {{
            let (host, port) = host_and_port($address);
            tell!($message, serverHost = &*host, serverPort = port $(, $field = $value)*);
        }};
    }
    match event {
        SdamEvent::TopologyOpening(_) => tell!("Starting topology monitoring"),
        SdamEvent::TopologyClosed(_) => tell!("Stopped topology monitoring"),
        SdamEvent::ServerOpening(e) => tell_of!(&e.address, "Starting server monitoring"),
        SdamEvent::ServerClosed(e) => tell_of!(&e.address, "Stopped server monitoring"),
        SdamEvent::TopologyDescriptionChanged(e) => tell!(
            "Topology description changed",
            previousDescription =
                tracing::field::display(Topology::new(log, &e.previous_description)),
            newDescription = tracing::field::display(Topology::new(log, &e.new_description))
        ),
        SdamEvent::ServerHeartbeatStarted(e) => tell_of!(
            &e.server_address,
            "Server heartbeat started",
            awaited = e.awaited,
            driverConnectionId = e.driver_connection_id,
            serverConnectionId = e.server_connection_id
        ),
        SdamEvent::ServerHeartbeatSucceeded(e) => tell_of!(
            &e.server_address,
            "Server heartbeat succeeded",
            awaited = e.awaited,
            driverConnectionId = e.driver_connection_id,
            serverConnectionId = e.server_connection_id,
            durationMS = millis(e.duration),
            reply = reply(log, &e.reply).as_str()
        ),
        SdamEvent::ServerHeartbeatFailed(e) => tell_of!(
            &e.server_address,
            "Server heartbeat failed",
            awaited = e.awaited,
            driverConnectionId = e.driver_connection_id,
            serverConnectionId = e.server_connection_id,
            durationMS = millis(e.duration),
            failure = describe::failure(log, &e.failure).as_str()
        ),
        // What has changed of a server is in the topology's description (specification).
        SdamEvent::ServerDescriptionChanged(_) => {}
        _ => {}
    }
}

fn reply(log: &Log, reply: &Document) -> String {
    let raw = RawDocumentBuf::try_from(reply).unwrap_or_default();
    json::document(&raw, log.document_len_max)
}
