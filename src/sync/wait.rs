//! Blocks a thread until a future is done.
//!
//! The future is polled on the thread that waits, which parks in between; whoever completes what
//! the future waits for unparks it. Nothing is spawned and nothing is allocated: a thread makes its
//! waker once and keeps it. No context of a runtime is entered or asked for, so it works on the
//! worker of any runtime, and while another `wait` is polled below it on the same stack.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

/// A parked thread.
struct Parker {
    thread: Thread,
    /// Whether it was woken since it last began to wait: the token of `thread::park` may be taken
    /// by a wait further up the stack, or by other code of the thread.
    woken: AtomicBool,
}

impl Parker {
    fn park(&self) {
        while !self.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

thread_local! {
    /// What the thread waits with, except while it waits.
    static IDLE: Cell<Option<(Arc<Parker>, Waker)>> = const { Cell::new(None) };
}

/// Polls the future on this thread until it is done.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // While the thread's locals are destroyed there is none to take and none to put back.
    let kept = IDLE.try_with(Cell::take).ok().flatten();
    let (parker, waker) = kept.unwrap_or_else(|| {
        let parker = Arc::new(Parker {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        });
        (Arc::clone(&parker), Waker::from(parker))
    });
    let output = loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            break output;
        }
        parker.park();
    };
    // Nothing is lost when the locals are gone: the next wait makes another.
    let _ = IDLE.try_with(|idle| idle.set(Some((parker, waker))));
    output
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::mpsc};

    use super::*;

    /// Is woken once by another thread, however soon that comes.
    async fn elsewhere(value: u32) -> u32 {
        let (tx, rx) = mpsc::channel::<Waker>();
        let other = thread::spawn(move || {
            for waker in rx {
                waker.wake();
            }
        });
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(());
            }
            tx.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
        other.join().unwrap();
        value
    }

    #[test]
    fn a_thread_that_waits_is_woken_by_another() {
        assert_eq!(wait(elsewhere(7)), 7);
    }

    #[test]
    fn a_wait_inside_of_a_polled_future_does_not_take_the_wake_up_of_the_outer_one() {
        let mut polls = 0;
        let output = wait(poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                // The outer wake-up comes first, then the inner wait parks and is unparked.
                cx.waker().wake_by_ref();
                assert_eq!(wait(elsewhere(1)), 1);
                return Poll::Pending;
            }
            Poll::Ready(polls)
        }));
        assert_eq!(output, 2);
    }

    #[test]
    fn a_future_that_panics_leaves_the_thread_able_to_wait() {
        let panicked = std::panic::catch_unwind(|| wait(poll_fn(|_| -> Poll<()> { panic!() })));
        assert!(panicked.is_err());
        assert_eq!(wait(elsewhere(2)), 2);
    }

    #[test]
    fn a_token_left_over_by_other_code_only_polls_once_more() {
        thread::current().unpark();
        assert_eq!(wait(elsewhere(3)), 3);
    }
}
