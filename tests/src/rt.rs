//! The runtime that a live test runs on: tokio, async-std or smol, as the environment says.
//!
//! `MONGO_CLIENT_TEST_RUNTIME` names it (default: tokio). Test, client and helper tasks all run
//! there; what stands for a server or a network (`fault`) runs on a tokio runtime of its own.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use mongo_client::runtime::{AsyncStdRuntime, Runtime, SmolRuntime};
use tokio::sync::oneshot;

/// A runtime that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// tokio, with two worker threads.
    Tokio,
    /// async-std's executor.
    AsyncStd,
    /// smol's global executor.
    Smol,
}

/// The runtime of this process.
///
/// # Panics
///
/// When the environment names one that there is not.
#[must_use]
pub fn kind() -> Kind {
    match std::env::var("MONGO_CLIENT_TEST_RUNTIME").as_deref() {
        Err(_) | Ok("tokio") => Kind::Tokio,
        Ok("async-std") => Kind::AsyncStd,
        Ok("smol") => Kind::Smol,
        Ok(other) => panic!("MONGO_CLIENT_TEST_RUNTIME: there is no runtime {other:?}"),
    }
}

/// The adapter that a client is given; `None` on tokio, which clients find by themselves.
#[must_use]
pub fn adapter() -> Option<Arc<dyn Runtime>> {
    match kind() {
        Kind::Tokio => None,
        Kind::AsyncStd => Some(Arc::new(AsyncStdRuntime::new())),
        Kind::Smol => Some(Arc::new(SmolRuntime::new())),
    }
}

/// A tokio runtime with two worker threads.
///
/// # Panics
///
/// When the system has no threads left.
#[must_use]
pub fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
}

/// Runs a test to its end.
pub fn block_on<F: Future>(test: F) -> F::Output {
    match kind() {
        Kind::Tokio => tokio_runtime().block_on(test),
        Kind::AsyncStd => async_std::task::block_on(test),
        Kind::Smol => smol::block_on(test),
    }
}

/// A task that runs by itself; goes on when the handle is dropped.
#[derive(Debug)]
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    abort: AbortHandle,
}

/// The task panicked or was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task panicked or was aborted")
    }
}

impl Error for Ended {}

impl<T> Task<T> {
    /// Drops the task's future soon.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx).map_err(|_| Ended)
    }
}

/// Starts a task.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let (send, result) = oneshot::channel();
    let (abort, registration) = AbortHandle::new_pair();
    let task: BoxFuture<'static, ()> = Box::pin(async move {
        if let Ok(out) = Abortable::new(future, registration).await {
            // Nobody may be waiting any more.
            let _ = send.send(out);
        }
    });
    match kind() {
        Kind::Tokio => drop(tokio::spawn(task)),
        Kind::AsyncStd => drop(async_std::task::spawn(task)),
        Kind::Smol => smol::spawn(task).detach(),
    }
    Task { result, abort }
}

/// Waits.
pub async fn sleep(time: Duration) {
    match kind() {
        Kind::Tokio => tokio::time::sleep(time).await,
        Kind::AsyncStd => async_std::task::sleep(time).await,
        Kind::Smol => drop(smol::Timer::after(time).await),
    }
}

/// The time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl Error for Elapsed {}

/// Waits for a future, but no longer than that.
///
/// # Errors
///
/// [`Elapsed`] when the time is over first; the future is dropped.
pub async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut time) = (pin!(future), pin!(sleep(time)));
    poll_fn(|cx| {
        if let Poll::Ready(out) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(out));
        }
        time.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// Lets the other tasks run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The runtime of everything that stands for a server or a network.
pub(crate) fn outside() -> &'static tokio::runtime::Handle {
    static OUTSIDE: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    OUTSIDE.get_or_init(tokio_runtime).handle()
}

/// Runs a step of such a server on its runtime.
pub(crate) async fn outside_run<T: Send + 'static>(
    step: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    outside().spawn(step).await.map_err(io::Error::other)?
}
