//! The thread behind blocking clients.
//!
//! All of a process's blocking clients share one smol executor with one thread, which starts with
//! the first of them and never ends. It runs their background tasks: monitors, new connections,
//! chores of pools. Sockets and timers are those of the `async-io` reactor, which has a thread of
//! its own; that one wakes the threads that wait for replies, which move the bytes themselves. So an
//! operation needs neither a task nor this thread, and nothing here depends on the runtime in whose
//! worker a caller may block.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use mongo_client_core::error::{Error, Result};
use mongo_client_driver::runtime::Runtime;
use mongo_client_runtime_smol::SmolRuntime;
use smol::Executor;

use super::wait;

/// The name of the thread.
const THREAD: &str = "mongo-client-sync";

static STARTED: Mutex<Option<Arc<Executor<'static>>>> = Mutex::new(None);

/// The runtime of blocking clients; starts its thread at the first call.
pub(super) fn runtime() -> Result<Arc<dyn Runtime>> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let executor = match &*started {
        Some(executor) => executor,
        None => started.insert(start()?),
    };
    Ok(Arc::new(SmolRuntime::on(executor)))
}

fn start() -> Result<Arc<Executor<'static>>> {
    let executor = Arc::new(Executor::new());
    let running = Arc::clone(&executor);
    thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || {
            loop {
                // A task that panics must not take the others with it; the driver notices that it
                // is gone.
                let run = || wait(running.run(pending::<()>()));
                drop(catch_unwind(AssertUnwindSafe(run)));
            }
        })
        .map_err(Error::io)?;
    Ok(executor)
}
