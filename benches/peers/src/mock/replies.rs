//! The prepared replies, and which request gets which.

use std::time::Duration;

use bson::{DateTime, Document, doc, oid::ObjectId};
use mongo_client_bench_harness::{Element, Elements, MANY, Small, big, small};

const HEADER_LEN: usize = 16;
const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
const MORE_TO_COME: u8 = 1 << 1;
/// A server's first batch.
const FIRST_BATCH: i64 = 101;
const CURSOR: i64 = 77;

/// What to do about a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer<'a> {
    /// Send it at once.
    Reply(&'a [u8]),
    /// Send it after a time: a monitor waits for a change, and there is none.
    Late(&'a [u8], Duration),
    /// The client wants no reply.
    Nothing,
}

/// Whole messages.
pub(crate) struct Replies {
    hello: Vec<u8>,
    legacy_hello: Vec<u8>,
    ok: Vec<u8>,
    small: Vec<u8>,
    big: Vec<u8>,
    first_batch: Vec<u8>,
    next_batch: Vec<u8>,
    inserted: [Vec<u8>; 3],
    updated: Vec<u8>,
    unknown: Vec<u8>,
}

impl Replies {
    pub(crate) fn new() -> Self {
        let hello = doc! {
            "helloOk": true,
            "ismaster": true,
            "isWritablePrimary": true,
            "topologyVersion": { "processId": ObjectId::new(), "counter": 0_i64 },
            "maxBsonObjectSize": 16_777_216,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": DateTime::now(),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": 1,
            "minWireVersion": 0,
            "maxWireVersion": 17,
            "readOnly": false,
            "ok": 1.0,
        };
        let documents = |range: std::ops::Range<i64>| range.map(|id| document(&small(id)));
        let found = |collection: &str, document: Document| {
            let ns = format!("bench.{collection}");
            message(
                doc! { "cursor": { "firstBatch": [document], "id": 0_i64, "ns": ns }, "ok": 1.0 },
            )
        };
        let inserted = |n: i32| message(doc! { "n": n, "ok": 1.0 });
        Self {
            legacy_hello: legacy(&hello),
            hello: message(hello),
            ok: message(doc! { "ok": 1.0 }),
            small: found("small", document(&small(7))),
            big: found("big", big(1)),
            first_batch: message(doc! {
                "cursor": {
                    "firstBatch": documents(0..FIRST_BATCH).collect::<Vec<_>>(),
                    "id": CURSOR,
                    "ns": "bench.small",
                },
                "ok": 1.0,
            }),
            next_batch: message(doc! {
                "cursor": {
                    "nextBatch": documents(FIRST_BATCH..MANY).collect::<Vec<_>>(),
                    "id": 0_i64,
                    "ns": "bench.small",
                },
                "ok": 1.0,
            }),
            inserted: [inserted(1), inserted(10_000), inserted(64)],
            updated: message(doc! { "n": 1, "nModified": 1, "ok": 1.0 }),
            unknown: message(doc! {
                "ok": 0.0, "errmsg": "the mock server does not know that", "code": 59,
            }),
        }
    }

    /// Answers a request of this length from its first bytes.
    pub(crate) fn answer(&self, len: usize, start: &[u8]) -> Answer<'_> {
        let op_code = start.get(12..16).and_then(|bytes| bytes.try_into().ok());
        match op_code.map(i32::from_le_bytes) {
            Some(OP_MSG) => {
                let flags = start.get(HEADER_LEN).copied().unwrap_or(0);
                // The kind of the first section: the body.
                let body = match start.get(HEADER_LEN + 4) {
                    Some(0) => start.get(HEADER_LEN + 5..).and_then(Elements::of),
                    _ => None,
                };
                if flags & MORE_TO_COME != 0 {
                    return Answer::Nothing;
                }
                body.map_or(Answer::Reply(&self.unknown), |body| self.command(len, body))
            }
            Some(OP_QUERY) => Answer::Reply(&self.legacy_hello),
            _ => Answer::Reply(&self.unknown),
        }
    }

    fn command(&self, len: usize, mut body: Elements<'_>) -> Answer<'_> {
        let Some(command) = body.next() else {
            return Answer::Reply(&self.unknown);
        };
        Answer::Reply(match command.name {
            b"ping" => &self.ok,
            b"find" if is(&command, b"big") => &self.big,
            b"find" if body.any(|element| element.name == b"limit") => &self.small,
            b"find" => &self.first_batch,
            b"getMore" => &self.next_batch,
            // Which case it is shows in the length.
            b"insert" if len < 100_000 => &self.inserted[0],
            b"insert" if len < 3_000_000 => &self.inserted[1],
            b"insert" => &self.inserted[2],
            b"update" => &self.updated,
            b"hello" | b"ismaster" | b"isMaster" => {
                let wait = body.find(|element| element.name == b"maxAwaitTimeMS");
                let Some(wait) = wait else {
                    return Answer::Reply(&self.hello);
                };
                return Answer::Late(&self.hello, millis(&wait));
            }
            b"endSessions" | b"killCursors" | b"drop" | b"dropDatabase" => &self.ok,
            _ => &self.unknown,
        })
    }
}

/// Whether the value is this string.
fn is(element: &Element<'_>, text: &[u8]) -> bool {
    element.kind == 0x02 && element.value.get(4..element.value.len() - 1) == Some(text)
}

fn millis(element: &Element<'_>) -> Duration {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(element.value) {
        *to = *from;
    }
    // A double, or more than anybody waits for, becomes a usual time.
    match u64::from_le_bytes(bytes) {
        millis @ ..=60_000 => Duration::from_millis(millis),
        _ => Duration::from_secs(10),
    }
}

fn document(small: &Small) -> Document {
    bson::serialize_to_document(small).expect("a plain struct")
}

/// A reply; `responseTo` is still 0.
fn message(body: Document) -> Vec<u8> {
    let body = body.to_vec().expect("a plain document");
    let fields = [(HEADER_LEN + 5 + body.len()) as i32, 1, 0, OP_MSG, 0];
    let mut out: Vec<u8> = fields.iter().flat_map(|n| n.to_le_bytes()).collect();
    out.push(0);
    out.extend(body);
    out
}

/// The reply to an OP_QUERY.
fn legacy(body: &Document) -> Vec<u8> {
    let body = body.to_vec().expect("a plain document");
    let fields = [
        (HEADER_LEN + 20 + body.len()) as i32,
        1,
        0,
        OP_REPLY,
        8, // flags: this server can await
        0, // the cursor
        0,
        0, // the first document's number
        1, // how many documents there are
    ];
    let mut out: Vec<u8> = fields.iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Document) -> Vec<u8> {
        message(body)
    }

    fn reply(replies: &Replies, body: Document) -> Document {
        let request = request(body);
        match replies.answer(request.len(), &request) {
            Answer::Reply(reply) => {
                let len = i32::from_le_bytes(*reply.first_chunk().unwrap());
                assert_eq!(len as usize, reply.len());
                Document::from_reader(&reply[HEADER_LEN + 5..]).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_find_gets_one_document_or_batches_as_a_server_makes_them() {
        let replies = Replies::new();
        let batch = |reply: &Document, name: &str| {
            let cursor = reply.get_document("cursor").unwrap();
            let batch = cursor.get_array(name).unwrap().len() as i64;
            (batch, cursor.get_i64("id").unwrap())
        };
        let one = reply(
            &replies,
            doc! { "find": "small", "filter": {}, "limit": 1_i64 },
        );
        assert_eq!(batch(&one, "firstBatch"), (1, 0));
        let first = reply(&replies, doc! { "find": "small", "filter": {} });
        assert_eq!(batch(&first, "firstBatch"), (FIRST_BATCH, CURSOR));
        let next = reply(&replies, doc! { "getMore": CURSOR, "collection": "small" });
        assert_eq!(batch(&next, "nextBatch"), (MANY - FIRST_BATCH, 0));
        let big = reply(
            &replies,
            doc! { "find": "big", "filter": {}, "limit": 1_i64 },
        );
        let big = big.get_document("cursor").unwrap();
        let big = big.get_array("firstBatch").unwrap()[0]
            .as_document()
            .unwrap();
        assert!(big.contains_key("items"));
    }

    #[test]
    fn a_monitor_that_waits_for_changes_is_answered_late() {
        let replies = Replies::new();
        let hello = request(doc! { "hello": 1, "maxAwaitTimeMS": 1_500_i64, "$db": "admin" });
        let late = Answer::Late(&replies.hello, Duration::from_millis(1_500));
        assert_eq!(replies.answer(hello.len(), &hello), late);
        let first = reply(&replies, doc! { "hello": 1, "$db": "admin" });
        assert_eq!(first.get_i32("maxWireVersion").unwrap(), 17);
    }

    #[test]
    fn what_wants_no_reply_gets_none_and_what_is_unknown_an_error() {
        let replies = Replies::new();
        let mut silent = request(doc! { "endSessions": [], "$db": "admin" });
        silent[HEADER_LEN] = MORE_TO_COME;
        assert_eq!(replies.answer(silent.len(), &silent), Answer::Nothing);
        let error = reply(&replies, doc! { "aggregate": "small" });
        assert_eq!(error.get_f64("ok").unwrap(), 0.0);
        for end in 0..silent.len() {
            silent[HEADER_LEN] = 0;
            replies.answer(end, &silent[..end]);
        }
    }
}
