//! What tests of simulated deployments write and read.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{Client, Collection, options::WriteConcern};

/// The collection `db.c`.
#[must_use]
pub fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("c")
}

/// Inserts a document that a majority must keep.
///
/// # Panics
///
/// When the insert fails.
pub async fn insert(client: &Client, id: i32) {
    let things = things(client);
    let insert = things.insert_one(doc! { "_id": id });
    let inserted = insert.write_concern(WriteConcern::majority()).await;
    inserted.unwrap_or_else(|error| panic!("{id}: {error}"));
}

/// The ids of all documents in their order, read in batches.
///
/// # Panics
///
/// When the query fails.
pub async fn ids(client: &Client) -> Vec<i32> {
    let things = things(client);
    let find = things.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(7);
    let all: Vec<Document> = find.await.unwrap().try_collect().await.unwrap();
    all.iter().map(|d| d.get_i32("_id").unwrap()).collect()
}
