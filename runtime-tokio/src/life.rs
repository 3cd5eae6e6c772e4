//! Whether a tokio runtime is still there, which a [`Handle`] does not tell.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use mongo_client_driver::runtime::BoxFuture;
use tokio::{runtime::Handle, task::AbortHandle};

/// What is known of a runtime by its tasks: a runtime drops its tasks first and its drivers after
/// them, so when a task has been dropped before its end, sockets and timers are about to be.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// The tasks that were given to the runtime and have not ended.
    held: AtomicUsize,
    /// One of them was dropped before its end.
    over: AtomicBool,
    /// A task that never ends by itself, for when there is no other.
    own: OnceLock<AbortHandle>,
}

impl Life {
    /// Whether the runtime has been shut down.
    pub(crate) fn is_over(&self, handle: &Handle) -> bool {
        if self.over.load(Ordering::Acquire) {
            return true;
        }
        let own = match self.own.get() {
            None if self.held.load(Ordering::Acquire) > 0 => return false,
            None => self
                .own
                .get_or_init(|| handle.spawn(pending::<()>()).abort_handle()),
            Some(own) => own,
        };
        own.is_finished()
    }

    /// Learns of the runtime's end from a task.
    pub(crate) fn hold(self: &Arc<Self>, task: BoxFuture<'static, ()>) -> Held {
        self.held.fetch_add(1, Ordering::AcqRel);
        Held {
            end: End {
                life: Arc::clone(self),
                polling: false,
                done: false,
            },
            task,
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(task) = self.own.get() {
            task.abort();
        }
    }
}

/// A task that tells when it is dropped before its end. `end` is the first field: what the task holds
/// is dropped when that is known already.
pub(crate) struct Held {
    end: End,
    task: BoxFuture<'static, ()>,
}

impl Future for Held {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.end.polling = true;
        let polled = this.task.as_mut().poll(cx);
        this.end.polling = false;
        this.end.done = polled.is_ready();
        polled
    }
}

struct End {
    life: Arc<Life>,
    /// Still set when the task is dropped: it panicked, which says nothing about its runtime.
    polling: bool,
    done: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.done && !self.polling {
            self.life.over.store(true, Ordering::Release);
        }
        self.life.held.fetch_sub(1, Ordering::AcqRel);
    }
}
