//! Buffers that belong to threads instead of connections and operations.
//!
//! Whoever moves bytes takes its thread's buffers and keeps nothing in them while it waits, so a
//! thread needs no more than one of each, and an idle connection has none. Commands and small
//! documents are written into buffers that go with their operation and are kept at its end, by
//! whichever thread that is.

use std::cell::{Cell, RefCell};

use mongo_client_core::{conn::Scratch, wire::Reply};

/// A larger buffer is not kept.
const SPARE_LEN_MAX: usize = 32 * 1024;
/// How many buffers a thread keeps: an operation has three at the most.
const SPARES_MAX: usize = 4;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Takes the thread's buffers for a connection: new ones at first, and while the thread ends.
#[inline]
pub(crate) fn scratch() -> Box<Scratch> {
    let kept = SCRATCH.try_with(Cell::take).ok().flatten();
    kept.unwrap_or_default()
}

/// Keeps buffers for the next connection that is driven on the thread.
#[inline]
pub(crate) fn keep_scratch(scratch: Box<Scratch>) {
    // A thread that ends keeps nothing.
    let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
}

/// Keeps the buffer of a reply that was read.
#[inline]
pub(crate) fn keep_reply(reply: Reply) {
    let mut scratch = scratch();
    scratch.keep_reply(reply);
    keep_scratch(scratch);
}

/// Takes an empty buffer, mostly one that was used before on the thread.
#[inline]
#[must_use]
pub fn take() -> Vec<u8> {
    let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
    spare.ok().flatten().unwrap_or_default()
}

/// Keeps a buffer for others on the thread.
#[inline]
pub fn keep(mut buffer: Vec<u8>) {
    if (1..=SPARE_LEN_MAX).contains(&buffer.capacity()) {
        buffer.clear();
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARES_MAX {
                spares.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_few_buffers_and_no_large_ones() {
        keep(Vec::with_capacity(SPARE_LEN_MAX + 1));
        keep(Vec::new());
        assert_eq!(take().capacity(), 0);
        for _ in 0..2 * SPARES_MAX {
            let mut used = Vec::with_capacity(100);
            used.push(1);
            keep(used);
        }
        for _ in 0..SPARES_MAX {
            let spare = take();
            assert!(spare.is_empty() && spare.capacity() >= 100);
        }
        assert_eq!(take().capacity(), 0);
    }
}
