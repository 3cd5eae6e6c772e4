//! A latched flag with one waker: how one task tells another to look up.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

/// A set of bits that one task raises and another takes.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    bits: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    /// Raises bits and wakes the task that watches.
    pub(crate) fn raise(&self, bits: u32) {
        self.bits.fetch_or(bits, Ordering::AcqRel);
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all raised bits.
    pub(crate) fn take(&self) -> u32 {
        if self.bits.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.bits.swap(0, Ordering::AcqRel)
    }

    /// Whether any of the bits is raised; they stay raised.
    pub(crate) fn is_raised(&self, bits: u32) -> bool {
        self.bits.load(Ordering::Acquire) & bits != 0
    }

    /// Keeps the task's waker for the next [`Self::raise`]. Look at the bits again afterwards.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
    }

    /// Takes raised bits, or keeps the waker and answers 0.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> u32 {
        match self.take() {
            0 => {
                self.watch(cx);
                self.take()
            }
            bits => bits,
        }
    }
}
