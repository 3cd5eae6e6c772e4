//! How deep documents of a server may be nested.
//!
//! Whoever turns received BSON into a tree ([`Document`], or any type through serde) recurses once
//! per level, and a reply has room for millions of levels: without a limit a server could exhaust
//! the stack, which ends the process. Raw documents are safe at any depth, so the check stands
//! before the conversions and not in the path of every reply.
//!
//! Invariant: the check itself does not recurse, and its stack has at most [`DEPTH_MAX`] places.

use bson::{Document, RawBsonRef, RawDocument, spec::ElementType};

use crate::{codec, error::Result, op::reply::invalid};

/// The most levels of documents in documents. Servers store at most 250, and replies wrap these in
/// a few of their own.
pub const DEPTH_MAX: usize = 280;

/// What a level costs at least: length, type, empty name and final NUL.
const LEVEL_LEN_MIN: usize = 7;

/// Refuses a document that is nested more than [`DEPTH_MAX`] levels deep.
///
/// Short documents, which have no room for so many levels, are not walked.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) with the name `field`
/// when it is nested too deeply, or is malformed.
pub fn check(field: &str, document: &RawDocument) -> Result<()> {
    if document.as_bytes().len() <= DEPTH_MAX * LEVEL_LEN_MIN {
        return Ok(());
    }
    let malformed = |e| invalid(field, e);
    let mut levels = vec![document.iter_elements()];
    while let Some(level) = levels.last_mut() {
        let Some(element) = level.next() else {
            levels.pop();
            continue;
        };
        let element = element.map_err(malformed)?;
        let inner = match element.element_type() {
            ElementType::Array
            | ElementType::EmbeddedDocument
            | ElementType::JavaScriptCodeWithScope => element.value().map_err(malformed)?,
            _ => continue,
        };
        if levels.len() >= DEPTH_MAX {
            return Err(invalid(
                field,
                format_args!("nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        match inner {
            RawBsonRef::Array(array) => levels.push(array.iter_elements()),
            RawBsonRef::Document(inner) => levels.push(inner.iter_elements()),
            RawBsonRef::JavaScriptCodeWithScope(code) => levels.push(code.scope.iter_elements()),
            _ => {}
        }
    }
    Ok(())
}

/// Turns a received document into a tree.
///
/// # Errors
///
/// As [`check`].
pub fn to_document(field: &str, document: &RawDocument) -> Result<Document> {
    codec::read_tree(document).or_else(|_| {
        check(field, document)?;
        Document::try_from(document).map_err(|e| invalid(field, e))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use bson::RawDocumentBuf;

    use super::*;

    /// A document with so many levels, the outermost included; `kind` 3 or 4.
    pub(crate) fn nested(levels: usize, kind: u8) -> RawDocumentBuf {
        let mut bytes = Vec::new();
        for level in 0..levels {
            let rest = levels - level - 1;
            bytes.extend_from_slice(&((rest * 8 + 5) as i32).to_le_bytes());
            if rest > 0 {
                bytes.extend_from_slice(&[kind, b'0', 0]);
            }
        }
        bytes.extend(std::iter::repeat_n(0, levels));
        RawDocumentBuf::from_bytes(bytes).unwrap()
    }

    #[test]
    fn as_many_levels_as_allowed_become_a_tree() {
        for kind in [3, 4] {
            let deepest = nested(DEPTH_MAX, kind);
            to_document("a", &deepest).unwrap();
            let error = to_document("a", &nested(DEPTH_MAX + 1, kind)).unwrap_err();
            assert!(error.to_string().contains("levels deep"), "{error}");
        }
    }

    #[test]
    fn millions_of_levels_are_refused_without_recursion() {
        let error = to_document("a", &nested(5_000_000, 3)).unwrap_err();
        assert!(error.to_string().contains("levels deep"), "{error}");
    }

    #[test]
    fn levels_beside_each_other_do_not_add_up() {
        let mut wide = RawDocumentBuf::new();
        for _ in 0..1000 {
            wide.append(bson::raw::cstr!("a"), nested(200, 3));
        }
        check("a", &wide).unwrap();
    }

    #[test]
    fn a_length_that_lies_is_malformed() {
        let mut bytes = nested(1000, 3).into_bytes();
        bytes[7 + 4..7 + 8].copy_from_slice(&i32::MAX.to_le_bytes());
        let lying = RawDocumentBuf::from_bytes(bytes).unwrap();
        assert!(check("a", &lying).is_err());
    }
}
