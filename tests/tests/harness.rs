//! The same scenarios against both compositions of the client, with the same results.

use std::{sync::Arc, time::Duration};

use bson::{Bson, doc};
use futures_util::future::join_all;
use mongo_client_core::{
    event::{EventHandler, cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    op::Target,
    options::ClientOptions,
    pool::PoolCounts,
};
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::{
    harness::{DriverHarness, EngineHarness, Harness, assert_idle, describe, find, insert},
    sim::{ADDRESS, Seen, Servers, drop_after, find_reply},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const A: &str = "a.test:27017";
const B: &str = "b.test:27018";

/// What a scenario saw.
type Log = Vec<String>;

/// Runs a scenario against both compositions, with several orders of the tasks.
fn both(driver: impl Fn(u64) -> Log, engine: impl Fn(u64) -> Log) {
    for seed in 1..4 {
        let (driver, engine) = (driver(seed), engine(seed));
        assert!(!driver.is_empty(), "the scenario says nothing");
        assert_eq!(driver, engine, "driver and engine differ (seed {seed})");
    }
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            both(scenario::$name::<DriverHarness>, scenario::$name::<EngineHarness>);
        }
    )*};
}

scenarios! {
    finds_are_answered_on_one_connection
    an_insert_is_retried_after_a_network_error
    an_insert_is_retried_after_a_step_down
    a_second_network_error_is_the_result
    a_command_error_is_the_result
    the_queue_of_a_full_pool_is_first_come_first_served
    a_checkout_ends_at_its_time_limit
    a_selection_ends_at_its_time_limit
    a_cancelled_reply_disturbs_nobody
    sessions_are_reused_and_explicit_ones_keep_their_own
    cursors_are_killed_on_their_server
    wrong_replies_are_errors
    shutting_down_ends_what_waits_and_lets_go
    the_same_events_are_told_in_the_same_order
}

fn start<H: Harness>(servers: &Servers, change: impl FnOnce(&mut ClientOptions)) -> H {
    H::start(servers, servers.options(change))
}

/// The only pool.
fn counts<H: Harness>(harness: &H) -> PoolCounts {
    let pools = harness.pools();
    assert_eq!(pools.len(), 1, "{}: {pools:?}", H::NAME);
    pools[0].1
}

/// The commands of one name, as the servers saw them: who, which connection, which session.
fn seen(servers: &Servers, name: &str) -> Log {
    let mut connections: Vec<u64> = Vec::new();
    let mut sessions: Vec<Bson> = Vec::new();
    let mut number = |seen: &Seen| {
        let at = connections.iter().position(|c| *c == seen.connection);
        let connection = at.unwrap_or_else(|| {
            connections.push(seen.connection);
            connections.len() - 1
        });
        let lsid = seen.lsid().cloned().unwrap_or(Bson::Null);
        let at = sessions.iter().position(|s| *s == lsid);
        let session = at.unwrap_or_else(|| {
            sessions.push(lsid);
            sessions.len() - 1
        });
        (connection, session)
    };
    let all = servers.seen(name);
    all.iter()
        .map(|seen| {
            let (connection, session) = number(seen);
            format!(
                "{name} {:?} at {} over {connection} in session {session} number {:?}",
                seen.token(),
                seen.address,
                seen.command.get("txnNumber"),
            )
        })
        .collect()
}

fn not_primary() -> Scripted {
    Scripted::Reply(doc! {
        "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary",
        "errorLabels": ["RetryableWriteError"],
    })
}

/// Lets only the first command that matches get an answer of its own.
fn once(
    servers: &Servers,
    name: &'static str,
    answer: impl Fn(&Seen) -> Scripted + Send + 'static,
) {
    let mut first = true;
    servers.set_rule(move |seen| {
        let mine = seen.name() == name && std::mem::take(&mut first);
        mine.then(|| answer(seen))
    });
}

mod scenario {
    use super::*;

    pub(super) fn finds_are_answered_on_one_connection<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        servers.sim.set_chunk(ADDRESS, 11);
        let harness: H = start(&servers, |_| {});
        let mut log = Log::new();
        for id in 0..3 {
            let result = servers.sim.block_on(harness.execute(find(id)));
            assert!(result.is_ok(), "{result:?}");
            log.push(describe(&result));
        }
        assert_idle(&harness);
        assert_eq!(counts(&harness).total(), 1);
        log.extend(seen(&servers, "find"));
        log
    }

    pub(super) fn an_insert_is_retried_after_a_network_error<H: Harness>(seed: u64) -> Log {
        let servers = Servers::replica_set(seed, &[A, B]);
        let harness: H = start(&servers, |_| {});
        once(&servers, "insert", |_| Scripted::Close);
        let result = servers.sim.block_on(harness.execute(insert(1)));
        assert!(result.is_ok(), "{result:?}");
        assert_idle(&harness);
        let mut log = seen(&servers, "insert");
        assert_eq!(log.len(), 2);
        log.push(describe(&result));
        log
    }

    pub(super) fn an_insert_is_retried_after_a_step_down<H: Harness>(seed: u64) -> Log {
        let servers = Servers::replica_set(seed, &[A, B]);
        let harness: H = start(&servers, |_| {});
        let first = servers.sim.block_on(harness.execute(insert(1)));
        let stepping = servers.clone();
        once(&servers, "insert", move |_| {
            // The election is over before the answer arrives.
            let servers = stepping.clone();
            stepping.sim.spawn(async move { servers.set_primary(B) });
            not_primary()
        });
        let second = servers.sim.block_on(harness.execute(insert(2)));
        assert!(describe(&second).contains(B), "{second:?}");
        assert_idle(&harness);
        let mut log = seen(&servers, "insert");
        log.extend([describe(&first), describe(&second)]);
        log
    }

    pub(super) fn a_second_network_error_is_the_result<H: Harness>(seed: u64) -> Log {
        let servers = Servers::replica_set(seed, &[A, B]);
        let harness: H = start(&servers, |_| {});
        servers.set_rule(|seen| (seen.name() == "insert").then_some(Scripted::Close));
        let result = servers.sim.block_on(harness.execute(insert(1)));
        assert!(result.is_err());
        servers.clear_rule();
        let next = servers.sim.block_on(harness.execute(insert(2)));
        assert!(next.is_ok(), "{next:?}");
        assert_idle(&harness);
        let mut log = seen(&servers, "insert");
        assert_eq!(log.len(), 3);
        log.extend([describe(&result), describe(&next)]);
        log
    }

    pub(super) fn a_command_error_is_the_result<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |_| {});
        once(&servers, "find", |_| {
            Scripted::Reply(doc! { "ok": 0.0, "code": 2, "errmsg": "bad value" })
        });
        let results = [1, 2].map(|id| servers.sim.block_on(harness.execute(find(id))));
        assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
        assert_idle(&harness);
        results.iter().map(describe).collect()
    }

    pub(super) fn the_queue_of_a_full_pool_is_first_come_first_served<H: Harness>(
        seed: u64,
    ) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |o| o.max_pool_size = Some(1));
        servers.set_rule(|seen| {
            let slow = seen.name() == "find";
            slow.then(|| Scripted::Later(find_reply(seen, 0), 20 * MS))
        });
        let results = servers.sim.block_on(async {
            let sim = servers.sim.clone();
            // One after the other, so that their order does not depend on the seed.
            let ops = (0..5).map(|id| {
                let (harness, sim) = (harness.clone(), sim.clone());
                async move {
                    sim.sleep(u32::try_from(id + 1).unwrap() * 5 * MS).await;
                    harness.execute(find(id)).await
                }
            });
            join_all(ops).await
        });
        assert_idle(&harness);
        assert_eq!(counts(&harness).total(), 1);
        let mut log = seen(&servers, "find");
        for (id, line) in log.iter().enumerate() {
            assert!(line.contains(&format!("Int32({id})")), "{log:?}");
        }
        log.extend(results.iter().map(describe));
        log
    }

    pub(super) fn a_checkout_ends_at_its_time_limit<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |o| {
            o.max_pool_size = Some(1);
            o.wait_queue_timeout = Some(50 * MS);
        });
        once(&servers, "find", |seen| {
            Scripted::Later(find_reply(seen, 0), SECOND)
        });
        let log = servers.sim.block_on(async {
            let slow = {
                let (harness, sim) = (harness.clone(), servers.sim.clone());
                let result = Arc::new(std::sync::Mutex::new(None));
                let slot = Arc::clone(&result);
                sim.spawn(async move {
                    let ran = harness.execute(find(1)).await;
                    *slot.lock().unwrap() = Some(describe(&ran));
                });
                result
            };
            servers.sim.sleep(30 * MS).await;
            let before = servers.sim.now();
            let refused = harness.execute(find(2)).await;
            assert!(refused.is_err());
            let waited = servers.sim.now() - before;
            servers.sim.sleep(2 * SECOND).await;
            let next = harness.execute(find(3)).await;
            let slow = slow.lock().unwrap().clone().expect("a result");
            vec![
                describe(&refused),
                format!("{waited:?}"),
                describe(&next),
                slow,
            ]
        });
        assert_idle(&harness);
        log
    }

    pub(super) fn a_selection_ends_at_its_time_limit<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
        let harness: H = start(&servers, |o| o.server_selection_timeout = Some(3 * SECOND));
        let before = servers.sim.now();
        let refused = servers.sim.block_on(harness.execute(find(1)));
        let waited = servers.sim.now() - before;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
        let next = servers.sim.block_on(harness.execute(find(2)));
        assert!(refused.is_err() && next.is_ok(), "{refused:?} {next:?}");
        assert_idle(&harness);
        vec![describe(&refused), format!("{waited:?}"), describe(&next)]
    }

    pub(super) fn a_cancelled_reply_disturbs_nobody<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |o| o.max_pool_size = Some(1));
        let _ = servers.sim.block_on(harness.execute(find(0)));
        once(&servers, "find", |seen| {
            Scripted::Later(find_reply(seen, 0), 100 * MS)
        });
        let (sim, op) = (&servers.sim, harness.execute(find(1)));
        let dropped = sim.block_on(drop_after(sim, op, 20 * MS));
        assert!(dropped.is_none());
        let draining = counts(&harness);
        let result = servers.sim.block_on(harness.execute(find(2)));
        assert!(result.is_ok(), "{result:?}");
        assert_idle(&harness);
        let mut log = vec![format!("{draining:?}"), describe(&result)];
        log.extend(seen(&servers, "find"));
        log
    }

    pub(super) fn sessions_are_reused_and_explicit_ones_keep_their_own<H: Harness>(
        seed: u64,
    ) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |_| {});
        for id in 0..2 {
            let _ = servers.sim.block_on(harness.execute(find(id)));
        }
        let all = harness.in_session(vec![find(2), find(3)]);
        assert_eq!(servers.sim.block_on(all).unwrap().len(), 2);
        let _ = servers.sim.block_on(harness.execute(find(4)));
        assert_idle(&harness);
        let mut log = seen(&servers, "find");
        log.push(format!("{} idle", harness.sessions()));
        log
    }

    pub(super) fn cursors_are_killed_on_their_server<H: Harness>(seed: u64) -> Log {
        let servers = Servers::replica_set(seed, &[A, B]);
        let harness: H = start(&servers, |_| {});
        let ran = servers.sim.block_on(harness.execute(find(1))).unwrap();
        let body = bson::rawdoc! { "killCursors": "c", "cursors": [7_i64] };
        let mut spec = mongo_client_core::op::CommandSpec::new("killCursors", "db", body);
        spec.target = Target::Server(ran.server);
        harness.kill_cursor(spec);
        servers.pass(SECOND);
        let killed = servers.seen("killCursors");
        assert_eq!(killed.len(), 1, "{}", H::NAME);
        assert_idle(&harness);
        vec![format!(
            "{} {:?}",
            killed[0].address,
            killed[0].command.get("cursors")
        )]
    }

    pub(super) fn wrong_replies_are_errors<H: Harness>(seed: u64) -> Log {
        let mut log = Log::new();
        for bytes in [vec![0xff; 64], vec![5, 0, 0, 0], vec![0; 16]] {
            let servers = Servers::standalone(seed);
            let harness: H = start(&servers, |o| o.retry_reads = Some(false));
            once(&servers, "find", move |_| Scripted::Raw(bytes.clone()));
            let wrong = harness.execute(find(1));
            let wrong = servers
                .sim
                .block_on(drop_after(&servers.sim, wrong, SECOND));
            let next = servers.sim.block_on(harness.execute(find(2)));
            assert!(next.is_ok(), "{next:?}");
            // A reply that never becomes whole is drained for a second.
            servers.pass(2 * SECOND);
            assert_idle(&harness);
            log.push(wrong.as_ref().map_or("nothing".to_owned(), describe));
            log.push(describe(&next));
        }
        log
    }

    pub(super) fn shutting_down_ends_what_waits_and_lets_go<H: Harness>(seed: u64) -> Log {
        let servers = Servers::standalone(seed);
        let harness: H = start(&servers, |o| o.max_pool_size = Some(1));
        let _ = servers.sim.block_on(harness.execute(find(0)));
        servers.set_rule(|seen| {
            let slow = seen.name() == "find";
            slow.then(|| Scripted::Later(find_reply(seen, 0), 300 * MS))
        });
        let results = Arc::new(std::sync::Mutex::new(Vec::new()));
        for id in 1..3 {
            let (harness, results) = (harness.clone(), Arc::clone(&results));
            let sim = servers.sim.clone();
            servers.sim.spawn(async move {
                sim.sleep(u32::try_from(id).unwrap() * MS).await;
                let result = harness.execute(find(id)).await;
                let line = format!("{id}: {}", describe(&result));
                results.lock().unwrap().push(line);
            });
        }
        servers.pass(50 * MS);
        servers.sim.block_on(harness.shutdown());
        servers.pass(SECOND);
        let refused = servers.sim.block_on(harness.execute(find(9)));
        assert!(refused.is_err());
        assert_eq!(harness.pools().len(), 0);
        assert_eq!(servers.sim.open_connections(ADDRESS), 0, "{}", H::NAME);
        let mut log = results.lock().unwrap().clone();
        log.sort();
        assert_eq!(log.len(), 2, "{log:?}");
        log.push(describe(&refused));
        log
    }

    /// A handler that notes each event's name, and what it says of reasons.
    fn note<T: std::fmt::Debug + 'static>() -> (Arc<std::sync::Mutex<Log>>, EventHandler<T>) {
        let log = Arc::new(std::sync::Mutex::new(Log::new()));
        let sink = Arc::clone(&log);
        let handler = EventHandler::callback(move |event: T| {
            let text = format!("{event:?}");
            let name: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
            let reason = text.split_once("reason: ").map(|(_, rest)| rest);
            let reason: String = reason
                .unwrap_or_default()
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            sink.lock().unwrap().push(format!("{name} {reason}"));
        });
        (log, handler)
    }

    pub(super) fn the_same_events_are_told_in_the_same_order<H: Harness>(seed: u64) -> Log {
        let servers = Servers::replica_set(seed, &[A]);
        let (cmap, on_cmap) = note::<CmapEvent>();
        let (command, on_command) = note::<CommandEvent>();
        let (sdam, on_sdam) = note::<SdamEvent>();
        let harness: H = start(&servers, |options| {
            options.cmap_event_handler = Some(on_cmap);
            options.command_event_handler = Some(on_command);
            options.sdam_event_handler = Some(on_sdam);
        });
        let run = |spec| servers.sim.block_on(harness.execute(spec));
        assert!(run(find(1)).is_ok());
        once(&servers, "insert", |_| Scripted::Close);
        assert!(run(insert(2)).is_ok());
        once(&servers, "insert", |_| not_primary());
        assert!(run(insert(3)).is_ok());
        once(&servers, "find", |seen| {
            Scripted::Later(find_reply(seen, 0), 100 * MS)
        });
        let (sim, op) = (&servers.sim, harness.execute(find(4)));
        assert!(sim.block_on(drop_after(sim, op, 20 * MS)).is_none());
        servers.pass(SECOND);
        servers.sim.block_on(harness.shutdown());
        servers.pass(SECOND);
        let mut log = Log::new();
        for (kind, events) in [("cmap", cmap), ("command", command), ("sdam", sdam)] {
            let events = events.lock().unwrap();
            assert!(events.len() > 4, "{kind}: {events:?}");
            log.extend(events.iter().map(|event| format!("{kind} {event}")));
        }
        log
    }
}
