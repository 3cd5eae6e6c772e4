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

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::find;
    use crate::{Client, bson::doc};

    fn found() -> Option<&'static str> {
        find().map(|runtime| runtime.name())
    }

    /// What is found outside of tokio.
    fn outside() -> Option<&'static str> {
        if cfg!(feature = "smol") {
            Some("smol")
        } else if cfg!(feature = "async-std") {
            Some("async-std")
        } else {
            None
        }
    }

    #[test]
    fn runtimes_with_threads_of_their_own_are_found_everywhere() {
        assert_eq!(found(), outside());
    }

    #[test]
    fn tokio_is_found_inside_of_its_context_only() {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let inside = tokio.block_on(async { found() });
        let expected = if cfg!(feature = "tokio") {
            Some("tokio")
        } else {
            outside()
        };
        assert_eq!(inside, expected);
        drop(tokio);
        assert_eq!(found(), outside());
    }

    #[test]
    fn without_a_runtime_operations_fail_and_say_why() {
        if outside().is_some() {
            return;
        }
        let builder = Client::builder().uri("mongodb://localhost:1").unwrap();
        let client = builder.build().unwrap();
        let database = client.database("db");
        let mut ping = pin!(database.run_command(doc! { "ping": 1 }).into_future());
        let polled = ping.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else {
            panic!("no error: {polled:?}");
        };
        assert!(error.to_string().contains("no async runtime"), "{error}");
    }
}
