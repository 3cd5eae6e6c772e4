//! Which runtime a client uses when it was given none.
//!
//! Inside a tokio context it is tokio, otherwise smol, otherwise async-std; those two run their
//! reactor on threads of its own and work in any executor. Only the runtimes whose features are on
//! are looked for; without any that fits, operations fail with an error that says so.

use std::{sync::Arc, time::SystemTime};

use mongo_client_driver::{
    Ambient, RuntimeSource,
    runtime::{Runtime, adapter},
};

/// Looks for a runtime in the calling context.
pub(crate) fn source() -> RuntimeSource {
    RuntimeSource::find(find)
}

fn find() -> Option<Arc<dyn Runtime>> {
    #[cfg(feature = "tokio")]
    if let Some(runtime) = mongo_client_runtime_tokio::TokioRuntime::current() {
        return Some(Arc::new(runtime));
    }
    own_threads()
}

/// A runtime that starts by itself.
fn own_threads() -> Option<Arc<dyn Runtime>> {
    #[cfg(feature = "smol")]
    let found: Option<Arc<dyn Runtime>> =
        Some(Arc::new(mongo_client_runtime_smol::SmolRuntime::new()));
    #[cfg(all(feature = "async-std", not(feature = "smol")))]
    let found: Option<Arc<dyn Runtime>> = Some(Arc::new(
        mongo_client_runtime_async_std::AsyncStdRuntime::new(),
    ));
    #[cfg(not(any(feature = "smol", feature = "async-std")))]
    let found = None;
    found
}

/// The system's clock and random source, for clients that were given no runtime.
pub(crate) fn ambient() -> Ambient {
    Ambient {
        clock: Arc::new(|| adapter::unix_millis(SystemTime::now())),
        entropy: Arc::new(|out| {
            getrandom::fill(out).expect("the operating system's random source works");
        }),
    }
}
