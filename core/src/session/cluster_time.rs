//! The cluster time: gossiped as it was received, compared by its timestamp only.

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp};

use crate::{
    error::{Error, Result},
    mutants::{self, Mutant},
};

/// Longer documents are no cluster times (real ones have less than 200 bytes): what one server sends
/// goes with every later command to all of them.
const LEN_MAX: usize = 4096;

/// A `$clusterTime`: the signed document, and the timestamp that orders it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterTime {
    timestamp: Timestamp,
    document: RawDocumentBuf,
}

impl ClusterTime {
    /// Reads a `$clusterTime` document.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) when it has no
    /// timestamp `clusterTime`.
    pub fn new(document: RawDocumentBuf) -> Result<Self> {
        let timestamp = Self::timestamp_of(&document).ok_or_else(|| {
            Error::invalid_argument(
                "cluster time: longer than 4 KiB, or field clusterTime is not a timestamp",
            )
        })?;
        Ok(Self {
            timestamp,
            document,
        })
    }

    /// Reads a `$clusterTime` document.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn from_document(document: &Document) -> Result<Self> {
        Self::new(RawDocumentBuf::try_from(document)?)
    }

    /// The timestamp of a `$clusterTime` document, without copying it; `None` when it has none or
    /// is too long to be sent on.
    #[must_use]
    pub fn timestamp_of(document: &RawDocument) -> Option<Timestamp> {
        if document.as_bytes().len() > LEN_MAX {
            return None;
        }
        document.get_timestamp("clusterTime").ok()
    }

    /// The timestamp.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The document, as the server sent it.
    #[must_use]
    pub fn document(&self) -> &RawDocument {
        &self.document
    }

    /// Replaces `current` when `candidate` is later; says whether it did. Copies only then.
    pub fn advance(current: &mut Option<Self>, candidate: &RawDocument) -> bool {
        let Some(timestamp) = Self::timestamp_of(candidate) else {
            return false;
        };
        if current.as_ref().is_some_and(|c| c.timestamp >= timestamp)
            && !mutants::active(Mutant::ClusterTimeBack)
        {
            return false;
        }
        *current = Some(Self {
            timestamp,
            document: candidate.to_owned(),
        });
        true
    }

    /// The later of two.
    #[must_use]
    pub fn later<'a>(a: Option<&'a Self>, b: Option<&'a Self>) -> Option<&'a Self> {
        match (a, b) {
            (Some(a), Some(b)) if b.timestamp > a.timestamp => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }
}
