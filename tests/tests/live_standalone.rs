//! Every verb, cursors, and errors against a standalone server.

use bson::{Bson, Document, doc, oid::ObjectId};
use futures_util::{StreamExt, TryStreamExt};
use mongo_client::{
    Collection,
    error::{ErrorKind, WriteFailure},
    options::{CursorType, ReturnDocument, WriteConcern},
    results::CollectionType,
};
use mongo_client_tests::{deploy, live, rt};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
}

fn person(id: i32, name: &str) -> Person {
    Person {
        id,
        name: name.to_owned(),
    }
}

async fn numbered(collection: &Collection<Document>, count: i32) {
    let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n, "n": n % 10 }).collect();
    let inserted = collection.insert_many(&documents).await.unwrap();
    assert_eq!(inserted.inserted_ids.len(), documents.len());
}

#[test]
fn inserted_documents_are_found_with_their_ids() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        let own = people
            .insert_one(doc! { "_id": 7, "name": "Ada" })
            .await
            .unwrap();
        let made = people.insert_one(doc! { "name": "Bob" }).await.unwrap();

        assert_eq!(own.inserted_id, Bson::Int32(7));
        let id: ObjectId = made.inserted_id.as_object_id().unwrap();
        let bob = people.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        assert_eq!(bob, doc! { "_id": id, "name": "Bob" });
        let nobody = people.find_one(doc! { "_id": 8 }).await.unwrap();
        assert_eq!(nobody, None);
        live::forget(&db).await;
    });
}

#[test]
fn documents_are_read_and_written_as_the_callers_type() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Person>("people");
        people
            .insert_many([person(1, "Ada"), person(2, "Bob")])
            .await
            .unwrap();

        let replaced = people
            .replace_one(doc! { "_id": 2 }, person(2, "Eve"))
            .await
            .unwrap();
        let cursor = people.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let all: Vec<Person> = cursor.try_collect().await.unwrap();

        assert_eq!(
            (replaced.matched_count, replaced.modified_count),
            (1, 1),
            "{replaced:?}"
        );
        assert_eq!(all, [person(1, "Ada"), person(2, "Eve")]);
        live::forget(&db).await;
    });
}

#[test]
fn updates_and_deletes_say_what_they_changed() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        numbered(&numbers, 30).await;

        let one = numbers
            .update_one(doc! { "n": 3 }, doc! { "$set": { "seen": true } })
            .await
            .unwrap();
        let many = numbers
            .update_many(doc! { "n": 3 }, doc! { "$set": { "seen": true } })
            .await
            .unwrap();
        let upserted = numbers
            .update_one(doc! { "_id": 99 }, doc! { "$set": { "n": 99 } })
            .upsert(true)
            .await
            .unwrap();
        let pipeline = numbers
            .update_many(doc! { "_id": 99 }, vec![doc! { "$set": { "n": "$_id" } }])
            .await
            .unwrap();
        let deleted_one = numbers.delete_one(doc! { "n": 4 }).await.unwrap();
        let deleted_many = numbers.delete_many(doc! { "n": 4 }).await.unwrap();

        assert_eq!((one.matched_count, one.modified_count), (1, 1));
        assert_eq!((many.matched_count, many.modified_count), (3, 2));
        assert_eq!(upserted.upserted_id, Some(Bson::Int32(99)));
        assert_eq!((upserted.matched_count, upserted.modified_count), (0, 0));
        assert_eq!((pipeline.matched_count, pipeline.modified_count), (1, 0));
        assert_eq!(deleted_one.deleted_count, 1);
        assert_eq!(deleted_many.deleted_count, 2);
        live::forget(&db).await;
    });
}

#[test]
fn find_and_modify_verbs_return_the_document_before_or_after() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Person>("people");
        people.insert_one(person(1, "Ada")).await.unwrap();

        let before = people
            .find_one_and_update(doc! { "_id": 1 }, doc! { "$set": { "name": "Bob" } })
            .await
            .unwrap();
        let after = people
            .find_one_and_replace(doc! { "_id": 1 }, person(1, "Eve"))
            .return_document(ReturnDocument::After)
            .await
            .unwrap();
        let deleted = people.find_one_and_delete(doc! { "_id": 1 }).await.unwrap();
        let none = people.find_one_and_delete(doc! { "_id": 1 }).await.unwrap();

        assert_eq!(before, Some(person(1, "Ada")));
        assert_eq!(after, Some(person(1, "Eve")));
        assert_eq!(deleted, Some(person(1, "Eve")));
        assert_eq!(none, None);
        live::forget(&db).await;
    });
}

#[test]
fn counts_distinct_values_and_aggregates_agree() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        assert_eq!(numbers.count_documents(doc! {}).await.unwrap(), 0);
        assert_eq!(numbers.estimated_document_count().await.unwrap(), 0);
        numbered(&numbers, 30).await;

        let counted = numbers.count_documents(doc! { "n": { "$lt": 2 } }).await;
        let window = numbers.count_documents(doc! {}).skip(5).limit(10).await;
        let estimated = numbers.estimated_document_count().await;
        let distinct = numbers
            .distinct("n", doc! { "n": { "$gte": 8 } })
            .await
            .unwrap();
        let stages = [
            doc! { "$group": { "_id": "$n", "count": { "$sum": 1 } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let groups = numbers.aggregate(stages).batch_size(3).await.unwrap();
        let groups: Vec<Document> = groups.try_collect().await.unwrap();

        assert_eq!(counted.unwrap(), 6);
        assert_eq!(window.unwrap(), 10);
        assert_eq!(estimated.unwrap(), 30);
        assert_eq!(distinct, [Bson::Int32(8), Bson::Int32(9)]);
        assert_eq!(groups.len(), 10);
        assert!(groups.iter().all(|g| g.get_i32("count").unwrap() == 3));
        live::forget(&db).await;
    });
}

#[test]
fn cursor_gives_every_document_once_over_many_batches() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        numbered(&numbers, 500).await;

        let sorted = numbers.find(doc! {}).sort(doc! { "_id": 1 });
        let cursor = sorted.batch_size(120).await.unwrap();
        let found: Vec<Document> = cursor.try_collect().await.unwrap();

        let ids: Vec<i32> = found.iter().map(|d| d.get_i32("_id").unwrap()).collect();
        assert_eq!(ids, (0..500).collect::<Vec<_>>());
        assert_eq!(events.started("getMore").len(), 4);
        assert_eq!(events.started("killCursors").len(), 0);
        live::forget(&db).await;
    });
}

#[test]
fn cursor_dropped_midway_is_killed_at_the_server() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let app_name = live::app_name(&options);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        numbered(&numbers, 50).await;
        let mut cursor = numbers.find(doc! {}).batch_size(2).await.unwrap();
        assert!(cursor.next().await.unwrap().is_ok());

        drop(cursor);

        events
            .wait("killCursors", |_| !events.started("killCursors").is_empty())
            .await;
        let admin = client.database("admin");
        live::eventually("no idle cursor", || async {
            let stages = [
                doc! { "$currentOp": { "idleCursors": true, "localOps": true } },
                doc! { "$match": { "type": "idleCursor", "appName": &app_name } },
            ];
            let cursor = admin.aggregate(stages).await.unwrap();
            cursor.try_collect::<Vec<_>>().await.unwrap().is_empty()
        })
        .await;
        live::forget(&db).await;
    });
}

#[test]
fn limit_ends_a_cursor_and_tailable_cursor_waits_for_more() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let log = db.create_collection("log").capped(true).size(1 << 20);
        log.await.unwrap();
        let log = db.collection::<Document>("log");
        numbered(&log, 10).await;

        let limited = log.find(doc! {}).limit(5).batch_size(2).await.unwrap();
        let limited: Vec<Document> = limited.try_collect().await.unwrap();
        assert_eq!(limited.len(), 5);

        let tail = log.find(doc! {}).cursor_type(CursorType::TailableAwait);
        let mut tail = tail.await.unwrap();
        for _ in 0..10 {
            tail.next().await.unwrap().unwrap();
        }
        let (late, inserted) = tokio::join!(
            tail.next(),
            log.insert_one(doc! { "_id": "late" }).into_future()
        );
        inserted.unwrap();
        assert_eq!(late.unwrap().unwrap(), doc! { "_id": "late" });
        drop(tail);
        live::forget(&db).await;
    });
}

#[test]
fn databases_and_collections_are_listed() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        numbered(&db.collection("numbers"), 3).await;
        let view = db.create_collection("few").view_on("numbers");
        view.pipeline([doc! { "$limit": 1 }]).await.unwrap();

        let named = client
            .list_databases()
            .filter(doc! { "name": db.name() })
            .await
            .unwrap();
        let names = client.list_database_names().await.unwrap();
        let filter = doc! { "name": { "$in": ["few", "numbers"] } };
        let collections = db.list_collections().filter(filter).await.unwrap();
        let mut collections: Vec<_> = collections.try_collect().await.unwrap();
        let mut collection_names = db.list_collection_names().await.unwrap();
        let few = db.collection::<Document>("few");
        assert_eq!(few.count_documents(doc! {}).await.unwrap(), 1);
        few.drop().await.unwrap();
        let without = db.list_collection_names().await.unwrap();

        assert_eq!(named.len(), 1);
        assert!(!named[0].empty && named[0].size_on_disk > 0, "{named:?}");
        assert!(names.iter().any(|name| name == db.name()));
        collections.sort_by(|a, b| a.name.cmp(&b.name));
        let kinds: Vec<_> = collections.iter().map(|c| c.collection_type).collect();
        assert_eq!(kinds, [CollectionType::View, CollectionType::Collection]);
        collection_names.sort();
        assert_eq!(collection_names, ["few", "numbers", "system.views"]);
        assert!(!without.contains(&"few".to_owned()));
        live::forget(&db).await;
        let gone = client.list_database_names().await.unwrap();
        assert!(!gone.iter().any(|name| name == db.name()));
    });
}

#[test]
fn duplicate_key_is_a_write_error_that_says_so() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();

        let error = people.insert_one(doc! { "_id": 1 }).await.unwrap_err();

        let ErrorKind::Write(WriteFailure::WriteError(write)) = &*error.kind else {
            panic!("{error:?}");
        };
        assert_eq!(write.code, 11000);
        assert!(error.is_duplicate_key());
        let keys = write
            .details
            .as_ref()
            .map(|d| d.keys().cloned().collect::<Vec<_>>());
        assert!(write.message.contains("dup key"), "{write:?} {keys:?}");
        assert!(error.server_address().is_some() && error.server_response().is_some());
        live::forget(&db).await;
    });
}

#[test]
fn insert_many_stops_at_a_refused_document_only_when_ordered() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let documents = [
            doc! { "_id": 1 },
            doc! { "_id": 1 },
            doc! { "_id": 2 },
            doc! { "_id": 2 },
            doc! { "_id": 3 },
        ];
        for (ordered, refused, inserted) in
            [(true, vec![1], vec![0]), (false, vec![1, 3], vec![0, 2, 4])]
        {
            let collection =
                db.collection::<Document>(if ordered { "ordered" } else { "unordered" });

            let error = collection
                .insert_many(&documents)
                .ordered(ordered)
                .await
                .unwrap_err();

            let ErrorKind::InsertMany(failure) = &*error.kind else {
                panic!("{error:?}");
            };
            let errors = failure.write_errors.as_ref().unwrap();
            let indexes: Vec<usize> = errors.iter().map(|e| e.index).collect();
            let mut kept: Vec<usize> = failure.inserted_ids.keys().copied().collect();
            kept.sort_unstable();
            assert_eq!((indexes, &kept), (refused, &inserted));
            let stored = collection.count_documents(doc! {}).await.unwrap();
            assert_eq!(stored, inserted.len() as u64);
            assert!(error.is_duplicate_key());
        }
        live::forget(&db).await;
    });
}

#[test]
fn insert_many_splits_what_one_command_cannot_hold() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let big = db.collection::<Document>("big");
        let filling = "x".repeat(10_000_000);
        let documents: Vec<Document> = (0..6)
            .map(|n| doc! { "_id": n, "filling": &filling })
            .collect();

        let inserted = big.insert_many(&documents).await.unwrap();

        assert_eq!(inserted.inserted_ids.len(), 6);
        assert_eq!(big.count_documents(doc! {}).await.unwrap(), 6);
        assert_eq!(events.started("insert").len(), 2);
        live::forget(&db).await;
    });
}

#[test]
fn refused_command_is_a_command_error_with_the_servers_words() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);

        let unknown = db
            .run_command(doc! { "noSuchCommand": 1 })
            .await
            .unwrap_err();
        let people = db.collection::<Document>("people");
        let bad_query = people.find(doc! { "a": { "$nope": 1 } }).await.unwrap_err();
        let pong = db.run_command(doc! { "ping": 1 }).await.unwrap();

        let ErrorKind::Command(command) = &*unknown.kind else {
            panic!("{unknown:?}");
        };
        assert_eq!(
            (command.code, command.code_name.as_str()),
            (59, "CommandNotFound")
        );
        assert!(command.message.contains("noSuchCommand"));
        assert_eq!(bad_query.code(), Some(2), "{bad_query}");
        assert_eq!(pong.get_f64("ok").unwrap(), 1.0);
    });
}

#[test]
fn unacknowledged_write_arrives_though_nobody_waits_for_it() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        people
            .insert_one(doc! { "_id": 1 })
            .write_concern(WriteConcern::nodes(0))
            .await
            .unwrap();

        live::eventually("the document", || async {
            people.count_documents(doc! {}).await.unwrap() == 1
        })
        .await;
        live::forget(&db).await;
    });
}

#[test]
fn operations_of_many_tasks_share_a_small_pool() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        options.max_pool_size = Some(3);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        let db = live::database(&client);
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let numbers = db.collection::<Document>("numbers");
                rt::spawn(async move {
                    numbers.insert_one(doc! { "_id": n }).await.unwrap();
                    numbers.find_one(doc! { "_id": n }).await.unwrap().unwrap()
                })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), doc! { "_id": n });
        }

        let observer = live::client(&uri);
        let connections = live::connections_of(&observer, &app_name).await.unwrap();
        // Beside the pool there are a monitor and its round-trip probe.
        assert!((1..=5).contains(&connections), "{connections}");
        live::forget(&db).await;
    });
}

mod serial_standalone {
    use super::*;

    #[test]
    fn command_that_exceeds_its_time_limit_is_a_timeout() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let options = live::options(&uri);
            let app_name = live::app_name(&options);
            let client = live::build(options);
            let db = live::database(&client);
            let data = doc! { "failCommands": ["find"], "errorCode": 50 };
            let point = live::FailPoint::set(&client, 1, &app_name, data).await;

            let people = db.collection::<Document>("people");
            let error = people.find(doc! {}).await.unwrap_err();

            assert!(error.is_timeout(), "{error}");
            point.off().await;
            assert_eq!(people.find_one(doc! {}).await.unwrap(), None);
        });
    }

    #[test]
    fn broken_connection_fails_a_write_that_cannot_be_retried() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let options = live::options(&uri);
            let app_name = live::app_name(&options);
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let data = doc! { "failCommands": ["update"], "closeConnection": true };
            let point = live::FailPoint::set(&client, 1, &app_name, data).await;

            let update = people.update_many(doc! {}, doc! { "$set": { "a": 1 } });
            let error = update.await.unwrap_err();

            assert!(error.is_network(), "{error}");
            point.off().await;
            people.insert_one(doc! { "_id": 1 }).await.unwrap();
            live::forget(&db).await;
        });
    }
}
