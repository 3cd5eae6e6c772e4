//! Explicit sessions, and what a client says of itself, against real servers.

use bson::{Document, Timestamp, doc};
use mongo_client::{
    Client, Database,
    error::ErrorKind,
    options::{DriverInfo, TransactionOptions, WriteConcern},
};
use mongo_client_tests::{
    live::{self, Recorder},
    rt,
};

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

/// Where a majority has what was written: a snapshot may see it.
async fn insert(db: &Database, id: i32) {
    let things = db.collection::<Document>("things");
    let insert = things.insert_one(doc! { "_id": id });
    insert
        .write_concern(WriteConcern::majority())
        .await
        .unwrap();
}

#[test]
fn a_snapshot_session_reads_one_point_in_time() {
    live::on("REPLICA_SET", async |uri| {
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        insert(&db, 1).await;
        let mut session = client.start_session().snapshot(true).await.unwrap();
        assert_eq!(session.snapshot_time(), None);
        let find = things.find_one(doc! { "_id": 1 }).session(&mut session);
        assert!(find.await.unwrap().is_some());
        let time = session.snapshot_time().expect("the first read sets it");

        insert(&db, 2).await;
        let later = things.find_one(doc! { "_id": 2 }).session(&mut session);
        assert_eq!(later.await.unwrap(), None);
        let start = client.start_session().snapshot(true).snapshot_time(time);
        let mut same = start.await.unwrap();
        assert_eq!(same.snapshot_time(), Some(time));
        let count = things.count_documents(doc! {}).session(&mut same);
        assert_eq!(count.await.unwrap(), 1);

        let concerns: Vec<_> = sent(&recorder, "find")
            .iter()
            .map(|find| find.get_document("readConcern").cloned().unwrap())
            .collect();
        let expected = [
            doc! { "level": "snapshot" },
            doc! { "level": "snapshot", "atClusterTime": time },
        ];
        assert_eq!(concerns, expected);
        // The server refuses what is no read.
        let write = things.insert_one(doc! {}).session(&mut session);
        assert!(write.await.is_err());
        live::forget(&db).await;
    });
}

#[test]
fn contradicting_options_are_refused_by_name() {
    rt::block_on(async {
        let client = live::client("mongodb://127.0.0.1:1/");
        let both = client
            .start_session()
            .snapshot(true)
            .causal_consistency(true);
        let time = Timestamp {
            time: 1,
            increment: 1,
        };
        let stray = client.start_session().snapshot_time(time);
        for (start, name) in [(both, "causal_consistency"), (stray, "snapshot_time")] {
            let error = start.await.unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let of_transactions = TransactionOptions::builder()
            .write_concern(WriteConcern::majority())
            .build();
        let start = client.start_session();
        let start = start.default_transaction_options(of_transactions);
        let session = start.await.unwrap();
        let stored = session.options().default_transaction_options.as_ref();
        let stored = stored.and_then(|options| options.write_concern.clone());
        assert_eq!(stored, Some(WriteConcern::majority()));
    });
}

#[test]
fn writes_in_a_causal_session_follow_what_it_has_seen() {
    live::on("REPLICA_SET", async |uri| {
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let mut session = client.start_session().await.unwrap();
        for _ in 0..2 {
            let insert = things.insert_one(doc! {}).session(&mut session);
            insert.await.unwrap();
        }
        let inserts = sent(&recorder, "insert");
        assert!(!inserts[0].contains_key("readConcern"));
        let concern = inserts[1].get_document("readConcern").unwrap();
        let keys: Vec<_> = concern.keys().collect();
        assert_eq!(keys, ["afterClusterTime"]);

        let unacknowledged = things
            .insert_one(doc! {})
            .write_concern(WriteConcern::nodes(0))
            .session(&mut session);
        let error = unacknowledged.await.unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::InvalidArgument { message }
            if message.contains("unacknowledged"))
        );
        let other = live::client(&uri);
        let foreign = other.database("db").collection::<Document>("c");
        let error = foreign.find_one(doc! {}).session(&mut session).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("another client"), "{error}");
        live::forget(&db).await;
    });
}

/// The names that the connection of this operation has told the server.
async fn told(client: &Client) -> String {
    let admin = client.database("admin");
    let pipeline = [
        doc! { "$currentOp": { "allUsers": false, "idleConnections": false } },
        doc! { "$match": { "command.comment": "me" } },
    ];
    let own = admin.aggregate(pipeline).comment("me").await;
    let mut own = own.unwrap();
    assert!(own.advance().await.unwrap(), "the operation is not there");
    let own = own.deserialize_current().unwrap();
    let metadata = own.get_document("clientMetadata").unwrap();
    let driver = metadata.get_document("driver").unwrap();
    driver.get_str("name").unwrap().to_owned()
}

#[test]
fn what_is_appended_to_the_metadata_is_told_by_new_connections() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let before = told(&client).await;
        assert!(!before.contains("wrapper"), "{before}");
        let info = DriverInfo::builder().name("wrapper".to_owned()).build();
        client.append_metadata(info.clone()).unwrap();
        client.clone().append_metadata(info).unwrap();
        assert_eq!(told(&client).await, before, "the connection is the old one");
        client.close().await;
        assert_eq!(told(&client).await, format!("{before}|wrapper"));
        let invalid = DriverInfo::builder().name("a|b".to_owned()).build();
        assert!(client.append_metadata(invalid).is_err());
    });
}
