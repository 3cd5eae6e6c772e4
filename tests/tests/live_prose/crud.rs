//! CRUD: source/crud/tests/README.md, "Prose Tests". Those of bulk writes are not here.

use std::time::Duration;

use bson::{Document, doc};
use mongo_client::{
    error::{ErrorKind, WriteFailure},
    event::command::CommandEvent,
};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
};

use super::{last, recorded};

mod serial_replica_set {
    use mongo_client_tests::live::{FailPoint, app_name};

    use super::*;

    #[test]
    fn prose_1_the_details_of_a_write_concern_error_are_told() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let options = live::options(&uri);
            let name = app_name(&options);
            let client = live::build(options);
            let db = live::database(&client);
            let info = doc! {
                "writeConcern": { "w": 2, "wtimeout": 0, "provenance": "clientSupplied" },
            };
            let data = doc! {
                "failCommands": ["insert"],
                "writeConcernError": {
                    "code": 100, "codeName": "UnsatisfiableWriteConcern",
                    "errmsg": "Not enough data-bearing nodes", "errInfo": info.clone(),
                },
            };
            let fail_point = FailPoint::set(&client, 1, &name, data).await;
            let inserted = db.collection::<Document>("test").insert_one(doc! {}).await;
            fail_point.off().await;
            let error = inserted.unwrap_err();
            let ErrorKind::Write(WriteFailure::WriteConcernError(concern)) = &*error.kind else {
                panic!("{error:?}");
            };
            assert_eq!(concern.code, 100);
            assert_eq!(concern.details, Some(info));
            live::forget(&db).await;
        });
    }
}

#[test]
fn prose_2_the_details_of_a_write_error_are_told() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let create = db.create_collection("test");
        let create = create.validator(doc! { "x": { "$type": "string" } });
        create.await.unwrap();
        let test = db.collection::<Document>("test");
        let error = test.insert_one(doc! { "x": 1 }).await.unwrap_err();
        let ErrorKind::Write(WriteFailure::WriteError(write)) = &*error.kind else {
            panic!("{error:?}");
        };
        assert_eq!(write.code, 121);
        let reply = recorder.events().into_iter().find_map(|event| match event {
            Event::Command(CommandEvent::Succeeded(e)) if e.command_name == "insert" => {
                Some(e.reply)
            }
            _ => None,
        });
        let reply = reply.expect("the command has succeeded");
        let errors = reply.get_array("writeErrors").unwrap();
        let first = errors[0].as_document().unwrap();
        let info = first.get_document("errInfo").unwrap();
        assert_eq!(write.details.as_ref(), Some(info));
        live::forget(&db).await;
    });
}

#[test]
fn prose_14_an_explanation_has_a_time_limit_of_its_own() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let collection = client
            .database("explain-test")
            .collection::<Document>("collection");
        let explain = collection.find(doc! { "name": "john doe" }).explain();
        explain.max_time(Duration::from_millis(2000)).await.unwrap();
        let explain = last(&recorder, "explain");
        assert_eq!(explain.get_i32("maxTimeMS").unwrap(), 2000);
        let find = explain.get_document("explain").unwrap();
        assert!(!find.contains_key("maxTimeMS"));
    });
}

#[test]
fn prose_16_a_generated_id_is_the_first_field() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let (client, recorder) = recorded(&uri);
        let db = live::database(&client);
        let test = db.collection::<Document>("test");
        test.insert_one(doc! { "a": 1, "b": 2 }).await.unwrap();
        test.insert_many([doc! { "a": 1 }]).await.unwrap();
        for insert in super::sent(&recorder, "insert") {
            let documents = insert.get_array("documents").unwrap();
            let first = documents[0].as_document().unwrap();
            assert_eq!(first.keys().next().unwrap(), "_id");
        }
        live::forget(&db).await;
    });
}
