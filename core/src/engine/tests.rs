//! The whole engine against servers in memory.

mod auth;
mod cancel;
mod hostile;
mod life;
mod pins;
mod refusals;
mod world;

use core::net::IpAddr;
use std::{cell::RefCell, rc::Rc, time::Duration};

use bson::doc;

use self::world::{ALONE, Answer, World, find, found, insert, not_primary, text};
use super::*;
use crate::{
    cursor::{CursorMachine, CursorSpec, CursorWant},
    error::ErrorKind,
    event::{EventHandler, command::CommandEvent},
    op::Target,
    options::SessionOptions,
};

const SET: [&str; 2] = ["a.test:27017", "b.test:27017"];

fn set() -> World {
    World::new(&SET, |_| {})
}

#[test]
fn a_command_is_executed_whatever_the_pieces_in_which_bytes_travel() {
    for step in [1, 7, usize::MAX] {
        let mut world = World::alone();
        world.step = step;
        for n in 0..3 {
            let executed = world.execute(find(n)).unwrap();
            assert_eq!(found(&executed), n);
            assert_eq!(executed.address.to_string(), ALONE);
        }
        world.assert_quiet();
        let counts = world.engine.census().pools[0].1;
        assert_eq!(
            (counts.available, counts.total()),
            (1, 1),
            "one connection is reused"
        );
        assert_eq!(world.seen("find").len(), 3);
        world.shut_down();
    }
}

#[test]
fn sessions_are_reused_and_ended_at_the_server() {
    let mut world = World::alone();
    for n in 0..3 {
        world.execute(find(n)).unwrap();
    }
    let lsids: Vec<_> = world
        .seen("find")
        .iter()
        .map(|seen| seen.command.get("lsid").cloned().unwrap())
        .collect();
    assert_eq!(lsids[0], lsids[1]);
    assert_eq!(lsids[1], lsids[2]);
    assert_eq!(world.engine.census().sessions_idle, 1);
    world.shut_down();
    let ended = world.seen("endSessions");
    let sessions = ended[0].command.get_array("endSessions").unwrap();
    assert_eq!(sessions, &vec![lsids[0].clone()]);
}

#[test]
fn an_explicit_session_serves_one_operation_at_a_time() {
    let mut world = World::alone();
    world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Silence));
    let options = SessionOptions::default();
    let session = world.engine.start_session(&options, world.now).unwrap();
    let command = |n| Command::new(find(n)).with_session(session);
    let first = world.engine.submit(command(1), world.now);
    let second = world.engine.submit(command(2), world.now);
    world.settle();
    let refused = world.done.remove(&second).unwrap();
    assert!(text(&refused).contains("another operation"), "{refused:?}");
    // Ended while in use: it goes with its operation.
    world.engine.end_session(session, world.now);
    assert_eq!(world.engine.census().sessions_open, 1);
    world.engine.cancel(first, world.now);
    assert_eq!(world.engine.census().sessions_open, 0);
    let third = world.engine.submit(command(3), world.now);
    assert!(text(&world.wait(third)).contains("has ended"));
    world.shut_down();
}

#[test]
fn a_cursor_is_fetched_to_its_end_in_one_session() {
    let mut world = World::alone();
    world.set_rule(|seen| match seen.name() {
        "find" => Some(Answer::Reply(doc! {
            "cursor": { "firstBatch": [{ "_id": 1 }], "id": 7_i64, "ns": "db.c" }, "ok": 1,
        })),
        "getMore" => Some(Answer::Reply(doc! {
            "cursor": { "nextBatch": [{ "_id": 2 }], "id": 0_i64, "ns": "db.c" }, "ok": 1,
        })),
        _ => None,
    });
    let session = world.engine.implicit_session();
    let command = Command::new(find(1)).with_session(session);
    let op = world.engine.submit(command, world.now);
    let executed = world.wait(op).unwrap();
    let mut cursor = CursorMachine::from_reply(executed.reply, CursorSpec::default()).unwrap();
    let mut ids = Vec::new();
    loop {
        match cursor.want() {
            CursorWant::Document => {
                cursor.advance().unwrap();
                ids.push(cursor.current().get_i32("_id").unwrap());
            }
            CursorWant::GetMore => {
                let mut spec = cursor.get_more();
                spec.target = Target::Server(executed.server);
                let command = Command::new(spec).with_session(session);
                let op = world.engine.submit(command, world.now);
                let executed = world.wait(op).unwrap();
                cursor.handle_batch(executed.reply).unwrap();
            }
            CursorWant::Exhausted => break,
        }
    }
    world.engine.end_session(session, world.now);
    assert_eq!(ids, [1, 2]);
    let lsid = |name| world.seen(name)[0].command.get("lsid").cloned().unwrap();
    assert_eq!(lsid("find"), lsid("getMore"));
    assert_eq!(world.engine.census().sessions_idle, 1);
    world.shut_down();
}

#[test]
fn a_write_follows_the_primary_after_a_step_down() {
    let mut world = set();
    world.execute(insert(1)).unwrap();
    let moved = Rc::new(RefCell::new(false));
    let seen_moved = Rc::clone(&moved);
    world.set_rule(move |seen| {
        let first = seen.name() == "insert" && !seen_moved.replace(true);
        first.then(not_primary)
    });
    let op = world.submit(insert(2));
    world.settle();
    assert!(*moved.borrow());
    world.primary = SET[1].to_owned();
    world.wait(op).unwrap();
    let inserts = world.seen("insert");
    let [.., refused, retried] = &inserts[..] else {
        panic!("{inserts:?}");
    };
    assert_eq!(refused.address, SET[0]);
    assert_eq!(retried.address, SET[1]);
    let number = |seen: &world::Seen| seen.command.get_i64("txnNumber").unwrap();
    assert_eq!(number(refused), number(retried));
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_network_error_is_retried_once() {
    for (failures, succeeds) in [(1, true), (2, false)] {
        let mut world = set();
        let mut left = failures;
        world.set_rule(move |seen| {
            let fails = seen.name() == "insert" && left > 0;
            left -= i32::from(fails);
            fails.then_some(Answer::Hangup)
        });
        let result = world.execute(insert(1));
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
        assert_eq!(world.seen("insert").len(), 2);
        world.assert_quiet();
        world.shut_down();
    }
}

#[test]
fn without_a_server_the_selection_times_out() {
    let mut world = World::alone();
    world.down.push(ALONE.to_owned());
    let start = world.now;
    let result = world.execute(find(1));
    let error = result.unwrap_err();
    assert!(
        matches!(*error.kind, ErrorKind::ServerSelection { .. }),
        "{error}"
    );
    let waited = world.now - start;
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    world.assert_quiet();
    // Checks are at least half a second apart, however many ask.
    assert!(world.opened <= 12, "{} checks", world.opened);
    world.down.clear();
    world.execute(find(2)).unwrap();
    world.shut_down();
}

#[test]
fn the_queue_is_served_in_order_and_its_limit_is_kept() {
    let mut world = World::new(&[], |options| {
        options.max_pool_size = Some(1);
        options.wait_queue_timeout = Some(Duration::from_millis(500));
    });
    world.execute(find(0)).unwrap();
    world.set_rule(|seen| {
        let held = seen.name() == "find"
            && seen
                .command
                .get_document("filter")
                .unwrap()
                .get_i32("_id")
                .ok()
                == Some(1);
        held.then_some(Answer::Silence)
    });
    let held = world.submit(find(1));
    let late = world.submit(find(2));
    world.settle();
    assert_eq!(world.engine.census().tickets, 1);
    let result = world.wait(late);
    let error = result.unwrap_err();
    assert!(
        matches!(*error.kind, ErrorKind::ConnectionCheckout { .. }),
        "{error}"
    );
    let first = world.submit(find(3));
    let second = world.submit(find(4));
    world.settle();
    world.engine.cancel(held, world.now);
    world.pass(Duration::from_millis(100));
    // The reply of the cancelled one is drained for a second: longer than the queue's limit.
    world.pass(Duration::from_millis(500));
    assert!(world.done.remove(&first).unwrap().is_err());
    assert!(world.done.remove(&second).unwrap().is_err());
    world.pass(Duration::from_secs(1));
    world.assert_quiet();
    let ops: Vec<_> = (5..8).map(|n| world.submit(find(n))).collect();
    world.settle();
    for op in ops {
        world.done.remove(&op).unwrap().unwrap();
    }
    let order: Vec<_> = world
        .seen("find")
        .iter()
        .map(|seen| {
            seen.command
                .get_document("filter")
                .unwrap()
                .get_i32("_id")
                .unwrap()
        })
        .collect();
    assert_eq!(order, [0, 1, 5, 6, 7]);
    world.shut_down();
}

#[test]
fn a_deadline_ends_an_operation_wherever_it_waits() {
    for stage in ["server", "connection", "reply"] {
        let mut world = World::new(&[], |options| options.max_pool_size = Some(1));
        if stage != "server" {
            world.execute(find(0)).unwrap();
            world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Silence));
        } else {
            world.down.push(ALONE.to_owned());
        }
        let blocker = (stage == "connection").then(|| world.submit(find(1)));
        let deadline = world.now + Duration::from_secs(2);
        let command = Command::new(find(2)).with_deadline(deadline);
        let op = world.engine.submit(command, world.now);
        let result = world.wait(op);
        assert!(result.is_err(), "{stage}");
        assert!(
            world.now <= deadline + Duration::from_millis(100),
            "{stage}"
        );
        if let Some(blocker) = blocker {
            world.engine.cancel(blocker, world.now);
            world.pass(Duration::from_secs(2));
        }
        world.assert_quiet();
        world.shut_down();
    }
}

#[test]
fn a_wrong_reply_is_an_error_and_costs_the_connection() {
    let garbage = [
        Answer::Bytes(vec![0xff; 64]),
        Answer::Bytes(world::message(1, 99_999, 0, &doc! { "ok": 1 })),
        Answer::Bytes(vec![5, 0, 0, 0]),
        Answer::Reply(doc! { "no": "ok" }),
    ];
    for answer in garbage {
        let mut world = World::new(&[], |options| options.retry_reads = Some(false));
        world.execute(find(0)).unwrap();
        let (mut once, scripted) = (true, answer.clone());
        world.set_rule(move |seen| {
            let this = seen.name() == "find" && std::mem::take(&mut once);
            this.then(|| scripted.clone())
        });
        let command = Command::new(find(1)).with_deadline(world.now + Duration::from_secs(3));
        let op = world.engine.submit(command, world.now);
        let result = world.wait(op);
        assert!(result.is_err(), "{answer:?}");
        assert_eq!(found(&world.execute(find(2)).unwrap()), 2);
        world.assert_quiet();
        world.shut_down();
    }
}

#[test]
fn connections_that_break_while_idle_are_replaced_without_an_error() {
    let mut world = World::new(&[], |options| options.retry_reads = Some(false));
    world.execute(find(0)).unwrap();
    world.break_connections(ALONE);
    world.settle();
    assert_eq!(found(&world.execute(find(1)).unwrap()), 1);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn an_unacknowledged_write_completes_once_it_is_written() {
    let mut world = World::alone();
    world.step = 5;
    let mut spec = insert(1);
    spec.write_concern = Some(crate::concern::WriteConcern::nodes(0));
    spec.retryability = crate::op::Retryability::None;
    world.execute(spec).unwrap();
    assert_eq!(world.seen("insert").len(), 1);
    assert_eq!(found(&world.execute(find(2)).unwrap()), 2);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn command_events_have_one_end_each() {
    let mut world = World::new(&[], |options| {
        options.command_event_handler = Some(EventHandler::callback(|_| {}));
        options.retry_reads = Some(false);
    });
    world.execute(find(1)).unwrap();
    world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Hangup));
    world.execute(find(2)).unwrap_err();
    let kinds: Vec<_> = world
        .events
        .iter()
        .map(|event| match event {
            Event::Command(CommandEvent::Started(_)) => "started",
            Event::Command(CommandEvent::Succeeded(_)) => "succeeded",
            Event::Command(CommandEvent::Failed(_)) => "failed",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["started", "succeeded", "started", "failed"]);
    world.shut_down();
}

#[test]
fn shutting_down_at_any_step_leaves_nothing() {
    for k in 0..80 {
        let mut world = set();
        let op = world.submit(insert(1));
        for _ in 0..k {
            world.act();
        }
        world.shut_down();
        let result = world.done.remove(&op).expect("a result");
        if let Err(error) = &result {
            assert!(
                matches!(*error.kind, ErrorKind::Shutdown),
                "step {k}: {error}"
            );
        }
        let refused = world.execute(find(2)).unwrap_err();
        assert!(matches!(*refused.kind, ErrorKind::Shutdown), "{refused}");
    }
}

#[test]
fn facts_about_unknown_connections_change_nothing() {
    let mut world = World::alone();
    world.execute(find(0)).unwrap();
    let before = world.engine.census();
    for conn in [SocketId(0), SocketId(999), SocketId(u64::MAX)] {
        let now = world.now;
        world.engine.handle(Input::Opened { conn }, now);
        world.engine.handle(Input::Eof { conn }, now);
        world.engine.handle(Input::Read { conn, bytes: b"x" }, now);
        world.engine.handle(Input::Written { conn, n: 9 }, now);
        let fault = crate::conn::IoFault::Reset;
        world.engine.handle(Input::Fault { conn, fault }, now);
        assert!(world.engine.read_space(conn).is_none());
        world.engine.handle_read(conn, 1, now);
    }
    world.engine.cancel(OpId(12_345), world.now);
    assert!(world.engine.poll_output().is_none());
    assert_eq!(world.engine.census(), before);
    world.shut_down();
}

#[test]
fn addresses_alternate_between_families() {
    let parse =
        |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
    let mixed = parse(&["::1", "::2", "::3", "10.0.0.1"]);
    assert_eq!(
        interleave(&mixed),
        parse(&["::1", "10.0.0.1", "::2", "::3"])
    );
    assert!(interleave(&[]).is_empty());
}
