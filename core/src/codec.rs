//! Reads and writes BSON on the hot path.
//!
//! [`walk`] finds the elements of a document in its bytes.

pub mod walk;

use crate::error::Error;

impl From<walk::Malformed> for Error {
    fn from(malformed: walk::Malformed) -> Self {
        Self::invalid_response(malformed.to_string())
    }
}
