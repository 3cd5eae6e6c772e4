//! Driver sessions: source/sessions/tests/README.md, "Prose tests".
//!
//! Not here: 6 (a session that has ended cannot be named any more), 7, 16, 17 (a client has one
//! user), 12, 13 (no forking), 18, 19 (core's tests of operations; the server here has sessions), 22
//! (there is none, told by `None`), 23 (there is no setter).

use std::{collections::HashSet, time::Duration};

use bson::{Document, Timestamp, doc};
use futures_util::future::join_all;
use mongo_client::{
    BoxFuture, Client, Collection,
    error::Result,
    event::{command::CommandEvent, sdam::SdamEvent},
    options::{ReadPreference, SelectionCriteria},
};
use mongo_client_tests::{
    deploy,
    live::{self, Event, Recorder},
    rt,
};

use super::{last, recorded, sent, verbs};

const EACH: [&str; 2] = ["STANDALONE", "REPLICA_SET"];

#[test]
fn prose_1_and_21_snapshot_excludes_causal_consistency_and_its_time_needs_it() {
    rt::block_on(async {
        let client = live::client("mongodb://127.0.0.1:1/");
        let both = client
            .start_session()
            .snapshot(true)
            .causal_consistency(true);
        assert!(both.await.is_err());
        let time = Timestamp {
            time: 1,
            increment: 0,
        };
        let without = client.start_session().snapshot(false).snapshot_time(time);
        assert!(without.await.is_err());
        // 22: it is unset.
        let plain = client.start_session().await.unwrap();
        assert_eq!(plain.snapshot_time(), None);
    });
}

#[test]
fn prose_2_the_pool_is_lifo() {
    rt::block_on(async {
        let client = live::client("mongodb://127.0.0.1:1/");
        let a = client.start_session().await.unwrap();
        let b = client.start_session().await.unwrap();
        let (id_a, id_b) = (a.id().clone(), b.id().clone());
        drop(a);
        drop(b);
        let first = client.start_session().await.unwrap();
        let second = client.start_session().await.unwrap();
        assert_eq!((first.id(), second.id()), (&id_b, &id_a));
    });
}

/// The `$clusterTime` of the last reply to this command.
fn replied(recorder: &Recorder, name: &str) -> Document {
    let events = recorder.events();
    let mut replies = events.iter().filter_map(|event| match event {
        Event::Command(CommandEvent::Succeeded(e)) if e.command_name == name => Some(&e.reply),
        _ => None,
    });
    let last = replies.next_back().expect("it has succeeded");
    last.get_document("$clusterTime").unwrap().clone()
}

#[test]
fn prose_3_the_cluster_time_of_a_reply_goes_with_the_next_command() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let mut verbs = verbs::reads();
        verbs.extend(verbs::writes());
        let commands = ["ping", "aggregate", "find", "insert"];
        verbs.retain(|verb| commands.contains(&verb.command));
        for verb in verbs {
            (verb.run)(&db, None).await.unwrap();
            let before = replied(&recorder, verb.command);
            (verb.run)(&db, None).await.unwrap();
            let after = last(&recorder, verb.command);
            let time = after.get_document("$clusterTime").unwrap();
            assert_eq!(time, &before, "{}", verb.command);
        }
        live::forget(&db).await;
    });
}

#[test]
fn prose_4_every_verb_sends_the_session_that_it_is_given_or_one_of_its_own() {
    rt::block_on(async {
        for name in EACH {
            let Some(uri) = deploy::uri(name) else {
                return;
            };
            let (client, recorder) = recorded(&uri);
            let db = live::database(&client);
            let mut session = client.start_session().await.unwrap();
            db.create_collection("things").await.unwrap();
            for verb in verbs::reads().into_iter().chain(verbs::writes()) {
                (verb.run)(&db, Some(&mut session)).await.unwrap();
                let command = last(&recorder, verb.command);
                let id = command.get_document("lsid").unwrap();
                assert_eq!(id, session.id(), "{}", verb.command);
            }
            for verb in verbs::reads().into_iter().chain(verbs::writes()) {
                (verb.run)(&db, None).await.unwrap();
                let command = last(&recorder, verb.command);
                let id = command.get_document("lsid").unwrap();
                assert_ne!(id, session.id(), "{}", verb.command);
            }
            live::forget(&db).await;
        }
    });
}

#[test]
fn prose_5_a_session_of_another_client_is_refused_by_every_verb() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let other = live::client(&uri);
        let mut session = other.start_session().await.unwrap();
        for verb in verbs::reads().into_iter().chain(verbs::writes()) {
            let result = (verb.run)(&db, Some(&mut session)).await;
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains("another client"),
                "{}: {error}",
                verb.command
            );
            assert!(sent(&recorder, verb.command).is_empty());
        }
    });
}

async fn numbered(client: &Client, count: i32) -> Collection<Document> {
    let collection = live::database(client).collection::<Document>("things");
    let documents: Vec<_> = (0..count).map(|n| doc! { "_id": n }).collect();
    collection.insert_many(&documents).await.unwrap();
    collection
}

#[test]
fn prose_8_and_9_an_exhausted_cursor_gives_its_session_back_before_it_is_read_to_the_end() {
    rt::block_on(async {
        for name in EACH {
            let Some(uri) = deploy::uri(name) else {
                return;
            };
            let (client, recorder) = recorded(&uri);
            for (count, batch_size, read) in [(2, 101, 1), (5, 3, 4)] {
                let things = numbered(&client, count).await;
                let mut cursor = things.find(doc! {}).batch_size(batch_size).await.unwrap();
                for _ in 0..read {
                    assert!(cursor.advance().await.unwrap());
                }
                things.distinct("_id", doc! {}).await.unwrap();
                let (find, other) = (last(&recorder, "find"), last(&recorder, "distinct"));
                assert_eq!(find.get("lsid"), other.get("lsid"));
                drop(cursor);
                let db = client.database(&things.namespace().db);
                live::forget(&db).await;
            }
        }
    });
}

#[test]
fn prose_11_find_and_get_more_have_the_same_session_with_every_read_preference() {
    rt::block_on(async {
        for name in EACH {
            let Some(uri) = deploy::uri(name) else {
                return;
            };
            let (client, recorder) = recorded(&uri);
            let things = numbered(&client, 3).await;
            for preference in [
                ReadPreference::Primary,
                ReadPreference::primary_preferred(None),
                ReadPreference::secondary_preferred(None),
                ReadPreference::nearest(None),
            ] {
                let criteria = SelectionCriteria::from(preference);
                // In a session, so that a secondary waits for the documents.
                let mut session = client.start_session().await.unwrap();
                let count = things.count_documents(doc! {}).session(&mut session);
                assert_eq!(count.await.unwrap(), 3);
                let find = things.find(doc! {}).batch_size(2);
                let find = find.selection_criteria(criteria).session(&mut session);
                let mut cursor = find.await.unwrap();
                for _ in 0..3 {
                    assert!(cursor.advance(&mut session).await.unwrap());
                }
                let (find, more) = (last(&recorder, "find"), last(&recorder, "getMore"));
                assert_eq!(find.get_document("lsid").unwrap(), session.id());
                assert_eq!(find.get("lsid"), more.get("lsid"));
            }
            let mut cursor = things.find(doc! {}).batch_size(2).await.unwrap();
            while cursor.advance().await.unwrap() {}
            let (find, more) = (last(&recorder, "find"), last(&recorder, "getMore"));
            assert!(find.get_document("lsid").is_ok());
            assert_eq!(find.get("lsid"), more.get("lsid"));
            let db = client.database(&things.namespace().db);
            live::forget(&db).await;
        }
    });
}

#[test]
fn prose_14_an_implicit_session_is_taken_only_once_a_connection_is_had() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let mut least = usize::MAX;
        for _ in 0..5 {
            let mut options = live::options(&uri);
            options.max_pool_size = Some(1);
            let recorder = Recorder::attach(&mut options);
            let client = live::build(options);
            let db = live::database(&client);
            let things = db.collection::<Document>("things");
            let set = || doc! { "$set": { "a": 1 } };
            let all: Vec<BoxFuture<'_, Result<()>>> = vec![
                Box::pin(async { things.insert_one(doc! {}).await.map(drop) }),
                Box::pin(async { things.delete_one(doc! {}).await.map(drop) }),
                Box::pin(async { things.update_one(doc! {}, set()).await.map(drop) }),
                Box::pin(async { things.update_one(doc! {}, set()).await.map(drop) }),
                Box::pin(async { things.find_one_and_delete(doc! {}).await.map(drop) }),
                Box::pin(async { things.find_one_and_update(doc! {}, set()).await.map(drop) }),
                Box::pin(async {
                    let replaced = things.find_one_and_replace(doc! {}, doc! { "a": 1 });
                    replaced.await.map(drop)
                }),
                Box::pin(async {
                    let mut cursor = things.find(doc! {}).await?;
                    while cursor.advance().await? {}
                    Ok(())
                }),
            ];
            let count = all.len();
            for result in join_all(all).await {
                result.unwrap();
            }
            let commands = ["insert", "delete", "update", "findAndModify", "find"];
            let ids: HashSet<String> = commands
                .iter()
                .flat_map(|name| sent(&recorder, name))
                .map(|command| command.get_document("lsid").unwrap().to_string())
                .collect();
            assert!(ids.len() < count, "{} sessions", ids.len());
            least = least.min(ids.len());
            live::forget(&db).await;
        }
        assert_eq!(least, 1);
    });
}

#[test]
fn prose_20_checks_of_servers_do_not_carry_the_cluster_time() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let writer = live::client(&uri);
        let primary = loop {
            // Any operation waits for the primary.
            writer
                .database("admin")
                .run_command(doc! { "ping": 1 })
                .await
                .unwrap();
            if let Some(primary) = writer.primary() {
                break primary;
            }
        };
        let mut options = live::options(&format!("mongodb://{primary}/?directConnection=true"));
        options.heartbeat_freq = Some(Duration::from_millis(500));
        let recorder = Recorder::attach(&mut options);
        let client = live::build(options);
        let ping = || async {
            let admin = client.database("admin");
            admin.run_command(doc! { "ping": 1 }).await.unwrap();
        };
        ping().await;
        let time = replied(&recorder, "ping");

        let db = live::database(&writer);
        let things = db.collection::<Document>("things");
        things
            .insert_one(doc! { "advance": "$clusterTime" })
            .await
            .unwrap();
        let before = recorder.events().len();
        recorder
            .wait("a check that ends after the insert", |events| {
                let mut after = events[before..].iter();
                let started = |event: &Event| {
                    matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatStarted(_)))
                };
                let succeeded = |event: &Event| {
                    matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatSucceeded(_)))
                };
                after.any(started) && after.any(succeeded)
            })
            .await;
        ping().await;
        let sent = last(&recorder, "ping");
        assert_eq!(sent.get_document("$clusterTime").unwrap(), &time);
        live::forget(&db).await;
    });
}
