//! Cursors behind a load balancer: which connection each command takes, and when it goes back.

use std::{collections::BTreeSet, time::Duration};

use bson::{Document, doc, oid::ObjectId};

use super::world::{ALONE, Answer, Seen, World, find, insert, text};
use crate::{
    cursor::{CursorMachine, CursorSpec},
    engine::{Command, Executed, Input, OpId, PinId, SocketId},
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionClosedReason},
    },
    id::ServerId,
    op::{CommandSpec, Target},
    options::ClientOptions,
    pool::PoolCounts,
};

/// What a script does about a `getMore`.
#[derive(Clone, Copy)]
enum Fetch {
    Fails,
    HangsUp,
    IsSilent,
    /// The batch, and the id of the cursor after it.
    Gives(i64),
}

fn batch(name: &str, id: i64) -> Answer {
    Answer::Reply(doc! { "ok": 1, "cursor": { name: [], "id": id, "ns": "db.c" } })
}

/// A load balancer whose `find` gives a cursor of this id.
fn balanced(id: i64, fetch: Fetch, change: impl FnOnce(&mut ClientOptions)) -> World {
    let mut world = World::new(&[], |options| {
        options.load_balanced = Some(true);
        options.retry_reads = Some(false);
        change(options);
    });
    serve(&mut world, id, fetch);
    world
}

fn serve(world: &mut World, id: i64, fetch: Fetch) {
    let mut hello: Document = world.hello(ALONE);
    hello.insert("msg", "isdbgrid");
    hello.insert("serviceId", ObjectId::from_bytes([1; 12]));
    world.set_rule(move |seen| match (seen.name(), fetch) {
        _ if seen.command.contains_key("loadBalanced") => Some(Answer::Reply(hello.clone())),
        ("find", _) => Some(batch("firstBatch", id)),
        ("getMore", Fetch::Gives(id)) => Some(batch("nextBatch", id)),
        ("getMore", Fetch::IsSilent) => Some(Answer::Silence),
        ("getMore", Fetch::HangsUp) => Some(Answer::Hangup),
        ("getMore", Fetch::Fails) => {
            Some(Answer::Reply(doc! { "ok": 0, "code": 96, "errmsg": "no" }))
        }
        _ => None,
    });
}

fn counts(world: &World) -> PoolCounts {
    world.engine.census().pools[0].1
}

/// The connections over which the commands of a name came.
fn connections(world: &World, name: &str) -> Vec<SocketId> {
    world
        .seen(name)
        .iter()
        .map(|seen: &&Seen| seen.conn)
        .collect()
}

/// A cursor of the caller's.
struct Opened {
    machine: CursorMachine,
    server: ServerId,
    pin: PinId,
}

impl Opened {
    fn command(&self, mut spec: CommandSpec) -> Command {
        spec.target = Target::Server(self.server);
        Command::new(spec).with_pin(self.pin)
    }

    fn fetch(&self, world: &mut World) -> OpId {
        let command = self.command(self.machine.get_more());
        world.engine.submit(command, world.now)
    }

    fn kill(&mut self, world: &mut World) {
        let spec = self.machine.kill().expect("an open cursor");
        let command = self.command(spec);
        world.engine.kill_cursor(command, world.now);
    }
}

fn open(world: &mut World) -> Opened {
    let pin = world.engine.pin();
    let op = world
        .engine
        .submit(Command::new(find(1)).with_pin(pin), world.now);
    let Executed { reply, server, .. } = world.wait(op).unwrap();
    let machine = CursorMachine::from_reply(reply, CursorSpec::default()).unwrap();
    Opened {
        machine,
        server,
        pin,
    }
}

/// Nothing is left of a cursor, and the engine can do something else.
fn assert_over(world: &mut World) {
    world.pass(Duration::from_secs(2));
    assert_eq!(world.engine.census().pins_open, 0);
    world.execute(insert(1)).unwrap();
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_cursor_keeps_its_connection_until_it_is_exhausted() {
    let mut world = balanced(7, Fetch::Gives(7), |_| {});
    let one = open(&mut world);
    let other = open(&mut world);
    assert_eq!((counts(&world).pinned, counts(&world).total()), (2, 2));
    for _ in 0..2 {
        for cursor in [&one, &other] {
            world.execute(insert(1)).unwrap();
            let op = cursor.fetch(&mut world);
            world.wait(op).unwrap();
        }
    }
    assert_eq!((counts(&world).pinned, counts(&world).total()), (2, 3));
    let finds = connections(&world, "find");
    assert_eq!(
        connections(&world, "getMore"),
        [&finds[..], &finds[..]].concat()
    );
    let elsewhere = |conn: &SocketId| !finds.contains(conn);
    assert!(connections(&world, "insert").iter().all(elsewhere));
    serve(&mut world, 7, Fetch::Gives(0));
    for (left, cursor) in [(1, one), (0, other)] {
        let op = cursor.fetch(&mut world);
        world.wait(op).unwrap();
        assert_eq!(counts(&world).pinned, left, "before the pin ends");
        world.engine.unpin(cursor.pin, world.now);
    }
    assert_over(&mut world);
}

#[test]
fn a_cursor_of_one_batch_keeps_nothing() {
    let mut world = balanced(0, Fetch::Gives(0), |_| {});
    let cursor = open(&mut world);
    assert_eq!((counts(&world).pinned, counts(&world).available), (0, 1));
    world.engine.unpin(cursor.pin, world.now);
    assert_over(&mut world);
}

#[test]
fn without_a_load_balancer_or_a_pin_nothing_is_kept() {
    let mut world = World::alone();
    world.set_rule(|seen| (seen.name() == "find").then(|| batch("firstBatch", 7)));
    let mut cursor = open(&mut world);
    world.assert_quiet();
    cursor.kill(&mut world);
    world.settle();
    assert_eq!(world.seen("killCursors").len(), 1);
    assert_over(&mut world);
    let mut world = balanced(7, Fetch::Gives(7), |_| {});
    world.execute(find(1)).unwrap();
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_cursor_is_killed_over_its_connection_which_then_goes_back() {
    let mut world = balanced(7, Fetch::Gives(7), |_| {});
    let mut cursor = open(&mut world);
    world.execute(insert(1)).unwrap();
    cursor.kill(&mut world);
    world.settle();
    assert_eq!(
        connections(&world, "killCursors"),
        connections(&world, "find")
    );
    assert_eq!((counts(&world).pinned, counts(&world).available), (0, 2));
    assert_over(&mut world);
}

#[test]
fn the_connection_goes_back_when_the_pin_ends_whatever_its_cursor_does() {
    let mut world = balanced(7, Fetch::Gives(7), |_| {});
    let idle = open(&mut world);
    world.engine.unpin(idle.pin, world.now);
    assert_eq!((counts(&world).pinned, counts(&world).available), (0, 1));
    // In use: with its operation.
    let busy = open(&mut world);
    let op = busy.fetch(&mut world);
    world.engine.unpin(busy.pin, world.now);
    assert_eq!(counts(&world).pinned, 1);
    world.wait(op).unwrap();
    assert_eq!((counts(&world).pinned, counts(&world).available), (0, 1));
    // With its reply not yet read: drained.
    serve(&mut world, 7, Fetch::IsSilent);
    let cancelled = open(&mut world);
    let op = cancelled.fetch(&mut world);
    world.settle();
    world.engine.cancel(op, world.now);
    assert_eq!((counts(&world).pinned, counts(&world).draining), (1, 0));
    world.engine.unpin(cancelled.pin, world.now);
    assert_eq!((counts(&world).pinned, counts(&world).draining), (0, 1));
    assert_over(&mut world);
}

#[test]
fn a_command_that_fails_leaves_the_connection_with_its_cursor() {
    let mut world = balanced(7, Fetch::Fails, |_| {});
    let mut cursor = open(&mut world);
    for _ in 0..2 {
        let op = cursor.fetch(&mut world);
        assert!(text(&world.wait(op)).contains("no"));
        assert_eq!(counts(&world).pinned, 1);
    }
    cursor.kill(&mut world);
    world.settle();
    let used: BTreeSet<_> = ["find", "getMore", "killCursors"]
        .iter()
        .flat_map(|name| connections(&world, name))
        .collect();
    assert_eq!(used.len(), 1);
    assert_over(&mut world);
}

#[test]
fn a_find_that_fails_keeps_nothing_and_its_retry_does() {
    let mut world = balanced(7, Fetch::Gives(7), |options| {
        options.retry_reads = Some(true)
    });
    let (mut rule, mut once) = (world.rule.take().unwrap(), true);
    world.set_rule(move |seen| {
        let fails = seen.name() == "find" && std::mem::take(&mut once);
        if fails {
            Some(Answer::Hangup)
        } else {
            rule(seen)
        }
    });
    let mut cursor = open(&mut world);
    assert_eq!((counts(&world).pinned, counts(&world).total()), (1, 1));
    cursor.kill(&mut world);
    world.settle();
    let finds = connections(&world, "find");
    assert_ne!(finds[0], finds[1]);
    assert_eq!(connections(&world, "killCursors"), finds[1..]);
    assert_over(&mut world);
}

/// The pool's events of a connection that was checked in or closed.
fn endings(world: &World) -> Vec<String> {
    let events = world.events.iter().filter_map(|event| match event {
        super::Event::Cmap(CmapEvent::ConnectionCheckedIn(_)) => Some("in".to_owned()),
        super::Event::Cmap(CmapEvent::ConnectionClosed(event)) => {
            Some(format!("closed: {:?}", event.reason))
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn a_broken_connection_stays_until_the_pin_ends_and_carries_nothing_more() {
    for kills in [true, false] {
        let mut world = balanced(7, Fetch::HangsUp, |options| {
            options.cmap_event_handler = Some(EventHandler::callback(|_| {}));
        });
        let mut cursor = open(&mut world);
        let op = cursor.fetch(&mut world);
        assert!(world.wait(op).unwrap_err().is_network());
        assert_eq!(counts(&world).pinned, 1);
        assert_eq!(world.opened, world.ended, "the host closed it at once");
        assert!(endings(&world).is_empty());
        let op = cursor.fetch(&mut world);
        assert!(text(&world.wait(op)).contains("is gone"));
        if kills {
            cursor.kill(&mut world);
        } else {
            world.engine.unpin(cursor.pin, world.now);
        }
        world.settle();
        let error = ConnectionClosedReason::Error;
        assert_eq!(endings(&world), ["in", &format!("closed: {error:?}")]);
        assert!(world.seen("killCursors").is_empty());
        assert_eq!(counts(&world).total(), 0);
        assert_over(&mut world);
    }
}

#[test]
fn a_connection_that_breaks_between_two_commands_is_lost() {
    let mut world = balanced(7, Fetch::Gives(7), |_| {});
    let mut cursor = open(&mut world);
    world.break_connections(ALONE);
    world.settle();
    assert_eq!(counts(&world).pinned, 1);
    let op = cursor.fetch(&mut world);
    assert!(text(&world.wait(op)).contains("is gone"));
    assert!(world.seen("getMore").is_empty());
    cursor.kill(&mut world);
    assert!(world.seen("killCursors").is_empty());
    assert_over(&mut world);
}

#[test]
fn cancelling_the_opening_command_at_any_step_keeps_nothing_but_a_cursor() {
    for step in [usize::MAX, 40] {
        for k in 0..140 {
            let mut world = balanced(7, Fetch::Gives(0), |_| {});
            world.step = step;
            let pin = world.engine.pin();
            let command = Command::new(find(1)).with_pin(pin);
            let op = world.engine.submit(command, world.now);
            for _ in 0..k {
                world.act();
            }
            let over = world.engine.census().ops == 0;
            world.engine.cancel(op, world.now);
            world.pass(Duration::from_secs(2));
            assert_eq!(counts(&world).pinned, usize::from(over), "step {k}");
            world.engine.unpin(pin, world.now);
            assert_over(&mut world);
        }
    }
}

#[test]
fn cancelling_a_fetch_at_any_step_leaves_its_connection_or_loses_it() {
    let mut sent = 0;
    for step in [usize::MAX, 3] {
        for k in 0..80 {
            let mut world = balanced(7, Fetch::Gives(7), |_| {});
            let mut cursor = open(&mut world);
            world.step = step;
            let op = cursor.fetch(&mut world);
            for _ in 0..k {
                world.act();
            }
            world.engine.cancel(op, world.now);
            assert_eq!(counts(&world).pinned, 1, "step {k}");
            cursor.kill(&mut world);
            world.settle();
            let killed = connections(&world, "killCursors");
            // A request that was partly written broke the connection.
            assert!(killed.is_empty() || killed == connections(&world, "find"));
            sent += killed.len();
            assert_over(&mut world);
        }
    }
    assert!((80..160).contains(&sent), "{sent} of 160");
}

#[test]
fn who_follows_a_cancelled_fetch_waits_for_its_reply() {
    for end in [
        "reply",
        "nothing",
        "the connection's end",
        "deadline",
        "cancel",
        "shutdown",
    ] {
        let mut world = balanced(7, Fetch::IsSilent, |_| {});
        let cursor = open(&mut world);
        let op = cursor.fetch(&mut world);
        world.settle();
        let (conn, request) = {
            let seen = world.seen("getMore")[0];
            (seen.conn, seen.request_id)
        };
        world.engine.cancel(op, world.now);
        let deadline = world.now + Duration::from_millis(200);
        let mut command = cursor.command(cursor.machine.get_more());
        command.deadline = (end == "deadline").then_some(deadline);
        let op = world.engine.submit(command, world.now);
        world.settle();
        assert_eq!(world.seen("getMore").len(), 1, "{end}: it waits");
        assert_eq!(world.engine.census().ops, 1);
        serve(&mut world, 7, Fetch::Gives(7));
        match end {
            "reply" => {
                let late = doc! { "ok": 1, "cursor": { "nextBatch": [], "id": 7_i64, "ns": "" } };
                world.push(conn, request, false, &late);
                world.wait(op).unwrap();
                assert_eq!(connections(&world, "getMore"), [conn, conn]);
            }
            "nothing" => assert!(text(&world.wait(op)).contains("is gone")),
            "the connection's end" => {
                world.engine.handle(Input::Eof { conn }, world.now);
                assert!(text(&world.wait(op)).contains("is gone"));
            }
            "deadline" => {
                let error = world.wait(op).unwrap_err();
                assert!(error.is_timeout() && world.now < deadline + Duration::from_millis(50));
            }
            "cancel" => world.engine.cancel(op, world.now),
            _ => {
                world.shut_down();
                assert!(world.done.remove(&op).unwrap().is_err());
                continue;
            }
        }
        assert_eq!(counts(&world).pinned, 1, "{end}");
        world.engine.unpin(cursor.pin, world.now);
        assert_over(&mut world);
    }
}

#[test]
fn a_pin_serves_one_operation_at_a_time_until_it_ends() {
    let mut world = balanced(7, Fetch::IsSilent, |_| {});
    let mut cursor = open(&mut world);
    let first = cursor.fetch(&mut world);
    let second = cursor.fetch(&mut world);
    assert!(text(&world.wait(second)).contains("another operation"));
    // Its connection is not to be had: nothing is sent.
    cursor.kill(&mut world);
    let third = world
        .engine
        .submit(Command::new(find(1)).with_pin(cursor.pin), world.now);
    assert!(text(&world.wait(third)).contains("has ended"));
    world.engine.cancel(first, world.now);
    assert!(world.seen("killCursors").is_empty());
    assert_over(&mut world);
}

#[test]
fn an_engine_that_ends_at_any_step_takes_its_cursors_with_it() {
    for k in 0..40 {
        let mut world = balanced(7, Fetch::Gives(7), |options| {
            options.max_pool_size = Some(2)
        });
        let (one, _other) = (open(&mut world), open(&mut world));
        let op = one.fetch(&mut world);
        for _ in 0..k {
            world.act();
        }
        let idle = world.engine.census().sessions_idle;
        world.shut_down();
        assert!(world.done.contains_key(&op), "step {k}");
        assert_eq!(world.engine.census().pins_open, 0);
        // Over the other cursor's connection.
        assert_eq!(world.seen("endSessions").len(), idle.min(1), "step {k}");
    }
}
