//! Errors of writes: by document, and of the write concern.

use std::{collections::HashMap, fmt};

use bson::{Bson, Document};

/// Why a single write failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WriteFailure {
    /// The write was applied, but not acknowledged as the write concern demands.
    WriteConcernError(WriteConcernError),
    /// The write was refused.
    WriteError(WriteError),
}

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteConcernError(e) => write!(f, "{e}"),
            Self::WriteError(e) => write!(f, "{e}"),
        }
    }
}

/// The server could not satisfy the write concern.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteConcernError {
    /// The error code.
    pub code: i32,
    /// The name of the code.
    pub code_name: String,
    /// The server's text.
    pub message: String,
    /// Further facts (`errInfo`).
    pub details: Option<Document>,
    /// The labels that came with the error.
    pub labels: Vec<String>,
}

impl fmt::Display for WriteConcernError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "write concern error: {} (code {}, {})",
            self.message, self.code, self.code_name
        )
    }
}

/// The server refused a write.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteError {
    /// The error code.
    pub code: i32,
    /// The name of the code, where the server sent one.
    pub code_name: Option<String>,
    /// The server's text.
    pub message: String,
    /// Further facts (`errInfo`).
    pub details: Option<Document>,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write error: {} (code {})", self.message, self.code)
    }
}

/// The server refused one of several writes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct IndexedWriteError {
    /// Which write, in the caller's order.
    pub index: usize,
    /// The error code.
    pub code: i32,
    /// The name of the code, where the server sent one.
    pub code_name: Option<String>,
    /// The server's text.
    pub message: String,
    /// Further facts (`errInfo`).
    pub details: Option<Document>,
}

impl IndexedWriteError {
    /// The refusal of the write at `index`.
    #[must_use]
    pub fn new(index: usize, error: WriteError) -> Self {
        Self {
            index,
            code: error.code,
            code_name: error.code_name,
            message: error.message,
            details: error.details,
        }
    }
}

impl fmt::Display for IndexedWriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            code,
            message,
            ..
        } = self;
        write!(f, "document {index}: write error: {message} (code {code})")
    }
}

/// What `insert_many` could not do, and what it did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct InsertManyError {
    /// The refused documents, and why.
    pub write_errors: Option<Vec<IndexedWriteError>>,
    /// The last write concern error.
    pub write_concern_error: Option<WriteConcernError>,
    /// The `_id` of each document that was inserted, by index in the caller's order.
    pub inserted_ids: HashMap<usize, Bson>,
    /// The labels that came with the error.
    pub labels: Vec<String>,
}

impl fmt::Display for InsertManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.write_errors.as_ref().map_or(0, Vec::len);
        write!(f, "{} inserted, {refused} refused", self.inserted_ids.len())?;
        if let Some(e) = self.write_errors.as_ref().and_then(|all| all.first()) {
            write!(f, "; {e}")?;
        }
        if let Some(e) = &self.write_concern_error {
            write!(f, "; {e}")?;
        }
        Ok(())
    }
}
