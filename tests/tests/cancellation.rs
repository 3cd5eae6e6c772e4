//! What dropping a future does: the rows of the architecture's cancellation table.
//!
//! How a drain ends is in `cancellation_drain.rs`, every poll of every public future in
//! `cancellation_polls.rs`. Transactions are not built: the row of a future that is dropped inside
//! of one comes with them.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bson::{Bson, Document, doc};
use futures_util::{
    StreamExt,
    future::{join, join_all, join4},
};
use mongo_client::{
    Client, Collection,
    error::Result,
    event::{EventHandler, command::CommandEvent},
};
use mongo_client_driver::Census;
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::sim::{
    ADDRESS, Seen, Servers, assert_quiet, batch_reply, drop_after, drop_at_poll, find_reply, pool,
};

const MS: Duration = Duration::from_millis(1);

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("c")
}

async fn find(things: &Collection<Document>, token: i32) -> Result<Option<Document>> {
    things.find_one(doc! { "_id": token }).await
}

/// A find that must succeed, with its own answer.
async fn find_ok(things: &Collection<Document>, token: i32) {
    let found = find(things, token).await.unwrap();
    assert_eq!(found, Some(doc! { "_id": token }), "another's reply");
}

fn census(client: &Client) -> Census {
    client.handle().census()
}

/// Delays the replies to finds of one token.
fn delay(servers: &Servers, token: i32, by: Duration) {
    servers.set_rule(move |seen| {
        (seen.name() == "find" && seen.token() == Some(&Bson::Int32(token)))
            .then(|| Scripted::Later(find_reply(seen, 0), by))
    });
}

#[test]
fn dropped_while_waiting_for_a_server_leaves_no_waiter() {
    let servers = Servers::standalone(1);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        let dropped = drop_after(&servers.sim, find(&things, 1), 100 * MS);
        assert!(dropped.await.is_none());
        assert_quiet(&census(&client));
        servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
        find_ok(&things, 2).await;
    });
}

#[test]
fn dropped_while_waiting_for_a_ticket_keeps_the_order_of_the_others() {
    let servers = Servers::standalone(2);
    let client = servers.client(|o| o.max_pool_size = Some(1));
    let things = things(&client);
    delay(&servers, 1, 500 * MS);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        let first = find_ok(&things, 1);
        let dropped = async {
            assert!(
                drop_after(&servers.sim, find(&things, 2), 100 * MS)
                    .await
                    .is_none()
            );
            assert_eq!(pool(&client).waiting, 2);
        };
        join4(first, dropped, find_ok(&things, 3), find_ok(&things, 4)).await;
    });
    let order: Vec<_> = servers
        .seen("find")
        .iter()
        .filter_map(Seen::token)
        .map(Bson::as_i32)
        .collect();
    assert_eq!(order, [Some(0), Some(1), Some(3), Some(4)]);
    assert_quiet(&census(&client));
}

#[test]
fn dropped_with_a_granted_ticket_not_taken_serves_the_next() {
    let servers = Servers::standalone(3);
    let client = servers.client(|o| o.max_pool_size = Some(1));
    let things = things(&client);
    delay(&servers, 1, 500 * MS);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        let mut first = Box::pin(find_ok(&things, 1));
        let mut second: Option<Pin<Box<dyn Future<Output = _>>>> = Some(Box::pin(find(&things, 2)));
        let mut third = Box::pin(find_ok(&things, 3));
        let mut started = false;
        poll_fn(|cx| {
            let first_done = first.as_mut().poll(cx).is_ready();
            if !std::mem::replace(&mut started, true) {
                assert!(second.as_mut().unwrap().as_mut().poll(cx).is_pending());
            }
            assert!(third.as_mut().poll(cx).is_pending());
            if first_done {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        // The second has been granted the connection and does not know it.
        assert_eq!(pool(&client).leased, 1);
        assert_eq!(census(&client).wait_slots, 2);
        second = None;
        assert!(second.is_none());
        assert_eq!(census(&client).wait_slots, 1);
        third.await;
    });
    assert_eq!(servers.seen("find").len(), 3);
    assert_quiet(&census(&client));
}

#[test]
fn dropped_while_a_connection_is_opened_leaves_it_to_the_pool() {
    let servers = Servers::standalone(4);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.pass(Duration::from_secs(1));
    servers.sim.set_latency(ADDRESS, 200 * MS);
    servers.sim.block_on(async {
        assert!(
            drop_after(&servers.sim, find(&things, 1), 50 * MS)
                .await
                .is_none()
        );
        assert_eq!((pool(&client).opening, pool(&client).waiting), (1, 0));
        servers.sim.sleep(500 * MS).await;
        assert_eq!(pool(&client).available, 1);
        let dials = servers.sim.stats().dials;
        find_ok(&things, 2).await;
        assert_eq!(servers.sim.stats().dials, dials);
    });
    assert_quiet(&census(&client));
}

/// A socket that takes nothing for a while: the request has not begun to leave.
#[test]
fn dropped_before_the_request_is_written_keeps_the_connection() {
    let servers = Servers::standalone(5);
    servers.sim.set_pause(ADDRESS, 100 * MS);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 1).await;
        let dials = servers.sim.stats().dials;
        assert!(
            drop_after(&servers.sim, find(&things, 2), 50 * MS)
                .await
                .is_none()
        );
        assert_eq!(pool(&client).available, 1);
        find_ok(&things, 3).await;
        assert_eq!(servers.sim.stats().dials, dials);
    });
    let tokens: Vec<_> = servers
        .seen("find")
        .iter()
        .filter_map(Seen::token)
        .map(Bson::as_i32)
        .collect();
    assert_eq!(tokens, [Some(1), Some(3)]);
    assert_quiet(&census(&client));
}

#[test]
fn dropped_with_a_request_partly_written_closes_the_connection() {
    let servers = Servers::standalone(6);
    servers.sim.set_chunk(ADDRESS, 64);
    servers.sim.set_pause(ADDRESS, 10 * MS);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 1).await;
        servers.sim.sleep(100 * MS).await;
        let dials = servers.sim.stats().dials;
        assert!(
            drop_after(&servers.sim, find(&things, 2), 5 * MS)
                .await
                .is_none()
        );
        assert_eq!(pool(&client).total(), 0);
        find_ok(&things, 3).await;
        assert_eq!(servers.sim.stats().dials, dials + 1);
    });
    let seen = servers.seen("find");
    assert_eq!(seen.len(), 2);
    assert_ne!(
        seen[0].lsid(),
        seen[1].lsid(),
        "a dirty session was used again"
    );
    assert_quiet(&census(&client));
}

#[test]
fn dropped_with_the_reply_pending_drains_it_and_reuses_the_connection() {
    let servers = Servers::standalone(7);
    let client = servers.client(|o| o.max_pool_size = Some(1));
    let things = things(&client);
    delay(&servers, 2, 500 * MS);
    let before = servers.sim.block_on(async {
        find_ok(&things, 1).await;
        let topology = client.topology_description().await.unwrap();
        assert!(
            drop_after(&servers.sim, find(&things, 2), 10 * MS)
                .await
                .is_none()
        );
        topology
    });
    assert_eq!((pool(&client).draining, pool(&client).total()), (1, 1));
    servers.sim.block_on(async {
        let start = servers.sim.now();
        find_ok(&things, 3).await;
        assert!(
            servers.sim.now() - start >= 450 * MS,
            "did not wait for the drain"
        );
        // The topology hears nothing of a cancellation.
        let after = client.topology_description().await.unwrap();
        assert!(Arc::ptr_eq(&before, &after));
    });
    let seen = servers.seen("find");
    assert_eq!(
        seen.iter()
            .map(|s| s.connection)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
    assert_ne!(
        seen[1].lsid(),
        seen[2].lsid(),
        "a dirty session was used again"
    );
    assert_quiet(&census(&client));
}

#[test]
fn a_drain_of_more_than_a_second_closes_the_connection() {
    let servers = Servers::standalone(8);
    let client = servers.client(|_| {});
    let things = things(&client);
    delay(&servers, 2, 5_000 * MS);
    servers.sim.block_on(async {
        find_ok(&things, 1).await;
        assert!(
            drop_after(&servers.sim, find(&things, 2), 10 * MS)
                .await
                .is_none()
        );
        servers.sim.sleep(900 * MS).await;
        assert_eq!(pool(&client).draining, 1);
        servers.sim.sleep(200 * MS).await;
        assert_eq!(pool(&client).total(), 0);
        find_ok(&things, 3).await;
    });
    assert_quiet(&census(&client));
}

#[test]
fn a_dropped_cursor_is_killed_on_its_server_with_its_session() {
    let servers = Servers::standalone(9);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.set_rule(|seen| (seen.name() == "find").then(|| Scripted::Reply(find_reply(seen, 77))));
    servers.sim.block_on(async {
        let mut cursor = things.find(doc! { "_id": 1 }).await.unwrap();
        assert!(cursor.next().await.unwrap().is_ok());
        assert!(servers.seen("killCursors").is_empty());
    });
    servers.pass(100 * MS);
    let killed = servers.seen("killCursors");
    assert_eq!(killed.len(), 1);
    assert_eq!(
        killed[0].command.get_array("cursors").unwrap(),
        &[Bson::Int64(77)]
    );
    assert_eq!(killed[0].lsid(), servers.seen("find")[0].lsid());
    assert_quiet(&census(&client));
}

/// Replies to `find` open a cursor, and those to `getMore` take their time.
fn slow_cursors(seen: &Seen) -> Option<Scripted> {
    match seen.name() {
        "find" => Some(Scripted::Reply(find_reply(seen, 77))),
        "getMore" => Some(Scripted::Later(
            batch_reply(doc! { "_id": 2 }, 77),
            200 * MS,
        )),
        _ => None,
    }
}

#[test]
fn a_cursor_dropped_while_it_fetches_is_killed_in_its_session() {
    let servers = Servers::standalone(13);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.set_rule(slow_cursors);
    servers.sim.block_on(async {
        let mut cursor = things.find(doc! { "_id": 1 }).await.unwrap();
        assert!(cursor.next().await.unwrap().is_ok());
        let cut = drop_after(&servers.sim, cursor.advance(), 50 * MS).await;
        assert!(cut.is_none());
        // The exchange goes on until the cursor is dropped.
        assert_eq!((pool(&client).leased, pool(&client).draining), (1, 0));
        drop(cursor);
        assert_eq!((pool(&client).leased, pool(&client).draining), (0, 1));
        servers.sim.sleep(Duration::from_secs(1)).await;
    });
    let (made, killed) = (servers.seen("find"), servers.seen("killCursors"));
    assert_eq!((servers.seen("getMore").len(), killed.len()), (1, 1));
    assert!(killed[0].lsid().is_some());
    assert_eq!(killed[0].lsid(), made[0].lsid());
    servers.clear_rule();
    servers.sim.block_on(find_ok(&things, 3));
    assert_ne!(
        servers.seen("find")[1].lsid(),
        made[0].lsid(),
        "the session of a reply that nobody took was used again"
    );
    assert_quiet(&census(&client));
}

#[test]
fn a_cursor_of_an_explicit_session_is_killed_with_its_id() {
    let servers = Servers::standalone(14);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.set_rule(slow_cursors);
    servers.sim.block_on(async {
        for fetching in [false, true] {
            let mut session = client.start_session().await.unwrap();
            let found = things.find(doc! { "_id": 1 }).session(&mut session);
            let mut cursor = found.await.unwrap();
            assert!(cursor.next(&mut session).await.unwrap().is_ok());
            if fetching {
                let cut = drop_after(&servers.sim, cursor.advance(&mut session), 50 * MS);
                assert!(cut.await.is_none());
            }
            drop(cursor);
            servers.sim.sleep(Duration::from_secs(1)).await;
            let killed = servers.seen("killCursors").pop().unwrap();
            let id = Bson::Document(session.id().clone());
            assert_eq!(killed.lsid(), Some(&id), "{fetching}");
        }
    });
    assert_eq!(servers.seen("killCursors").len(), 2);
    assert_quiet(&census(&client));
}

/// `killCursors` is best effort, and what waits for it is bounded: also behind a slow server.
#[test]
fn no_more_than_a_thousand_cursors_wait_to_be_killed() {
    const ROUND: usize = 600;
    let servers = Servers::standalone(15);
    let client = servers.client(|o| o.max_pool_size = Some(1));
    let things = things(&client);
    servers.set_rule(|seen| match seen.name() {
        "find" => Some(Scripted::Reply(find_reply(seen, 77))),
        "killCursors" => Some(Scripted::Later(doc! { "ok": 1.0 }, 10 * MS)),
        _ => None,
    });
    servers.sim.block_on(async {
        let mut cursors = Vec::new();
        for _ in 0..2 * ROUND {
            cursors.push(things.find(doc! { "_id": 1 }).await.unwrap());
        }
        let tasks = servers.sim.tasks_alive();
        for _ in 0..2 {
            cursors.truncate(cursors.len() - ROUND);
            servers.sim.sleep(MS).await;
        }
        assert_eq!(cursors.len(), 0);
        assert_eq!(census(&client).chores, 1_000);
        assert!(servers.sim.tasks_alive() <= tasks + 1_000);
        servers.sim.sleep(Duration::from_secs(3)).await;
        assert_quiet(&census(&client));
        // Later ones are killed again.
        let before = servers.seen("killCursors").len();
        drop(things.find(doc! { "_id": 1 }).await.unwrap());
        servers.sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(servers.seen("killCursors").len(), before + 1);
    });
    assert_quiet(&census(&client));
}

#[test]
fn a_cursor_that_is_the_last_handle_is_still_killed() {
    let servers = Servers::standalone(10);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.set_rule(|seen| (seen.name() == "find").then(|| Scripted::Reply(find_reply(seen, 77))));
    let cursor = servers
        .sim
        .block_on(async { things.find(doc! { "_id": 1 }).await })
        .unwrap();
    drop((client, things));
    drop(cursor);
    servers.pass(Duration::from_secs(10));
    assert_eq!(servers.seen("killCursors").len(), 1);
    assert_eq!(servers.seen("endSessions").len(), 1);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
}

#[test]
fn the_last_handle_ends_sessions_tasks_and_connections() {
    let servers = Servers::standalone(11);
    let client = servers.client(|_| {});
    servers.sim.block_on(find_ok(&things(&client), 1));
    drop(client);
    servers.pass(Duration::from_secs(3));
    assert_eq!(servers.seen("endSessions").len(), 1);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
}

/// The operation that is dropped at every poll.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Find,
    Insert,
}

async fn run(verb: Verb, things: &Collection<Document>, token: i32) {
    match verb {
        Verb::Find => find_ok(things, token).await,
        Verb::Insert => {
            let inserted = things.insert_one(doc! { "_id": token }).await.unwrap();
            assert_eq!(inserted.inserted_id, Bson::Int32(token));
        }
    }
}

/// Drops an operation at its k-th poll among others, and looks at what is left. Whether the
/// operation had ended before.
fn dropped_at(verb: Verb, seed: u64, polls: usize) -> bool {
    let servers = Servers::standalone(seed);
    servers.sim.set_chunk(ADDRESS, 48);
    servers.sim.set_pause(ADDRESS, MS);
    let client = servers.client(|o| o.max_pool_size = Some(2));
    let things = things(&client);
    let ended = servers.sim.block_on(async {
        let victim = drop_at_poll(run(verb, &things, 0), polls);
        let others = join_all((1..4).map(|token| run(verb, &things, token)));
        let (ended, _) = join(victim, others).await;
        // One that follows at once meets what the dropped one left.
        join_all((4..7).map(|token| run(verb, &things, token))).await;
        servers.sim.sleep(Duration::from_secs(2)).await;
        assert_quiet(&census(&client));
        run(verb, &things, 7).await;
        ended.is_some()
    });
    check_sessions(&servers, ended);
    drop(things);
    drop(client);
    servers.pass(Duration::from_secs(5));
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
    ended
}

/// The session of a request whose reply nobody took is dirty: nobody uses it again.
fn check_sessions(servers: &Servers, ended: bool) {
    let mut seen = servers.seen("find");
    seen.extend(servers.seen("insert"));
    let zero = Bson::Int32(0);
    let Some(victim) = seen.iter().position(|s| s.token() == Some(&zero)) else {
        return;
    };
    if !ended {
        let lsid = seen[victim].lsid();
        assert!(
            seen[victim + 1..].iter().all(|s| s.lsid() != lsid),
            "a dirty session was reused"
        );
    }
}

fn dropped_at_every_poll(verb: Verb) {
    for seed in 0..6 {
        let mut polls = 1;
        while !dropped_at(verb, seed, polls) {
            polls += 1;
            assert!(polls < 1_000, "the operation never ends");
        }
        assert!(
            polls > 8,
            "too few suspension points for the test to mean anything: {polls}"
        );
    }
}

#[test]
fn a_find_dropped_at_any_poll_leaves_nothing_behind() {
    dropped_at_every_poll(Verb::Find);
}

#[test]
fn an_insert_dropped_at_any_poll_leaves_nothing_behind() {
    dropped_at_every_poll(Verb::Insert);
}

/// Every command that was told of as started is told of as ended.
#[test]
fn a_dropped_command_is_told_of_as_failed() {
    let servers = Servers::standalone(16);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let client = servers.client(|o| {
        o.command_event_handler = Some(EventHandler::callback(move |event| {
            sink.lock().unwrap().push(event);
        }));
    });
    let things = things(&client);
    delay(&servers, 2, 500 * MS);
    servers.sim.block_on(async {
        find_ok(&things, 1).await;
        told.lock().unwrap().clear();
        let dropped = drop_after(&servers.sim, find(&things, 2), 30 * MS);
        assert!(dropped.await.is_none());
    });
    let told = told.lock().unwrap();
    let [CommandEvent::Started(started), CommandEvent::Failed(failed)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(started.request_id, failed.request_id);
    assert_eq!(failed.duration, 30 * MS);
    assert!(failed.failure.to_string().contains("dropped"), "{failed:?}");
}

/// The loop that reads ends its turn with the reply in hand: the future did not get to see it.
#[test]
fn dropped_with_a_reply_read_but_not_taken_gives_it_to_nobody() {
    const TURNS: usize = 1_000;
    for len in TURNS - 3..TURNS + 3 {
        let servers = Servers::standalone(12);
        servers.sim.set_chunk(ADDRESS, 1);
        let client = servers.client(|o| o.max_pool_size = Some(1));
        let things = things(&client);
        servers.set_rule(move |seen| {
            let mine = seen.name() == "find" && seen.token() == Some(&Bson::Int32(2));
            mine.then(|| Scripted::Reply(padded(find_reply(seen, 0), len)))
        });
        servers.sim.block_on(async {
            find_ok(&things, 1).await;
            let dials = servers.sim.stats().dials;
            // The first poll writes, the second reads.
            let dropped = drop_at_poll(find(&things, 2), 2).await;
            assert_eq!(dropped.is_some(), len < TURNS, "{len}");
            find_ok(&things, 3).await;
            assert_eq!(servers.sim.stats().dials, dials, "{len}");
        });
    }
}

/// Makes a reply's message so long: a header of 16, flags and kind of 5, and the document.
fn padded(mut reply: Document, len: usize) -> Document {
    reply.insert("pad", "");
    let bare = bson::serialize_to_vec(&reply).unwrap().len() + 21;
    reply.insert("pad", "x".repeat(len - bare));
    reply
}
