//! Tells the simulation's own work from the work of what it runs.
//!
//! Tests that count (allocations, say) ask [`in_machinery`], and leave out what a scripted peer, a
//! pipe or the event queue does on the thread of the code under test.

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether the calling thread is inside the simulation's executor, pipes, timers or peers, and not
/// in a future that it runs. Never allocates.
#[must_use]
pub fn in_machinery() -> bool {
    DEPTH.with(|depth| depth.get() > 0)
}

/// Marks a section as the simulation's own until dropped.
pub(crate) struct Machinery(());

impl Machinery {
    pub(crate) fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self(())
    }
}

impl Drop for Machinery {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}
