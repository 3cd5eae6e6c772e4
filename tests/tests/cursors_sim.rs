//! Cursors of the public API on the scripted runtime: batches, cancelled calls, and what is left.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::{Document, doc};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use mongo_client::{Client, Collection, options::ClientOptions};
use mongo_client_core::net::ServerAddress;
use mongo_client_sim::{Script, Scripted, Sim, hello_reply};

const ADDRESS: &str = "db.test:27017";
const BATCHES: i32 = 3;
/// How long the server takes for a later batch.
const LATENCY: Duration = Duration::from_millis(100);

type Log = Arc<Mutex<Vec<String>>>;

/// A server whose cursors have three batches of two documents: 0 to 5.
fn server(sim: &Sim) -> Log {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let script = Script::new(move |_, command| {
        if let Some(hello) = hello_reply(command) {
            return Scripted::Reply(hello);
        }
        let name = command.keys().next().unwrap().clone();
        let mut seen = seen.lock().unwrap();
        let fetched = seen.iter().filter(|n| *n == "getMore").count() as i32;
        seen.push(name.clone());
        let batch = |n: i32| vec![doc! { "n": 2 * n }, doc! { "n": 2 * n + 1 }];
        let cursor = |field: &str, n: i32| {
            let id = if n + 1 < BATCHES { 77_i64 } else { 0 };
            doc! { "ok": 1, "cursor": { "id": id, "ns": "db.c", field: batch(n) } }
        };
        match name.as_str() {
            "find" => Scripted::Reply(cursor("firstBatch", 0)),
            "getMore" => Scripted::Later(cursor("nextBatch", fetched + 1), LATENCY),
            _ => Scripted::Reply(doc! { "ok": 1 }),
        }
    });
    sim.listen(ADDRESS, move |n| script.peer(n));
    log
}

fn collection(sim: &Sim) -> Collection<Document> {
    let mut options = ClientOptions::default();
    options.hosts = vec![ServerAddress::parse(ADDRESS).unwrap()];
    let client = Client::builder()
        .options(options)
        .runtime(sim.runtime())
        .build()
        .unwrap();
    client.database("db").collection("c")
}

/// Drops the future if it takes longer than a tenth of the server's latency.
async fn impatient<T>(sim: &Sim, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sim.sleep(LATENCY / 10))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

fn count(log: &Log, name: &str) -> usize {
    log.lock().unwrap().iter().filter(|n| *n == name).count()
}

#[test]
fn a_stream_goes_over_all_batches_and_leaves_no_cursor() {
    let sim = Sim::new(1);
    let log = server(&sim);
    let found: Vec<i32> = sim.block_on(async {
        let cursor = collection(&sim).find(doc! {}).await.unwrap();
        cursor
            .map(|d| d.unwrap().get_i32("n").unwrap())
            .collect()
            .await
    });
    assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    sim.block_on(sim.sleep(Duration::from_secs(1)));
    assert_eq!((count(&log, "getMore"), count(&log, "killCursors")), (2, 0));
}

#[test]
fn a_dropped_next_loses_no_document_and_fetches_nothing_twice() {
    let sim = Sim::new(2);
    let log = server(&sim);
    let (mut found, mut dropped) = (Vec::new(), 0);
    sim.block_on(async {
        let mut cursor = collection(&sim).find(doc! {}).await.unwrap();
        loop {
            match impatient(&sim, cursor.next()).await {
                None => dropped += 1,
                Some(None) => break,
                Some(Some(document)) => found.push(document.unwrap().get_i32("n").unwrap()),
            }
        }
    });
    assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    assert!(dropped > 10, "{dropped}");
    assert_eq!(count(&log, "getMore"), 2);
}

#[test]
fn a_dropped_cursor_is_killed_on_the_server() {
    let sim = Sim::new(3);
    let log = server(&sim);
    sim.block_on(async {
        let collection = collection(&sim);
        let mut cursor = collection.find(doc! {}).await.unwrap();
        assert!(cursor.advance().await.unwrap());
        drop(cursor);
        sim.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!((count(&log, "getMore"), count(&log, "killCursors")), (0, 1));
}

#[test]
fn a_session_cursor_says_when_a_dropped_call_lost_a_batch() {
    let sim = Sim::new(4);
    let log = server(&sim);
    sim.block_on(async {
        let collection = collection(&sim);
        let mut session = collection.client().start_session().await.unwrap();
        let mut cursor = collection
            .find(doc! {})
            .session(&mut session)
            .await
            .unwrap();
        for expected in 0..2 {
            let document = cursor.next(&mut session).await.unwrap().unwrap();
            assert_eq!(document.get_i32("n").unwrap(), expected);
        }
        let cut = impatient(&sim, cursor.advance(&mut session)).await;
        assert!(cut.is_none());
        let error = cursor.advance(&mut session).await.unwrap_err();
        assert!(error.to_string().contains("dropped"), "{error}");
        assert!(!cursor.advance(&mut session).await.unwrap());
        sim.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!((count(&log, "getMore"), count(&log, "killCursors")), (1, 1));
}
