//! Futures that are dropped at a chosen moment.

use std::{
    future::{Future, IntoFuture, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use mongo_client_sim::Sim;

/// When a future is dropped. Only polls that follow a wake-up of its own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After its n-th poll, counted from 1: it waits for something.
    AfterPoll(usize),
    /// Woken for its n-th poll: what it waited for has happened, and it has not seen it.
    BeforePoll(usize),
}

impl Cut {
    /// The same moment one poll later.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::AfterPoll(n) => Self::AfterPoll(n + 1),
            Self::BeforePoll(n) => Self::BeforePoll(n + 1),
        }
    }
}

/// The waker of a future that is polled only when something wakes it.
struct Own {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// Runs a future up to a moment and drops it; its output if it was ready before.
pub async fn cut<F: IntoFuture>(future: F, when: Cut) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let own = Arc::new(Own {
        woken: AtomicBool::new(true),
        outer: AtomicWaker::new(),
    });
    let waker = Waker::from(Arc::clone(&own));
    let mut polls = 0;
    poll_fn(|cx| {
        own.outer.register(cx.waker());
        if !own.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        polls += 1;
        if when == Cut::BeforePoll(polls) {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending if when == Cut::AfterPoll(polls) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls a future `polls` times, whatever the polls are for, and drops it; its output if it was
/// ready before.
pub async fn drop_at_poll<F: IntoFuture>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut done = 0;
    poll_fn(|cx| {
        done += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending if done >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls a future for a time and drops it; its output if it was ready before.
pub async fn drop_after<F: IntoFuture>(sim: &Sim, future: F, time: Duration) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut sleep = Box::pin(sim.sleep(time));
    poll_fn(|cx| {
        if let Poll::Ready(out) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(out));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
