//! The client on async-std, without any tokio runtime.

use std::sync::Arc;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{Client, runtime::AsyncStdRuntime};
use mongo_client_tests::{deploy, live};

#[test]
fn documents_are_written_and_read_without_tokio() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let builder = Client::builder().uri(&uri).unwrap();
    let client = builder
        .runtime(Arc::new(AsyncStdRuntime::new()))
        .build()
        .unwrap();
    async_std::task::block_on(async {
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..250).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();
        let cursor = numbers.find(doc! {}).batch_size(100).await.unwrap();
        let found: Vec<Document> = cursor.try_collect().await.unwrap();
        assert_eq!(found.len(), 250);
        live::forget(&db).await;
        client.clone().shutdown().await;
    });
}
