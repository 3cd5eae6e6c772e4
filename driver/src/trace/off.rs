//! Stands in for `trace.rs` without the feature `tracing`: nobody listens, and nothing is done.

use std::sync::Arc;

use mongo_client_core::{
    error::{Error, Result},
    event::{CommandFacts, cmap::CmapEvent, sdam::SdamEvent},
    id::OperationId,
    op::{CommandSpec, Operation},
    options::ClientOptions,
    time::Instant,
    wire::{Reply, Request},
};

use crate::{exec::Executed, server::Server, shared::Shared};

#[derive(Debug)]
pub(crate) struct Log;

impl Log {
    pub(crate) fn new(_options: &ClientOptions) -> Self {
        Self
    }

    pub(crate) fn wants_cmap(&self) -> bool {
        false
    }

    pub(crate) fn wants_sdam(&self) -> bool {
        false
    }

    pub(crate) fn wants_commands(&self) -> bool {
        false
    }

    pub(crate) fn cmap(&self, _event: &CmapEvent) {}

    pub(crate) fn sdam(&self, _event: &SdamEvent) {}

    pub(crate) fn command_started(&self, _command: &CommandFacts, _request: &Request) {}

    pub(crate) fn command_succeeded(
        &self,
        _command: &CommandFacts,
        _reply: Option<&Reply>,
        _now: Instant,
    ) {
    }

    pub(crate) fn command_failed(&self, _command: &CommandFacts, _failure: &Error, _now: Instant) {}
}

#[derive(Default)]
pub(crate) struct Waited(());

impl Waited {
    pub(crate) fn waiting(&mut self, _shared: &Shared, _operation: &Operation, _deadline: Instant) {
    }
}

pub(crate) fn selecting(_shared: &Shared, _operation: &Operation) {}

pub(crate) fn selected(
    _shared: &Shared,
    _operation: &Operation,
    _found: std::result::Result<&Arc<Server>, &Error>,
) {
}

pub(crate) fn attempt(_operation: &Operation) {}

pub(crate) fn pause(_operation: &Operation, _until: Instant, _now: Instant) {}

pub(crate) struct OperationSpan;

impl OperationSpan {
    pub(crate) fn none() -> Self {
        Self
    }

    pub(crate) fn new(_spec: &CommandSpec, _id: OperationId) -> Self {
        Self
    }

    pub(crate) fn enter(&self) -> Self {
        Self
    }

    pub(crate) fn ended(&self, _shared: &Shared, _result: &Result<Executed>) {}
}
