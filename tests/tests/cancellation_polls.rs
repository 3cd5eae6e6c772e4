//! Every public future, dropped at every one of its polls and before it, among other operations.
//!
//! Whatever is dropped whenever: nothing stays behind (no wait, lease, load or task), pools count
//! exactly, every other operation gets its own answer, and no connection is lost but the one whose
//! request was half written or whose reply did not come in time.

use std::{
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::{Bson, Document, doc};
use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, join, join_all},
};
use mongo_client::{
    Client, Collection, Database,
    error::{ErrorKind, Result},
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionClosedReason},
    },
};
use mongo_client_sim::Scripted;
use mongo_client_tests::sim::{
    ADDRESS, Cut, Servers, assert_quiet, credential, cut, find_reply, pool,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// More polls than any future needs.
const POLLS_MAX: usize = 1_000;
/// The documents of two `insert` commands.
const TWO_BATCHES: i32 = 100_001;

/// What is around a future that is dropped.
#[derive(Clone, Copy, Debug)]
struct Scene {
    max_pool_size: u32,
    /// Whether there is a connection already.
    warm: bool,
    /// Whether connections authenticate.
    auth: bool,
    /// Whether the first request of the victim costs its connection.
    lossy: bool,
}

const COLD: Scene = Scene {
    max_pool_size: 2,
    warm: false,
    auth: false,
    lossy: false,
};

/// A client and the servers that it talks to.
struct Env {
    servers: Servers,
    client: Client,
    db: Database,
    things: Collection<Document>,
    closed: Arc<Mutex<Vec<ConnectionClosedReason>>>,
}

impl Env {
    fn new(seed: u64, scene: Scene) -> Self {
        let servers = Servers::replica_set(seed, &[ADDRESS]);
        servers.sim.set_chunk(ADDRESS, 40);
        servers.sim.set_pause(ADDRESS, MS);
        let closed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&closed);
        let client = servers.client(|o| {
            o.max_pool_size = Some(scene.max_pool_size);
            o.retry_reads = Some(scene.lossy);
            o.retry_writes = Some(scene.lossy);
            o.credential = scene.auth.then(credential);
            o.cmap_event_handler = Some(EventHandler::callback(move |event| {
                if let CmapEvent::ConnectionClosed(event) = event {
                    sink.lock().unwrap().push(event.reason);
                }
            }));
        });
        if scene.auth {
            servers.sim.set_offload_time(5 * MS);
        }
        let mut lost = !scene.lossy;
        servers.set_rule(move |seen| match (seen.name(), seen.token()) {
            (_, Some(Bson::Int32(0))) if !std::mem::replace(&mut lost, true) => {
                Some(Scripted::Close)
            }
            ("find", Some(Bson::Int32(CURSOR))) => Some(Scripted::Reply(find_reply(seen, 77))),
            _ => None,
        });
        let db = client.database("db");
        let things = db.collection("c");
        Self {
            servers,
            client,
            db,
            things,
            closed,
        }
    }

    /// A find among others, which must get its own answer.
    async fn find_ok(&self, token: i32) {
        let found = self.things.find_one(doc! { "_id": token }).await.unwrap();
        assert_eq!(found, Some(doc! { "_id": token }), "another's reply");
    }

    async fn finds(&self, tokens: std::ops::Range<i32>) {
        join_all(tokens.map(|token| self.find_ok(token))).await;
    }

    /// Nothing is left of what was dropped.
    fn check(&self, scene: Scene) {
        assert_quiet(&self.client.handle().census());
        let pool = pool(&self.client);
        // One more connection belongs to the monitor.
        let open = self.servers.sim.open_connections(ADDRESS);
        assert_eq!(pool.available + 1, open, "{pool:?}");
        assert!(pool.available <= scene.max_pool_size as usize);
        let closed = self.closed.lock().unwrap();
        if !scene.lossy {
            assert!(closed.len() <= 1, "{closed:?}");
            assert!(
                closed
                    .iter()
                    .all(|why| *why == ConnectionClosedReason::Dropped),
                "{closed:?}"
            );
        }
    }

    /// The session of a request whose reply nobody took is dirty: nobody uses it again.
    fn check_sessions(&self, victim: &str) {
        let seen = self.servers.seen("");
        let mine = |s: &mongo_client_tests::sim::Seen| s.token() == Some(&Bson::Int32(0));
        let Some(last) = seen.iter().rposition(|s| s.name() == victim && mine(s)) else {
            return;
        };
        let lsid = seen[last].lsid();
        assert!(lsid.is_some(), "{victim}");
        assert!(
            seen[last + 1..].iter().all(|s| s.lsid() != lsid),
            "a dirty session was used again"
        );
    }

    /// The last handles are dropped, and nothing goes on.
    fn end(self) {
        let servers = self.servers.clone();
        drop(self);
        servers.pass(5 * SECOND);
        assert_eq!(servers.sim.tasks_alive(), 0);
        assert_eq!(servers.sim.open_connections(ADDRESS), 0);
    }
}

/// The token of the finds whose replies open a cursor.
const CURSOR: i32 = 50;

/// A future to drop: whether it ended before.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a Env, Cut) -> BoxFuture<'a, bool>,
    /// The command whose session is dirty when the future is dropped; empty where it depends.
    command: &'static str,
}

/// Runs a verb up to a moment; checks what it gave, if it ended.
async fn verb<F, T>(verb: F, when: Cut, check: impl FnOnce(T)) -> bool
where
    F: IntoFuture<Output = Result<T>>,
{
    match cut(verb, when).await {
        Some(result) => {
            check(result.unwrap());
            true
        }
        None => false,
    }
}

macro_rules! case {
    ($name:literal, $command:literal, $env:ident, $when:ident => $run:expr) => {
        Case {
            name: $name,
            run: |$env, $when| Box::pin(async move { $run }),
            command: $command,
        }
    };
}

fn zero() -> Document {
    doc! { "_id": 0 }
}

fn set() -> Document {
    doc! { "$set": { "x": 1 } }
}

/// Verbs that are one command, which may be sent again.
fn retried() -> Vec<Case> {
    vec![
        case!("find_one", "find", e, at =>
            verb(e.things.find_one(zero()), at, |found| assert_eq!(found, Some(zero()))).await),
        case!("insert_one", "insert", e, at =>
            verb(e.things.insert_one(zero()), at, |r| assert_eq!(r.inserted_id, Bson::Int32(0)))
                .await),
        case!("insert_many", "insert", e, at =>
            verb(e.things.insert_many([zero(), doc! { "_id": 1 }]), at, |r| {
                assert_eq!(r.inserted_ids.len(), 2);
            })
            .await),
        case!("update_one", "update", e, at =>
            verb(e.things.update_one(zero(), set()), at, |r| assert_eq!(r.matched_count, 1)).await),
        case!("replace_one", "update", e, at =>
            verb(e.things.replace_one(zero(), zero()), at, |r| assert_eq!(r.modified_count, 1))
                .await),
        case!("delete_one", "delete", e, at =>
            verb(e.things.delete_one(zero()), at, |r| assert_eq!(r.deleted_count, 1)).await),
        case!("find_one_and_update", "findAndModify", e, at =>
            verb(e.things.find_one_and_update(zero(), set()), at, |found| {
                assert_eq!(found, Some(zero()));
            })
            .await),
        case!("find_one_and_replace", "findAndModify", e, at =>
            verb(e.things.find_one_and_replace(zero(), zero()), at, |found| {
                assert_eq!(found, Some(zero()));
            })
            .await),
        case!("find_one_and_delete", "findAndModify", e, at =>
            verb(e.things.find_one_and_delete(zero()), at, |found| assert_eq!(found, Some(zero())))
                .await),
        case!("aggregate", "aggregate", e, at =>
            verb(e.things.aggregate([doc! { "$match": zero() }]), at, drop).await),
        case!("count_documents", "aggregate", e, at =>
            verb(e.things.count_documents(zero()), at, |n| assert_eq!(n, 1)).await),
        case!("distinct", "distinct", e, at =>
            verb(e.things.distinct("_id", zero()), at, |found| {
                assert_eq!(found, [Bson::Int32(0)]);
            })
            .await),
    ]
}

/// Verbs that are one command, which is not sent again or has no token of its own.
fn others() -> Vec<Case> {
    vec![
        case!("update_many", "update", e, at =>
            verb(e.things.update_many(zero(), set()), at, |r| assert_eq!(r.matched_count, 1)).await),
        case!("delete_many", "delete", e, at =>
            verb(e.things.delete_many(zero()), at, |r| assert_eq!(r.deleted_count, 1)).await),
        case!("estimated_document_count", "", e, at =>
            verb(e.things.estimated_document_count(), at, |n| assert_eq!(n, 7)).await),
        case!("list_databases", "", e, at =>
            verb(e.client.list_databases(), at, |found| assert_eq!(found.len(), 1)).await),
        case!("list_database_names", "", e, at =>
            verb(e.client.list_database_names(), at, |found| assert_eq!(found, ["db"])).await),
        case!("list_collections", "", e, at =>
            verb(e.db.list_collections(), at, drop).await),
        case!("list_collection_names", "", e, at =>
            verb(e.db.list_collection_names(), at, |found| assert_eq!(found, ["c"])).await),
        case!("create_collection", "", e, at =>
            verb(e.db.create_collection("d"), at, |()| {}).await),
        case!("drop_collection", "", e, at => verb(e.things.drop(), at, |()| {}).await),
        case!("drop_database", "", e, at => verb(e.db.drop(), at, |()| {}).await),
        case!("run_command", "ping", e, at =>
            verb(e.db.run_command(doc! { "ping": 1, "token": 0 }), at, |r| {
                assert_eq!(r, doc! { "ok": 1.0 });
            })
            .await),
        case!("run_cursor_command", "find", e, at =>
            verb(e.db.run_cursor_command(doc! { "find": "c", "filter": zero() }), at, drop)
                .await),
        case!("unacknowledged insert_one", "", e, at => {
            let document = doc! { "_id": 0, "pad": "x".repeat(200) };
            let insert = e.things.insert_one(document);
            let insert = insert.write_concern(mongo_client::options::WriteConcern::nodes(0));
            verb(insert, at, |_| {}).await
        }),
    ]
}

/// Cursors and sessions: what was dropped and what goes on.
fn parts() -> Vec<Case> {
    vec![
        case!("find", "", e, at =>
            verb(e.things.find(doc! { "_id": CURSOR }), at, drop).await),
        case!("find and all its documents", "", e, at => {
            let all = async {
                let cursor = e.things.find(doc! { "_id": CURSOR }).await?;
                cursor.try_collect::<Vec<_>>().await
            };
            verb(all, at, |found| assert_eq!(found, documents())).await
        }),
        case!("next of a cursor that is kept", "", e, at => {
            let mut cursor = e.things.find(doc! { "_id": CURSOR }).await.unwrap();
            let mut found = vec![cursor.next().await.unwrap().unwrap()];
            let next = cut(cursor.next(), at).await;
            let ended = next.is_some();
            found.extend(next.flatten().map(Result::unwrap));
            while let Some(document) = cursor.next().await {
                found.push(document.unwrap());
            }
            assert_eq!(found, documents());
            ended
        }),
        case!("next of a cursor that goes with it", "", e, at => {
            let mut cursor = e.things.find(doc! { "_id": CURSOR }).await.unwrap();
            cursor.next().await.unwrap().unwrap();
            let next = cut(cursor.next(), at).await;
            next.map(|document| assert_eq!(document.unwrap().unwrap(), doc! { "_id": 2 })).is_some()
        }),
        case!("advance of a session's cursor", "", e, at => {
            let mut session = e.client.start_session().await.unwrap();
            let found = e.things.find(doc! { "_id": CURSOR }).session(&mut session);
            let mut cursor = found.await.unwrap();
            assert!(cursor.advance(&mut session).await.unwrap());
            let advanced = cut(cursor.advance(&mut session), at).await;
            if let Some(advanced) = advanced {
                assert!(advanced.unwrap());
                assert!(!cursor.advance(&mut session).await.unwrap());
                return true;
            }
            // Either nothing was lost, or it is told.
            match cursor.advance(&mut session).await {
                Ok(advanced) => assert!(advanced),
                Err(error) => assert!(error.to_string().contains("dropped"), "{error}"),
            }
            assert!(!cursor.advance(&mut session).await.unwrap());
            false
        }),
        case!("next of a stream that borrows its session", "", e, at => {
            let mut session = e.client.start_session().await.unwrap();
            let found = e.things.find(doc! { "_id": CURSOR }).session(&mut session);
            let mut cursor = found.await.unwrap();
            let mut stream = cursor.stream(&mut session);
            let mut found = vec![stream.next().await.unwrap().unwrap()];
            let next = cut(stream.next(), at).await;
            let ended = next.is_some();
            found.extend(next.flatten().map(Result::unwrap));
            while let Some(document) = stream.next().await {
                found.push(document.unwrap());
            }
            assert_eq!(found, documents());
            ended
        }),
        case!("start_session", "", e, at => verb(e.client.start_session(), at, drop).await),
        case!("a verb of a session that is kept", "", e, at => {
            let mut session = e.client.start_session().await.unwrap();
            let ended = verb(e.things.insert_one(zero()).session(&mut session), at, drop).await;
            let found = e.things.find_one(zero()).session(&mut session).await.unwrap();
            assert_eq!(found, Some(zero()));
            let inserted = e.things.insert_one(zero()).session(&mut session).await.unwrap();
            assert_eq!(inserted.inserted_id, Bson::Int32(0));
            ended
        }),
    ]
}

/// What the cursors of the tests give.
fn documents() -> [Document; 2] {
    [doc! { "_id": CURSOR }, doc! { "_id": 2 }]
}

/// Drops a future at a moment and looks at what is left. Whether it had ended before.
fn dropped(case: &Case, scene: Scene, seed: u64, when: Cut) -> bool {
    let env = Env::new(seed, scene);
    let ended = env.servers.sim.clone().block_on(async {
        if scene.warm {
            env.find_ok(100).await;
        }
        let (ended, ()) = join((case.run)(&env, when), env.finds(1..4)).await;
        // Those that follow at once meet what the dropped one left.
        env.finds(4..7).await;
        env.servers.sim.sleep(3 * SECOND).await;
        env.check(scene);
        env.find_ok(7).await;
        ended
    });
    if !ended && !case.command.is_empty() && !scene.lossy {
        env.check_sessions(case.command);
    }
    env.end();
    ended
}

/// Drops each future at each of its polls; the number of polls of each.
fn dropped_everywhere(cases: &[Case], scene: Scene, seeds: u64) {
    for case in cases {
        for first in [Cut::AfterPoll(1), Cut::BeforePoll(1)] {
            for seed in 0..seeds {
                let mut when = first;
                let mut drops = 0;
                while !dropped(case, scene, seed, when) {
                    when = when.next();
                    drops += 1;
                    assert!(drops < POLLS_MAX, "{}: it never ends", case.name);
                }
                // Request and reply pass in several pieces; starting a session waits for nothing.
                let least = if case.name == "start_session" { 0 } else { 3 };
                assert!(drops >= least, "{}: dropped only {drops} times", case.name);
            }
        }
    }
}

#[test]
fn a_verb_that_is_dropped_while_the_client_starts_leaves_nothing_behind() {
    dropped_everywhere(&retried(), COLD, 1);
    dropped_everywhere(&others(), COLD, 1);
}

#[test]
fn a_verb_that_is_dropped_while_others_wait_for_its_connection_leaves_nothing_behind() {
    let scene = Scene {
        max_pool_size: 1,
        warm: true,
        ..COLD
    };
    dropped_everywhere(&retried(), scene, 1);
    dropped_everywhere(&others(), scene, 1);
}

#[test]
fn a_cursor_or_session_that_is_dropped_anywhere_leaves_nothing_behind() {
    for max_pool_size in [1, 2] {
        let scene = Scene {
            max_pool_size,
            ..COLD
        };
        dropped_everywhere(&parts(), scene, 1);
    }
}

#[test]
fn a_verb_that_is_dropped_while_its_connection_authenticates_leaves_nothing_behind() {
    let scene = Scene { auth: true, ..COLD };
    dropped_everywhere(&retried()[..2], scene, 1);
}

#[test]
fn a_verb_that_is_dropped_while_it_is_retried_leaves_nothing_behind() {
    let scene = Scene {
        lossy: true,
        ..COLD
    };
    dropped_everywhere(&retried(), scene, 1);
}

/// Runs `dropped` at every moment until the future ends; how often it was dropped.
fn everywhere(mut dropped: impl FnMut(Cut) -> bool) -> usize {
    let mut drops = 0;
    for first in [Cut::AfterPoll(1), Cut::BeforePoll(1)] {
        let mut when = first;
        while !dropped(when) {
            when = when.next();
            drops += 1;
            assert!(drops < POLLS_MAX, "it never ends");
        }
    }
    drops
}

/// The two commands of one verb; their bytes pass in large pieces.
#[test]
fn an_insert_of_two_batches_that_is_dropped_anywhere_leaves_nothing_behind() {
    let documents: Vec<_> = (0..TWO_BATCHES).map(|n| doc! { "_id": n }).collect();
    let drops = everywhere(|when| {
        let env = Env::new(1, COLD);
        env.servers.sim.set_chunk(ADDRESS, 1024 * 1024);
        let ended = env.servers.sim.clone().block_on(async {
            let insert = verb(env.things.insert_many(&documents), when, |r| {
                assert_eq!(r.inserted_ids.len(), documents.len());
            });
            let (ended, ()) = join(insert, env.finds(1..4)).await;
            env.finds(4..7).await;
            env.servers.sim.sleep(3 * SECOND).await;
            env.check(COLD);
            env.find_ok(7).await;
            ended
        });
        assert!(!ended || env.servers.seen("insert").len() == 2);
        env.end();
        ended
    });
    assert!(drops > 10, "{drops}");
}

/// Dropped before its end, a shutdown leaves the client open for its other handles.
#[test]
fn a_shutdown_that_is_dropped_anywhere_leaves_the_client_usable_or_closed() {
    for seed in 0..3 {
        let drops = everywhere(|when| {
            let env = Env::new(seed, COLD);
            let ended = env.servers.sim.clone().block_on(async {
                // There are sessions whose end is told.
                env.finds(1..4).await;
                let ended = cut(env.client.clone().shutdown(), when).await.is_some();
                let found = env.things.find_one(zero()).await;
                match found {
                    Ok(found) => assert!(!ended && found == Some(zero())),
                    Err(error) => {
                        assert!(
                            ended && matches!(*error.kind, ErrorKind::Shutdown),
                            "{error}"
                        );
                    }
                }
                if !ended {
                    env.servers.sim.sleep(3 * SECOND).await;
                    env.check(COLD);
                }
                ended
            });
            env.end();
            ended
        });
        assert!(drops > 4, "{drops}");
    }
}

/// The client of a `mongodb+srv` string looks its hosts up when it starts.
#[test]
fn a_start_that_is_dropped_while_it_looks_up_hosts_is_begun_anew() {
    const HOST: &str = "a.db.test:27017";
    type Start = for<'a> fn(&'a Client) -> BoxFuture<'a, ()>;
    let ready: Start = |client| Box::pin(async { client.handle().ready().await.unwrap() });
    let find: Start = |client| {
        Box::pin(async {
            let things = client.database("db").collection::<Document>("c");
            assert_eq!(things.find_one(zero()).await.unwrap(), Some(zero()));
        })
    };
    for start in [ready, find] {
        let drops = everywhere(|when| {
            let servers = Servers::replica_set(1, &[HOST]);
            let client = servers.srv_client("cluster.db.test");
            let ended = servers.sim.block_on(async {
                let ended = cut(start(&client), when).await.is_some();
                find(&client).await;
                servers.sim.sleep(3 * SECOND).await;
                assert_quiet(&client.handle().census());
                ended
            });
            drop(client);
            servers.pass(5 * SECOND);
            assert_eq!(servers.sim.tasks_alive(), 0);
            assert_eq!(servers.sim.open_connections(HOST), 0);
            ended
        });
        assert!(drops > 3, "{drops}");
    }
}

/// Many drops at once, of different verbs and at different moments, over one small pool.
#[test]
fn verbs_that_are_dropped_together_leave_nothing_behind() {
    let cases: Vec<_> = retried()
        .into_iter()
        .chain(others())
        .chain(parts())
        .collect();
    for seed in 0..10 {
        for max_pool_size in [1, 2, 5] {
            let scene = Scene {
                max_pool_size,
                ..COLD
            };
            let env = Env::new(seed, scene);
            env.servers.sim.clone().block_on(async {
                let victims = cases.iter().enumerate().map(|(n, case)| {
                    let polls = 1 + (n * 7 + seed as usize * 5) % 9;
                    let when = [Cut::AfterPoll(polls), Cut::BeforePoll(polls)][n % 2];
                    (case.run)(&env, when)
                });
                join(join_all(victims), env.finds(1..8)).await;
                env.finds(8..10).await;
                env.servers.sim.sleep(3 * SECOND).await;
                assert_quiet(&env.client.handle().census());
                let pool = pool(&env.client);
                assert_eq!(
                    pool.available + 1,
                    env.servers.sim.open_connections(ADDRESS),
                    "{pool:?}"
                );
                assert!(pool.available <= max_pool_size as usize, "{pool:?}");
                let closed = env.closed.lock().unwrap().clone();
                assert!(
                    closed
                        .iter()
                        .all(|why| *why == ConnectionClosedReason::Dropped),
                    "{closed:?}"
                );
                env.find_ok(10).await;
            });
            env.end();
        }
    }
}
