//! Clients whose pools are watched: full before a fault, exact after it.

use std::{future::IntoFuture, time::Duration};

use bson::{Document, doc};
use futures_util::future::join_all;
use mongo_client::{Client, Collection, options::ClientOptions};

use crate::{live, rt, sim::assert_quiet};

/// How many documents a [`warm`] client's collection has; their ids count from 0.
pub const DOCUMENTS: i32 = 50;

/// A client whose pool has connections, and documents that it can ask for.
///
/// # Panics
///
/// When the server refuses, or the pool does not grow so far.
pub async fn warm(options: ClientOptions, connections: usize) -> (Client, Collection<Document>) {
    let client = live::build(options);
    let people = live::database(&client).collection::<Document>("people");
    let documents: Vec<Document> = (0..DOCUMENTS).map(|n| doc! { "_id": n }).collect();
    people.insert_many(&documents).await.unwrap();
    live::eventually("connections in the pool", || async {
        let finds = (0..4 * connections).map(|_| people.find_one(doc! {}).into_future());
        join_all(finds)
            .await
            .into_iter()
            .for_each(|found| drop(found.unwrap()));
        let census = client.handle().census();
        census
            .pools
            .iter()
            .any(|(_, counts)| counts.available == connections)
    })
    .await;
    (client, people)
}

/// The connections of all pools, as maxPoolSize counts them.
#[must_use]
pub fn total(client: &Client) -> usize {
    let census = client.handle().census();
    census.pools.iter().map(|(_, counts)| counts.total()).sum()
}

/// Asserts what holds once a fault is over: operations succeed and get their own replies, nothing
/// is held for those that have ended, no pool has more than `max` connections. Drops the database.
///
/// # Panics
///
/// When something else is the case.
pub async fn recovers(client: &Client, people: &Collection<Document>, max: usize) {
    live::eventually("an operation succeeds", || async {
        rt::timeout(
            Duration::from_secs(2),
            people.find_one(doc! { "_id": 0 }).into_future(),
        )
        .await
        .is_ok_and(|found| found.is_ok())
    })
    .await;
    // More than the pool has connections, but not so many that their wait has an end.
    let ids: Vec<i32> = (0..3 * DOCUMENTS).map(|n| n % DOCUMENTS).collect();
    for ids in ids.chunks(2 * max) {
        let finds = ids.iter().map(|n| async move {
            let found = people.find_one(doc! { "_id": n }).await.unwrap();
            assert_eq!(found, Some(doc! { "_id": n }));
        });
        join_all(finds).await;
    }
    live::within(Duration::from_secs(5), || async {
        let census = client.handle().census();
        census
            .pools
            .iter()
            .all(|(_, n)| n.leased + n.draining + n.opening == 0)
            && census.operations + u32::try_from(census.chores).unwrap() == 0
    })
    .await;
    assert_quiet(&client.handle().census());
    assert!(total(client) <= max, "{:?}", client.handle().census());
    live::forget(&people.client().database(&people.namespace().db)).await;
}
