//! Cursors behind a load balancer: all their commands go over one connection, which is theirs until
//! they end.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::FutureExt;
use mongo_client::{Client, options::ClientOptions};
use mongo_client_core::pool::PoolCounts;
use mongo_client_tests::{deploy, fault::Mongos, live, live::Recorder, rt};

/// A load balancer before two services, a client of it, and one that goes around it.
struct Balanced {
    balancer: Mongos,
    client: Client,
    events: Recorder,
    name: String,
    direct: Client,
}

fn options(balancer: &Mongos) -> ClientOptions {
    live::options(&format!(
        "mongodb://{}/?loadBalanced=true",
        balancer.address()
    ))
}

async fn balanced() -> Option<Balanced> {
    let direct = live::client(&deploy::uri("REPLICA_SET")?);
    let admin = direct.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = hello.get_str("primary").unwrap().to_owned();
    let balancer = Mongos::start_balancer(primary, 2).await.unwrap();
    let mut options = options(&balancer);
    let events = Recorder::attach(&mut options);
    let name = live::app_name(&options);
    Some(Balanced {
        client: live::build(options),
        balancer,
        events,
        name,
        direct,
    })
}

impl Balanced {
    async fn numbers(&self) -> mongo_client::Collection<Document> {
        let numbers = live::database(&self.client).collection::<Document>("numbers");
        let documents: Vec<_> = (0..5).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(documents).await.unwrap();
        numbers
    }

    fn counts(&self) -> PoolCounts {
        self.client.handle().census().pools[0].1
    }

    /// The connections over which the commands of a name went.
    fn connections(&self, command: &str) -> Vec<u32> {
        let started = self.events.started(command).into_iter();
        started.map(|event| event.connection.id).collect()
    }

    async fn unpinned(&self) {
        let free = || async { self.counts().pinned == 0 && self.counts().leased == 0 };
        live::eventually("the connection is given back", free).await;
    }

    async fn forget(self, numbers: mongo_client::Collection<Document>) {
        let name = numbers.namespace().db;
        live::forget(&self.direct.database(&name)).await;
    }
}

#[test]
fn a_cursor_keeps_its_connection_until_it_is_exhausted() {
    rt::block_on(async {
        let Some(balanced) = balanced().await else {
            return;
        };
        let numbers = balanced.numbers().await;
        let mut cursor = numbers.find(doc! {}).batch_size(2).await.unwrap();
        let mut other = numbers.find(doc! {}).batch_size(2).await.unwrap();
        assert_eq!(balanced.counts().pinned, 2);
        for _ in 0..5 {
            assert!(cursor.advance().await.unwrap());
            // Operations and other cursors have connections of their own.
            assert!(other.advance().await.unwrap());
            let count = numbers.estimated_document_count().await.unwrap();
            assert_eq!(count, 5);
        }
        assert_eq!(balanced.counts().pinned, 0);
        assert!(!cursor.advance().await.unwrap() && !other.advance().await.unwrap());
        let opened = balanced.connections("find");
        assert_ne!(opened[0], opened[1]);
        let fetched = balanced.connections("getMore");
        assert_eq!(fetched, [&opened[..], &opened[..]].concat());
        // The last one came after the cursors' end.
        for id in &balanced.connections("count")[..4] {
            assert!(!opened.contains(id), "{id:?} is a cursor's");
        }
        // One batch is no cursor.
        let all = numbers.find(doc! {}).await.unwrap();
        assert_eq!(balanced.counts().pinned, 0);
        drop(all);
        balanced.forget(numbers).await;
    });
}

#[test]
fn a_cursor_is_killed_over_its_connection() {
    rt::block_on(async {
        let Some(balanced) = balanced().await else {
            return;
        };
        let numbers = balanced.numbers().await;
        let dropped = numbers.find(doc! {}).batch_size(2).await.unwrap();
        let closed = numbers.find(doc! {}).batch_size(2).await.unwrap();
        let opened = balanced.connections("find");
        closed.close().await;
        assert_eq!(balanced.connections("killCursors"), opened[1..]);
        assert_eq!(balanced.counts().pinned, 1);
        drop(dropped);
        balanced.unpinned().await;
        let killed = balanced.connections("killCursors");
        assert_eq!(killed, [opened[1], opened[0]]);
        assert_eq!(balanced.balancer.count("killCursors"), 2);
        balanced.forget(numbers).await;
    });
}

#[test]
fn a_blocking_cursor_keeps_its_connection() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let direct = mongo_client::sync::Client::with_options(live::options(&uri)).unwrap();
    let admin = direct.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).run().unwrap();
    let primary = hello.get_str("primary").unwrap().to_owned();
    let balancer = rt::tokio_runtime().block_on(Mongos::start_balancer(primary, 2));
    let balancer = balancer.unwrap();
    let mut options = options(&balancer);
    let events = Recorder::attach(&mut options);
    let client = mongo_client::sync::Client::with_options(options).unwrap();
    let database = client.database(&live::unique("live_pinning"));
    let numbers = database.collection::<Document>("numbers");
    let documents: Vec<_> = (0..5).map(|n| doc! { "_id": n }).collect();
    numbers.insert_many(documents).run().unwrap();

    let mut session = client.start_session().run().unwrap();
    let mut cursor = numbers.find(doc! {}).batch_size(2).run().unwrap();
    let mut in_session = numbers
        .find(doc! {})
        .batch_size(2)
        .session(&mut session)
        .run()
        .unwrap();
    for _ in 0..5 {
        assert!(cursor.advance().unwrap());
        assert!(in_session.advance(&mut session).unwrap());
    }
    let connections = |name: &str| -> Vec<_> {
        let started = events.started(name).into_iter();
        started.map(|event| event.connection.id).collect()
    };
    let (opened, fetched) = (connections("find"), connections("getMore"));
    assert_ne!(opened[0], opened[1]);
    assert_eq!(fetched, [&opened[..], &opened[..]].concat());
    database.drop().run().unwrap();
}

mod serial_replica_set {
    use super::*;

    #[test]
    fn a_fetch_that_is_dropped_is_waited_for_before_the_cursor_is_killed() {
        rt::block_on(async {
            let Some(balanced) = balanced().await else {
                return;
            };
            let numbers = balanced.numbers().await;
            let mut session = balanced.client.start_session().await.unwrap();
            let find = numbers.find(doc! {}).batch_size(2);
            let mut in_session = find.session(&mut session).await.unwrap();
            let mut plain = numbers.find(doc! {}).batch_size(2).await.unwrap();
            let opened = balanced.connections("find");
            let data = doc! {
                "failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 300,
            };
            let fail = live::FailPoint::set(&balanced.direct, 2, &balanced.name, data).await;
            for _ in 0..2 {
                assert!(in_session.advance(&mut session).await.unwrap());
                assert!(plain.advance().await.unwrap());
            }
            // Polled once: under way, and then dropped.
            assert!(in_session.advance(&mut session).now_or_never().is_none());
            assert!(plain.advance().now_or_never().is_none());
            drop((in_session, plain));
            balanced.unpinned().await;
            assert_eq!(balanced.connections("getMore"), opened);
            let mut killed = balanced.connections("killCursors");
            killed.sort();
            assert_eq!(killed, opened);
            fail.off().await;
            balanced.forget(numbers).await;
        });
    }

    #[test]
    fn no_command_follows_over_a_broken_connection() {
        rt::block_on(async {
            let Some(balanced) = balanced().await else {
                return;
            };
            let numbers = balanced.numbers().await;
            let mut cursor = numbers.find(doc! {}).batch_size(2).await.unwrap();
            let data = doc! { "failCommands": ["getMore"], "closeConnection": true };
            let fail = live::FailPoint::set(&balanced.direct, 1, &balanced.name, data).await;
            assert!(cursor.advance().await.unwrap() && cursor.advance().await.unwrap());
            let error = cursor.advance().await.unwrap_err();
            assert!(error.is_network(), "{error:?}");
            assert_eq!(balanced.counts().pinned, 1);
            cursor.close().await;
            assert_eq!(balanced.counts().pinned, 0);
            assert!(balanced.connections("killCursors").is_empty());
            fail.off().await;
            balanced.forget(numbers).await;
        });
    }

    #[test]
    fn who_waits_in_vain_is_told_what_the_connections_do() {
        rt::block_on(async {
            let Some(balanced) = balanced().await else {
                return;
            };
            let numbers = balanced.numbers().await;
            let mut options = options(&balanced.balancer);
            options.max_pool_size = Some(1);
            options.wait_queue_timeout = Some(Duration::from_millis(50));
            let client = live::build(options);
            let same = client.database(&numbers.namespace().db);
            let same = same.collection::<Document>("numbers");
            let cursor = same.find(doc! {}).batch_size(2).await.unwrap();
            let error = same.count_documents(doc! {}).await.unwrap_err().to_string();
            let told = "maxPoolSize: 1, connections in use by cursors: 1, connections in use by \
                        transactions: 0, connections in use by other operations: 0";
            assert!(error.contains(told), "{error}");
            cursor.close().await;
            assert_eq!(same.count_documents(doc! {}).await.unwrap(), 5);
            balanced.forget(numbers).await;
        });
    }
}
