//! Collections as a whole, counts, and explanations, against real servers.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    IndexModel,
    options::{ChangeStreamPreAndPostImages, ClusteredIndex, ValidationLevel, Verbosity},
};
use mongo_client_tests::live;

#[test]
fn collections_are_created_changed_and_renamed() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let create = db
            .create_collection("first")
            .clustered_index(ClusteredIndex::default())
            .change_stream_pre_and_post_images(ChangeStreamPreAndPostImages::new(true))
            .validator(doc! { "x": { "$type": "int" } });
        create.await.unwrap();
        let first = db.collection::<Document>("first");
        assert!(first.insert_one(doc! { "x": "text" }).await.is_err());

        db.modify_collection("first")
            .validation_level(ValidationLevel::Off)
            .change_stream_pre_and_post_images(ChangeStreamPreAndPostImages::new(false))
            .await
            .unwrap();
        first.insert_one(doc! { "x": "text" }).await.unwrap();
        let lists = db.list_collections().filter(doc! { "name": "first" });
        let listed: Vec<_> = lists.await.unwrap().try_collect().await.unwrap();
        let options = &listed[0].options;
        assert_eq!(options.get_str("validationLevel").unwrap(), "off");

        db.create_collection("second").await.unwrap();
        let error = first.rename("second").await.unwrap_err();
        assert_eq!(error.code(), Some(48), "{error}");
        first.rename("second").drop_target(true).await.unwrap();
        assert_eq!(db.list_collection_names().await.unwrap(), ["second"]);
        let second = db.collection::<Document>("second");
        assert_eq!(second.count_documents(doc! {}).await.unwrap(), 1);
        live::forget(&db).await;
    });
}

#[test]
fn what_stands_in_the_way_of_a_change_is_in_the_reply() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        things
            .insert_many([doc! { "_id": 1, "x": 1 }, doc! { "_id": 2, "x": 1 }])
            .await
            .unwrap();
        let index = IndexModel::builder().keys(doc! { "x": 1 }).build();
        things.create_index(index).await.unwrap();
        let prepare = doc! { "keyPattern": { "x": 1 }, "prepareUnique": true };
        db.modify_collection("things").index(prepare).await.unwrap();

        let unique = doc! { "keyPattern": { "x": 1 }, "unique": true };
        let error = db
            .modify_collection("things")
            .index(unique)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(359), "{error}");
        let reply = error.server_response().unwrap();
        assert!(reply.get_array("violations").is_ok(), "{reply:?}");
        live::forget(&db).await;
    });
}

#[test]
fn counts_and_explanations() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let documents: Vec<_> = (0..10).map(|n| doc! { "_id": n }).collect();
        things.insert_many(&documents).await.unwrap();
        let some = doc! { "_id": { "$gte": 4 } };
        #[expect(deprecated, reason = "it is what is tested")]
        let count = things.count(some.clone()).skip(1).limit(3);
        assert_eq!(count.await.unwrap(), 3);

        let plan = |explained: &Document| {
            let explained = explained.get("queryPlanner").is_some();
            assert!(explained, "no plan");
        };
        let find = things.find(some.clone()).explain();
        let explained = find.verbosity(Verbosity::QueryPlanner).await.unwrap();
        plan(&explained);
        assert!(!explained.contains_key("executionStats"));
        let delete = things.delete_many(some.clone()).explain();
        let explained = delete.verbosity(Verbosity::ExecutionStats).await.unwrap();
        plan(&explained);
        assert!(explained.contains_key("executionStats"));
        let update = doc! { "$set": { "a": 1 } };
        plan(
            &things
                .update_one(some.clone(), update.clone())
                .explain()
                .await
                .unwrap(),
        );
        plan(
            &things
                .find_one_and_update(some.clone(), update)
                .explain()
                .await
                .unwrap(),
        );
        plan(
            &things
                .distinct("_id", some.clone())
                .explain()
                .await
                .unwrap(),
        );
        things
            .aggregate([doc! { "$match": some }])
            .explain()
            .await
            .unwrap();
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 10);
        live::forget(&db).await;
    });
}
