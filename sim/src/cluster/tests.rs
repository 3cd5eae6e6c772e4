use bson::{Document, doc};

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A cluster and its clock; client `n` is connected to router `n`.
struct World {
    cluster: SimCluster,
    now: Instant,
    next: i32,
}

impl World {
    fn new(routers: usize) -> Self {
        let set = SetConfig::new("rs", (0..3).map(|n| format!("m{n}.test:27017")));
        let routers = (0..routers).map(|n| format!("r{n}.test:27017"));
        let config = ClusterConfig::new(routers, set);
        let now = Instant::from_nanos(1_000_000_000);
        let mut cluster = SimCluster::new(config, Box::new(Seeded::new(5)), now);
        for router in 0..cluster.routers() {
            assert!(cluster.accept(router, router as u64 + 1, now));
        }
        let mut this = Self {
            cluster,
            now,
            next: 0,
        };
        this.pass(100 * MS);
        this
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.cluster.poll_timeout().filter(|due| *due <= end) {
            assert!(due > self.now, "a wake-up that is not served");
            self.now = due;
            self.cluster.handle_timeout(due);
        }
        self.now = end;
    }

    fn send(&mut self, router: usize, mut command: Document) {
        if !command.contains_key("$db") {
            command.insert("$db", "db");
        }
        self.next += 1;
        let bytes = crate::wire::request(self.next, &command);
        self.cluster.receive(router as u64 + 1, &bytes, self.now);
    }

    fn reply(&mut self, router: usize) -> Option<Document> {
        while let Some(output) = self.cluster.poll_output() {
            if let Output::Bytes(connection, bytes) = output
                && connection == router as u64 + 1
            {
                return crate::wire::parse_reply(&bytes).map(|(_, reply)| reply);
            }
        }
        None
    }

    fn ask(&mut self, router: usize, command: Document) -> Document {
        self.send(router, command.clone());
        for _ in 0..40_000 {
            if let Some(reply) = self.reply(router) {
                return reply;
            }
            self.pass(MS);
        }
        panic!("no reply to {command}");
    }
}

fn insert(id: i32, number: Option<i64>) -> Document {
    let session = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![9; 16],
    };
    let mut command =
        doc! { "insert": "c", "documents": [{ "_id": id }], "lsid": { "id": session } };
    if let Some(number) = number {
        command.insert("txnNumber", number);
    }
    command
}

#[test]
fn a_router_says_what_it_is() {
    let mut world = World::new(1);
    let hello = world.ask(0, doc! { "hello": 1, "$db": "admin" });
    assert_eq!(hello.get_str("msg").ok(), Some("isdbgrid"));
    assert_eq!(hello.get_bool("isWritablePrimary").ok(), Some(true));
    assert!(!hello.contains_key("setName") && !hello.contains_key("hosts"));
    let reply = world.ask(0, insert(1, None));
    assert_eq!(reply.get_i32("n").ok(), Some(1));
    assert!(reply.contains_key("operationTime") && !reply.contains_key("electionId"));
}

#[test]
fn a_cursor_is_known_to_its_router_alone() {
    let mut world = World::new(2);
    let documents: Vec<Document> = (0..5).map(|id| doc! { "_id": id }).collect();
    world.ask(0, doc! { "insert": "c", "documents": documents });
    let first = world.ask(0, doc! { "find": "c", "batchSize": 2 });
    let id = first.get_document("cursor").unwrap().get_i64("id").unwrap();
    let more = doc! { "getMore": id, "collection": "c", "batchSize": 2 };
    let other = world.ask(1, more.clone());
    assert_eq!(other.get_i32("code").ok(), Some(43), "{other}");
    let next = world.ask(0, more.clone());
    let cursor = next.get_document("cursor").unwrap();
    assert_eq!(cursor.get_i64("id").ok(), Some(id));
    assert_eq!(cursor.get_array("nextBatch").unwrap().len(), 2);
    let killed = world.ask(0, doc! { "killCursors": "c", "cursors": [id] });
    assert_eq!(killed.get_array("cursorsKilled").unwrap().len(), 1);
    assert_eq!(world.ask(0, more).get_i32("code").ok(), Some(43));
}

#[test]
fn a_retryable_write_waits_for_the_next_primary_and_is_done_once() {
    let mut world = World::new(1);
    let now = world.now;
    world.send(0, insert(1, Some(1)));
    world.cluster.set_mut(now).kill(0, now);
    let reply = (0..30_000).find_map(|_| {
        world.pass(MS);
        world.reply(0)
    });
    assert_eq!(reply.unwrap().get_f64("ok").ok(), Some(1.0));
    let primary = world.cluster.set().primary().unwrap();
    let found = world.cluster.set().member(primary).documents("db", "c");
    assert_eq!(found.len(), 1);
}

#[test]
fn other_writes_are_not_repeated_and_nothing_waits_for_ever() {
    let mut world = World::new(1);
    let now = world.now;
    world.send(0, insert(1, None));
    world.cluster.set_mut(now).kill(0, now);
    let lost = world.reply(0).unwrap();
    assert_eq!(lost.get_str("codeName").ok(), Some("HostUnreachable"));
    assert!(!lost.contains_key("errorLabels"));
    let now = world.now;
    world.cluster.set_mut(now).kill(1, now);
    let before = world.now;
    let refused = world.ask(0, insert(2, Some(1)));
    assert_eq!(refused.get_i32("code").ok(), Some(133), "{refused}");
    assert!(world.now + MS >= before + 20 * SECOND);
}

#[test]
fn reads_go_where_their_preference_says() {
    let mut world = World::new(1);
    world.ask(0, insert(1, None));
    world.pass(SECOND);
    let now = world.now;
    world.cluster.set_mut(now).member_mut(0).set_hook(|seen| {
        let find = seen.command.contains_key("find");
        find.then(|| crate::Scene::Reply(doc! { "ok": 1.0, "primary": true }, Duration::ZERO))
    });
    for (mode, expected) in [
        ("secondary", false),
        ("primary", true),
        ("secondaryPreferred", false),
    ] {
        let find = doc! { "find": "c", "$readPreference": { "mode": mode } };
        assert_eq!(
            world.ask(0, find).contains_key("primary"),
            expected,
            "{mode}"
        );
    }
}

#[test]
fn a_router_that_dies_takes_its_connections_with_it() {
    let mut world = World::new(2);
    let now = world.now;
    world.send(0, insert(1, Some(1)));
    world.cluster.kill_router(0, now);
    let outputs: Vec<Output> = std::iter::from_fn(|| world.cluster.poll_output()).collect();
    assert_eq!(outputs, [Output::Reset(1)]);
    assert!(!world.cluster.listens(0) && world.cluster.listens(1));
    let again = world.ask(1, insert(1, Some(1)));
    assert_eq!(again.get_i32("n").ok(), Some(1));
    world.cluster.restart_router(0, now);
    assert!(world.cluster.accept(0, 9, now));
}
