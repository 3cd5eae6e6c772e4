//! Small waits: until an instant, or for the first of two things.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
};

use mongo_client_core::time::Instant;

use crate::{
    runtime::{Runtime, Timer},
    shared::Shared,
};

/// The result of a race.
pub(crate) enum Either<A, B> {
    /// The first future was ready, and is preferred when both are.
    First(A),
    /// The second future was ready.
    Second(B),
}

/// Runs two futures until one is ready; the other is dropped.
pub(crate) async fn race<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let mut a = pin!(a);
    let mut b = pin!(b);
    poll_fn(|cx| {
        if let Poll::Ready(out) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(out));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

/// The time of one poll: the clock is read when somebody asks, and not again.
pub(crate) struct Tick<'a> {
    clock: &'a dyn Runtime,
    at: Option<Instant>,
}

impl<'a> Tick<'a> {
    pub(crate) fn new(clock: &'a dyn Runtime) -> Self {
        Self { clock, at: None }
    }

    pub(crate) fn now(&mut self) -> Instant {
        *self.at.get_or_insert_with(|| self.clock.now())
    }

    /// Reads the clock again.
    pub(crate) fn renew(&mut self) -> Instant {
        *self.at.insert(self.clock.now())
    }
}

/// A deadline of somebody who waits in a future of the application's. It holds in whichever
/// runtime the future is polled, also after the one that it was first polled in has died.
pub(crate) struct Deadline<'a> {
    shared: &'a Shared,
    at: Instant,
    timer: Option<Box<dyn Timer>>,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(shared: &'a Shared, at: Instant) -> Self {
        Self {
            shared,
            at,
            timer: None,
        }
    }

    /// When it passes.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at == Instant::MAX {
            return Poll::Pending;
        }
        // A timer whose runtime has died is ready early; then a new one is needed.
        for _ in 0..2 {
            let timer = self.timer.get_or_insert_with(|| {
                let mut timer = self.shared.wait_timer();
                timer.reset(self.at);
                timer
            });
            ready!(timer.poll(cx));
            if self.shared.clock.now() >= self.at {
                return Poll::Ready(());
            }
            self.timer = None;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Waits until an instant; for ever at [`Instant::MAX`].
///
/// Early when the runtime ends, but never without having given way to it: a runtime that ends waits
/// for the poll under way before it drops the task, which may be a loop that sleeps.
pub(crate) async fn sleep_until(runtime: &dyn Runtime, until: Instant) {
    if until == Instant::MAX {
        return std::future::pending().await;
    }
    let mut timer = runtime.timer();
    timer.reset(until);
    poll_fn(|cx| timer.poll(cx)).await;
    if runtime.now() < until {
        give_way().await;
    }
}

/// Returns to the executor once.
pub(crate) async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a future until it is ready or an instant has passed (`None`: without a limit).
pub(crate) async fn within<F: Future>(
    runtime: &dyn Runtime,
    until: Option<Instant>,
    future: F,
) -> Option<F::Output> {
    let Some(until) = until else {
        return Some(future.await);
    };
    match race(future, sleep_until(runtime, until)).await {
        Either::First(out) => Some(out),
        Either::Second(()) => None,
    }
}
