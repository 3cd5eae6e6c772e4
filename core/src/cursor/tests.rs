use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};

use super::*;
use crate::{
    error::{Error, ErrorKind},
    wire::Reply,
};

fn reply(field: &str, id: i64, documents: std::ops::Range<i32>) -> Reply {
    let documents: Vec<_> = documents.map(|n| doc! { "n": n }).collect();
    let cursor = doc! { "id": id, "ns": "db.some.coll", field: documents };
    let raw = RawDocumentBuf::try_from(&doc! { "ok": 1, "cursor": cursor }).unwrap();
    Reply::from_document(raw)
}

fn first(id: i64, documents: std::ops::Range<i32>, spec: CursorSpec) -> CursorMachine {
    CursorMachine::from_reply(reply("firstBatch", id, documents), spec).unwrap()
}

fn drain(cursor: &mut CursorMachine) -> Vec<i32> {
    let mut out = Vec::new();
    while cursor.advance().unwrap() {
        out.push(cursor.current().get_i32("n").unwrap());
    }
    out
}

fn body(spec: &crate::op::CommandSpec) -> Document {
    Document::try_from(&*spec.body).unwrap()
}

#[test]
fn documents_of_all_batches_come_in_order() {
    let mut cursor = first(42, 0..3, CursorSpec::default());
    assert_eq!(cursor.want(), CursorWant::Document);
    assert_eq!(drain(&mut cursor), [0, 1, 2]);
    assert_eq!(cursor.want(), CursorWant::GetMore);
    let spec = cursor.get_more();
    assert_eq!((spec.name, &*spec.db), ("getMore", "db"));
    assert_eq!(
        body(&spec),
        doc! { "getMore": 42_i64, "collection": "some.coll" }
    );
    cursor.handle_batch(reply("nextBatch", 0, 3..5)).unwrap();
    assert!(cursor.is_exhausted_on_server());
    assert_eq!(drain(&mut cursor), [3, 4]);
    assert_eq!(cursor.want(), CursorWant::Exhausted);
    assert!(cursor.kill().is_none());
}

#[test]
fn an_empty_first_batch_of_a_live_cursor_asks_for_more() {
    let mut cursor = first(42, 0..0, CursorSpec::default());
    assert!(!cursor.advance().unwrap());
    assert_eq!(cursor.want(), CursorWant::GetMore);
    assert!(cursor.current().is_empty());
}

#[test]
fn the_batch_size_never_exceeds_what_the_limit_leaves() {
    // (batch size, limit, documents of the first batch, size asked for)
    let table = [
        (None, None, 3, None),
        (Some(0), None, 3, None),
        (Some(3), None, 3, Some(3)),
        (Some(3), Some(0), 3, Some(3)),
        (Some(3), Some(4), 3, Some(1)),
        (Some(3), Some(100), 3, Some(3)),
        (None, Some(200), 101, None),
    ];
    for (batch_size, limit, received, expected) in table {
        let spec = CursorSpec {
            batch_size,
            limit,
            ..CursorSpec::default()
        };
        let cursor = first(42, 0..received, spec);
        let size = body(&cursor.get_more()).get_i32("batchSize").ok();
        assert_eq!(size, expected, "{batch_size:?} {limit:?}");
    }
}

#[test]
fn a_cursor_that_reached_its_limit_is_killed_once() {
    let spec = CursorSpec {
        batch_size: Some(3),
        limit: Some(4),
        ..CursorSpec::default()
    };
    let mut cursor = first(42, 0..3, spec);
    assert_eq!(drain(&mut cursor), [0, 1, 2]);
    cursor.handle_batch(reply("nextBatch", 42, 3..5)).unwrap();
    assert_eq!(drain(&mut cursor), [3]);
    assert_eq!(cursor.want(), CursorWant::Exhausted);
    let kill = cursor.kill().expect("still open on the server");
    assert_eq!(
        body(&kill),
        doc! { "killCursors": "some.coll", "cursors": [42_i64] }
    );
    assert!(cursor.kill().is_none());
    assert_eq!(cursor.id(), 0);
}

#[test]
fn later_commands_carry_the_waiting_time_and_to_newer_servers_the_comment() {
    let spec = CursorSpec {
        max_await_time: Some(Duration::from_micros(249_001)),
        comment: Some("why".into()),
        ..CursorSpec::default()
    };
    let spec = first(42, 0..0, spec).get_more();
    let sent = doc! {
        "getMore": 42_i64, "collection": "some.coll", "maxTimeMS": 250, "comment": "why",
    };
    assert_eq!(body(&spec), sent);
    assert!(spec.comment_is_optional);

    let plain = first(42, 0..0, CursorSpec::default()).get_more();
    assert!(!plain.comment_is_optional && !body(&plain).contains_key("maxTimeMS"));
}

#[test]
fn a_batch_is_taken_whole_and_once() {
    let mut cursor = first(42, 0..3, CursorSpec::default());
    let reply = cursor.take_batch().unwrap();
    let whole = RawDocument::from_bytes(&reply).unwrap();
    let batch = whole.get_document("cursor").unwrap();
    let batch = batch.get_array("firstBatch").unwrap();
    assert_eq!(batch.into_iter().count(), 3);
    assert!(cursor.take_batch().is_none());
    assert_eq!(cursor.want(), CursorWant::GetMore);
}

#[test]
fn batches_taken_whole_count_towards_the_limit() {
    let spec = CursorSpec {
        limit: Some(3),
        ..CursorSpec::default()
    };
    let mut cursor = first(42, 0..3, spec);
    assert!(cursor.take_batch().is_some());
    assert_eq!(cursor.want(), CursorWant::Exhausted);
    assert!(cursor.kill().is_some());
}

#[test]
fn failures_keep_the_buffer_and_kill_what_may_live() {
    let not_found = Error::new(ErrorKind::Command(crate::error::CommandError {
        code: 43,
        ..Default::default()
    }));
    let lost: Error = std::io::ErrorKind::ConnectionReset.into();
    for (error, killed) in [(not_found, false), (lost, true)] {
        let mut cursor = first(42, 0..2, CursorSpec::default());
        cursor.handle_failure(&error);
        assert_eq!(drain(&mut cursor), [0, 1]);
        assert_eq!(cursor.want(), CursorWant::Exhausted);
        assert_eq!(cursor.kill().is_some(), killed);
    }
}

#[test]
fn a_tailable_cursor_survives_a_timeout_of_the_client() {
    let timeout = || Error::from(std::io::ErrorKind::TimedOut).with_timeout();
    for (tailable, want) in [(true, CursorWant::GetMore), (false, CursorWant::Exhausted)] {
        let spec = CursorSpec {
            tailable,
            ..CursorSpec::default()
        };
        let mut cursor = first(42, 0..0, spec);
        cursor.handle_failure(&timeout());
        assert_eq!(cursor.want(), want);
    }
}

#[test]
fn the_resume_token_follows_the_batches() {
    let with_token = |field: &str, token: i32| {
        let cursor =
            doc! { "id": 1_i64, "ns": "a.b", field: [], "postBatchResumeToken": { "t": token } };
        let raw = RawDocumentBuf::try_from(&doc! { "ok": 1, "cursor": cursor }).unwrap();
        Reply::from_document(raw)
    };
    let mut cursor =
        CursorMachine::from_reply(with_token("firstBatch", 1), CursorSpec::default()).unwrap();
    let token = |cursor: &CursorMachine| {
        let token = cursor.post_batch_resume_token().unwrap();
        token.get_i32("t").unwrap()
    };
    assert_eq!(token(&cursor), 1);
    cursor.handle_batch(with_token("nextBatch", 2)).unwrap();
    assert_eq!(token(&cursor), 2);
}

#[test]
fn documents_share_the_bytes_of_the_reply() {
    let whole = reply("firstBatch", 0, 0..2).into_bytes();
    let reply = Reply::new(whole.clone(), 0..whole.len()).unwrap();
    let mut cursor = CursorMachine::from_reply(reply, CursorSpec::default()).unwrap();
    assert!(cursor.advance().unwrap());
    let document = cursor.current_bytes();
    assert_eq!(&document[..], cursor.current().as_bytes());
    let range = whole.as_ptr_range();
    assert!(
        range.contains(&document.as_ptr()),
        "the document was copied"
    );
}

#[test]
fn malformed_replies_name_the_field() {
    for (reply, name) in [
        (rawdoc! { "ok": 1 }, "field cursor"),
        (rawdoc! { "cursor": 1 }, "field cursor"),
        (
            rawdoc! { "cursor": { "ns": "a.b", "firstBatch": [] } },
            "cursor.id",
        ),
        (
            rawdoc! { "cursor": { "id": 1, "ns": "a.b" } },
            "cursor.firstBatch",
        ),
        (
            rawdoc! { "cursor": { "id": 1, "ns": "a.b", "firstBatch": {} } },
            "cursor.firstBatch",
        ),
        (
            rawdoc! { "cursor": { "id": 1, "firstBatch": [] } },
            "cursor.ns",
        ),
        (
            rawdoc! { "cursor": { "id": 1, "ns": "ab", "firstBatch": [] } },
            "cursor.ns",
        ),
    ] {
        let reply = Reply::from_document(reply);
        let error = CursorMachine::from_reply(reply, CursorSpec::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_batch_of_something_else_than_documents_ends_with_an_error() {
    let reply = rawdoc! { "cursor": { "id": 9_i64, "ns": "a.b", "firstBatch": [{ "n": 0 }, 1] } };
    let mut cursor =
        CursorMachine::from_reply(Reply::from_document(reply), CursorSpec::default()).unwrap();
    assert!(cursor.advance().unwrap());
    assert!(cursor.advance().is_err());
    assert!(!cursor.advance().unwrap());
    assert!(cursor.kill().is_some());
}

#[test]
fn a_malformed_next_batch_ends_the_cursor_but_kills_it() {
    let mut cursor = first(42, 0..0, CursorSpec::default());
    let bad = Reply::from_document(rawdoc! { "cursor": { "id": 42_i64 } });
    assert!(cursor.handle_batch(bad).is_err());
    assert_eq!(cursor.want(), CursorWant::Exhausted);
    assert!(cursor.kill().is_some());
}

#[test]
fn broken_bytes_never_panic_or_hang() {
    let whole = reply("firstBatch", 7, 0..3).into_bytes();
    for position in 4..whole.len() - 1 {
        for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[position] = value;
            let len = bytes.len();
            let Ok(reply) = Reply::new(bytes, 0..len) else {
                continue;
            };
            let Ok(mut cursor) = CursorMachine::from_reply(reply, CursorSpec::default()) else {
                continue;
            };
            let mut steps = 0;
            while let Ok(true) = cursor.advance() {
                let _ = cursor.current().get("n");
                steps += 1;
                assert!(steps <= len, "more documents than bytes");
            }
        }
    }
}
