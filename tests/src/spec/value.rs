//! Helpers for Extended JSON in specification files.

use bson::{Bson, Document};

/// Reads Extended JSON.
///
/// # Errors
///
/// A text that says what is wrong.
pub fn bson(value: &serde_json::Value) -> Result<Bson, String> {
    Bson::try_from(value.clone()).map_err(|e| format!("not Extended JSON: {e}"))
}

/// Reads an Extended JSON object.
///
/// # Errors
///
/// A text that says what is wrong.
pub fn document(value: &serde_json::Value) -> Result<Document, String> {
    match bson(value)? {
        Bson::Document(doc) => Ok(doc),
        other => Err(format!("not a document: {other}")),
    }
}

/// Fails a case unless both are equal.
///
/// # Errors
///
/// A text with both values.
pub fn expect_eq<T: PartialEq + std::fmt::Debug>(
    what: &str,
    got: T,
    want: T,
) -> Result<(), String> {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, want {want:?}"))
    }
}
