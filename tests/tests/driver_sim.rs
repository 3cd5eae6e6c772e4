//! The driver on the scripted runtime: virtual time, no sockets.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bson::{Bson, Document, doc, oid::ObjectId};
use futures_util::future::{join, join_all};
use mongo_client::{Client, Collection, error::ErrorKind};
use mongo_client_core::{
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    options::ClientOptions,
};
use mongo_client_sim::{Behaviour, Scripted, Stats, member_reply};
use mongo_client_tests::sim::{ADDRESS, Seen, Servers, assert_quiet, drop_after, find_reply, pool};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const A: &str = "a.test:27017";
const B: &str = "b.test:27018";

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("c")
}

async fn find_ok(things: &Collection<Document>, token: i32) {
    let found = things.find_one(doc! { "_id": token }).await.unwrap();
    assert_eq!(found, Some(doc! { "_id": token }), "another's reply");
}

/// Polls a future once; whether it is pending.
async fn poll_once(future: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

type Log<T> = Arc<Mutex<Vec<T>>>;

fn log_of<T: Send + 'static>() -> (Log<T>, EventHandler<T>) {
    let log = Log::default();
    let sink = Arc::clone(&log);
    let handler = EventHandler::callback(move |event| sink.lock().unwrap().push(event));
    (log, handler)
}

#[test]
fn a_command_finds_the_server_and_is_answered() {
    let servers = Servers::standalone(1);
    let client = servers.client(|_| {});
    servers.sim.block_on(find_ok(&things(&client), 1));
    assert_quiet(&client.handle().census());
}

#[test]
fn every_byte_alone_gives_the_same_answer() {
    let servers = Servers::standalone(2);
    servers.sim.set_chunk(ADDRESS, 1);
    let client = servers.client(|_| {});
    for token in 0..3 {
        servers.sim.block_on(find_ok(&things(&client), token));
    }
}

#[test]
fn an_unreachable_server_ends_in_a_selection_error_at_its_time() {
    let servers = Servers::standalone(3);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let before = servers.sim.now();
    let found = servers
        .sim
        .block_on(async { things(&client).find_one(doc! {}).await });
    let error = found.unwrap_err();
    assert!(error.is_server_selection(), "{error}");
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains(ADDRESS), "{error}");
    // Overload is a matter of pools: a refused check says nothing about it.
    assert!(!error.to_string().contains("Overloaded"), "{error}");
    assert_eq!(servers.sim.now() - before, 5 * SECOND);
}

#[test]
fn starving_selections_wait_without_spinning() {
    let servers = Servers::standalone(4);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let things = things(&client);
    let all = (0..20).map(|_| async { things.find_one(doc! {}).await });
    let results = servers.sim.block_on(join_all(all));
    assert!(results.iter().all(Result::is_err));
    // A check each 500 ms, and what it wakes.
    let stats = servers.sim.stats();
    assert!(stats.wakes < 20 * 60, "{stats:?}");
}

#[test]
fn a_starving_selection_that_is_polled_often_asks_no_more_often() {
    let servers = Servers::standalone(29);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        servers.sim.sleep(SECOND).await;
        let before = servers.sim.stats().wakes;
        let mut waiting = things.find_one(doc! {}).into_future();
        for _ in 0..100 {
            assert!(poll_once(&mut waiting).await);
            servers.sim.sleep(MS).await;
        }
        // Those of the 100 sleeps, and a few of the monitor.
        let wakes = servers.sim.stats().wakes - before;
        assert!(wakes < 110, "{wakes}");
    });
}

#[test]
fn starving_selections_do_not_restart_a_slow_dial() {
    let servers = Servers::standalone(5);
    servers.sim.set_latency(ADDRESS, 300 * MS);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        // Each of these asks for a check while the first one is under way.
        for _ in 0..20 {
            let waiting = things.find_one(doc! { "_id": 1 });
            assert!(drop_after(&servers.sim, waiting, 10 * MS).await.is_none());
        }
        servers.sim.sleep(150 * MS).await;
        assert_eq!(servers.sim.stats().dials, 1);
        let known = client.topology_description().await.unwrap();
        let known: Vec<_> = known.servers.values().map(|s| s.server_type).collect();
        assert_eq!(format!("{known:?}"), "[Standalone]");
    });
}

#[test]
fn a_starving_selection_keeps_asking_for_checks() {
    let servers = Servers::standalone(28);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        let start = servers.sim.now();
        let heal = async {
            servers.sim.sleep(2200 * MS).await;
            servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
        };
        join(find_ok(&things, 1), heal).await;
        let took = servers.sim.now() - start;
        assert!(took < 2800 * MS, "{took:?}");
    });
}

#[test]
fn an_operation_that_waits_ends_with_its_client() {
    let servers = Servers::standalone(6);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        let waiting = things.find_one(doc! {});
        let shutdown = async {
            servers.sim.sleep(100 * MS).await;
            client.clone().shutdown().await;
            servers.sim.now()
        };
        let (result, closed) = join(waiting.into_future(), shutdown).await;
        assert!(matches!(*result.unwrap_err().kind, ErrorKind::Shutdown));
        assert_eq!(servers.sim.now(), closed);
    });
}

#[test]
fn an_operation_in_the_wait_queue_ends_with_its_client() {
    let servers = Servers::standalone(7);
    let client = servers.client(|o| o.max_pool_size = Some(1));
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        servers.set_rule(|seen| {
            (seen.name() == "find").then(|| Scripted::Later(find_reply(seen, 0), SECOND))
        });
        let waiting = things.insert_one(doc! { "_id": 2 });
        let shutdown = async {
            servers.sim.sleep(100 * MS).await;
            client.clone().shutdown().await;
        };
        // What has begun may end; what waits fails at once.
        let waiting = join(waiting.into_future(), shutdown);
        let (_, (result, ())) = join(find_ok(&things, 1), waiting).await;
        let error = result.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Shutdown), "{error}");
    });
}

#[test]
fn a_client_that_was_shut_down_before_its_first_operation_stays_so() {
    let servers = Servers::standalone(8);
    let client = servers.client(|o| o.connect = Some(false));
    servers.sim.block_on(async {
        client.clone().shutdown().await;
        let error = things(&client).find_one(doc! {}).await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Shutdown), "{error}");
    });
    assert_eq!(servers.sim.stats().dials, 0);
}

#[test]
fn nothing_is_left_after_the_last_handle() {
    let servers = Servers::standalone(9);
    let client = servers.client(|_| {});
    servers.sim.block_on(find_ok(&things(&client), 1));
    drop(client);
    servers.pass(3 * SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
}

#[test]
fn dials_end_with_the_client() {
    let servers = Servers::standalone(10);
    let client = servers.client(|o| o.connect_timeout = Some(Duration::ZERO));
    let things = things(&client);
    servers.sim.block_on(async {
        servers.sim.sleep(SECOND).await;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Hang);
        let waiting = things.find_one(doc! {});
        assert!(drop_after(&servers.sim, waiting, 100 * MS).await.is_none());
        assert_eq!(pool(&client).opening, 1);
    });
    drop((client, things));
    servers.pass(3 * SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
}

#[test]
fn failed_dials_leave_nothing_behind() {
    let servers = Servers::standalone(13);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 1).await;
        for _ in 0..3 {
            servers.sim.reset_all(ADDRESS);
            servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
            let failing = things.find_one(doc! {});
            let _ = drop_after(&servers.sim, failing, SECOND).await;
            servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
            find_ok(&things, 2).await;
        }
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn idle_connections_are_closed_in_time() {
    let servers = Servers::standalone(14);
    let client = servers.client(|o| o.max_idle_time = Some(2 * SECOND));
    servers.sim.block_on(find_ok(&things(&client), 1));
    servers.pass(1900 * MS);
    assert_eq!(pool(&client).available, 1);
    servers.pass(200 * MS);
    assert_eq!(pool(&client).available, 0);
    // Only the monitor's is left.
    assert_eq!(servers.sim.open_connections(ADDRESS), 1);
}

#[test]
fn the_minimum_size_is_kept() {
    let servers = Servers::standalone(15);
    let client = servers.client(|o| {
        o.min_pool_size = Some(3);
        o.max_idle_time = Some(2 * SECOND);
    });
    for _ in 0..5 {
        servers.pass(2500 * MS);
        assert_eq!(pool(&client).total(), 3);
    }
}

#[test]
fn no_more_than_max_connecting_are_opened_at_once() {
    let servers = Servers::standalone(16);
    let client = servers.client(|o| o.max_connecting = Some(2));
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        servers.sim.set_latency(ADDRESS, 100 * MS);
        servers.set_rule(|seen| {
            (seen.name() == "find").then(|| Scripted::Later(find_reply(seen, 0), 2 * SECOND))
        });
        let all = join_all((1..10).map(|token| find_ok(&things, token)));
        let watch = async {
            let mut most = 0;
            for _ in 0..100 {
                most = most.max(pool(&client).opening);
                servers.sim.sleep(10 * MS).await;
            }
            most
        };
        assert_eq!(join(all, watch).await.1, 2);
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_checkout_fails_at_the_wait_queue_timeout() {
    let servers = Servers::standalone(17);
    let client = servers.client(|o| {
        o.max_pool_size = Some(1);
        o.wait_queue_timeout = Some(300 * MS);
    });
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        servers.set_rule(|seen| {
            (seen.name() == "find").then(|| Scripted::Later(find_reply(seen, 0), SECOND))
        });
        let start = servers.sim.now();
        let late = async {
            let error = things.find_one(doc! { "_id": 2 }).await.unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(error.to_string().contains("maxPoolSize: 1"), "{error}");
            assert_eq!(servers.sim.now() - start, 300 * MS);
        };
        join(find_ok(&things, 1), late).await;
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_reply_that_does_not_come_ends_at_the_socket_timeout() {
    let servers = Servers::standalone(18);
    let client = servers.client(|o| {
        o.socket_timeout = Some(SECOND);
        o.retry_reads = Some(false);
    });
    let things = things(&client);
    servers.set_rule(|seen| (seen.name() == "find").then_some(Scripted::Silence));
    servers.sim.block_on(async {
        let _ = client.topology_description().await;
        servers.sim.sleep(SECOND).await;
        let start = servers.sim.now();
        let error = things.find_one(doc! {}).await.unwrap_err();
        assert!(error.is_network() && error.is_timeout(), "{error}");
        // Dialling, the handshake and the time of the request itself.
        let took = servers.sim.now() - start;
        assert!(took >= SECOND && took < SECOND + 10 * MS, "{took:?}");
        servers.clear_rule();
        find_ok(&things, 1).await;
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_dial_that_hangs_ends_at_the_connect_timeout() {
    let servers = Servers::standalone(19);
    let client = servers.client(|o| {
        o.connect_timeout = Some(500 * MS);
        o.retry_reads = Some(false);
    });
    let things = things(&client);
    servers.sim.block_on(async {
        servers.sim.sleep(SECOND).await;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Hang);
        let start = servers.sim.now();
        let error = things.find_one(doc! {}).await.unwrap_err();
        assert!(error.is_network() && error.is_timeout(), "{error}");
        assert_eq!(servers.sim.now() - start, 500 * MS);
        servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
        find_ok(&things, 1).await;
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_lost_insert_is_sent_again_with_its_number_and_id() {
    let servers = Servers::replica_set(20, &[A]);
    let client = servers.client(|_| {});
    let things = things(&client);
    let mut lost = false;
    servers.set_rule(move |seen| {
        (seen.name() == "insert" && !std::mem::replace(&mut lost, true)).then_some(Scripted::Close)
    });
    let inserted = servers
        .sim
        .block_on(async { things.insert_one(doc! { "x": 1 }).await });
    let id = inserted.unwrap().inserted_id;
    let seen = servers.seen("insert");
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].connection, seen[1].connection);
    for field in ["lsid", "txnNumber", "documents"] {
        assert_eq!(
            seen[0].command.get(field),
            seen[1].command.get(field),
            "{field}"
        );
    }
    assert_eq!(seen[0].token(), Some(&id));
    assert!(seen[0].command.contains_key("txnNumber"));
    // The session has seen a network error, so nobody else may use it.
    servers.sim.block_on(find_ok(&things, 1));
    assert_ne!(servers.seen("find")[0].lsid(), seen[0].lsid());
}

#[test]
fn a_primary_that_steps_down_is_left_for_the_new_one() {
    let servers = Servers::replica_set(21, &[A, B]);
    let (events, handler) = log_of();
    let client = servers.client(|o| o.cmap_event_handler = Some(handler));
    let things = things(&client);
    servers.sim.block_on(async {
        things.insert_one(doc! { "_id": 0 }).await.unwrap();
        let mut lost = false;
        servers.set_rule(move |seen| {
            let first = seen.name() == "insert" && !std::mem::replace(&mut lost, true);
            first.then_some(Scripted::Close)
        });
        servers.set_primary(B);
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
    });
    let seen = servers.seen("insert");
    let at: Vec<_> = seen.iter().map(|s| s.address).collect();
    assert_eq!(at, [A, A, B]);
    assert_eq!(
        seen[1].command.get("txnNumber"),
        seen[2].command.get("txnNumber")
    );
    assert_eq!(seen[1].lsid(), seen[2].lsid());
    let events = events.lock().unwrap();
    let cleared = events
        .iter()
        .filter(|e| matches!(e, CmapEvent::PoolCleared(e) if e.address.to_string() == A));
    assert_eq!(cleared.count(), 1);
}

#[test]
fn a_write_that_an_old_primary_refuses_goes_to_the_new_one() {
    let servers = Servers::replica_set(21, &[A, B]);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        things.insert_one(doc! { "_id": 0 }).await.unwrap();
        // The last check is longer ago than the shortest time between two.
        servers.sim.sleep(SECOND).await;
        let mut refused = false;
        servers.set_rule(move |seen| {
            let first = seen.name() == "insert" && !std::mem::replace(&mut refused, true);
            let error = doc! { "index": 0, "code": 189, "errmsg": "Not primary while writing" };
            first.then(|| Scripted::Reply(doc! { "ok": 1, "n": 0, "writeErrors": [error] }))
        });
        servers.set_primary(B);
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
    });
    let seen = servers.seen("insert");
    let at: Vec<_> = seen.iter().map(|s| s.address).collect();
    assert_eq!(at, [A, A, B]);
    let number = |seen: &Seen| seen.command.get("txnNumber").cloned();
    assert_eq!(number(&seen[1]), number(&seen[2]));
}

#[test]
fn an_error_of_an_older_generation_clears_nothing() {
    let servers = Servers::standalone(22);
    let (events, handler) = log_of();
    let client = servers.client(|o| {
        o.cmap_event_handler = Some(handler);
        o.retry_reads = Some(false);
    });
    let things = things(&client);
    servers.sim.block_on(async {
        servers.set_rule(|seen| match (seen.name(), seen.token()) {
            ("find", Some(Bson::Int32(1))) => Some(Scripted::Close),
            ("find", Some(Bson::Int32(2))) => {
                Some(Scripted::Later(doc! { "ok": 1.0, "bad": true }, SECOND))
            }
            ("find", Some(Bson::Int32(3))) => Some(Scripted::Later(find_reply(seen, 0), SECOND)),
            _ => None,
        });
        let slow = join(
            async { things.find_one(doc! { "_id": 2 }).await },
            find_ok(&things, 3),
        );
        let fail = async {
            servers.sim.sleep(100 * MS).await;
            assert!(things.find_one(doc! { "_id": 1 }).await.is_err());
            servers.sim.sleep(600 * MS).await;
            // The pool is ready again; one of the old connections fails only after that.
            find_ok(&things, 4).await;
            assert_eq!(pool(&client).leased, 2);
        };
        let ((bad, ()), ()) = join(slow, fail).await;
        assert!(bad.is_err());
        // Both old connections are closed when they come back; the new one stays.
        assert_eq!((pool(&client).available, pool(&client).total()), (1, 1));
    });
    let events = events.lock().unwrap();
    let cleared = events
        .iter()
        .filter(|e| matches!(e, CmapEvent::PoolCleared(_)))
        .count();
    assert_eq!(cleared, 1);
    let stale = events.iter().filter(|e| {
        matches!(e, CmapEvent::ConnectionClosed(e) if e.reason == ConnectionClosedReason::Stale)
    });
    assert_eq!(stale.count(), 2);
}

#[test]
fn shutdown_ends_the_sessions_that_are_not_in_use() {
    let servers = Servers::standalone(23);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.set_rule(|seen| {
        (seen.name() == "find").then(|| Scripted::Later(find_reply(seen, 0), 100 * MS))
    });
    servers.sim.block_on(async {
        join(find_ok(&things, 1), find_ok(&things, 2)).await;
        client.clone().shutdown().await;
    });
    let mut used: Vec<_> = servers
        .seen("find")
        .iter()
        .filter_map(|s| s.lsid().cloned())
        .collect();
    let ended = servers.seen("endSessions");
    assert_eq!(ended.len(), 1);
    let mut ids = ended[0].command.get_array("endSessions").unwrap().clone();
    used.sort_by_key(ToString::to_string);
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, used);
    assert_eq!(ended[0].lsid(), None);
    servers.pass(SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
}

/// A set of which `A` steps down three seconds after it was asked to tell of changes.
fn streaming(servers: &Servers, exhaust: bool) {
    let process = ObjectId::from_bytes([1; 12]);
    let version = move |counter: i64| doc! { "processId": process, "counter": counter };
    servers.set_rule(move |seen| {
        let hello = |primary: &str, counter| {
            let mut reply = member_reply(&seen.command, &[A, B], seen.address, primary)?;
            reply.insert("topologyVersion", version(counter));
            Some(reply)
        };
        let known = seen.command.get_document("topologyVersion");
        let known = known.ok().and_then(|v| v.get_i64("counter").ok());
        match known {
            None => Some(Scripted::Reply(hello(A, 1)?)),
            Some(1) if exhaust => {
                let last = (hello(B, 2)?, 8 * SECOND);
                Some(Scripted::Stream(vec![(hello(B, 2)?, 3 * SECOND), last]))
            }
            Some(1) => Some(Scripted::Later(hello(B, 2)?, 3 * SECOND)),
            Some(_) => Some(Scripted::Later(hello(B, 2)?, 9 * SECOND)),
        }
    });
}

fn a_change_is_known_at_once(exhaust: bool) {
    let servers = Servers::replica_set(24, &[A, B]);
    streaming(&servers, exhaust);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        things.insert_one(doc! { "_id": 0 }).await.unwrap();
        servers.sim.sleep(2900 * MS).await;
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
        servers.sim.sleep(200 * MS).await;
        things.insert_one(doc! { "_id": 2 }).await.unwrap();
    });
    let at: Vec<_> = servers.seen("insert").iter().map(|s| s.address).collect();
    assert_eq!(at, [A, A, B]);
    drop((client, things));
    servers.pass(3 * SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
}

#[test]
fn an_awaited_hello_tells_of_a_change_at_once() {
    a_change_is_known_at_once(false);
}

#[test]
fn a_streamed_hello_tells_of_a_change_at_once() {
    a_change_is_known_at_once(true);
}

#[test]
fn no_event_follows_the_end_of_the_topology() {
    for pause in 0..12 {
        let servers = Servers::standalone(25);
        let (events, handler) = log_of();
        let client = servers.client(|o| o.sdam_event_handler = Some(handler));
        servers.sim.set_latency(ADDRESS, 5 * MS);
        servers.pass(pause * MS);
        drop(client);
        servers.pass(SECOND);
        let events = events.lock().unwrap();
        let last = events.last().unwrap();
        assert!(
            matches!(last, SdamEvent::TopologyClosed(_)),
            "{pause} ms: {last:?}"
        );
    }
}

/// A mixed run: failures, drops and waits.
fn mixed(seed: u64) -> (Stats, Vec<String>) {
    let servers = Servers::standalone(seed);
    let client = servers.client(|o: &mut ClientOptions| o.max_pool_size = Some(3));
    let things = things(&client);
    let mut count = 0;
    servers.set_rule(move |seen| {
        count += usize::from(seen.name() == "find");
        match (seen.name(), count % 7) {
            ("find", 3) => Some(Scripted::Close),
            ("find", 5) => Some(Scripted::Later(find_reply(seen, 0), 50 * MS)),
            _ => None,
        }
    });
    servers.sim.block_on(async {
        let all = (0..40).map(|token| {
            let (servers, things) = (&servers, &things);
            async move {
                servers.sim.sleep(token % 5 * 10 * MS).await;
                let find = things.find_one(doc! { "_id": i64::from(token) });
                let _ = drop_after(&servers.sim, find, (token % 9 + 1) * 20 * MS).await;
            }
        });
        join_all(all).await;
        servers.sim.sleep(3 * SECOND).await;
    });
    assert_quiet(&client.handle().census());
    let seen = servers.seen("find");
    let seen = seen.iter().map(|s| format!("{:?} {:?}", s.at, s.command));
    (servers.sim.stats(), seen.collect())
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let runs: Vec<_> = (0..8).map(mixed).collect();
    for (seed, first) in (0..8).zip(&runs) {
        assert_eq!(&mixed(seed), first);
    }
    assert!(
        runs.iter().any(|run| run != &runs[0]),
        "the seed decides nothing"
    );
}
