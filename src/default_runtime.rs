//! Which runtime a client uses when it was given none.
//!
//! Inside a tokio context it is tokio, otherwise smol. The features only add runtimes; none changes
//! what another does.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use mongo_client_driver::{Ambient, RuntimeSource, UnixMillis, runtime::Runtime};

/// Looks for a runtime in the calling context.
pub(crate) fn source() -> RuntimeSource {
    Arc::new(find)
}

fn find() -> Option<Arc<dyn Runtime>> {
    #[cfg(feature = "tokio")]
    if let Some(runtime) = mongo_client_runtime_tokio::TokioRuntime::current() {
        return Some(Arc::new(runtime));
    }
    // smol's executor and reactor start by themselves, so this works in any executor.
    #[cfg(feature = "smol")]
    return Some(Arc::new(mongo_client_runtime_smol::SmolRuntime::new()));
    #[cfg(not(feature = "smol"))]
    None
}

/// The system's clock and random source, for clients that were given no runtime.
pub(crate) fn ambient() -> Ambient {
    Ambient {
        clock: Arc::new(|| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }),
        entropy: Arc::new(|out| {
            getrandom::fill(out).expect("the operating system's random source works");
        }),
    }
}
