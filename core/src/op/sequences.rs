//! The documents beside a command: mostly none or one sequence, which then needs no allocation.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    slice,
};

use super::DocumentSequence;

/// The kind-1 sections of a command, in order.
#[derive(Clone, Default)]
pub enum Sequences {
    /// The command travels alone.
    #[default]
    None,
    /// One section.
    One(DocumentSequence),
    /// Several sections.
    Many(Vec<DocumentSequence>),
}

impl Sequences {
    /// Adds a section at the end.
    pub fn push(&mut self, sequence: DocumentSequence) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(sequence),
            Self::One(first) => *self = Self::Many(vec![first, sequence]),
            Self::Many(mut all) => {
                all.push(sequence);
                *self = Self::Many(all);
            }
        }
    }
}

impl Deref for Sequences {
    type Target = [DocumentSequence];

    #[inline]
    fn deref(&self) -> &[DocumentSequence] {
        match self {
            Self::None => &[],
            Self::One(sequence) => slice::from_ref(sequence),
            Self::Many(all) => all,
        }
    }
}

impl DerefMut for Sequences {
    #[inline]
    fn deref_mut(&mut self) -> &mut [DocumentSequence] {
        match self {
            Self::None => &mut [],
            Self::One(sequence) => slice::from_mut(sequence),
            Self::Many(all) => all,
        }
    }
}

impl From<DocumentSequence> for Sequences {
    #[inline]
    fn from(sequence: DocumentSequence) -> Self {
        Self::One(sequence)
    }
}

impl FromIterator<DocumentSequence> for Sequences {
    fn from_iter<I: IntoIterator<Item = DocumentSequence>>(sequences: I) -> Self {
        let mut out = Self::None;
        for sequence in sequences {
            out.push(sequence);
        }
        out
    }
}

impl fmt::Debug for Sequences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(identifier: &'static str) -> DocumentSequence {
        DocumentSequence {
            identifier,
            documents: vec![1].into(),
        }
    }

    #[test]
    fn sequences_stay_in_their_order() {
        let names = ["a", "b", "c"];
        for count in 0..=names.len() {
            let mut sequences: Sequences = names.into_iter().take(count).map(sequence).collect();
            let found: Vec<_> = sequences.iter().map(|s| s.identifier).collect();
            assert_eq!(found, names[..count]);
            assert_eq!(sequences.is_empty(), count == 0);
            for sequence in sequences.iter_mut() {
                assert_eq!(sequence.documents.take_buffer(), [1]);
            }
            assert!(sequences.iter().all(|s| s.documents.is_empty()));
        }
    }
}
