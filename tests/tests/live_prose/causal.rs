//! Causal consistency: source/causal-consistency/causal-consistency.md, "Test Plan".

use bson::{Document, Timestamp, doc};
use mongo_client::{
    ClientSession, Database,
    options::{CollectionOptions, ReadConcern},
};
use mongo_client_tests::{deploy, live, rt};

use super::{last, recorded, verbs};

/// The operation time of the session, after a find.
async fn found(db: &Database, session: &mut ClientSession) -> Timestamp {
    let things = db.collection::<Document>("things");
    things
        .find_one(doc! {})
        .session(&mut *session)
        .await
        .unwrap();
    session.operation_time().expect("the reply has one")
}

fn after(command: &Document) -> Option<Timestamp> {
    let concern = command.get_document("readConcern").ok()?;
    concern.get_timestamp("afterClusterTime").ok()
}

#[test]
fn tests_1_to_3_a_session_has_the_operation_time_of_its_first_reply() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        for causal in [true, false] {
            let start = client.start_session().causal_consistency(causal);
            let mut session = start.await.unwrap();
            assert_eq!(session.operation_time(), None);
            found(&db, &mut session).await;
            assert_eq!(after(&last(&recorder, "find")), None);

            // An error has one too.
            let mut session = client.start_session().await.unwrap();
            let refused = db.run_command(doc! { "noSuchCommand": 1 });
            refused.session(&mut session).await.unwrap_err();
            assert!(session.operation_time().is_some());
        }
    });
}

#[test]
fn tests_4_6_and_8_verbs_that_follow_a_find_send_its_time_without_a_level() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        db.create_collection("things").await.unwrap();
        for verb in verbs::reads().into_iter().chain(verbs::writes()) {
            for causal in [true, false] {
                let start = client.start_session().causal_consistency(causal);
                let mut session = start.await.unwrap();
                let time = found(&db, &mut session).await;
                let done = (verb.run)(&db, Some(&mut session)).await;
                // A write that was done before may be refused now.
                assert!(!causal || done.is_ok(), "{}: {done:?}", verb.command);
                let command = last(&recorder, verb.command);
                let expected = (causal && verb.causal).then_some(time);
                assert_eq!(after(&command), expected, "{}", verb.command);
                let concern = command.get_document("readConcern");
                assert!(!concern.is_ok_and(|c| c.contains_key("level")));
            }
        }
        live::forget(&db).await;
    });
}

#[test]
fn test_5_a_find_follows_every_verb_also_one_that_failed() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        db.create_collection("things").await.unwrap();
        let mut session = client.start_session().await.unwrap();
        for verb in verbs::writes() {
            (verb.run)(&db, Some(&mut session)).await.unwrap();
            let time = session.operation_time();
            found(&db, &mut session).await;
            assert_eq!(after(&last(&recorder, "find")), time, "{}", verb.command);
        }
        let things = db.collection::<Document>("things");
        for _ in 0..2 {
            let insert = things.insert_one(doc! { "_id": 1 });
            let _ = insert.session(&mut session).await;
        }
        let time = session.operation_time();
        found(&db, &mut session).await;
        assert_eq!(after(&last(&recorder, "find")), time);
        live::forget(&db).await;
    });
}

#[test]
fn test_9_a_read_concern_of_ones_own_is_merged_with_the_time() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let majority = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .build();
        let things = db.collection_with_options::<Document>("things", majority);
        let mut session = client.start_session().await.unwrap();
        let time = found(&db, &mut session).await;
        things
            .find_one(doc! {})
            .session(&mut session)
            .await
            .unwrap();
        let find = last(&recorder, "find");
        let concern = find.get_document("readConcern").unwrap();
        let expected = doc! { "level": "majority", "afterClusterTime": time };
        assert_eq!(concern, &expected);
    });
}

#[test]
fn tests_7_11_and_12_a_standalone_is_sent_no_times() {
    rt::block_on(async {
        for (name, times) in [("STANDALONE", false), ("REPLICA_SET", true)] {
            let Some(uri) = deploy::uri(name) else {
                return;
            };
            let (client, recorder) = recorded(&uri);
            let db = live::database(&client);
            let things = db.collection::<Document>("things");
            let mut session = client.start_session().await.unwrap();
            for _ in 0..2 {
                things
                    .find_one(doc! {})
                    .session(&mut session)
                    .await
                    .unwrap();
            }
            let find = last(&recorder, "find");
            assert_eq!(after(&find).is_some(), times, "{name}");
            assert_eq!(find.contains_key("$clusterTime"), times, "{name}");
        }
    });
}
