//! The component "serverSelection" (specification: "Server Selection", "Logging").

use std::sync::Arc;

use mongo_client_core::{error::Error, op::Operation, time::Instant};
use tracing::{Level, debug, enabled, info};

use super::{
    SELECTION,
    describe::{self, Selector, Topology},
    host_and_port,
    operation::name,
};
use crate::{server::Server, shared::Shared};

/// Whether an operation has told that it waits, which it does once.
#[derive(Default)]
pub(crate) struct Waited(bool);

/// An event with the fields that all have.
macro_rules! tell {
    ($level:ident, $shared:expr, $operation:expr, $message:literal $(, $field:ident = $value:expr)*) => {{
        let view = Arc::clone(&$shared.views.load().view);
        $level!(
            target: SELECTION,
            selector = %Selector(&$operation.spec().target),
            operationId = $operation.context().operation_id.0,
            operation = name($operation.spec()),
            topologyDescription = %Topology::new(&$shared.outbox.log, &view.description),
            $($field = $value,)*
            $message
        );
    }};
}

/// A selection begins.
pub(crate) fn selecting(shared: &Shared, operation: &Operation) {
    if enabled!(target: SELECTION, Level::DEBUG) {
        tell!(debug, shared, operation, "Server selection started");
    }
}

impl Waited {
    /// No server is suitable at this moment.
    pub(crate) fn waiting(&mut self, shared: &Shared, operation: &Operation, deadline: Instant) {
        if std::mem::replace(&mut self.0, true) || !enabled!(target: SELECTION, Level::INFO) {
            return;
        }
        let left = deadline.saturating_since(shared.clock.now());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        tell!(
            info,
            shared,
            operation,
            "Waiting for suitable server to become available",
            remainingTimeMS = left
        );
    }
}

/// A selection has ended.
pub(crate) fn selected(
    shared: &Shared,
    operation: &Operation,
    found: Result<&Arc<Server>, &Error>,
) {
    if !enabled!(target: SELECTION, Level::DEBUG) {
        return;
    }
    match found {
        Ok(server) => {
            let (host, port) = host_and_port(&server.address);
            tell!(
                debug,
                shared,
                operation,
                "Server selection succeeded",
                serverHost = &*host,
                serverPort = port
            );
        }
        Err(error) => {
            let failure = describe::failure(&shared.outbox.log, error);
            tell!(
                debug,
                shared,
                operation,
                "Server selection failed",
                failure = failure.as_str()
            );
        }
    }
}
