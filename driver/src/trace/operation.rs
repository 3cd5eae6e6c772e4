//! The span of an operation, and the events of its retries. They are this client's own: the
//! specification has no such component. The names of fields are those of OpenTelemetry.

use bson::RawBsonRef;
use mongo_client_core::{
    error::Result,
    event::{command_name, is_secret, redacted},
    id::OperationId,
    op::{CommandSpec, Operation},
    time::Instant,
};
use tracing::{Level, Span, debug, debug_span, enabled, field, span::EnteredSpan};

use super::{OPERATION, json, millis};
use crate::{exec::Executed, shared::Shared};

/// Commands whose first value is the name of a collection.
const ON_COLLECTION: [&str; 17] = [
    "aggregate",
    "collMod",
    "count",
    "create",
    "createIndexes",
    "delete",
    "distinct",
    "drop",
    "dropIndexes",
    "explain",
    "find",
    "findAndModify",
    "insert",
    "killCursors",
    "listIndexes",
    "mapReduce",
    "update",
];

/// The name of a command: that of a user's own is in its document only.
pub(super) fn name(spec: &CommandSpec) -> &str {
    command_name(&spec.body)
}

fn collection(spec: &CommandSpec) -> Option<&str> {
    let name = name(spec);
    let key = if name == "getMore" {
        "collection"
    } else if ON_COLLECTION.contains(&name) {
        name
    } else {
        return None;
    };
    match spec.body.get(key) {
        Ok(Some(RawBsonRef::String(collection))) => Some(collection),
        _ => None,
    }
}

/// The span of one operation.
pub(crate) struct OperationSpan {
    span: Span,
    secret: bool,
}

impl OperationSpan {
    /// The span of an operation that has not begun.
    pub(crate) fn none() -> Self {
        Self {
            span: Span::none(),
            secret: true,
        }
    }

    pub(crate) fn new(spec: &CommandSpec, id: OperationId) -> Self {
        if !enabled!(target: OPERATION, Level::DEBUG) {
            return Self::none();
        }
        let span = debug_span!(
            target: OPERATION,
            "mongo_client.operation",
            db.system.name = "mongodb",
            db.namespace = &*spec.db,
            db.operation.name = name(spec),
            db.collection.name = collection(spec),
            operationId = id.0,
            server.address = field::Empty,
            server.port = field::Empty,
            error = field::Empty,
        );
        let secret = is_secret(&spec.body);
        Self { span, secret }
    }

    /// Enters the span until the guard is dropped: for one poll, and never between two.
    pub(crate) fn enter(&self) -> EnteredSpan {
        self.span.clone().entered()
    }

    /// The operation has ended.
    pub(crate) fn ended(&self, shared: &Shared, result: &Result<Executed>) {
        if self.span.is_disabled() {
            return;
        }
        match result {
            Ok(executed) => {
                self.span
                    .record("server.address", &*executed.address.host());
                self.span.record("server.port", executed.address.port());
            }
            Err(error) => {
                let error = redacted(error, self.secret);
                let error = json::text(&error, shared.outbox.log.document_len_max);
                self.span.record("error", error.as_str());
            }
        }
    }
}

/// An attempt begins: all but the first are told.
pub(crate) fn attempt(operation: &Operation) {
    let retries = operation.retries();
    if retries > 0 {
        debug!(
            target: OPERATION,
            operationId = operation.context().operation_id.0,
            operation = name(operation.spec()),
            attempt = retries + 1,
            "Operation retried"
        );
    }
}

/// The server is overloaded: the operation waits before its next attempt.
pub(crate) fn pause(operation: &Operation, until: Instant, now: Instant) {
    debug!(
        target: OPERATION,
        operationId = operation.context().operation_id.0,
        operation = name(operation.spec()),
        attempt = operation.retries() + 1,
        backoffMS = millis(until.saturating_since(now)),
        "Operation paused before its next attempt"
    );
}
