//! The elements of BSON by hand, for peers and servers that take no library's time.

/// One element of a document or an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element<'a> {
    /// The type's byte.
    pub kind: u8,
    /// The key.
    pub name: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
}

/// The elements of a document or an array, up to the first that is not valid or of a rare type.
#[derive(Clone, Debug)]
pub struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Takes the document that these bytes begin with; `None` when they are too short or its
    /// terminator is missing.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (terminator, elements) = bytes.get(4..prefix(bytes)?)?.split_last()?;
        (*terminator == 0).then_some(Self(elements))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (kind, rest) = self.0.split_first()?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let size = match *kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 => prefix(rest)?.checked_add(4).filter(|size| *size > 4)?,
            0x03 | 0x04 => prefix(rest)?,
            0x05 => prefix(rest)?.checked_add(5)?,
            0x07 => 12,
            0x08 => 1,
            0x0a => 0,
            0x10 => 4,
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(size)?;
        self.0 = rest;
        Some(Element {
            kind: *kind,
            name,
            value,
        })
    }
}

/// The length that BSON's documents, strings and binaries begin with.
fn prefix(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_a_document_and_none_of_a_truncated_one() {
        let bytes = crate::small_raw(7).into_bytes();
        let names: Vec<_> = Elements::of(&bytes).unwrap().map(|e| e.name).collect();
        let all = "_id name email city age score active created tags";
        assert_eq!(names, all.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        for end in 0..bytes.len() {
            assert!(Elements::of(&bytes[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn lengths_that_lie_end_the_elements() {
        // A string whose length is beyond the document, and one that is negative.
        for lie in [[0xff, 0, 0, 0], [0xff; 4]] {
            let mut bytes = vec![0x0e, 0, 0, 0, 0x02, b'a', 0];
            bytes.extend(lie);
            bytes.extend([b'x', 0, 0]);
            assert_eq!(Elements::of(&bytes).unwrap().next(), None);
        }
    }
}
