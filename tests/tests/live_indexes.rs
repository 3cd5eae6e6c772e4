//! Index management against real servers.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Collection, IndexModel,
    options::{CommitQuorum, IndexOptions, IndexVersion},
};
use mongo_client_tests::live;

fn on(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

async fn names(collection: &Collection<Document>) -> Vec<String> {
    collection.list_index_names().await.unwrap()
}

#[test]
fn indexes_are_created_listed_and_dropped() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        // Nothing is there yet, which is no error.
        assert!(names(&things).await.is_empty());
        let mut none = things.list_indexes().await.unwrap();
        assert!(!none.advance().await.unwrap());
        things.drop_indexes().await.unwrap();

        let expiring = IndexOptions::builder()
            .expire_after(Duration::from_secs(90))
            .sparse(true)
            .build();
        let one = things
            .create_index(on(doc! { "at": 1 }).options(expiring))
            .commit_quorum(CommitQuorum::Majority)
            .await
            .unwrap();
        assert_eq!(one.index_name, "at_1");
        let named = IndexOptions::builder().name("mine".to_owned()).build();
        let two = things
            .create_indexes([
                on(doc! { "a": 1, "b": -1 }),
                on(doc! { "t": "text" }).options(named),
            ])
            .await
            .unwrap();
        assert_eq!(two.index_names, ["a_1_b_-1", "mine"]);

        let all: Vec<IndexModel> = things
            .list_indexes()
            .batch_size(2)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(names(&things).await, ["_id_", "at_1", "a_1_b_-1", "mine"]);
        assert_eq!(all[1].keys, doc! { "at": 1 });
        let options = all[1].options.as_ref().unwrap();
        assert_eq!(options.expire_after, Some(Duration::from_secs(90)));
        assert_eq!(options.sparse, Some(true));
        assert_eq!(options.version, Some(IndexVersion::V2));

        things.drop_index("mine").await.unwrap();
        let keys = doc! { "a": 1, "b": -1 };
        things.drop_index_by_keys(keys).await.unwrap();
        assert_eq!(names(&things).await, ["_id_", "at_1"]);
        let error = things.drop_index("mine").await.unwrap_err();
        assert_eq!(error.code(), Some(27), "{error}");
        assert!(things.drop_index("*").await.is_err());
        things.drop_indexes().await.unwrap();
        assert_eq!(names(&things).await, ["_id_"]);
        live::forget(&db).await;
    });
}

#[test]
fn indexes_are_listed_in_a_session() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let mut session = client.start_session().await.unwrap();
        let mut none = things.list_indexes().session(&mut session).await.unwrap();
        assert!(!none.advance(&mut session).await.unwrap());

        things
            .create_index(on(doc! { "a": 1 }))
            .session(&mut session)
            .await
            .unwrap();
        let verb = things.list_index_names().batch_size(1);
        let names = verb.session(&mut session).await.unwrap();
        assert_eq!(names, ["_id_", "a_1"]);
        let verb = things.list_indexes().session(&mut session);
        let mut cursor = verb.await.unwrap();
        let first = cursor.next(&mut session).await.unwrap().unwrap();
        assert_eq!(first.name(), "_id_");
        live::forget(&db).await;
    });
}
