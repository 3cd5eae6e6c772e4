//! Who decides when a cursor that its owner has dropped is removed from the server.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
};

use mongo_client_core::{
    net::ServerAddress,
    op::{CommandSpec, Target},
};

use crate::{handle::Handle, pinned::Pinned, session::ImplicitSession};

/// Decides when cursors that were dropped before their end are removed from the server.
///
/// The default, without a manager, is to do so soon, in the background.
pub trait CursorManager: fmt::Debug + Send + Sync {
    /// A cursor was dropped. Call [`ClosedCursor::kill`] now or later; without it, the server
    /// removes the cursor after its own timeout (10 minutes by default).
    ///
    /// Runs where the cursor is dropped, so it must not block. A panic is caught and ignored.
    fn close(&self, cursor: ClosedCursor);
}

/// A cursor that was dropped before its end; it holds its session and, behind a load balancer, its
/// connection. Keeps the client open.
#[must_use = "the server keeps the cursor until it is killed or times out"]
pub struct ClosedCursor {
    handle: Handle,
    spec: CommandSpec,
    session: Option<ImplicitSession>,
    pinned: Pinned,
}

impl fmt::Debug for ClosedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedCursor")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl ClosedCursor {
    /// The server's id of the cursor.
    #[must_use]
    pub fn id(&self) -> i64 {
        let ids = self.spec.body.get_array("cursors").ok();
        let first = ids.and_then(|ids| ids.into_iter().next()?.ok());
        first.and_then(|id| id.as_i64()).unwrap_or(0)
    }

    /// The server that holds it; `None` when it is no longer part of the deployment.
    #[must_use]
    pub fn address(&self) -> Option<ServerAddress> {
        let Target::Server(id) = self.spec.target else {
            return None;
        };
        let topology = self.handle.latest()?;
        topology.servers.get(&id).map(|s| s.address.clone())
    }

    /// Removes it from the server in the background; never blocks and never fails.
    pub fn kill(self) {
        self.handle.kill_now(self.spec, self.session, self.pinned);
    }
}

impl Handle {
    /// Decides from now on when dropped cursors are killed; `None`: soon, in the background.
    pub fn set_cursor_manager(&self, manager: Option<Arc<dyn CursorManager>>) {
        *self
            .cursor_manager()
            .write()
            .unwrap_or_else(PoisonError::into_inner) = manager;
    }

    /// A cursor was dropped before its end: best effort, never blocks, never fails.
    pub fn kill_cursor(&self, spec: CommandSpec, session: Option<ImplicitSession>, pinned: Pinned) {
        let manager = self
            .cursor_manager()
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(manager) = manager else {
            self.kill_now(spec, session, pinned);
            return;
        };
        let cursor = ClosedCursor {
            handle: self.clone(),
            spec,
            session,
            pinned,
        };
        // It may run while the thread unwinds.
        let _ = catch_unwind(AssertUnwindSafe(|| manager.close(cursor)));
    }
}
