//! Option values that several verbs share.

use bson::Document;
use serde::{Deserialize, Serialize};

use super::collation::named;

/// Which index the server must use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Hint {
    /// The index with these keys.
    Keys(Document),
    /// The index of this name.
    Name(String),
}

impl From<Document> for Hint {
    fn from(keys: Document) -> Self {
        Self::Keys(keys)
    }
}

impl From<&str> for Hint {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Hint {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

/// How a cursor behaves at the end of its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CursorType {
    /// It is closed.
    #[default]
    NonTailable,
    /// It stays open (capped collections only) and reports empty batches.
    Tailable,
    /// It stays open, and the server waits a while for new documents before each reply.
    TailableAwait,
}

named! {
    /// Which version of the document a find-and-modify verb returns.
    pub enum ReturnDocument {
        /// The document after the change.
        After = "After",
        /// The document before the change.
        Before = "Before",
    }
}

/// What an update does: operators, or a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum UpdateModifications {
    /// Update operators: every key starts with `$`.
    Document(Document),
    /// The stages of an aggregation pipeline.
    Pipeline(Vec<Document>),
}

impl From<Document> for UpdateModifications {
    fn from(update: Document) -> Self {
        Self::Document(update)
    }
}

impl From<Vec<Document>> for UpdateModifications {
    fn from(stages: Vec<Document>) -> Self {
        Self::Pipeline(stages)
    }
}
