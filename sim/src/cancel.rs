//! Futures that are given up at a chosen point.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A future was dropped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// How often it was polled.
    pub polls: u32,
}

/// Drops a future right after a poll that left it pending; see [`give_up_at`].
pub struct GiveUpAt<F: Future> {
    inner: Option<Pin<Box<F>>>,
    polls: u32,
    most: u32,
}

/// Drops `future` when it is still pending after so many polls; 0 drops it before the first. With
/// every number from 0 to where the future ends it is dropped at each of its await points.
pub fn give_up_at<F: Future>(polls: u32, future: F) -> GiveUpAt<F> {
    GiveUpAt {
        inner: Some(Box::pin(future)),
        polls: 0,
        most: polls,
    }
}

impl<F: Future> Future for GiveUpAt<F> {
    type Output = Result<F::Output, GivenUp>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let inner = this.inner.as_mut().filter(|_| this.polls < this.most);
        if let Some(inner) = inner {
            this.polls += 1;
            if let Poll::Ready(output) = inner.as_mut().poll(cx) {
                this.inner = None;
                return Poll::Ready(Ok(output));
            }
        }
        if this.polls < this.most {
            return Poll::Pending;
        }
        this.inner = None;
        Poll::Ready(Err(GivenUp { polls: this.polls }))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use super::*;

    /// Ready at the third poll.
    fn third() -> impl Future<Output = u32> {
        let mut polls = 0;
        poll_fn(move |_| {
            polls += 1;
            if polls == 3 {
                Poll::Ready(polls)
            } else {
                Poll::Pending
            }
        })
    }

    #[test]
    fn a_future_is_dropped_after_its_kth_poll_or_ends() {
        for most in 0..5 {
            let mut future = give_up_at(most, third());
            let mut cx = Context::from_waker(Waker::noop());
            let mut polls = 0;
            let output = loop {
                polls += 1;
                if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut cx) {
                    break output;
                }
            };
            if most < 3 {
                assert_eq!(output, Err(GivenUp { polls: most }));
                assert_eq!(polls, most.max(1), "dropped at once");
            } else {
                assert_eq!(output, Ok(3));
            }
            assert!(future.inner.is_none());
        }
    }
}
