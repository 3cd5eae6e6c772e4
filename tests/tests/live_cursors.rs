//! Cursors beyond reading them to their end, against real servers.

use std::time::Duration;

use bson::{Document, doc};
use mongo_client::{
    Client, Collection, Database,
    cursor::RawBatch,
    options::{CursorType, SelectionCriteria},
};
use mongo_client_tests::live::{self, Recorder};

/// A client and the commands that it sends.
fn recorded(uri: &str) -> (Client, Recorder) {
    let mut options = live::options(uri);
    let recorder = Recorder::attach(&mut options);
    (live::build(options), recorder)
}

fn sent(recorder: &Recorder, name: &str) -> Vec<Document> {
    let started = recorder.started(name).into_iter();
    started.map(|event| event.command).collect()
}

async fn numbered(db: &Database, count: i32) -> Collection<Document> {
    let collection = db.collection::<Document>("things");
    let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n }).collect();
    collection.insert_many(&documents).await.unwrap();
    collection
}

fn len(batch: &RawBatch) -> usize {
    batch.doc_slices().unwrap().into_iter().count()
}

#[test]
fn batches_come_whole_and_undecoded() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = numbered(&db, 5).await;

        let mut batches = things.find(doc! {}).batch_size(2).batch().await.unwrap();
        let mut lens = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.unwrap();
            assert!(batch.as_raw_document().get("ok").unwrap().is_some());
            lens.push(len(&batch));
        }
        assert_eq!(lens, [2, 2, 1]);

        let mut session = client.start_session().await.unwrap();
        let find = things.find(doc! {}).batch_size(3).session(&mut session);
        let mut batches = find.batch().await.unwrap();
        let first = batches.next(&mut session).await.unwrap().unwrap();
        let second = batches.next(&mut session).await.unwrap().unwrap();
        assert_eq!((len(&first), len(&second)), (3, 2));
        assert!(batches.next(&mut session).await.is_none());
        live::forget(&db).await;
    });
}

#[test]
fn a_tailable_cursor_says_that_there_is_nothing_yet() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let create = db.create_collection("things").capped(true).size(4096);
        create.await.unwrap();
        let things = numbered(&db, 1).await;
        let mut cursor = things
            .find(doc! {})
            .cursor_type(CursorType::TailableAwait)
            .max_await_time(Duration::from_millis(5))
            .await
            .unwrap();
        assert_eq!(cursor.next_if_any().await.unwrap(), Some(doc! { "_id": 0 }));
        assert_eq!(cursor.next_if_any().await.unwrap(), None);
        assert!(cursor.has_next());
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
        assert!(cursor.advance().await.unwrap());
        assert_eq!(cursor.deserialize_current().unwrap(), doc! { "_id": 1 });
        live::forget(&db).await;
    });
}

#[test]
fn a_closed_cursor_is_gone_from_the_server() {
    live::on("STANDALONE", async |uri| {
        let (client, log) = recorded(&uri);
        let db = live::database(&client);
        let things = numbered(&db, 5).await;
        let cursor = things.find(doc! {}).batch_size(2).await.unwrap();
        cursor.close().await;
        assert_eq!(sent(&log, "killCursors").len(), 1);

        let mut session = client.start_session().await.unwrap();
        let find = things.find(doc! {}).batch_size(2).session(&mut session);
        let cursor = find.await.unwrap();
        cursor.close(&mut session).await;
        let kills = sent(&log, "killCursors");
        assert_eq!(kills.len(), 2);
        assert_eq!(kills[1].get_document("lsid").unwrap(), session.id());
        // One that is exhausted has nothing to be removed.
        things.find(doc! {}).await.unwrap().close().await;
        assert_eq!(sent(&log, "killCursors").len(), 2);
        live::forget(&db).await;
    });
}

#[test]
fn later_batches_of_a_command_have_its_options() {
    live::on("REPLICA_SET", async |uri| {
        let (client, log) = recorded(&uri);
        let db = live::database(&client);
        numbered(&db, 5).await;
        let command = doc! { "find": "things", "batchSize": 2 };
        let mut cursor = db
            .run_cursor_command(command)
            .batch_size(3)
            .comment("why")
            .await
            .unwrap();
        let mut found = 0;
        while cursor.advance().await.unwrap() {
            found += 1;
        }
        assert_eq!(found, 5);
        let more = &sent(&log, "getMore")[0];
        assert_eq!(more.get_i32("batchSize").unwrap(), 3);
        assert_eq!(more.get_str("comment").unwrap(), "why");
        live::forget(&db).await;
    });
}

#[test]
fn an_aggregation_that_writes_may_run_on_a_secondary() {
    live::on("REPLICA_SET", async |uri| {
        let (client, log) = recorded(&uri);
        let db = live::database(&client);
        let things = numbered(&db, 3).await;
        let secondary = mongo_client::options::ReadPreference::secondary_preferred(None);
        let out = things
            .aggregate([doc! { "$out": "copy" }])
            .selection_criteria(SelectionCriteria::from(secondary));
        drop(out.await.unwrap());
        let aggregate = &sent(&log, "aggregate")[0];
        let preference = aggregate.get_document("$readPreference").unwrap();
        assert_eq!(preference.get_str("mode").unwrap(), "secondaryPreferred");
        live::forget(&db).await;
    });
}
