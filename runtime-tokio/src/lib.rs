//! Runs mongo-client on tokio.
//!
//! [`TokioRuntime`] implements the driver's [`Runtime`] over a tokio [`Handle`]; it works from any
//! executor as long as the handle's runtime runs. It takes no decisions: one address per dial, one
//! timer per request, tasks on the handle's executor.
//!
//! tokio answers with a panic where a timer is used after the end of its runtime, or without a
//! driver. None leaves this crate: timers are ready then, and everything else is an error.

mod io;
mod life;

use std::{
    future::Future,
    io::{Error, Result},
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{
        BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer, adapter,
    },
};
use tokio::{
    runtime::Handle,
    task::{JoinHandle, unconstrained},
    time::Sleep,
};

use crate::life::Life;

/// tokio refuses instants that it cannot represent, so deadlines are at most this far from the zero
/// of the clock: 30 years.
const DEADLINE_MAX: Instant = Instant::from_nanos(30 * 365 * 86_400 * 1_000_000_000);

/// A tokio runtime, through its handle.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    life: Arc<Life>,
}

impl TokioRuntime {
    /// Uses the runtime that the caller runs in; `None` outside every tokio runtime.
    #[must_use]
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self::new)
    }

    /// Uses the runtime of a handle. Its time and I/O drivers must be enabled: without them no
    /// server can be dialled, and every deadline counts as passed.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        // The zero of the clock is real time, also where tokio's clock is paused.
        let _ = adapter::instant(std::time::Instant::now());
        Self {
            handle,
            life: Arc::default(),
        }
    }

    /// Polls a future inside the runtime's context, so that it works from any executor.
    fn on_handle<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let handle = self.handle.clone();
        let mut future = Box::pin(future);
        Box::pin(std::future::poll_fn(move |cx| {
            let _guard = handle.enter();
            caught(|| future.as_mut().poll(cx)).unwrap_or_else(|| {
                let message = "the tokio runtime is shut down, or its I/O driver is not enabled";
                Poll::Ready(Err(Error::other(message)))
            })
        }))
    }
}

impl Runtime for TokioRuntime {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn now(&self) -> Instant {
        adapter::instant(tokio::time::Instant::now().into_std())
    }

    fn unix_time(&self) -> UnixMillis {
        adapter::unix_millis(SystemTime::now())
    }

    fn entropy(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system's random source works");
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> std::result::Result<(), RuntimeGone> {
        // A runtime that was shut down takes the task and drops it at once.
        let task = self.handle.spawn(task);
        if task.is_finished() && was_dropped(task) {
            return Err(RuntimeGone);
        }
        Ok(())
    }

    fn is_current(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.handle.id())
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        let task = caught(|| self.handle.spawn_blocking(job));
        Box::pin(async move {
            if let Some(task) = task {
                // A job that panicked or was dropped leaves no result; the caller sees that.
                let _ = task.await;
            }
        })
    }

    /// The tokio runtime that the caller runs in.
    fn successor(&self) -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(Self::current()?))
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(TokioTimer {
            handle: self.handle.clone(),
            life: Arc::clone(&self.life),
            sleep: None,
            over: false,
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        self.on_handle(async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, Result<BoxStream>> {
        self.on_handle(io::connect(target))
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, Result<BoxDatagram>> {
        self.on_handle(io::datagram(peer))
    }
}

/// Whether a finished task was dropped by its runtime instead of run.
fn was_dropped(task: JoinHandle<()>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(unconstrained(task)).poll(&mut cx) {
        Poll::Ready(Err(error)) => error.is_cancelled(),
        _ => false,
    }
}

/// The last resort: what tokio says of a runtime's end by panicking.
fn caught<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

struct TokioTimer {
    handle: Handle,
    life: Arc<Life>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The runtime cannot keep time (any more).
    over: bool,
}

impl Timer for TokioTimer {
    fn reset(&mut self, deadline: Instant) {
        if self.over || self.life.is_over(&self.handle) {
            self.over = true;
            return;
        }
        let now = std::time::Instant::now();
        let at = adapter::reading(deadline.min(DEADLINE_MAX), now)
            .map_or_else(far_future, tokio::time::Instant::from_std);
        let done = caught(|| match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            none => {
                let _guard = self.handle.enter();
                *none = Some(Box::pin(tokio::time::sleep_until(at)));
            }
        });
        self.over = done.is_none();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        if !self.life.is_over(&self.handle)
            && let Some(polled) = caught(|| sleep.as_mut().poll(cx))
        {
            return polled;
        }
        self.over = true;
        Poll::Ready(())
    }
}

fn far_future() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(86_400 * 365)
}
