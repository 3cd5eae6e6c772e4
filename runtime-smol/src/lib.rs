//! Runs mongo-client on smol.
//!
//! [`SmolRuntime`] implements the driver's [`Runtime`]: tasks run on smol's global executor or on
//! one of the caller's, sockets and timers on the `async-io` reactor, which starts by itself. So a
//! client with this runtime works in any executor. It takes no decisions: one address per dial, one
//! timer per request.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use mongo_client_driver::runtime::{BoxFuture, Runtime, RuntimeGone};
use mongo_client_runtime_async_io::runtime_methods;
use smol::Executor;

/// smol's global executor, or one of the caller's, and the `async-io` reactor.
#[derive(Clone, Default)]
pub struct SmolRuntime {
    /// `None` is the global executor.
    executor: Option<Weak<Executor<'static>>>,
}

impl SmolRuntime {
    /// Runs tasks on smol's global executor, whose threads start with the first task
    /// (`SMOL_THREADS` says how many; one by default) and never end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs tasks on an executor of the caller's, who has to run it: the client's monitors live
    /// there. It is held weakly; when it has been dropped, the runtime is gone.
    #[must_use]
    pub fn on(executor: &Arc<Executor<'static>>) -> Self {
        Self {
            executor: Some(Arc::downgrade(executor)),
        }
    }
}

impl fmt::Debug for SmolRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let executor = match &self.executor {
            None => "global",
            Some(own) if own.strong_count() == 0 => "dropped",
            Some(_) => "own",
        };
        f.debug_struct("SmolRuntime")
            .field("executor", &executor)
            .finish()
    }
}

impl Runtime for SmolRuntime {
    fn name(&self) -> &'static str {
        "smol"
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        let Some(executor) = &self.executor else {
            smol::spawn(task).detach();
            return Ok(());
        };
        let strong = executor.upgrade().ok_or(RuntimeGone)?;
        strong.spawn(task).detach();
        drop(strong);
        // The owner may have dropped it meanwhile, and the task went with it.
        if executor.strong_count() == 0 {
            return Err(RuntimeGone);
        }
        Ok(())
    }

    /// smol's global executor.
    fn successor(&self) -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(Self::new()))
    }

    runtime_methods!();
}
