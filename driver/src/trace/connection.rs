//! The component "connection" (specification: "Connection Monitoring and Pooling", "Connection
//! Pool Logging").
//!
//! These events have no parent: whoever delivers the queue does so for everybody, so that the
//! span of the moment may be another operation's.

use mongo_client_core::{
    error::Error,
    event::cmap::{
        CmapEvent, ConnectionCheckoutFailedReason as Failed, ConnectionClosedReason as Closed,
        PoolCreatedEvent,
    },
};
use tracing::debug;

use super::{CONNECTION, Log, describe, host_and_port, millis};

pub(super) fn emit(log: &Log, event: &CmapEvent) {
    /// An event with the fields that all have.
    macro_rules! tell {
        ($of:expr, $message:literal $(, $field:ident = $value:expr)*) => {{
            let (host, port) = host_and_port(&$of.address);
            debug!(
                target: CONNECTION, parent: None,
                serverHost = &*host, serverPort = port, $($field = $value,)* $message
            );
        }};
    }
    match event {
        CmapEvent::PoolCreated(e) => pool_created(e),
        CmapEvent::PoolReady(e) => tell!(e, "Connection pool ready"),
        CmapEvent::PoolCleared(e) => {
            let service_id = e.service_id.map(|id| id.to_hex());
            tell!(
                e,
                "Connection pool cleared",
                serviceId = service_id.as_deref()
            );
        }
        CmapEvent::PoolClosed(e) => tell!(e, "Connection pool closed"),
        CmapEvent::ConnectionCreated(e) => {
            tell!(
                e,
                "Connection created",
                driverConnectionId = e.connection_id
            );
        }
        CmapEvent::ConnectionReady(e) => tell!(
            e,
            "Connection ready",
            driverConnectionId = e.connection_id,
            durationMS = millis(e.duration)
        ),
        CmapEvent::ConnectionClosed(e) => tell!(
            e,
            "Connection closed",
            driverConnectionId = e.connection_id,
            reason = closed(e.reason),
            error = error(log, e.error.as_ref()).as_deref()
        ),
        CmapEvent::ConnectionCheckoutStarted(e) => tell!(e, "Connection checkout started"),
        CmapEvent::ConnectionCheckoutFailed(e) => tell!(
            e,
            "Connection checkout failed",
            reason = failed(e.reason),
            error = error(log, e.error.as_ref()).as_deref(),
            durationMS = millis(e.duration)
        ),
        CmapEvent::ConnectionCheckedOut(e) => tell!(
            e,
            "Connection checked out",
            driverConnectionId = e.connection_id,
            durationMS = millis(e.duration)
        ),
        CmapEvent::ConnectionCheckedIn(e) => {
            tell!(
                e,
                "Connection checked in",
                driverConnectionId = e.connection_id
            );
        }
        _ => {}
    }
}

fn error(log: &Log, error: Option<&Error>) -> Option<String> {
    error.map(|error| describe::failure(log, error))
}

fn pool_created(event: &PoolCreatedEvent) {
    let (host, port) = host_and_port(&event.address);
    let options = &event.options;
    let millis = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_millis() as u64);
    debug!(
        target: CONNECTION, parent: None,
        serverHost = &*host,
        serverPort = port,
        maxIdleTimeMS = millis(options.max_idle_time),
        minPoolSize = options.min_pool_size,
        maxPoolSize = options.max_pool_size,
        maxConnecting = options.max_connecting,
        waitQueueTimeoutMS = millis(options.wait_queue_timeout),
        waitQueueMultiple = options.wait_queue_multiple,
        "Connection pool created"
    );
}

fn closed(reason: Closed) -> &'static str {
    match reason {
        Closed::Stale => "Connection became stale because the pool was cleared",
        Closed::Idle => {
            "Connection has been available but unused for longer than the configured max idle time"
        }
        Closed::Error => "An error occurred while using the connection",
        Closed::PoolClosed => "Connection pool was closed",
        Closed::Dropped => "The operation was dropped while its reply was under way",
        _ => "Another reason",
    }
}

fn failed(reason: Failed) -> &'static str {
    match reason {
        Failed::Timeout => "Wait queue timeout elapsed without a connection becoming available",
        Failed::ConnectionError => "An error occurred while trying to establish a new connection",
        Failed::PoolClosed => "Connection pool was closed",
        _ => "Another reason",
    }
}
