//! The commands, by what they are about, and what they share: taking fields out of a command.

pub(super) mod admin;
pub(super) mod aggregate;
pub(super) mod crud;
pub(super) mod cursors;
pub(super) mod indexes;
pub(super) mod read;
pub(super) mod status;

use std::sync::LazyLock;

use bson::{Bson, Document};

use super::{SimServer, dispatch::Call};
use crate::{
    failure::{Failure, MISSING_FIELD, Result, TYPE_MISMATCH},
    store::{
        Namespace, Op,
        value::{show, type_name, whole},
    },
    wire::{Command, Fields},
};

static EMPTY: LazyLock<Document> = LazyLock::new(Document::new);

/// A document field; the empty document when it is missing.
fn document<'a>(command: &'a Command, name: &str, field: &str) -> Result<&'a Document> {
    match command.get(field) {
        None | Some(Bson::Null) => Ok(&EMPTY),
        Some(Bson::Document(document)) => Ok(document),
        Some(other) => Err(wrong_type(name, field, other, "object")),
    }
}

fn wrong_type(name: &str, field: &str, found: &Bson, expected: &str) -> Failure {
    let message = format!(
        "BSON field '{name}.{field}' is the wrong type '{}', expected type '{expected}'",
        type_name(found)
    );
    Failure::new(TYPE_MISMATCH, message)
}

fn missing(name: &str, field: &str) -> Failure {
    let message = format!("BSON field '{name}.{field}' is missing but a required field");
    Failure::new(MISSING_FIELD, message)
}

/// A number that is not negative; `None` when it is missing.
fn natural(command: &dyn Fields, field: &str) -> Result<Option<usize>> {
    let Some(value) = command.get(field) else {
        return Ok(None);
    };
    match whole(value) {
        Some(n) if n >= 0 => Ok(Some(usize::try_from(n).unwrap_or(usize::MAX))),
        _ => {
            let shown = show(value);
            let message =
                format!("BSON field '{field}' value must be >= 0, actual value '{shown}'");
            Err(Failure::new(51024, message))
        }
    }
}

/// A list of documents that a command must have.
fn statements<'a>(call: &Call<'a>, field: &str) -> Result<Vec<&'a Document>> {
    let values = match call.command.get(field) {
        None => return Err(missing(call.name, field)),
        Some(Bson::Array(values)) => values,
        Some(other) => return Err(wrong_type(call.name, field, other, "array")),
    };
    let each = values.iter().map(|value| match value {
        Bson::Document(document) => Ok(document),
        other => Err(wrong_type(call.name, field, other, "object")),
    });
    each.collect()
}

impl SimServer {
    /// Makes a collection exist; whether it did not before.
    fn ensure(&mut self, ns: &Namespace, call: &Call<'_>) -> bool {
        let is_new = self.data.store.collection(ns).is_none();
        if is_new {
            self.create_collection(ns, Document::new(), call);
        }
        is_new
    }

    fn create_collection(&mut self, ns: &Namespace, options: Document, call: &Call<'_>) {
        let mut uuid: [u8; 16] = self.draw_bytes("collection uuid");
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        self.write(Op::Create(ns.clone(), uuid, options), None, call.now);
    }
}
