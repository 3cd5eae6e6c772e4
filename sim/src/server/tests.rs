use super::*;
use crate::choices::Seeded;

const NOW: Instant = Instant::from_nanos(5_000_000_000);

/// A message with one body section.
pub(crate) fn message(id: i32, flags: u32, command: &Document) -> Vec<u8> {
    let body = command.to_vec().unwrap();
    let length = i32::try_from(21 + body.len()).unwrap();
    let mut out = Vec::new();
    for field in [length, id, 0, 2013, flags as i32] {
        out.extend(field.to_le_bytes());
    }
    out.push(0);
    out.extend(body);
    out
}

fn server() -> SimServer {
    let config = ServerConfig::new("db.test:27017");
    let mut server = SimServer::new(config, Box::new(Seeded::new(1)));
    server.accept(1);
    server
}

/// The replies that have come out, with their flags.
fn replies(server: &mut SimServer) -> Vec<(u32, Document)> {
    let mut found = Vec::new();
    while let Some(output) = server.poll_output() {
        let Output::Bytes(_, bytes) = output else {
            panic!("{output:?}");
        };
        let flags = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
        found.push((flags, Document::from_reader(&bytes[21..]).unwrap()));
    }
    found
}

fn ask(server: &mut SimServer, mut command: Document) -> Document {
    if !command.contains_key("$db") {
        command.insert("$db", "db");
    }
    server.receive(1, &message(7, 0, &command), NOW);
    let mut all = replies(server);
    assert_eq!(all.len(), 1, "{command}: {all:?}");
    all.remove(0).1
}

fn error(reply: &Document) -> (i32, &str) {
    assert_eq!(reply.get_f64("ok").unwrap(), 0.0, "{reply}");
    (
        reply.get_i32("code").unwrap(),
        reply.get_str("codeName").unwrap(),
    )
}

fn cursor_id(reply: &Document) -> i64 {
    let cursor = reply.get_document("cursor").unwrap();
    cursor.get_i64("id").unwrap()
}

#[test]
fn writes_are_read_back_over_cursors() {
    let mut server = server();
    let documents: Vec<Document> = (0..5).map(|n| doc! { "_id": n }).collect();
    let inserted = ask(&mut server, doc! { "insert": "c", "documents": documents });
    assert_eq!(inserted, doc! { "n": 5, "ok": 1.0 });
    let first = ask(&mut server, doc! { "find": "c", "batchSize": 2 });
    let cursor = first.get_document("cursor").unwrap();
    let id = cursor.get_i64("id").unwrap();
    assert_eq!(cursor.get_array("firstBatch").unwrap().len(), 2);
    let next = doc! { "getMore": id, "collection": "c", "batchSize": 2 };
    let second = ask(&mut server, next.clone());
    assert_eq!(cursor_id(&second), id);
    let third = ask(&mut server, next.clone());
    assert_eq!(cursor_id(&third), 0);
    assert_eq!(error(&ask(&mut server, next)), (43, "CursorNotFound"));
    let killed = ask(&mut server, doc! { "killCursors": "c", "cursors": [id] });
    assert_eq!(killed.get_array("cursorsNotFound").unwrap().len(), 1);
}

#[test]
fn every_byte_alone_gives_the_same_replies() {
    let mut server = server();
    let command = doc! { "ping": 1, "$db": "db" };
    let mut bytes = message(7, 0, &command);
    bytes.extend(message(8, 0, &command));
    for byte in bytes {
        server.receive(1, &[byte], NOW);
    }
    assert_eq!(replies(&mut server).len(), 2);
}

#[test]
fn errors_have_the_codes_of_the_server() {
    let mut server = server();
    ask(
        &mut server,
        doc! { "insert": "c", "documents": [{ "_id": 1 }] },
    );
    for (command, expected) in [
        (doc! { "bogus": 1 }, (59, "CommandNotFound")),
        (doc! { "serverStatus": 1 }, (238, "NotImplemented")),
        (doc! { "create": "c" }, (48, "NamespaceExists")),
        (doc! { "drop": "none" }, (26, "NamespaceNotFound")),
        (doc! { "find": "c", "limit": -1 }, (51024, "Location51024")),
        (doc! { "find": "c", "bogus": 1 }, (40415, "Location40415")),
        (doc! { "find": "c", "hint": "x" }, (2, "BadValue")),
        (doc! { "insert": "c" }, (40414, "Location40414")),
        (doc! { "listDatabases": 1 }, (13, "Unauthorized")),
        (
            doc! { "replSetStepDown": 1, "$db": "admin" },
            (76, "NoReplicationEnabled"),
        ),
        (
            doc! { "dropIndexes": "c", "index": "x" },
            (27, "IndexNotFound"),
        ),
    ] {
        let reply = ask(&mut server, command.clone());
        assert_eq!(error(&reply), expected, "{command}");
    }
}

#[test]
fn a_request_without_reply_is_carried_out_and_gets_none() {
    let mut server = server();
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }], "$db": "db" };
    server.receive(1, &message(7, 2, &insert), NOW);
    assert_eq!(replies(&mut server), []);
    assert_eq!(server.documents("db", "c"), [doc! { "_id": 1 }]);
}

#[test]
fn an_exhaust_hello_answers_again_when_its_time_is_over() {
    let mut server = server();
    let hello = ask(&mut server, doc! { "hello": 1 });
    let version = hello.get_document("topologyVersion").unwrap();
    let wait = doc! { "hello": 1, "topologyVersion": version.clone(), "maxAwaitTimeMS": 1000, "$db": "admin" };
    server.receive(1, &message(9, 1 << 16, &wait), NOW);
    assert_eq!(replies(&mut server), []);
    for turn in 1..=3 {
        let due = NOW + Duration::from_secs(turn);
        assert_eq!(server.poll_timeout(), Some(due));
        server.settle(due);
        let all = replies(&mut server);
        assert_eq!(all.len(), 1, "{turn}");
        assert_eq!(all[0].0, 2, "more replies follow");
    }
}

#[test]
fn the_fail_point_fails_blocks_and_closes() {
    let mut server = server();
    let set = |data: Document| {
        doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data, "$db": "admin" }
    };
    let data = doc! { "failCommands": ["ping"], "errorCode": 10107, "errorLabels": ["x"] };
    ask(&mut server, set(data));
    let reply = ask(&mut server, doc! { "ping": 1 });
    assert_eq!(error(&reply), (10107, "NotWritablePrimary"));
    assert_eq!(
        reply.get_array("errorLabels").unwrap(),
        &vec![Bson::from("x")]
    );
    assert_eq!(ask(&mut server, doc! { "ping": 1 }), doc! { "ok": 1.0 });

    let data = doc! { "failCommands": ["ping"], "blockConnection": true, "blockTimeMS": 50 };
    ask(&mut server, set(data));
    server.receive(1, &message(7, 0, &doc! { "ping": 1, "$db": "db" }), NOW);
    assert_eq!(replies(&mut server), []);
    server.settle(NOW + Duration::from_millis(49));
    assert_eq!(replies(&mut server), []);
    server.settle(NOW + Duration::from_millis(50));
    assert_eq!(replies(&mut server).len(), 1);

    ask(
        &mut server,
        set(doc! { "failCommands": ["ping"], "closeConnection": true }),
    );
    server.receive(1, &message(7, 0, &doc! { "ping": 1, "$db": "db" }), NOW);
    assert_eq!(server.poll_output(), Some(Output::Close(1)));
}

#[test]
fn a_hook_answers_in_place_of_the_server() {
    let mut server = server();
    server.set_hook(|seen| {
        let reply = doc! { "ok": 1.0, "scripted": true };
        seen.command
            .contains_key("ping")
            .then(|| Scene::Reply(reply, Duration::ZERO))
    });
    let reply = ask(&mut server, doc! { "ping": 1 });
    assert_eq!(reply, doc! { "ok": 1.0, "scripted": true });
    assert_eq!(
        ask(&mut server, doc! { "count": "c" }),
        doc! { "n": 0, "ok": 1.0 }
    );
}

#[test]
fn bytes_that_are_no_message_close_the_connection() {
    let mut server = server();
    server.receive(1, &[0xff; 32], NOW);
    assert_eq!(server.poll_output(), Some(Output::Close(1)));
    assert_eq!(server.poll_output(), None);
}
