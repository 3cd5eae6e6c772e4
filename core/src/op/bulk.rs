//! Distributes documents over write commands that fit the server's limits.
//!
//! The documents stand one after the other, as a kind-1 section carries them, so a batch is a range
//! and nothing is copied.

use std::ops::Range;

use super::ConnFacts;
use crate::error::{Error, Result};

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

/// Distributes documents over as few commands as their order allows; `ends` tells where each
/// document ends in their joined bytes.
///
/// A batch of one document may exceed [`BatchLimits::batch_bytes_max`]: the message limit is larger
/// than any document.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) when there are no
/// documents, or one is too large; the message holds its index.
pub fn split_batches(ends: &[usize], limits: &BatchLimits) -> Result<Vec<Range<usize>>> {
    if ends.is_empty() {
        return Err(Error::invalid_argument(
            "docs: there must be at least one document",
        ));
    }
    let start = |index: usize| index.checked_sub(1).map_or(0, |before| ends[before]);
    let mut batches = Vec::new();
    let mut first = 0;
    for (index, &end) in ends.iter().enumerate() {
        let len = end.saturating_sub(start(index));
        if len > limits.document_bytes_max {
            return Err(Error::invalid_argument(format!(
                "docs: document {index} has {len} bytes, more than the {} that servers accept",
                limits.document_bytes_max
            )));
        }
        let full = index - first >= limits.documents_max
            || end.saturating_sub(start(first)) > limits.batch_bytes_max;
        if full && index > first {
            batches.push(first..index);
            first = index;
        }
    }
    batches.push(first..ends.len());
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(documents_max: usize, batch_bytes_max: usize) -> BatchLimits {
        BatchLimits {
            documents_max,
            document_bytes_max: 40,
            batch_bytes_max,
        }
    }

    /// Documents of 12 bytes each.
    fn ends(count: usize) -> Vec<usize> {
        (1..=count).map(|n| n * 12).collect()
    }

    #[test]
    fn batches_respect_the_number_of_documents() {
        let batches = split_batches(&ends(5), &limits(2, 1000)).unwrap();
        assert_eq!(batches, [0..2, 2..4, 4..5]);
    }

    #[test]
    fn batches_respect_the_message_size_to_the_byte() {
        let fits = split_batches(&ends(4), &limits(100, 24)).unwrap();
        assert_eq!(fits, [0..2, 2..4]);
        let one_short = split_batches(&ends(4), &limits(100, 23)).unwrap();
        assert_eq!(one_short, [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn every_document_is_in_exactly_one_batch() {
        for count in 1..40 {
            for most in 1..7 {
                for bytes in [1, 12, 30, 50, 1000] {
                    let batches = split_batches(&ends(count), &limits(most, bytes)).unwrap();
                    let all: Vec<usize> = batches.iter().cloned().flatten().collect();
                    assert!(all.into_iter().eq(0..count));
                    assert!(batches.iter().all(|b| (1..=most).contains(&b.len())));
                }
            }
        }
    }

    #[test]
    fn a_document_over_the_limit_is_named_by_its_index() {
        let error = split_batches(&[12, 24, 72], &limits(10, 1000)).unwrap_err();
        assert!(error.to_string().contains("document 2 has"), "{error}");
        assert!(split_batches(&[], &limits(10, 1000)).is_err());
    }
}
