//! Anything at any time: whatever happened, a healthy deployment is used again, and nothing is left.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bson::doc;

use super::{
    SET,
    world::{Answer, World, find, found, insert, message, not_primary},
};
use crate::{
    conn::IoFault,
    engine::{Command, Input, OpId, SocketId},
    rng::Rng,
};

/// What a server in a bad mood answers.
fn mood(rng: &mut Rng, gently: bool) -> Option<Answer> {
    match rng.below(if gently { 8 } else { 30 }) {
        0 => Some(Answer::Silence),
        1 => Some(Answer::Hangup),
        2 => Some(not_primary()),
        3 => Some(Answer::Reply(
            doc! { "ok": 0.0, "code": 11600, "errmsg": "going down" },
        )),
        4 => {
            let bytes: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            Some(Answer::Bytes(bytes))
        }
        5 => Some(Answer::Bytes(message(
            1,
            rng.below(100) as i32,
            rng.below(4) as u32,
            &doc! {},
        ))),
        6 => Some(Answer::Reply(doc! {
            "ok": 0.0, "code": 462, "errmsg": "busy",
            "errorLabels": ["SystemOverloadedError", "RetryableError"],
        })),
        _ => None,
    }
}

fn world(rng: &mut Rng) -> World {
    let (size, min) = (1 + rng.below(3) as u32, rng.below(2) as u32);
    let mut world = World::new(&SET, |options| {
        options.max_pool_size = Some(size);
        options.min_pool_size = Some(min);
        options.connect_timeout = Some(Duration::from_secs(2));
        options.socket_timeout = Some(Duration::from_secs(3));
        options.wait_queue_timeout = Some(Duration::from_secs(2));
        options.heartbeat_freq = Some(Duration::from_secs(1));
    });
    world.step = [1, 3, 50, usize::MAX][rng.below(4)];
    world
}

/// One thing that happens; `ops` are those not known to be over.
fn happen(world: &mut World, rng: &mut Rng, ops: &mut Vec<OpId>) {
    match rng.below(16) {
        0 | 1 => ops.push(world.submit(find(1))),
        2 => ops.push(world.submit(insert(1))),
        3 => {
            let deadline = world.now + Duration::from_millis(rng.below(3_000) as u64);
            let command = Command::new(find(1)).with_deadline(deadline);
            ops.push(world.engine.submit(command, world.now));
        }
        4 if !ops.is_empty() => {
            let op = ops.swap_remove(rng.below(ops.len()));
            world.engine.cancel(op, world.now);
        }
        5 => world.break_connections(SET[rng.below(2)]),
        6 => {
            let address = SET[rng.below(2)].to_owned();
            match rng.below(3) {
                0 => world.down.push(address),
                1 => world.stuck.push(address),
                _ => {
                    world.down.clear();
                    world.stuck.clear();
                }
            }
        }
        7 => world.primary = SET[rng.below(2)].to_owned(),
        8 => {
            let conn = SocketId(rng.below(40) as u64);
            let now = world.now;
            match rng.below(4) {
                0 => world.engine.handle(
                    Input::Read {
                        conn,
                        bytes: b"nonsense",
                    },
                    now,
                ),
                1 => world.engine.handle(Input::Eof { conn }, now),
                2 => world.engine.handle(Input::Written { conn, n: 1_000 }, now),
                _ => {
                    let fault = IoFault::TimedOut;
                    world.engine.handle(Input::Fault { conn, fault }, now);
                }
            }
        }
        9 => world.pass(Duration::from_millis(rng.below(1_500) as u64)),
        _ => {
            for _ in 0..rng.below(20) {
                world.act();
            }
        }
    }
}

fn storm(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut world = world(&mut rng);
    let moods = Rc::new(RefCell::new(Rng::from_seed(seed ^ 0xabcd)));
    let gently = rng.below(2) == 0;
    world.set_rule(move |_| mood(&mut moods.borrow_mut(), gently));
    let mut ops = Vec::new();
    for _ in 0..120 {
        happen(&mut world, &mut rng, &mut ops);
    }
    world.rule = None;
    world.down.clear();
    world.stuck.clear();
    // Connections whose bytes were disturbed are of no use to their servers either.
    world.break_connections(SET[0]);
    world.break_connections(SET[1]);
    world.pass(Duration::from_secs(40));
    for op in &ops {
        assert!(
            world.done.contains_key(op),
            "seed {seed}: {op} did not complete"
        );
    }
    world.assert_quiet();
    for id in 0..3 {
        assert_eq!(found(&world.execute(find(id)).unwrap()), id, "seed {seed}");
    }
    world.shut_down();
}

#[test]
fn storms_leave_nothing_behind() {
    (0..30).for_each(storm);
}
