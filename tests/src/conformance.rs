//! What every runtime adapter has to do, as functions over the trait alone.
//!
//! `tests/tests/conformance.rs` runs them for each adapter, inside its executor and outside of it.
//! The other ends (servers, peers) are plain threads, so that nothing here depends on an executor.
//! A function panics when the adapter does not conform; one that hangs is ended by the test runner.

pub mod eyeballs;
pub mod services;
pub mod sockets;
pub mod timers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

/// A waker that counts.
#[derive(Debug, Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    /// How often it was woken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
