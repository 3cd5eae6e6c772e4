//! Small waits: until an instant, or for the first of two things.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use mongo_client_core::time::Instant;

use crate::runtime::Runtime;

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

/// Waits until an instant; for ever at [`Instant::MAX`].
pub(crate) async fn sleep_until(runtime: &dyn Runtime, until: Instant) {
    if until == Instant::MAX {
        return std::future::pending().await;
    }
    let mut timer = runtime.timer();
    timer.reset(until);
    poll_fn(|cx| timer.poll(cx)).await;
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
