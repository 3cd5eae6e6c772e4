//! Operations given up at every step.

use std::time::Duration;

use bson::doc;

use super::world::{Answer, World, find, found, insert};
use crate::{
    cursor::{CursorMachine, CursorSpec},
    op::Target,
};

/// Cancels an operation after `k` acts of the host; then everything comes to rest.
fn cancel_at(world: &mut World, k: usize) -> bool {
    let op = world.submit(find(1));
    for _ in 0..k {
        world.act();
    }
    let completed = world.done.contains_key(&op);
    world.engine.cancel(op, world.now);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.done.remove(&op).is_some(), completed, "step {k}");
    world.assert_quiet();
    assert_eq!(found(&world.execute(find(2)).unwrap()), 2, "step {k}");
    world.assert_quiet();
    completed
}

#[test]
fn cancelling_at_any_step_of_a_first_operation_gives_everything_back() {
    for step in [usize::MAX, 40] {
        let completed: Vec<bool> = (0..140)
            .map(|k| {
                let mut world = World::alone();
                world.step = step;
                let completed = cancel_at(&mut world, k);
                let counts = world.engine.census().pools[0].1;
                assert_eq!(counts.available, counts.total(), "step {k}");
                world.shut_down();
                completed
            })
            .collect();
        assert!(
            !completed[0] && completed[139],
            "the steps reach from start to end"
        );
    }
}

#[test]
fn cancelling_at_any_step_of_a_later_operation_gives_everything_back() {
    for step in [usize::MAX, 3] {
        for k in 0..160 {
            let mut world = World::alone();
            world.execute(find(0)).unwrap();
            world.step = step;
            cancel_at(&mut world, k);
            world.shut_down();
        }
    }
}

#[test]
fn cancelling_one_of_a_queue_leaves_the_order_of_the_others() {
    let mut world = World::new(&[], |options| options.max_pool_size = Some(1));
    world.execute(find(0)).unwrap();
    let ops: Vec<_> = (1..5).map(|n| world.submit(find(n))).collect();
    let waiting = |world: &World| world.engine.census().pools[0].1.waiting;
    assert_eq!(waiting(&world), 3);
    world.engine.cancel(ops[1], world.now);
    assert_eq!(waiting(&world), 2, "it has left the queue at once");
    world.settle();
    assert!(!world.done.contains_key(&ops[1]));
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
    assert_eq!(order, [0, 1, 3, 4]);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_result_that_was_not_taken_is_cancelled_too() {
    let mut world = World::alone();
    world.execute(find(0)).unwrap();
    let op = world.submit(find(1));
    // Everything but the taking of outputs.
    while world.engine.census().ops > 0 {
        world.act();
    }
    world.engine.cancel(op, world.now);
    world.settle();
    assert!(!world.done.contains_key(&op));
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_cancelled_reply_is_drained_for_a_second_at_most() {
    let mut world = World::alone();
    world.execute(find(0)).unwrap();
    world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Silence));
    let op = world.submit(find(1));
    world.settle();
    world.engine.cancel(op, world.now);
    let counts = |world: &World| world.engine.census().pools[0].1;
    assert_eq!(counts(&world).draining, 1);
    world.pass(Duration::from_millis(900));
    assert_eq!(counts(&world).draining, 1);
    world.pass(Duration::from_millis(200));
    assert_eq!(counts(&world).total(), 0, "it was closed");
    world.shut_down();
}

#[test]
fn a_cancelled_write_makes_its_session_unusable() {
    let mut world = World::new(&["a.test:27017"], |_| {});
    world.execute(insert(0)).unwrap();
    world.set_rule(|seen| (seen.name() == "insert").then_some(Answer::Silence));
    let op = world.submit(insert(1));
    world.settle();
    world.engine.cancel(op, world.now);
    world.rule = None;
    world.execute(insert(2)).unwrap();
    let lsid = |n: usize| world.seen("insert")[n].command.get("lsid").cloned();
    assert_eq!(lsid(0), lsid(1));
    assert_ne!(lsid(1), lsid(2));
    world.shut_down();
}

#[test]
fn the_cursor_of_a_cancelled_get_more_is_killed_on_its_server() {
    let mut world = World::alone();
    world.set_rule(|seen| match seen.name() {
        "find" => Some(Answer::Reply(doc! {
            "cursor": { "firstBatch": [], "id": 7_i64, "ns": "db.c" }, "ok": 1,
        })),
        "getMore" => Some(Answer::Silence),
        _ => None,
    });
    let session = world.engine.implicit_session();
    let command = super::Command::new(find(1)).with_session(session);
    let op = world.engine.submit(command, world.now);
    let executed = world.wait(op).unwrap();
    let mut cursor = CursorMachine::from_reply(executed.reply, CursorSpec::default()).unwrap();
    let mut more = cursor.get_more();
    more.target = Target::Server(executed.server);
    let op = world
        .engine
        .submit(super::Command::new(more).with_session(session), world.now);
    world.settle();
    world.engine.cancel(op, world.now);
    let mut kill = cursor.kill().expect("an open cursor");
    kill.target = Target::Server(executed.server);
    let kill = super::Command::new(kill).with_session(session);
    world.engine.kill_cursor(kill, world.now);
    world.pass(Duration::from_secs(2));
    let killed = world.seen("killCursors");
    assert_eq!(killed.len(), 1);
    assert_eq!(killed[0].command.get_array("cursors").unwrap().len(), 1);
    assert_eq!(world.engine.census().sessions_open, 0);
    world.assert_quiet();
    world.shut_down();
}
