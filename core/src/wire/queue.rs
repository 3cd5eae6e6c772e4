//! Bytes on their way out, gathered from a reused buffer and from shared slices.

use std::fmt;

use bytes::Bytes;

use super::frame::hand_over;

/// The capacity that the buffer keeps between messages.
const RETAINED_MAX: usize = 64 * 1024;

/// A queue of outgoing bytes.
///
/// Small parts are copied into one buffer; large ones stay where they are and leave as slices of
/// their own. `shared` tells at which offset of the buffer each of them goes out.
///
/// `Debug` shows lengths only.
#[derive(Default)]
pub struct WriteQueue {
    buffer: Vec<u8>,
    shared: Vec<(usize, Bytes)>,
    len: usize,
    written: usize,
}

impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteQueue")
            .field("len", &self.len)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl WriteQueue {
    /// Whether there is nothing to write.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written == self.len
    }

    /// How many bytes were appended since the queue was last empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes were written since the queue was last empty.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `bytes` without a copy.
    pub fn push_shared(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.shared.push((self.buffer.len(), bytes));
    }

    /// Lets `fill` append to the buffer.
    #[inline]
    pub fn extend_with(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer.len();
        fill(&mut self.buffer);
        self.len += self.buffer.len().saturating_sub(before);
    }

    /// Puts the slices to write next into `out`; returns how many there are.
    #[inline]
    pub fn slices<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        if self.shared.is_empty() {
            let rest = &self.buffer[self.written..];
            return match out.first_mut() {
                Some(slot) if !rest.is_empty() => {
                    *slot = rest;
                    1
                }
                _ => 0,
            };
        }
        let mut skip = self.written;
        let mut count = 0;
        for part in self.parts() {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            let Some(slot) = out.get_mut(count) else {
                break;
            };
            *slot = &part[skip..];
            skip = 0;
            count += 1;
        }
        count
    }

    /// The bytes of the queue in order, those already written included.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let shared = self.shared.iter().flat_map(move |(at, bytes)| {
            let inline = &self.buffer[from..*at];
            from = *at;
            [inline, &bytes[..]]
        });
        let tail = self.shared.last().map_or(0, |(at, _)| *at);
        shared.chain(std::iter::once(&self.buffer[tail..]))
    }

    /// `n` bytes of the slices were written.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        self.written = self.written.saturating_add(n).min(self.len);
        if self.is_empty() {
            self.clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes a buffer over, unless there is one.
    #[inline]
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.buffer.capacity() == 0 {
            std::mem::swap(&mut self.buffer, buffer);
        }
    }

    /// Gives the buffer up, unless there is something to write.
    #[inline]
    pub fn reclaim(&mut self, buffer: &mut Vec<u8>) {
        if self.is_empty() {
            hand_over(&mut self.buffer, buffer);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(RETAINED_MAX);
        self.shared.clear();
        self.len = 0;
        self.written = 0;
    }
}
