//! Cursors: batches, getMore and killCursors.

use std::collections::VecDeque;

use bson::{Bson, Document, doc};

use super::{natural, wrong_type};
use crate::{
    failure::{CURSOR_NOT_FOUND, Failure, INVALID_NAMESPACE, Result, UNAUTHORIZED},
    server::{
        SimServer,
        dispatch::{Call, Done},
    },
};

/// The most bytes of documents in a batch.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is left of a query.
pub(crate) struct Cursor {
    namespace: String,
    documents: VecDeque<Document>,
    /// Whether the query itself tells that nothing follows its last document; without that, a batch
    /// that is full leaves the cursor open.
    knows_end: bool,
}

/// The result of a query before its first batch.
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) documents: VecDeque<Document>,
    pub(super) knows_end: bool,
}

impl SimServer {
    /// The first batch, and a cursor if there may be more.
    pub(super) fn open_cursor(
        &mut self,
        found: Found,
        batch_size: usize,
        single: bool,
    ) -> Document {
        let mut cursor = Cursor {
            namespace: found.namespace.clone(),
            documents: found.documents,
            knows_end: found.knows_end,
        };
        let (batch, open) = cursor.batch(batch_size);
        let id = if open && !single {
            let id = self.cursor_id();
            self.cursors.insert(id, cursor);
            id
        } else {
            0
        };
        doc! { "cursor": { "firstBatch": batch, "id": id, "ns": found.namespace } }
    }

    pub(in crate::server) fn cursor_id(&mut self) -> i64 {
        loop {
            let bytes: [u8; 8] = self.draw_bytes("cursor id");
            let id = i64::from_le_bytes(bytes) & i64::MAX;
            if id != 0 && !self.cursors.contains_key(&id) && !self.is_routed_cursor(id) {
                return id;
            }
        }
    }
}

impl Cursor {
    /// The next documents, and whether there may be more.
    fn batch(&mut self, size: usize) -> (Vec<Document>, bool) {
        let mut batch = Vec::new();
        let (mut bytes, mut encoded) = (0, Vec::new());
        while batch.len() < size {
            let Some(document) = self.documents.front() else {
                return (batch, false);
            };
            // A document that is alone is sent whatever its size.
            if !batch.is_empty() || self.documents.len() > 1 {
                encoded.clear();
                crate::wire::document::encode(document, &mut encoded);
                bytes += encoded.len();
            }
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                return (batch, true);
            }
            batch.extend(self.documents.pop_front());
        }
        let ended = self.documents.is_empty() && self.knows_end && size > 0;
        (batch, !ended)
    }
}

pub(in crate::server) fn get_more(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let id = match call.command.get("getMore") {
        Some(Bson::Int64(id)) => *id,
        other => {
            let found = other.unwrap_or(&Bson::Null);
            return Err(wrong_type("getMore", "getMore", found, "long"));
        }
    };
    let collection = match call.command.get("collection") {
        Some(Bson::String(name)) => name,
        None => return Err(super::missing("getMore", "collection")),
        Some(other) => return Err(wrong_type("getMore", "collection", other, "string")),
    };
    if collection.is_empty() {
        let message = "Collection names cannot be empty";
        return Err(Failure::new(INVALID_NAMESPACE, message));
    }
    let size = natural(call.command, "batchSize")?.filter(|size| *size > 0);
    let not_found = || Failure::new(CURSOR_NOT_FOUND, format!("cursor id {id} not found"));
    let cursor = server.cursors.get_mut(&id).ok_or_else(not_found)?;
    let asked = format!("{}.{collection}", call.database);
    if cursor.namespace != asked {
        let message = format!(
            "Requested getMore on namespace '{asked}', but cursor belongs to a different namespace {}",
            cursor.namespace
        );
        return Err(Failure::new(UNAUTHORIZED, message));
    }
    let (batch, open) = cursor.batch(size.unwrap_or(usize::MAX));
    if !open {
        server.cursors.remove(&id);
    }
    let id = if open { id } else { 0 };
    let reply = doc! { "cursor": { "nextBatch": batch, "id": id, "ns": asked } };
    Ok(Done::Reply(reply))
}

pub(in crate::server) fn kill(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ids = match call.command.get("cursors") {
        Some(Bson::Array(ids)) => ids,
        None => return Err(super::missing("killCursors", "cursors")),
        Some(other) => return Err(wrong_type("killCursors", "cursors", other, "array")),
    };
    let (mut killed, mut unknown) = (Vec::new(), Vec::new());
    for id in ids.iter().filter_map(Bson::as_i64) {
        match server.cursors.remove(&id) {
            Some(_) => killed.push(id),
            None => unknown.push(id),
        }
    }
    Ok(Done::Reply(doc! {
        "cursorsKilled": killed,
        "cursorsNotFound": unknown,
        "cursorsAlive": [],
        "cursorsUnknown": [],
    }))
}
