//! Drains: what becomes of a connection whose operation was dropped while its reply was pending.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bson::{Bson, Document, doc};
use futures_util::future::{join, join_all};
use mongo_client::{
    Client, Collection,
    error::Result,
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    options::{ReadPreference, WriteConcern},
};
use mongo_client_sim::{Scripted, member_reply};
use mongo_client_tests::sim::{ADDRESS, Seen, Servers, assert_quiet, drop_after, find_reply, pool};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;
/// The token of the find that is dropped.
const VICTIM: i32 = 0;

/// A client, and what its listeners heard.
struct Heard {
    client: Client,
    things: Collection<Document>,
    cmap: Arc<Mutex<Vec<CmapEvent>>>,
    sdam: Arc<Mutex<Vec<SdamEvent>>>,
}

impl Heard {
    /// A client with a pool of so many connections.
    fn new(servers: &Servers, max_pool_size: u32) -> Self {
        let (cmap, sdam) = (Arc::default(), Arc::default());
        let client = servers.client(|o| {
            o.max_pool_size = Some(max_pool_size);
            o.cmap_event_handler = Some(recorder(&cmap));
            o.sdam_event_handler = Some(recorder(&sdam));
        });
        let things = client.database("db").collection("c");
        Self {
            client,
            things,
            cmap,
            sdam,
        }
    }

    async fn find(&self, token: i32) -> Result<Option<Document>> {
        self.things.find_one(doc! { "_id": token }).await
    }

    /// A find that must succeed, with its own answer.
    async fn find_ok(&self, token: i32) {
        let found = self.find(token).await.unwrap();
        assert_eq!(found, Some(doc! { "_id": token }), "another's reply");
    }

    /// Drops the victim while its reply is pending.
    async fn drop_victim(&self, servers: &Servers) {
        let dropped = drop_after(&servers.sim, self.find(VICTIM), 10 * MS).await;
        assert!(dropped.is_none());
    }

    /// The reasons for which connections were closed.
    fn closed(&self) -> Vec<ConnectionClosedReason> {
        let events = self.cmap.lock().unwrap();
        let closed = events.iter().filter_map(|event| match event {
            CmapEvent::ConnectionClosed(event) => Some(event.reason),
            _ => None,
        });
        closed.collect()
    }

    fn cleared(&self) -> usize {
        let events = self.cmap.lock().unwrap();
        let cleared = |event: &&CmapEvent| matches!(event, CmapEvent::PoolCleared(_));
        events.iter().filter(cleared).count()
    }

    fn quiet(&self) {
        assert_quiet(&self.client.handle().census());
    }
}

fn recorder<T: Send + 'static>(log: &Arc<Mutex<Vec<T>>>) -> EventHandler<T> {
    let log = Arc::clone(log);
    EventHandler::callback(move |event| log.lock().unwrap().push(event))
}

fn is_victim(seen: &Seen) -> bool {
    seen.name() == "find" && seen.token() == Some(&Bson::Int32(VICTIM))
}

/// Answers the victim in another way than the other finds.
fn answer_victim(servers: &Servers, answer: impl Fn(&Seen) -> Scripted + Send + 'static) {
    servers.set_rule(move |seen| is_victim(seen).then(|| answer(seen)));
}

/// Answers the victim after a time.
fn delay_victim(servers: &Servers, time: Duration) {
    answer_victim(servers, move |seen| {
        Scripted::Later(find_reply(seen, 0), time)
    });
}

/// The victim's reply, in a message so long.
fn long_reply(seen: &Seen, len: usize) -> Document {
    let mut reply = find_reply(seen, 0);
    reply.insert("pad", "");
    // The header, flags, the kind of section, and the document.
    let bare = 16 + 4 + 1 + bson::serialize_to_vec(&reply).unwrap().len();
    reply.insert("pad", "x".repeat(len - bare));
    reply
}

#[test]
fn a_reply_within_a_second_keeps_the_connection() {
    let servers = Servers::standalone(1);
    let heard = Heard::new(&servers, 1);
    delay_victim(&servers, 990 * MS);
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        let start = servers.sim.now();
        heard.find_ok(2).await;
        assert!(servers.sim.now() - start > 970 * MS, "before the reply");
    });
    assert_eq!(heard.closed(), []);
    heard.quiet();
}

#[test]
fn a_reply_after_a_second_closes_the_connection_at_that_second() {
    let servers = Servers::standalone(2);
    let heard = Heard::new(&servers, 1);
    delay_victim(&servers, 1_050 * MS);
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        let start = servers.sim.now();
        heard.find_ok(2).await;
        let took = servers.sim.now() - start;
        assert!((SECOND..1_030 * MS).contains(&took), "{took:?}");
    });
    assert_eq!(heard.closed(), [ConnectionClosedReason::Dropped]);
    heard.quiet();
}

#[test]
fn a_reply_of_a_mebibyte_is_read_to_its_end() {
    let servers = Servers::standalone(3);
    let heard = Heard::new(&servers, 1);
    answer_victim(&servers, |seen| {
        Scripted::Later(long_reply(seen, MIB), 100 * MS)
    });
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        heard.find_ok(2).await;
    });
    assert_eq!(heard.closed(), []);
    heard.quiet();
}

#[test]
fn a_reply_of_more_than_a_mebibyte_closes_the_connection_at_its_header() {
    let servers = Servers::standalone(4);
    let heard = Heard::new(&servers, 1);
    answer_victim(&servers, |seen| {
        Scripted::Later(long_reply(seen, MIB + 1), 100 * MS)
    });
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        let start = servers.sim.now();
        heard.find_ok(2).await;
        assert!(servers.sim.now() - start < 150 * MS);
    });
    assert_eq!(heard.closed(), [ConnectionClosedReason::Dropped]);
    heard.quiet();
}

#[test]
fn a_half_read_reply_of_more_than_a_mebibyte_closes_the_connection_at_once() {
    let servers = Servers::standalone(5);
    servers.sim.set_chunk(ADDRESS, 64 * 1024);
    servers.sim.set_pause(ADDRESS, 5 * MS);
    let heard = Heard::new(&servers, 1);
    answer_victim(&servers, |seen| Scripted::Reply(long_reply(seen, MIB + 1)));
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        servers.sim.sleep(100 * MS).await;
        heard.drop_victim(&servers).await;
        assert_eq!(pool(&heard.client).total(), 0);
        heard.find_ok(2).await;
    });
    assert_eq!(heard.closed(), [ConnectionClosedReason::Dropped]);
    heard.quiet();
}

#[test]
fn a_half_read_reply_is_read_to_its_end() {
    let servers = Servers::standalone(6);
    servers.sim.set_chunk(ADDRESS, 64 * 1024);
    servers.sim.set_pause(ADDRESS, 5 * MS);
    let heard = Heard::new(&servers, 1);
    answer_victim(&servers, |seen| Scripted::Reply(long_reply(seen, MIB)));
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        servers.sim.sleep(100 * MS).await;
        heard.drop_victim(&servers).await;
        assert_eq!(pool(&heard.client).draining, 1);
        heard.find_ok(2).await;
    });
    assert_eq!(heard.closed(), []);
    heard.quiet();
}

/// What drains counts: no more connections are opened than allowed, and waiters are served in
/// their order as the drains end.
#[test]
fn draining_connections_count_in_the_size_of_the_pool() {
    let servers = Servers::standalone(7);
    let heard = Heard::new(&servers, 3);
    delay_victim(&servers, 500 * MS);
    servers.sim.block_on(async {
        join_all((1..4).map(|token| heard.find_ok(token))).await;
        let dials = servers.sim.stats().dials;
        join_all((0..3).map(|_| heard.drop_victim(&servers))).await;
        assert_eq!(
            (pool(&heard.client).draining, pool(&heard.client).total()),
            (3, 3)
        );
        let start = servers.sim.now();
        let look = async {
            servers.sim.sleep(100 * MS).await;
            assert_eq!(
                (pool(&heard.client).waiting, pool(&heard.client).total()),
                (6, 3)
            );
        };
        join(join_all((10..16).map(|token| heard.find_ok(token))), look).await;
        assert!(servers.sim.now() - start > 480 * MS, "before the replies");
        assert_eq!(servers.sim.stats().dials, dials);
    });
    let seen = servers.seen("find");
    let order = seen.iter().filter_map(|s| s.token()?.as_i32());
    assert!(order.filter(|token| *token >= 10).eq(10..16), "{seen:?}");
    heard.quiet();
}

#[test]
fn a_connection_that_fails_while_it_drains_is_replaced_and_nobody_hears() {
    let servers = Servers::standalone(8);
    let heard = Heard::new(&servers, 1);
    answer_victim(&servers, |_| Scripted::Reset(200 * MS));
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        let before = heard.client.topology_description().await.unwrap();
        heard.drop_victim(&servers).await;
        let start = servers.sim.now();
        heard.find_ok(2).await;
        assert!(servers.sim.now() - start < 250 * MS);
        let after = heard.client.topology_description().await.unwrap();
        assert!(Arc::ptr_eq(&before, &after));
    });
    assert_eq!(heard.closed(), [ConnectionClosedReason::Dropped]);
    assert_eq!(heard.cleared(), 0);
    heard.quiet();
}

#[test]
fn a_connection_whose_pool_is_cleared_while_it_drains_is_closed_at_the_end() {
    let servers = Servers::standalone(9);
    let heard = Heard::new(&servers, 2);
    servers.set_rule(|seen| match seen.token().and_then(Bson::as_i32) {
        Some(VICTIM) => Some(Scripted::Later(find_reply(seen, 0), 500 * MS)),
        Some(9) => Some(Scripted::Close),
        _ => None,
    });
    let raw = doc! { "ping": 1, "token": 9 };
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        let db = heard.client.database("db");
        db.run_command(raw).await.unwrap_err();
        assert_eq!(heard.cleared(), 1);
        assert_eq!(pool(&heard.client).draining, 1);
        heard.find_ok(2).await;
        servers.sim.sleep(SECOND).await;
        assert_eq!(pool(&heard.client).total(), 1);
        heard.find_ok(3).await;
    });
    let (error, stale) = (ConnectionClosedReason::Error, ConnectionClosedReason::Stale);
    assert_eq!(heard.closed(), [error, stale]);
    heard.quiet();
}

/// SDAM: a monitor's timeout interrupts the connections in use, and those that drain.
#[test]
fn a_connection_that_is_interrupted_while_it_drains_is_closed_at_once() {
    let servers = Servers::standalone(10);
    let client = servers.client(|o| {
        o.heartbeat_freq = Some(500 * MS);
        o.connect_timeout = Some(300 * MS);
    });
    let things = client.database("db").collection::<Document>("c");
    let frozen = Arc::new(AtomicBool::new(false));
    let is_frozen = Arc::clone(&frozen);
    servers.set_rule(move |seen| {
        is_frozen
            .load(Ordering::Relaxed)
            .then(|| match seen.name() {
                "find" => Scripted::Later(find_reply(seen, 0), 5 * SECOND),
                _ => Scripted::Silence,
            })
    });
    servers.sim.block_on(async {
        let find = |token: i32| {
            let things = &things;
            async move { things.find_one(doc! { "_id": token }).await }
        };
        find(1).await.unwrap();
        frozen.store(true, Ordering::Relaxed);
        servers.sim.sleep(400 * MS).await;
        assert!(
            drop_after(&servers.sim, find(VICTIM), 10 * MS)
                .await
                .is_none()
        );
        assert_eq!(pool(&client).draining, 1);
        // The check began within half a second and timed out 0.3 s later; the drain would end at
        // 1.4 s.
        servers.sim.sleep(500 * MS).await;
        assert_eq!(pool(&client).total(), 0);
        frozen.store(false, Ordering::Relaxed);
        assert_eq!(find(2).await.unwrap(), Some(doc! { "_id": 2 }));
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_connection_whose_server_is_removed_while_it_drains_is_closed() {
    const A: &str = "a.test:27017";
    const B: &str = "b.test:27018";
    let servers = Servers::replica_set(11, &[A, B]);
    let client = servers.client(|o| o.heartbeat_freq = Some(500 * MS));
    let things = client.database("db").collection::<Document>("c");
    let alone = Arc::new(AtomicBool::new(false));
    let is_alone = Arc::clone(&alone);
    servers.set_rule(move |seen| {
        if is_victim(seen) {
            return Some(Scripted::Later(find_reply(seen, 0), 900 * MS));
        }
        let alone = is_alone.load(Ordering::Relaxed) && seen.address == A;
        let hello = alone.then(|| member_reply(&seen.command, &[A], A, A));
        hello.flatten().map(Scripted::Reply)
    });
    servers.sim.block_on(async {
        let secondary = || ReadPreference::secondary(None);
        let find = |token: i32| things.find_one(doc! { "_id": token });
        find(1).selection_criteria(secondary()).await.unwrap();
        alone.store(true, Ordering::Relaxed);
        let victim = find(VICTIM).selection_criteria(secondary());
        assert!(drop_after(&servers.sim, victim, 10 * MS).await.is_none());
        servers.sim.sleep(600 * MS).await;
        let known = client.topology_description().await.unwrap();
        assert_eq!(known.servers.len(), 1);
        // Only the connection that drains is left of the server that is not.
        assert_eq!(servers.sim.open_connections(B), 1);
        servers.sim.sleep(600 * MS).await;
        assert_eq!(servers.sim.open_connections(B), 0);
        find(2).await.unwrap();
    });
    assert_quiet(&client.handle().census());
}

/// Ends a client in one way while a connection drains.
fn ended_while_draining<F: Future<Output = ()>>(seed: u64, end: impl FnOnce(Client) -> F) {
    let servers = Servers::standalone(seed);
    let heard = Heard::new(&servers, 1);
    delay_victim(&servers, 800 * MS);
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        heard.drop_victim(&servers).await;
        let Heard { client, things, .. } = heard;
        drop(things);
        end(client).await;
    });
    servers.pass(4 * SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
}

#[test]
fn a_client_that_is_shut_down_ends_its_drains() {
    ended_while_draining(12, |client| async { client.shutdown().await });
}

#[test]
fn the_last_handle_ends_its_drains() {
    ended_while_draining(13, |client| async { drop(client) });
}

/// Every way of losing a connection by a drop, and what the listeners hear of it.
#[test]
fn the_topology_hears_nothing_of_a_cancellation() {
    let servers = Servers::standalone(14);
    servers.sim.set_chunk(ADDRESS, 64);
    servers.sim.set_pause(ADDRESS, MS);
    let heard = Heard::new(&servers, 4);
    delay_victim(&servers, 5 * SECOND);
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        servers.sim.sleep(100 * MS).await;
        heard.sdam.lock().unwrap().clear();
        let before = heard.client.topology_description().await.unwrap();
        // Partly written at first; later the reply is pending, and comes too late.
        for after in [1, 20, 50] {
            let dropped = drop_after(&servers.sim, heard.find(VICTIM), after * MS).await;
            assert!(dropped.is_none());
            servers.sim.sleep(100 * MS).await;
        }
        servers.sim.sleep(2 * SECOND).await;
        let after = heard.client.topology_description().await.unwrap();
        assert!(Arc::ptr_eq(&before, &after));
        heard.find_ok(2).await;
    });
    let dropped = ConnectionClosedReason::Dropped;
    assert_eq!(heard.closed(), [dropped; 3]);
    assert_eq!(heard.cleared(), 0);
    let heard_of = heard.sdam.lock().unwrap();
    assert!(heard_of.is_empty(), "{heard_of:?}");
    heard.quiet();
}

#[test]
fn an_unacknowledged_write_that_is_half_written_closes_the_connection() {
    let servers = Servers::standalone(15);
    servers.sim.set_chunk(ADDRESS, 64);
    servers.sim.set_pause(ADDRESS, 10 * MS);
    let heard = Heard::new(&servers, 1);
    servers.sim.block_on(async {
        heard.find_ok(1).await;
        servers.sim.sleep(100 * MS).await;
        let insert = heard.things.insert_one(doc! { "_id": 2 });
        let insert = insert.write_concern(WriteConcern::nodes(0));
        assert!(drop_after(&servers.sim, insert, 5 * MS).await.is_none());
        assert_eq!(pool(&heard.client).total(), 0);
        heard.find_ok(3).await;
        // One that is not dropped leaves its connection in order.
        let insert = heard.things.insert_one(doc! { "_id": 4 });
        insert.write_concern(WriteConcern::nodes(0)).await.unwrap();
        heard.find_ok(5).await;
    });
    let inserts = servers.seen("insert");
    assert_eq!(inserts.len(), 1);
    assert_eq!(inserts[0].token(), Some(&Bson::Int32(4)));
    assert_eq!(heard.closed(), [ConnectionClosedReason::Dropped]);
    heard.quiet();
}
