//! Cursors: batches, getMore and killCursors.

use std::{collections::VecDeque, sync::Arc};

use bson::{Bson, Document, doc};

use super::{natural, wrong_type};
use crate::{
    failure::{CURSOR_NOT_FOUND, Failure, INVALID_NAMESPACE, Result, UNAUTHORIZED},
    server::{
        SimServer,
        concern::Level,
        dispatch::{Call, Done},
        reply::Reply,
    },
    wire::Items,
};

/// The most bytes of documents in a batch.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is left of a query.
pub(crate) struct Cursor {
    namespace: String,
    documents: VecDeque<Arc<Document>>,
    /// Whether the query itself tells that nothing follows its last document; without that, a batch
    /// that is full leaves the cursor open.
    knows_end: bool,
}

/// The result of a query before its first batch.
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) documents: VecDeque<Arc<Document>>,
    pub(super) knows_end: bool,
}

impl SimServer {
    /// The first batch, and a cursor if there may be more.
    pub(super) fn open_cursor(
        &mut self,
        found: Found,
        batch_size: usize,
        single: bool,
        call: &Call<'_>,
    ) -> Done {
        let mut cursor = Cursor {
            namespace: found.namespace,
            documents: found.documents,
            knows_end: found.knows_end,
        };
        let mut open = None;
        let mut reply = Reply::written(|out| {
            out.document("cursor", |out| {
                let mut more = false;
                out.array("firstBatch", |out| more = cursor.batch(batch_size, out));
                let id = if more && !single { self.cursor_id() } else { 0 };
                out.long("id", id);
                out.text("ns", &cursor.namespace);
                // The time of the snapshot that it was read from.
                if let Level::Snapshot(at) = call.level {
                    out.timestamp("atClusterTime", at);
                }
                open = (id != 0).then_some(id);
            });
        });
        if let Some(id) = open {
            reply.cursor = id;
            self.cursors.insert(id, cursor);
        }
        Done::reply(reply)
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
    /// Writes the next documents; whether there may be more.
    fn batch(&mut self, size: usize, out: &mut Items<'_>) -> bool {
        let mut bytes = 0;
        for n in 0..size {
            let Some(document) = self.documents.front() else {
                return false;
            };
            let mark = out.mark();
            bytes += out.document(document);
            // A document that is alone is sent whatever its size.
            if bytes > BATCH_BYTES_MAX && n > 0 {
                out.back(mark);
                return true;
            }
            self.documents.pop_front();
        }
        let ended = self.documents.is_empty() && self.knows_end && size > 0;
        !ended
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
    let mut open = false;
    let mut reply = Reply::written(|out| {
        out.document("cursor", |out| {
            out.array("nextBatch", |out| {
                open = cursor.batch(size.unwrap_or(usize::MAX), out);
            });
            out.long("id", if open { id } else { 0 });
            out.text("ns", &asked);
        });
    });
    if open {
        reply.cursor = id;
    } else {
        server.cursors.remove(&id);
    }
    Ok(Done::reply(reply))
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
    Ok(Done::reply(doc! {
        "cursorsKilled": killed,
        "cursorsNotFound": unknown,
        "cursorsAlive": [],
        "cursorsUnknown": [],
    }))
}
