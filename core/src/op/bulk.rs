//! Prepares documents for inserts: their `_id`s, and batches that fit the server's limits.
//!
//! Ids are fixed before the first attempt, so that a retry inserts the same documents. Batches hold
//! their documents one after the other, as a kind-1 section carries them.

use std::ops::Range;

use bson::{Bson, RawDocumentBuf};
use bytes::Bytes;

use super::{ConnFacts, ObjectIdGenerator};
use crate::{
    error::{Error, Result},
    time::UnixMillis,
};

/// What a message needs beside the documents: headers, the command and its generic fields. Servers
/// grant commands the same allowance over `maxBsonObjectSize`.
const COMMAND_ALLOWANCE: usize = 16 * 1024;

/// How much fits into one write command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most documents (`maxWriteBatchSize`).
    pub documents_max: usize,
    /// The largest document (`maxBsonObjectSize`).
    pub document_bytes_max: usize,
    /// The most bytes of all documents: `maxMessageSizeBytes` less an allowance for the command.
    pub batch_bytes_max: usize,
}

impl Default for BatchLimits {
    /// The limits of every server to date.
    fn default() -> Self {
        Self {
            documents_max: 100_000,
            document_bytes_max: 16 * 1024 * 1024,
            batch_bytes_max: 48_000_000 - COMMAND_ALLOWANCE,
        }
    }
}

impl From<&ConnFacts> for BatchLimits {
    fn from(facts: &ConnFacts) -> Self {
        Self {
            documents_max: facts.max_write_batch_size.max(1),
            document_bytes_max: facts.max_bson_object_size,
            batch_bytes_max: facts.max_message_size.saturating_sub(COMMAND_ALLOWANCE),
        }
    }
}

/// Documents for one write command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which of the caller's documents these are.
    pub indices: Range<usize>,
    /// The documents, one after the other.
    pub documents: Bytes,
}

/// Distributes documents over as few commands as their order allows.
///
/// A batch of one document may exceed [`BatchLimits::batch_bytes_max`]: the message limit is larger
/// than any document.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) when there are no
/// documents, or one is too large; the message holds its index.
pub fn split_documents(
    documents: Vec<RawDocumentBuf>,
    limits: impl Into<BatchLimits>,
) -> Result<Vec<Batch>> {
    let limits = limits.into();
    if documents.is_empty() {
        return Err(Error::invalid_argument("documents: must not be empty"));
    }
    let mut ranges: Vec<(Range<usize>, usize)> = Vec::new();
    let mut bytes = 0usize;
    let mut first = 0;
    for (index, document) in documents.iter().enumerate() {
        let size = document.as_bytes().len();
        if size > limits.document_bytes_max {
            return Err(Error::invalid_argument(format!(
                "documents[{index}]: {size} bytes exceed the server's limit of {}",
                limits.document_bytes_max
            )));
        }
        let full = index - first >= limits.documents_max
            || bytes.saturating_add(size) > limits.batch_bytes_max;
        if full && index > first {
            ranges.push((first..index, bytes));
            first = index;
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
    }
    ranges.push((first..documents.len(), bytes));
    let mut documents = documents.into_iter();
    Ok(ranges
        .into_iter()
        .map(|(indices, bytes)| Batch {
            documents: join(documents.by_ref().take(indices.len()), bytes),
            indices,
        })
        .collect())
}

/// Joins documents; a single one keeps its allocation.
fn join(mut documents: impl Iterator<Item = RawDocumentBuf>, bytes: usize) -> Bytes {
    let Some(first) = documents.next() else {
        return Bytes::new();
    };
    let mut joined = first.into_bytes();
    if joined.len() < bytes {
        joined.reserve_exact(bytes - joined.len());
    }
    for document in documents {
        joined.extend_from_slice(document.as_bytes());
    }
    Bytes::from(joined)
}

/// Returns the document with an `_id`, and that `_id`: its own, or a new one put in front.
///
/// # Errors
///
/// [`ErrorKind::Bson`](crate::error::ErrorKind::Bson) when the document is malformed.
pub fn ensure_id(
    document: RawDocumentBuf,
    ids: &ObjectIdGenerator,
    now: UnixMillis,
) -> Result<(RawDocumentBuf, Bson)> {
    if let Some(id) = document.get("_id")? {
        let id = Bson::try_from(id)?;
        return Ok((document, id));
    }
    let id = ids.generate(now);
    let old = document.as_bytes();
    let mut bytes = Vec::with_capacity(old.len() + 17);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(b"\x07_id\0");
    bytes.extend_from_slice(&id.bytes());
    bytes.extend_from_slice(old.get(4..).unwrap_or_default());
    let len = i32::try_from(bytes.len())
        .map_err(|_| Error::invalid_argument("document: larger than 2 GiB"))?;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    Ok((RawDocumentBuf::from_bytes(bytes)?, Bson::ObjectId(id)))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocument, rawdoc};

    use super::*;

    fn limits(documents_max: usize, batch_bytes_max: usize) -> BatchLimits {
        BatchLimits {
            documents_max,
            document_bytes_max: 40,
            batch_bytes_max,
        }
    }

    fn ids() -> ObjectIdGenerator {
        ObjectIdGenerator::new(&mut |out: &mut [u8]| out.fill(7))
    }

    // 5 + 1 + 2 + 4 = 12 bytes each.
    fn documents(count: i32) -> Vec<RawDocumentBuf> {
        (0..count).map(|i| rawdoc! { "a": i }).collect()
    }

    fn ranges(batches: &[Batch]) -> Vec<Range<usize>> {
        batches.iter().map(|b| b.indices.clone()).collect()
    }

    #[test]
    fn batches_respect_the_number_of_documents() {
        let batches = split_documents(documents(5), limits(2, 1000)).unwrap();
        assert_eq!(ranges(&batches), [0..2, 2..4, 4..5]);
        let second = &batches[1].documents;
        let first = RawDocument::from_bytes(&second[..12]).unwrap();
        assert_eq!(first.get_i32("a").unwrap(), 2);
        assert_eq!(second.len(), 24);
    }

    #[test]
    fn batches_respect_the_message_size_to_the_byte() {
        let fits = split_documents(documents(4), limits(100, 24)).unwrap();
        assert_eq!(ranges(&fits), [0..2, 2..4]);
        let one_short = split_documents(documents(4), limits(100, 23)).unwrap();
        assert_eq!(ranges(&one_short), [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn every_document_is_in_exactly_one_batch() {
        for count in 1..40 {
            for most in 1..7 {
                for bytes in [1, 12, 30, 50, 1000] {
                    let all = documents(count);
                    let flat: Vec<u8> = all.iter().flat_map(|d| d.as_bytes().to_vec()).collect();
                    let batches = split_documents(all, limits(most, bytes)).unwrap();
                    let joined: Vec<u8> = batches
                        .iter()
                        .flat_map(|b| b.documents.iter().copied())
                        .collect();
                    assert_eq!(joined, flat);
                    assert!(
                        batches
                            .iter()
                            .all(|b| (1..=most).contains(&b.indices.len()))
                    );
                }
            }
        }
    }

    #[test]
    fn a_document_over_the_limit_is_named_by_its_index() {
        let mut all = documents(2);
        all.push(rawdoc! { "a": "x".repeat(40) });
        let error = split_documents(all, limits(10, 1000)).unwrap_err();
        assert!(error.to_string().contains("documents[2]"), "{error}");
        assert!(split_documents(Vec::new(), limits(10, 1000)).is_err());
    }

    #[test]
    fn an_id_is_put_in_front_of_the_document() {
        let (document, id) = ensure_id(rawdoc! { "a": 1 }, &ids(), UnixMillis(5000)).unwrap();
        let keys: Vec<_> = document.iter().map(|e| e.unwrap().0.to_string()).collect();
        assert_eq!(keys, ["_id", "a"]);
        assert_eq!(Bson::from(document.get_object_id("_id").unwrap()), id);
        assert_eq!(document.get_i32("a").unwrap(), 1);
    }

    #[test]
    fn an_existing_id_is_kept_where_it_stands() {
        let original = rawdoc! { "a": 1, "_id": "mine" };
        let (document, id) = ensure_id(original.clone(), &ids(), UnixMillis(0)).unwrap();
        assert_eq!(document, original);
        assert_eq!(id, Bson::from("mine"));
    }
}
