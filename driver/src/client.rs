//! The client handle.

use std::sync::Arc;

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::Result,
    id::ServerId,
    net::ServerAddress,
    op::CommandSpec,
    options::ClientOptions,
    read_preference::SelectionCriteria,
    wire::Reply,
};

use crate::session::{ClientSession, ImplicitSession};

/// A client of a MongoDB deployment: a cheap handle to clone and share.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<ClientInner>,
}

#[derive(Debug)]
struct ClientInner {
    options: ClientOptions,
}

/// Which session an execution uses.
pub(crate) enum SessionArg<'a> {
    /// One of its own, returned when the operation ends.
    Implicit,
    /// The caller's.
    Explicit(&'a mut ClientSession),
    /// One that outlives the operation (cursors): taken from the option, or put there.
    Keep(&'a mut Option<ImplicitSession>),
}

/// What an execution gives back.
pub(crate) struct Executed {
    /// The reply, checked for `ok: 1`.
    pub(crate) reply: Reply,
    /// The server that answered.
    pub(crate) server: ServerId,
    /// Its address.
    pub(crate) address: ServerAddress,
}

impl Client {
    /// The options that the client was built with.
    pub(crate) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// The default read concern.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.options().read_concern.as_ref()
    }

    /// The default write concern.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.options().write_concern.as_ref()
    }

    /// The default selection criteria.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.options().selection_criteria.as_ref()
    }

    /// Executes a command: selection, lease, exchange, retries.
    pub(crate) async fn execute(
        &self,
        _spec: CommandSpec,
        _session: SessionArg<'_>,
    ) -> Result<Executed> {
        todo!()
    }

    /// Sends `killCursors` in the background, best effort; never blocks and never fails.
    pub(crate) fn kill_cursor(&self, _spec: CommandSpec, _session: Option<ImplicitSession>) {
        todo!()
    }

    /// Bytes for document ids: the client's generator.
    pub(crate) fn next_object_id(&self) -> bson::oid::ObjectId {
        todo!()
    }
}
