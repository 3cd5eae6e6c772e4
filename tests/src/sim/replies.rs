//! What healthy servers answer.

use bson::{Bson, Document, doc};
use mongo_client_sim::{hello_reply, member_reply};

use super::Seen;

/// What a healthy server answers. Reads give back the `_id` that they ask for.
pub(super) fn sensible(hosts: &[&str], primary: &str, seen: &Seen) -> Document {
    let hello = if hosts.is_empty() {
        hello_reply(&seen.command)
    } else {
        member_reply(&seen.command, hosts, seen.address, primary)
    };
    if let Some(hello) = hello {
        return hello;
    }
    let token = || seen.token().cloned().unwrap_or(Bson::Null);
    match seen.name() {
        "aggregate" => first_batch(doc! { "_id": token(), "n": 1 }, 0),
        "count" => doc! { "n": 7, "ok": 1.0 },
        "delete" => doc! { "n": 1, "ok": 1.0 },
        "distinct" => doc! { "values": [token()], "ok": 1.0 },
        "find" => find_reply(seen, 0),
        "findAndModify" => doc! { "value": { "_id": token() }, "ok": 1.0 },
        "getMore" => batch_reply(doc! { "_id": 2 }, 0),
        "insert" => doc! { "n": documents(seen), "ok": 1.0 },
        "listCollections" => first_batch(
            doc! { "name": "c", "type": "collection", "options": {}, "info": { "readOnly": false } },
            0,
        ),
        "listDatabases" => doc! {
            "databases": [{ "name": "db", "sizeOnDisk": 1_i64, "empty": false }],
            "totalSize": 1_i64,
            "ok": 1.0,
        },
        "update" => doc! { "n": 1, "nModified": 1, "ok": 1.0 },
        _ => doc! { "ok": 1.0 },
    }
}

fn documents(seen: &Seen) -> i32 {
    let documents = seen.command.get_array("documents").map_or(0, Vec::len);
    i32::try_from(documents).expect("a test inserts fewer documents")
}

/// The reply to a `find`: one document with the `_id` that it asks for, and a cursor.
#[must_use]
pub fn find_reply(seen: &Seen, cursor: i64) -> Document {
    let token = seen.token().cloned().unwrap_or(Bson::Null);
    first_batch(doc! { "_id": token }, cursor)
}

fn first_batch(document: Document, cursor: i64) -> Document {
    doc! {
        "cursor": { "firstBatch": [document], "id": cursor, "ns": "db.c" },
        "ok": 1.0,
    }
}

/// The reply to a `getMore`: one document, and the cursor that goes on.
#[must_use]
pub fn batch_reply(document: Document, cursor: i64) -> Document {
    doc! {
        "cursor": { "nextBatch": [document], "id": cursor, "ns": "db.c" },
        "ok": 1.0,
    }
}
