//! Counts the allocations of the process, while somebody wants to know.
//!
//! Counting is off while time is measured: then an allocation costs one load and a branch more.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts when it is told to. Growing a block counts as
/// one allocation of its new size.
#[derive(Debug)]
pub struct Counting;

fn count(size: usize) {
    if COUNTING.load(Relaxed) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(size as u64, Relaxed);
    }
}

fn count_freed(size: usize) {
    if COUNTING.load(Relaxed) {
        FREED.fetch_add(size as u64, Relaxed);
    }
}

/// Starts to count from zero.
pub(crate) fn start() {
    ALLOCATIONS.store(0, Relaxed);
    BYTES.store(0, Relaxed);
    FREED.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
}

/// Stops counting, and returns the allocations and their bytes since the last [`start`].
pub(crate) fn stop() -> (u64, u64) {
    COUNTING.store(false, Relaxed);
    (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed))
}

/// Stops counting, and returns by how many bytes the heap has grown since the last [`start`].
pub(crate) fn stop_kept() -> i64 {
    let (_, bytes) = stop();
    bytes.cast_signed() - FREED.load(Relaxed).cast_signed()
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts forwards to the system's"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        count_freed(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_freed(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}
