//! Documents that lie in more than one allocation.

use std::fmt;

use bytes::Bytes;

/// Documents, one after the other, in pieces that hold whole documents each.
///
/// Those who write many documents need not move the first ones when the room is used up, and a
/// retry sends the same bytes again. `Debug` shows no document.
#[derive(Clone, Default)]
pub struct Pieces {
    /// Mostly the only one.
    first: Bytes,
    rest: Vec<Bytes>,
}

impl Pieces {
    /// The length of all documents.
    #[must_use]
    pub fn len(&self) -> usize {
        let rest = self.rest.iter().map(Bytes::len);
        rest.fold(self.first.len(), usize::saturating_add)
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The pieces; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first)
            .chain(&self.rest)
            .filter(|piece| !piece.is_empty())
    }

    /// Adds whole documents at the end.
    pub fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.rest.push(piece);
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
        let rest = Vec::new();
        Self { first, rest }
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(first: Vec<u8>) -> Self {
        Bytes::from(first).into()
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
