//! Read preferences, concerns, sessions and retries against a replica set.

use bson::{Document, doc};
use futures_util::{StreamExt, TryStreamExt};
use mongo_client::{
    Client, Collection,
    error::{ErrorKind, RETRYABLE_WRITE_ERROR},
    event::command::CommandStartedEvent,
    options::{ReadConcern, ReadPreference, WriteConcern},
    topology::{ServerType, TopologyType},
};
use mongo_client_tests::{deploy, live, rt};

/// A client with a record of its events, and its application name.
fn recorded(uri: &str) -> (Client, live::Recorder, String) {
    let mut options = live::options(uri);
    let events = live::Recorder::attach(&mut options);
    let app_name = live::app_name(&options);
    (live::build(options), events, app_name)
}

fn lsid(event: &CommandStartedEvent) -> Document {
    event.command.get_document("lsid").unwrap().clone()
}

async fn stored(collection: &Collection<Document>) -> u64 {
    collection.count_documents(doc! {}).await.unwrap()
}

#[test]
fn topology_has_a_primary_and_two_secondaries() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        live::eventually("three members", || async {
            let topology = client.topology_description().await.unwrap();
            let types: Vec<_> = topology.servers.values().map(|s| s.server_type).collect();
            let count = |wanted| types.iter().filter(|t| **t == wanted).count();
            topology.topology_type == TopologyType::ReplicaSetWithPrimary
                && topology.set_name.as_deref() == Some(deploy::SET_NAME)
                && (count(ServerType::RsPrimary), count(ServerType::RsSecondary)) == (1, 2)
        })
        .await;
    });
}

#[test]
fn one_seed_is_enough_to_find_the_primary() {
    live::on("REPLICA_SET", async |uri| {
        let all = live::options(&uri);
        for seed in all.hosts.clone() {
            let mut options = live::options(&uri);
            options.hosts = vec![seed];
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            people.insert_one(doc! { "_id": 1 }).await.unwrap();
            live::forget(&db).await;
        }
    });
}

#[test]
fn wrong_set_name_is_told_when_no_server_is_found() {
    live::on("REPLICA_SET", async |uri| {
        let mut options = live::options(&uri);
        options.repl_set_name = Some("another".to_owned());
        options.server_selection_timeout = Some(std::time::Duration::from_secs(1));
        let client = live::build(options);

        let error = client.list_database_names().await.unwrap_err();

        assert!(error.is_server_selection(), "{error}");
        assert!(error.to_string().contains("\"another\""), "{error}");
    });
}

#[test]
fn secondary_reads_go_to_secondaries_and_see_majority_writes() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let everywhere = WriteConcern::nodes(3);
        people
            .insert_one(doc! { "_id": 1 })
            .write_concern(everywhere)
            .await
            .unwrap();
        let primary = events.started("insert")[0].connection.address.clone();

        for _ in 0..10 {
            let find = people.find_one(doc! { "_id": 1 });
            let found = find.selection_criteria(ReadPreference::secondary(None));
            assert_eq!(found.await.unwrap(), Some(doc! { "_id": 1 }));
        }

        let finds = events.started("find");
        assert_eq!(finds.len(), 10);
        for find in finds {
            assert_ne!(find.connection.address, primary);
            let preference = find.command.get_document("$readPreference").unwrap();
            assert_eq!(preference, &doc! { "mode": "secondary" });
        }
        live::forget(&db).await;
    });
}

#[test]
fn get_more_goes_to_the_secondary_that_holds_the_cursor() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..40).map(|n| doc! { "_id": n }).collect();
        numbers
            .insert_many(&documents)
            .write_concern(WriteConcern::nodes(3))
            .await
            .unwrap();

        let find = numbers.find(doc! {}).batch_size(10);
        let cursor = find
            .selection_criteria(ReadPreference::secondary(None))
            .await
            .unwrap();
        let found: Vec<Document> = cursor.try_collect().await.unwrap();

        assert_eq!(found.len(), 40);
        let find = &events.started("find")[0];
        let fetches = events.started("getMore");
        assert!(fetches.len() >= 3, "{}", fetches.len());
        for fetch in fetches {
            assert_eq!(fetch.connection.address, find.connection.address);
            assert_eq!(lsid(&fetch), lsid(find));
        }
        live::forget(&db).await;
    });
}

#[test]
fn majority_concerns_are_sent_and_served() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people
            .insert_one(doc! { "_id": 1 })
            .write_concern(WriteConcern::majority())
            .await
            .unwrap();
        let find = people.find_one(doc! {});
        let found = find.read_concern(ReadConcern::majority()).await.unwrap();

        assert_eq!(found, Some(doc! { "_id": 1 }));
        let insert = &events.started("insert")[0].command;
        assert_eq!(
            insert.get_document("writeConcern").unwrap(),
            &doc! { "w": "majority" }
        );
        let find = &events.started("find")[0].command;
        assert_eq!(
            find.get_document("readConcern").unwrap(),
            &doc! { "level": "majority" }
        );
        live::forget(&db).await;
    });
}

#[test]
fn impossible_write_concern_is_reported_though_the_document_is_stored() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        let insert = people.insert_one(doc! { "_id": 1 });
        let error = insert
            .write_concern(WriteConcern::custom("nowhere"))
            .await
            .unwrap_err();

        assert!(matches!(&*error.kind, ErrorKind::Write(_)), "{error:?}");
        assert_eq!(error.code(), Some(79));
        assert_eq!(stored(&people).await, 1);
        live::forget(&db).await;
    });
}

#[test]
fn causal_session_reads_its_own_writes_from_secondaries() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let mut session = client.start_session().await.unwrap();

        for n in 0..20 {
            let insert = people.insert_one(doc! { "_id": n }).session(&mut session);
            insert.await.unwrap();
            let written = session.operation_time().unwrap();
            let find = people
                .find_one(doc! { "_id": n })
                .selection_criteria(ReadPreference::secondary(None))
                .session(&mut session);
            assert_eq!(find.await.unwrap(), Some(doc! { "_id": n }));
            let find = events.started("find").pop().unwrap();
            let concern = find.command.get_document("readConcern").unwrap();
            assert_eq!(concern.get_timestamp("afterClusterTime").unwrap(), written);
            assert_eq!(&lsid(&find), session.id());
        }
        live::forget(&db).await;
    });
}

#[test]
fn cluster_time_is_gossiped_and_never_goes_back() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        // The reply to this one tells the first cluster time.
        assert_eq!(stored(&people).await, 0);
        for n in 0..5 {
            people.insert_one(doc! { "_id": n }).await.unwrap();
        }

        let times: Vec<_> = events
            .started("insert")
            .iter()
            .map(|event| {
                let time = event.command.get_document("$clusterTime").unwrap();
                time.get_timestamp("clusterTime").unwrap()
            })
            .collect();
        assert_eq!(times.len(), 5);
        assert!(times.is_sorted(), "{times:?}");
        assert!(times[0] < times[4], "{times:?}");
        live::forget(&db).await;
    });
}

#[test]
fn implicit_sessions_are_used_again_one_after_the_other() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        for n in 0..10 {
            people.insert_one(doc! { "_id": n }).await.unwrap();
            people.find_one(doc! { "_id": n }).await.unwrap();
        }

        let inserts = events.started("insert");
        let first = lsid(&inserts[0]);
        for event in inserts.iter().chain(&events.started("find")) {
            assert_eq!(lsid(event), first);
        }
        let numbers: Vec<i64> = inserts
            .iter()
            .map(|e| e.command.get_i64("txnNumber").unwrap())
            .collect();
        assert!(numbers.windows(2).all(|w| w[0] < w[1]), "{numbers:?}");
        live::forget(&db).await;
    });
}

#[test]
fn session_of_a_cursor_returns_when_the_cursor_is_read_or_dropped() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();

        let mut cursor = numbers.find(doc! {}).batch_size(2).await.unwrap();
        cursor.next().await.unwrap().unwrap();
        let _ = numbers.find_one(doc! { "_id": 1 }).await.unwrap();
        drop(cursor);
        events
            .wait("killCursors", |_| !events.started("killCursors").is_empty())
            .await;

        let finds = events.started("find");
        assert_ne!(lsid(&finds[0]), lsid(&finds[1]), "the cursor holds its own");
        assert_eq!(lsid(&events.started("killCursors")[0]), lsid(&finds[0]));
        live::forget(&db).await;
    });
}

#[test]
fn explicit_session_cursor_is_read_within_its_session() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
        let mut session = client.start_session().await.unwrap();
        numbers
            .insert_many(&documents)
            .session(&mut session)
            .await
            .unwrap();

        let find = numbers.find(doc! {}).batch_size(3).session(&mut session);
        let mut cursor = find.await.unwrap();
        let mut count = 0;
        while let Some(document) = cursor.next(&mut session).await {
            document.unwrap();
            count += 1;
        }

        assert_eq!(count, 10);
        for event in events.started("getMore") {
            assert_eq!(&lsid(&event), session.id());
        }
        live::forget(&db).await;
    });
}

#[test]
fn sessions_are_ended_at_the_server_by_shutdown() {
    live::on("REPLICA_SET", async |uri| {
        let (client, events, _) = recorded(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();
        live::forget(&db).await;
        let used = lsid(&events.started("insert")[0]);

        client.shutdown().await;

        let ended = events.started("endSessions");
        assert_eq!(ended.len(), 1);
        let ids = ended[0].command.get_array("endSessions").unwrap();
        assert!(ids.contains(&used.into()), "{ids:?}");
    });
}

mod serial_replica_set {
    use super::*;

    /// Fails one command in each of the ways that a retry has to survive.
    fn transient_failures(command: &str) -> [Document; 3] {
        let labels = ["RetryableWriteError"];
        [
            doc! { "failCommands": [command], "closeConnection": true },
            doc! { "failCommands": [command], "errorCode": 91, "errorLabels": labels },
            doc! { "failCommands": [command], "errorCode": 11600, "errorLabels": labels },
        ]
    }

    #[test]
    fn retryable_write_survives_one_transient_failure_and_is_applied_once() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            for failure in transient_failures("insert") {
                let (client, events, app_name) = recorded(&uri);
                let db = live::database(&client);
                let people = db.collection::<Document>("people");
                let point = live::FailPoint::set(&client, 1, &app_name, failure.clone()).await;

                people
                    .insert_one(doc! { "_id": 1 })
                    .await
                    .unwrap_or_else(|e| panic!("{failure}: {e}"));

                point.off().await;
                let sent = events.started("insert");
                assert_eq!(sent.len(), 2, "{failure}");
                assert_eq!(lsid(&sent[0]), lsid(&sent[1]));
                assert_eq!(
                    sent[0].command.get("txnNumber"),
                    sent[1].command.get("txnNumber")
                );
                assert_eq!(sent[0].operation_id, sent[1].operation_id);
                assert_eq!(stored(&people).await, 1);
                live::forget(&db).await;
            }
        });
    }

    #[test]
    fn retryable_read_survives_one_transient_failure() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            for failure in transient_failures("find") {
                let (client, events, app_name) = recorded(&uri);
                let db = live::database(&client);
                let people = db.collection::<Document>("people");
                let point = live::FailPoint::set(&client, 1, &app_name, failure.clone()).await;

                let found = people
                    .find_one(doc! {})
                    .await
                    .unwrap_or_else(|e| panic!("{failure}: {e}"));

                point.off().await;
                assert_eq!(found, None);
                assert_eq!(events.started("find").len(), 2, "{failure}");
            }
        });
    }

    #[test]
    fn write_concern_error_that_may_pass_is_retried() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let (client, events, app_name) = recorded(&uri);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let failure = doc! {
                "failCommands": ["insert"],
                "errorLabels": ["RetryableWriteError"],
                "writeConcernError": { "code": 91, "errmsg": "shutting down" },
            };
            let point = live::FailPoint::set(&client, 1, &app_name, failure).await;

            people.insert_one(doc! { "_id": 1 }).await.unwrap();

            point.off().await;
            assert_eq!(events.started("insert").len(), 2);
            assert_eq!(stored(&people).await, 1);
            live::forget(&db).await;
        });
    }

    #[test]
    fn second_failure_ends_a_write_with_its_label() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let (client, events, app_name) = recorded(&uri);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let failure = doc! { "failCommands": ["insert"], "closeConnection": true };
            let point = live::FailPoint::set(&client, 2, &app_name, failure).await;

            let error = people.insert_one(doc! { "_id": 1 }).await.unwrap_err();

            point.off().await;
            assert!(error.is_network(), "{error}");
            assert!(error.contains_label(RETRYABLE_WRITE_ERROR), "{error}");
            assert_eq!(events.started("insert").len(), 2);
            assert_eq!(stored(&people).await, 0);
        });
    }

    #[test]
    fn nothing_is_retried_when_the_options_say_so() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let mut options = live::options(&uri);
            options.retry_writes = Some(false);
            options.retry_reads = Some(false);
            let events = live::Recorder::attach(&mut options);
            let app_name = live::app_name(&options);
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let failure = doc! { "failCommands": ["insert", "find"], "closeConnection": true };
            let point = live::FailPoint::set(&client, 2, &app_name, failure).await;

            let insert = people.insert_one(doc! { "_id": 1 }).await.unwrap_err();
            let find = people.find_one(doc! {}).await.unwrap_err();

            point.off().await;
            assert!(insert.is_network() && find.is_network());
            assert!(!insert.contains_label(RETRYABLE_WRITE_ERROR), "{insert}");
            assert_eq!(events.started("insert").len(), 1);
            assert_eq!(events.started("find").len(), 1);
        });
    }

    #[test]
    fn error_that_no_retry_helps_is_not_retried() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let (client, events, app_name) = recorded(&uri);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let failure = doc! { "failCommands": ["insert", "find"], "errorCode": 13 };
            let point = live::FailPoint::set(&client, 2, &app_name, failure).await;

            let insert = people.insert_one(doc! { "_id": 1 }).await.unwrap_err();
            let find = people.find_one(doc! {}).await.unwrap_err();

            point.off().await;
            assert_eq!((insert.code(), find.code()), (Some(13), Some(13)));
            assert_eq!(events.started("insert").len(), 1);
            assert_eq!(events.started("find").len(), 1);
        });
    }
}
