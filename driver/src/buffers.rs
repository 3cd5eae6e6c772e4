//! Buffers that belong to threads instead of connections and operations.
//!
//! Whoever moves bytes takes its thread's buffers and keeps nothing in them while it waits, so a
//! thread needs no more than one of each, and an idle connection has none.

use std::cell::Cell;

use mongo_client_core::conn::Scratch;

/// A larger buffer for requests is not kept.
const REQUEST_LEN_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static REQUEST: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes the thread's buffers for a connection: new ones at first, and while the thread ends.
pub(crate) fn scratch() -> Box<Scratch> {
    let kept = SCRATCH.try_with(Cell::take).ok().flatten();
    kept.unwrap_or_default()
}

/// Keeps buffers for the next connection that is driven on the thread.
pub(crate) fn keep_scratch(scratch: Box<Scratch>) {
    // A thread that ends keeps nothing.
    let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
}

/// Takes the thread's buffer for a request: it stays with the operation until its end.
pub(crate) fn request() -> Vec<u8> {
    REQUEST.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer for the next operation on the thread.
pub(crate) fn keep_request(buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= REQUEST_LEN_MAX {
        let _ = REQUEST.try_with(|kept| kept.set(buffer));
    }
}
