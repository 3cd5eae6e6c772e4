//! The component "serverSelection" (specification: "Server Selection", "Logging").

use std::sync::Arc;

use mongo_client_core::{
    error::Error, id::OperationId, op::Operation, select::Criteria, time::Instant,
};
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

/// One selection: what its events have in common.
pub(crate) struct Selecting<'a> {
    shared: &'a Shared,
    id: OperationId,
    operation: &'a Operation,
    criteria: &'a Criteria,
    waited: &'a mut Waited,
}

/// An event with the fields that all have.
macro_rules! tell {
    ($level:ident, $this:expr, $message:literal $(, $field:ident = $value:expr)*) => {{
        let view = Arc::clone(&$this.shared.views.load().view);
        $level!(
            target: SELECTION,
            selector = %Selector(&$this.criteria.target),
            operationId = $this.id.0,
            operation = name($this.operation.spec()),
            topologyDescription = %Topology::new(&$this.shared.outbox.log, &view.description),
            $($field = $value,)*
            $message
        );
    }};
}

impl<'a> Selecting<'a> {
    pub(crate) fn start(
        shared: &'a Shared,
        operation: &'a Operation,
        criteria: &'a Criteria,
        waited: &'a mut Waited,
    ) -> Self {
        let this = Self {
            shared,
            id: operation.context().operation_id,
            operation,
            criteria,
            waited,
        };
        if enabled!(target: SELECTION, Level::DEBUG) {
            tell!(debug, this, "Server selection started");
        }
        this
    }

    /// No server is suitable at this moment.
    pub(crate) fn waiting(&mut self, deadline: Instant) {
        if std::mem::replace(&mut self.waited.0, true) || !enabled!(target: SELECTION, Level::INFO)
        {
            return;
        }
        let left = deadline.saturating_since(self.shared.clock.now());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        tell!(
            info,
            self,
            "Waiting for suitable server to become available",
            remainingTimeMS = left
        );
    }

    pub(crate) fn ended(&self, found: Result<&Arc<Server>, &Error>) {
        if !enabled!(target: SELECTION, Level::DEBUG) {
            return;
        }
        match found {
            Ok(server) => {
                let (host, port) = host_and_port(&server.address);
                tell!(
                    debug,
                    self,
                    "Server selection succeeded",
                    serverHost = &*host,
                    serverPort = port
                );
            }
            Err(error) => {
                let failure = describe::failure(&self.shared.outbox.log, error);
                tell!(
                    debug,
                    self,
                    "Server selection failed",
                    failure = failure.as_str()
                );
            }
        }
    }
}
