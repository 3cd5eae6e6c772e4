//! Room for the elements of a document before they come.
//!
//! `bson` gives no way to make a [`Document`] with a capacity, and one that grows is moved to a
//! larger table, at 4, 8, 15 elements and so on. But a copy of an empty document has the room of
//! the original, and its hash keys. So there is an empty original for each usual size, made when it
//! is first needed and never changed.
//!
//! How many elements come is learnt by walking over them; the first [`AHEAD`] are kept, so that
//! short documents are walked over once.
//!
//! Invariant: room is made only for elements that were walked over, each of at least two bytes.

use std::sync::LazyLock;

use bson::{Bson, Document};

use super::{
    Fail,
    walk::{Element, Elements},
};

/// How many elements have room in tables of 4, 8, 16 slots and so on.
const SIZES: [usize; 6] = [3, 7, 14, 28, 56, 112];

static EMPTY: [LazyLock<Document>; SIZES.len()] = [
    LazyLock::new(|| emptied(SIZES[0])),
    LazyLock::new(|| emptied(SIZES[1])),
    LazyLock::new(|| emptied(SIZES[2])),
    LazyLock::new(|| emptied(SIZES[3])),
    LazyLock::new(|| emptied(SIZES[4])),
    LazyLock::new(|| emptied(SIZES[5])),
];

fn emptied(len: usize) -> Document {
    let mut document: Document = (0..len).map(|n| (n.to_string(), Bson::Null)).collect();
    document.clear();
    document
}

/// An empty document with room for `len` elements, if these are not too many.
pub(super) fn document(len: usize) -> Document {
    if len == 0 {
        return Document::new();
    }
    let size = SIZES.iter().position(|size| len <= *size);
    Document::clone(&EMPTY[size.unwrap_or(SIZES.len() - 1)])
}

/// How many elements are kept: as many as most documents have at most.
const AHEAD: usize = 8;

/// The elements of a document or an array, counted.
pub(super) struct Counted<'a> {
    first: [Element<'a>; AHEAD],
    first_len: usize,
    rest: Elements<'a>,
    rest_len: usize,
}

impl<'a> Counted<'a> {
    /// Starts with nothing walked over.
    #[inline]
    pub(super) fn new(document: &'a [u8]) -> Result<Self, Fail> {
        let none = Element {
            kind: 0,
            key: &[],
            value: &[],
        };
        Ok(Self {
            first: [none; AHEAD],
            first_len: 0,
            rest: Elements::new(document)?,
            rest_len: 0,
        })
    }

    /// Walks over all elements, and returns how many there are.
    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, Fail> {
        for slot in &mut self.first {
            let Some(element) = self.rest.next() else {
                break;
            };
            *slot = element?;
            self.first_len += 1;
        }
        if self.rest.remaining() > 0 {
            self.rest_len = walked_len(self.rest.clone())?;
        }
        Ok(self.first_len + self.rest_len)
    }

    /// Gives out the elements in order, after they were counted.
    #[inline]
    pub(super) fn try_for_each(
        &self,
        mut f: impl FnMut(Element<'a>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        for element in self.first.iter().take(self.first_len) {
            f(*element)?;
        }
        for element in self.rest.clone() {
            f(element?)?;
        }
        Ok(())
    }
}

#[cold]
fn walked_len(elements: Elements<'_>) -> Result<usize, Fail> {
    elements.map(|element| Ok(element.map(|_| 1)?)).sum()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_document_is_empty_and_takes_what_it_has_room_for() {
        for len in 0..200_usize {
            let mut made = document(len);
            assert!(made.is_empty());
            let expected: Document = (0..len).map(|n| (n.to_string(), Bson::Null)).collect();
            made.extend(expected.clone());
            assert_eq!(made, expected);
            assert!(document(len).is_empty());
        }
    }

    #[test]
    fn elements_are_counted_and_given_out_in_order() {
        for len in 0..40 {
            let raw: bson::RawDocumentBuf =
                (0..len)
                    .map(|n| (n.to_string(), n))
                    .fold(rawdoc! {}, |mut raw, (key, value)| {
                        raw.append(bson::raw::CString::try_from(key).unwrap(), value);
                        raw
                    });
            let mut counted = Counted::new(raw.as_bytes()).unwrap();
            assert_eq!(counted.count(), Ok(len as usize));
            let mut found = Vec::new();
            let done = counted.try_for_each(|element| {
                found.push(element.int32().ok_or(Fail)?);
                Ok(())
            });
            assert_eq!(done, Ok(()));
            assert_eq!(found, Vec::from_iter(0..len));
        }
    }
}
