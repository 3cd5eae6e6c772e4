//! A latched flag with one waker: how one task tells another to look up.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

/// A set of bits that one task raises and another takes.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    bits: AtomicU32,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// The incarnation that watches; see [`Signal::poll_take`].
    life: u64,
    waker: Option<Waker>,
}

impl Signal {
    /// Raises bits and wakes the task that watches.
    pub(crate) fn raise(&self, bits: u32) {
        self.bits.fetch_or(bits, Ordering::AcqRel);
        let waker = self.lock().waker.take();
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
        self.lock().keep(cx);
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes raised bits, or keeps the waker and answers 0.
    ///
    /// `None` when a younger incarnation watches: a task that its runtime has not dropped yet must
    /// not take the place of its successor.
    pub(crate) fn poll_take(&self, life: u64, cx: &Context<'_>) -> Option<u32> {
        let mut watch = self.lock();
        if watch.life > life {
            return None;
        }
        watch.life = life;
        watch.keep(cx);
        drop(watch);
        Some(self.take())
    }
}

impl Watch {
    fn keep(&mut self, cx: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}
