use bson::{Document, doc};

use super::*;
use crate::Seeded;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A set and its clock.
struct World {
    set: SimReplicaSet,
    now: Instant,
    next: i32,
}

fn message(id: i32, command: &Document) -> Vec<u8> {
    let body = command.to_vec().unwrap();
    let length = i32::try_from(21 + body.len()).unwrap();
    let mut out = Vec::new();
    for field in [length, id, 0, 2013, 0] {
        out.extend(field.to_le_bytes());
    }
    out.push(0);
    out.extend(body);
    out
}

fn address(server: usize) -> String {
    format!("m{server}.test:27017")
}

impl World {
    fn new(members: usize) -> Self {
        Self::seeded(members, 7)
    }

    fn seeded(members: usize, seed: u64) -> Self {
        let addresses = (0..members).map(address);
        Self::of(SetConfig::new("rs", addresses), seed)
    }

    fn of(config: SetConfig, seed: u64) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut set = SimReplicaSet::new(config, Box::new(Seeded::new(seed)), now);
        for member in 0..set.len() {
            assert!(set.accept(member, member as u64, now));
        }
        let mut this = Self { set, now, next: 0 };
        this.pass(100 * MS);
        this
    }

    /// Lets time pass, with every wake-up at its time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.set.poll_timeout().filter(|due| *due <= end) {
            assert!(due > self.now, "a wake-up that is not served");
            self.now = due;
            self.set.handle_timeout(due);
        }
        self.now = end;
    }

    fn send(&mut self, member: usize, command: Document) {
        let mut command = command;
        if !command.contains_key("$db") {
            command.insert("$db", "db");
        }
        self.next += 1;
        let bytes = message(self.next, &command);
        self.set.receive(member as u64, &bytes, self.now);
    }

    fn reply(&mut self, member: usize) -> Option<Document> {
        while let Some(output) = self.set.poll_output() {
            if let Output::Bytes(connection, bytes) = output
                && connection == member as u64
            {
                return Some(Document::from_reader(&bytes[21..]).unwrap());
            }
        }
        None
    }

    fn ask(&mut self, member: usize, command: Document) -> Document {
        self.send(member, command.clone());
        for _ in 0..1_000 {
            if let Some(reply) = self.reply(member) {
                return reply;
            }
            self.pass(MS);
        }
        panic!("no reply to {command}");
    }

    fn reconnect(&mut self, member: usize) {
        self.set.hang_up(member as u64, self.now);
        assert!(self.set.accept(member, member as u64, self.now));
    }

    fn ids(&self, member: usize) -> Vec<i32> {
        let documents = self.set.member(member).documents("db", "c");
        documents
            .iter()
            .map(|d| d.get_i32("_id").unwrap())
            .collect()
    }
}

fn insert(id: i32, w: impl Into<bson::Bson>) -> Document {
    doc! { "insert": "c", "documents": [{ "_id": id }], "writeConcern": { "w": w, "wtimeout": 50 } }
}

fn retryable(id: i32, number: i64, w: impl Into<bson::Bson>) -> Document {
    let session = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![9; 16],
    };
    let mut command = insert(id, w);
    command.insert("lsid", doc! { "id": session });
    command.insert("txnNumber", number);
    command
}

#[test]
fn writes_reach_every_member_after_its_lag() {
    let mut world = World::new(3);
    world.set.set_lag(2, 40 * MS, world.now);
    world.send(0, insert(1, 3));
    world.pass(39 * MS);
    assert_eq!((world.ids(1), world.ids(2)), (vec![1], vec![]));
    assert_eq!(world.reply(0), None, "w: 3 waits for the third member");
    world.pass(MS);
    let reply = world.reply(0).unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 1);
    assert!(!reply.contains_key("writeConcernError"), "{reply}");
    assert_eq!(world.ids(2), [1]);
}

#[test]
fn a_write_concern_that_takes_too_long_says_so_and_stays_written() {
    let mut world = World::new(3);
    world.set.set_lag(1, SECOND, world.now);
    world.set.set_lag(2, SECOND, world.now);
    let reply = world.ask(0, insert(1, "majority"));
    let error = reply.get_document("writeConcernError").unwrap();
    assert_eq!(error.get_i32("code").unwrap(), 64);
    assert_eq!(world.ids(0), [1]);
    let reply = world.ask(0, insert(2, 9));
    let error = reply.get_document("writeConcernError").unwrap();
    assert_eq!(error.get_i32("code").unwrap(), 100);
}

#[test]
fn a_secondary_refuses_writes_and_reads_for_the_primary() {
    let mut world = World::new(3);
    let write = world.ask(1, insert(1, 1));
    assert_eq!(write.get_i32("code").unwrap(), 10107);
    assert!(write.contains_key("topologyVersion"));
    let read = world.ask(1, doc! { "find": "c" });
    assert_eq!(read.get_i32("code").unwrap(), 13435);
    let read = world.ask(
        1,
        doc! { "find": "c", "$readPreference": { "mode": "secondary" } },
    );
    assert_eq!(read.get_f64("ok").unwrap(), 1.0);
}

#[test]
fn a_step_down_elects_another_and_tells_who_waits() {
    let mut world = World::new(3);
    let hello = world.ask(1, doc! { "hello": 1 });
    let version = hello.get_document("topologyVersion").unwrap().clone();
    world.send(
        1,
        doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 60_000 },
    );
    assert_eq!(world.reply(1), None);
    let reply = world.ask(0, doc! { "replSetStepDown": 30, "$db": "admin" });
    assert_eq!(reply.get_f64("ok").unwrap(), 1.0, "{reply}");
    assert_eq!(world.set.primary(), None);
    world.pass(50 * MS);
    let primary = world.set.primary().unwrap();
    assert_ne!(primary, 0, "who stepped down is frozen");
    let news = world.reply(1).expect("news of the step-down");
    assert_eq!(
        news.get_bool("isWritablePrimary").unwrap(),
        primary == 1 && news.contains_key("electionId")
    );
    let hello = world.ask(primary, doc! { "hello": 1 });
    let id = hello.get_object_id("electionId").unwrap().to_hex();
    assert_eq!(id, "7fffffff0000000000000002");
}

#[test]
fn who_steps_down_is_not_elected_before_its_period_is_over() {
    for seed in 0..10 {
        let mut world = World::seeded(3, seed);
        world.ask(0, doc! { "replSetStepDown": 30, "$db": "admin" });
        world.pass(50 * MS);
        assert!(world.set.primary().is_some_and(|p| p != 0), "{seed}");
    }
}

#[test]
fn a_member_that_lacks_what_a_majority_has_is_not_elected() {
    for seed in 0..10 {
        let mut world = World::seeded(3, seed);
        world.set.set_lag(2, 1_000 * SECOND, world.now);
        world.ask(0, insert(1, "majority"));
        world.set.kill(0, world.now);
        world.pass(12 * SECOND);
        assert_eq!(world.set.primary(), Some(1), "{seed}");
    }
}

#[test]
fn entries_of_an_older_term_are_committed_with_one_of_the_new_term() {
    let mut checked = 0;
    for seed in 0..20 {
        let mut world = World::seeded(5, seed);
        for member in 2..5 {
            world.set.set_lag(member, 1_000 * SECOND, world.now);
        }
        world.ask(0, insert(1, 2));
        world.set.kill(0, world.now);
        while world.set.primary().is_none() {
            let due = world.set.poll_timeout().unwrap();
            world.pass(due - world.now);
        }
        // The other candidates do not have the entry.
        if world.set.primary() != Some(1) {
            continue;
        }
        checked += 1;
        for member in 2..5 {
            world.set.set_lag(member, SECOND, world.now);
        }
        assert_eq!(world.ids(3), [1], "the old entry is there at once");
        let read = doc! { "find": "c", "readConcern": { "level": "majority" } };
        let seen = |reply: Document| {
            let cursor = reply.get_document("cursor").unwrap();
            cursor.get_array("firstBatch").unwrap().len()
        };
        assert_eq!(seen(world.ask(1, read.clone())), 0, "{seed}");
        world.pass(SECOND);
        assert_eq!(seen(world.ask(1, read)), 1, "{seed}");
    }
    assert!(checked > 0);
}

#[test]
fn a_majority_read_after_a_time_waits_until_a_majority_has_it() {
    let mut world = World::new(3);
    for member in 1..3 {
        world.set.set_lag(member, 1_000 * SECOND, world.now);
    }
    let written = world.ask(0, insert(1, 1));
    let time = written.get_timestamp("operationTime").unwrap();
    let concern = doc! { "level": "majority", "afterClusterTime": time };
    world.send(0, doc! { "find": "c", "readConcern": concern });
    world.pass(SECOND);
    assert_eq!(world.reply(0), None);
    world.set.set_lag(1, MS, world.now);
    world.pass(2 * MS);
    let reply = world.reply(0).unwrap();
    let cursor = reply.get_document("cursor").unwrap();
    assert_eq!(cursor.get_array("firstBatch").unwrap().len(), 1);
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_secondary() {
    let mut world = World::new(3);
    world.ask(0, insert(1, "majority"));
    world.set.kill(0, world.now);
    assert!(!world.set.accept(0, 77, world.now));
    world.pass(9 * SECOND);
    assert_eq!(world.set.primary(), None);
    world.pass(3 * SECOND);
    let primary = world.set.primary().unwrap();
    world.ask(primary, insert(2, "majority"));
    world.set.restart(0, world.now);
    world.pass(10 * MS);
    assert_eq!(world.ids(0), [1, 2]);
    assert_eq!(world.set.rolled_back(), 0);
}

#[test]
fn a_stale_primary_rolls_back_what_no_majority_had() {
    let mut world = World::new(3);
    world.ask(0, insert(1, "majority"));
    world.set.partition(&[&[1, 2]], world.now);
    let reply = world.ask(0, retryable(2, 1, 1));
    assert_eq!(
        reply.get_i32("n").unwrap(),
        1,
        "the stale primary takes writes"
    );
    world.pass(9 * SECOND);
    assert_eq!(world.set.primaries(), [0]);
    world.pass(3 * SECOND);
    let primary = world.set.primary().unwrap();
    assert_ne!(primary, 0);
    world.ask(primary, insert(3, "majority"));
    world.set.heal(world.now);
    world.pass(10 * MS);
    for member in 0..3 {
        assert_eq!(world.ids(member), [1, 3], "{member}");
    }
    assert_eq!(world.set.rolled_back(), 1);
    let again = world.ask(primary, retryable(2, 1, "majority"));
    assert!(
        !again.contains_key("retriedStmtIds"),
        "its record was rolled back: {again}"
    );
    assert_eq!(world.ids(primary), [1, 3, 2]);
}

#[test]
fn a_majority_read_does_not_see_what_may_be_rolled_back() {
    let mut world = World::new(3);
    world.ask(0, insert(1, "majority"));
    world.set.partition(&[&[1, 2]], world.now);
    world.ask(0, insert(2, 1));
    let ids = |reply: Document| {
        let cursor = reply.get_document("cursor").unwrap();
        cursor.get_array("firstBatch").unwrap().len()
    };
    let local = world.ask(0, doc! { "find": "c" });
    assert_eq!(ids(local), 2);
    let majority = world.ask(
        0,
        doc! { "find": "c", "readConcern": { "level": "majority" } },
    );
    assert_eq!(ids(majority), 1);
}

#[test]
fn a_retried_write_is_carried_out_once_also_by_the_next_primary() {
    let mut world = World::new(3);
    world.ask(0, retryable(1, 1, "majority"));
    let again = world.ask(0, retryable(1, 1, "majority"));
    assert_eq!(again.get_array("retriedStmtIds").unwrap().len(), 1);
    world.ask(0, doc! { "replSetStepDown": 30, "$db": "admin" });
    world.pass(50 * MS);
    let primary = world.set.primary().unwrap();
    let again = world.ask(primary, retryable(1, 1, "majority"));
    assert_eq!(again.get_i32("n").unwrap(), 1);
    assert_eq!(again.get_array("retriedStmtIds").unwrap().len(), 1);
    let old = world.ask(primary, retryable(2, 0, 1));
    assert_eq!(old.get_i32("code").unwrap(), 225);
}

#[test]
fn a_write_that_waits_for_its_concern_learns_of_the_step_down() {
    let mut world = World::new(3);
    world.set.set_lag(1, 100 * SECOND, world.now);
    world.set.set_lag(2, 100 * SECOND, world.now);
    let mut command = retryable(1, 1, "majority");
    command.insert("writeConcern", doc! { "w": "majority" });
    world.send(0, command);
    assert_eq!(world.reply(0), None);
    world.set.accept(0, 50, world.now);
    let order = doc! { "replSetStepDown": 30, "force": true, "$db": "admin" };
    world.set.receive(50, &message(1, &order), world.now);
    let reply = world.reply(0).unwrap();
    let error = reply.get_document("writeConcernError").unwrap();
    assert_eq!(error.get_i32("code").unwrap(), 189);
    assert_eq!(reply.get_array("errorLabels").unwrap().len(), 1, "{reply}");
}

#[test]
fn a_causal_read_waits_on_a_secondary_until_it_has_the_write() {
    let mut world = World::new(3);
    world.set.set_lag(1, 30 * MS, world.now);
    let written = world.ask(0, insert(1, 1));
    let time = written.get_timestamp("operationTime").unwrap();
    let read = doc! {
        "find": "c", "$readPreference": { "mode": "secondary" },
        "readConcern": { "afterClusterTime": time },
    };
    world.send(1, read);
    assert_eq!(world.reply(1), None);
    world.pass(30 * MS);
    let reply = world.reply(1).unwrap();
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    assert_eq!(batch.len(), 1);
}

#[test]
fn two_runs_with_one_seed_are_the_same() {
    let run = || {
        let mut world = World::new(3);
        world.ask(0, insert(1, "majority"));
        world.set.kill(0, world.now);
        world.pass(30 * SECOND);
        let primary = world.set.primary().unwrap();
        let hello = world.ask(primary, doc! { "hello": 1 });
        (primary, format!("{hello}"), world.now)
    };
    assert_eq!(run(), run());
}

#[test]
fn the_reconnected_client_of_a_restarted_member_sees_a_new_process() {
    let mut world = World::new(3);
    let process = |reply: &Document| {
        let version = reply.get_document("topologyVersion").unwrap();
        version.get_object_id("processId").unwrap()
    };
    let before = world.ask(1, doc! { "hello": 1 });
    world.set.kill(1, world.now);
    world.set.restart(1, world.now);
    world.reconnect(1);
    let after = world.ask(1, doc! { "hello": 1 });
    assert_ne!(process(&before), process(&after));
}

#[path = "members_tests.rs"]
mod members;

#[test]
fn a_stale_primary_ends_when_it_hears_of_a_later_term_whose_primary_is_gone() {
    let mut world = World::new(3);
    world.set.set_stubborn(0, true, world.now);
    world.set.partition(&[&[1, 2]], world.now);
    world.pass(15 * SECOND);
    let newer = world.set.primary().unwrap();
    assert_eq!(world.set.primaries().len(), 2);
    world.set.kill(newer, world.now);
    world.set.set_stubborn(0, false, world.now);
    world.set.heal(world.now);
    world.pass(10 * MS);
    assert_eq!(world.set.primaries(), [0; 0]);
    world.pass(15 * SECOND);
    assert_eq!(world.set.primaries().len(), 1);
}
