//! Documents that lie in more than one allocation.

use std::fmt;

use bytes::Bytes;

use crate::wire::Chunk;

/// Documents from this length on are worth to be shared instead of copied.
pub(crate) const SHARED_MIN: usize = 16 * 1024;

/// Documents, one after the other, in pieces that hold whole documents each.
///
/// Those who write many documents need not move the first ones when the room is used up, and a
/// retry sends the same bytes again. `Debug` shows no document.
#[derive(Clone)]
pub struct Pieces {
    /// Mostly the only one.
    first: Chunk,
    rest: Vec<Chunk>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            first: Chunk::Buffer(Vec::new()),
            rest: Vec::new(),
        }
    }
}

impl Pieces {
    /// The length of all documents.
    #[must_use]
    pub fn len(&self) -> usize {
        let rest = self.rest.iter().map(|piece| piece.len());
        rest.fold(self.first.len(), usize::saturating_add)
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The pieces; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        std::iter::once(&self.first)
            .chain(&self.rest)
            .filter(|piece| !piece.is_empty())
    }

    /// Adds whole documents at the end.
    pub fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece.into();
        } else if !piece.is_empty() {
            self.rest.push(piece.into());
        }
    }

    /// Takes the buffer of a few small documents out, for others; there are none then.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        match &mut self.first {
            Chunk::Buffer(buffer) => std::mem::take(buffer),
            Chunk::Shared(_) => Vec::new(),
        }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl From<Bytes> for Pieces {
    fn from(first: Bytes) -> Self {
        Self {
            first: first.into(),
            rest: Vec::new(),
        }
    }
}

impl From<Vec<u8>> for Pieces {
    #[inline]
    fn from(first: Vec<u8>) -> Self {
        if first.len() >= SHARED_MIN {
            return Bytes::from(first).into();
        }
        Self {
            first: first.into(),
            rest: Vec::new(),
        }
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut out = Self::default();
        for piece in pieces {
            out.push(piece);
        }
        out
    }
}
