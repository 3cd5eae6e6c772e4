//! Compression, proven by what the server counts.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{Client, options::Compressor};
use mongo_client_tests::{deploy, live, rt};

/// How many compressed bytes the server received and sent with a compressor.
async fn counted(observer: &Client, compressor: &str) -> (i64, i64) {
    let admin = observer.database("admin");
    let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let counters = status
        .get_document("network")
        .and_then(|network| network.get_document("compression"))
        .and_then(|all| all.get_document(compressor))
        .unwrap();
    let number = |side: &str, field: &str| match counters.get_document(side).unwrap().get(field) {
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Int32(n)) => i64::from(*n),
        other => panic!("{side}.{field}: {other:?}"),
    };
    (
        number("decompressor", "bytesOut"),
        number("compressor", "bytesIn"),
    )
}

async fn exchanges_are_compressed(compressor: Compressor) {
    let Some(uri) = deploy::uri("COMPRESSED") else {
        return;
    };
    let observer = live::client(&uri);
    let before = counted(&observer, compressor.as_str()).await;
    let mut options = live::options(&uri);
    options.compressors = Some(vec![compressor]);
    let client = live::build(options);
    let db = live::database(&client);
    let texts = db.collection::<Document>("texts");
    let text = "Repetition is easily compressed. ".repeat(1000);
    let documents: Vec<Document> = (0..50).map(|n| doc! { "_id": n, "text": &text }).collect();

    texts.insert_many(&documents).await.unwrap();
    let cursor = texts.find(doc! {}).sort(doc! { "_id": 1 });
    let found = cursor.batch_size(20).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();

    assert_eq!(found, documents);
    let after = counted(&observer, compressor.as_str()).await;
    let payload = i64::try_from(text.len() * documents.len()).unwrap();
    let (received, sent) = (after.0 - before.0, after.1 - before.1);
    assert!(received > payload, "received {received} of {payload}");
    assert!(sent > payload, "sent {sent} of {payload}");
    live::forget(&db).await;
}

#[test]
fn snappy_is_used_both_ways() {
    rt::block_on(async {
        exchanges_are_compressed(Compressor::Snappy).await;
    });
}

#[test]
fn zlib_is_used_both_ways() {
    rt::block_on(async {
        exchanges_are_compressed(Compressor::Zlib { level: Some(6) }).await;
    });
}

#[test]
fn zstd_is_used_both_ways() {
    rt::block_on(async {
        exchanges_are_compressed(Compressor::Zstd { level: None }).await;
    });
}
