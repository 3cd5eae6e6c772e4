//! Whether a tokio runtime is still there, which a [`Handle`] does not tell.

use std::{future::pending, sync::OnceLock};

use tokio::{runtime::Handle, task::AbortHandle};

/// A task that never ends by itself: a runtime drops its tasks first and its drivers after them, so
/// when the task has ended, sockets and timers are about to.
#[derive(Debug, Default)]
pub(crate) struct Life(OnceLock<AbortHandle>);

impl Life {
    /// Whether the runtime has been shut down.
    pub(crate) fn is_over(&self, handle: &Handle) -> bool {
        let task = self
            .0
            .get_or_init(|| handle.spawn(pending::<()>()).abort_handle());
        task.is_finished()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}
