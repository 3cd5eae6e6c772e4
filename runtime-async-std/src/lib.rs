//! Runs mongo-client on async-std.
//!
//! async-std is discontinued upstream, which recommends smol. This adapter is for programs that
//! still run on it: [`AsyncStdRuntime`] implements the driver's [`Runtime`] with tasks on
//! async-std's executor and sockets and timers on the `async-io` reactor, both of which start by
//! themselves. New programs take `SmolRuntime` (feature `smol`), which works in async-std's
//! executor, too.

use mongo_client_driver::runtime::{BoxFuture, Runtime, RuntimeGone};
use mongo_client_runtime_async_io::runtime_methods;

/// async-std's executor and the `async-io` reactor; neither ever ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStdRuntime;

impl AsyncStdRuntime {
    /// The runtime; nothing is started before it is needed.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Runtime for AsyncStdRuntime {
    fn name(&self) -> &'static str {
        "async-std"
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        async_std::task::spawn(task);
        Ok(())
    }

    runtime_methods!();
}
