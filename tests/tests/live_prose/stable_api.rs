//! Stable API: "Testing with required API version".

use bson::{Document, doc};
use mongo_client::options::{ServerApi, ServerApiVersion};
use mongo_client_tests::{deploy, live, rt};

#[test]
fn destructive_a_server_that_requires_an_api_version_serves_clients_that_declare_it() {
    rt::block_on(async {
        let plan = deploy::Plan::standalone();
        let Some(cluster) = deploy::own_cluster("stable-api", plan) else {
            return;
        };
        let without = live::client(&cluster.uri());
        let require = doc! { "setParameter": 1, "requireApiVersion": true };
        let admin = without.database("admin");
        admin.run_command(require).await.unwrap();
        let refused = admin.run_command(doc! { "ping": 1 }).await.unwrap_err();
        assert_eq!(refused.code(), Some(498_870), "{refused:?}");

        let mut options = live::options(&cluster.uri());
        options.server_api = Some(ServerApi::builder().version(ServerApiVersion::V1).build());
        let client = live::build(options);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let documents: Vec<Document> = (0..5).map(|n| doc! { "_id": n }).collect();
        things.insert_many(&documents).await.unwrap();
        let mut cursor = things.find(doc! {}).batch_size(2).await.unwrap();
        let mut found = 0;
        while cursor.advance().await.unwrap() {
            found += 1;
        }
        assert_eq!(found, 5);
        let update = doc! { "$set": { "a": 1 } };
        things.update_many(doc! {}, update).await.unwrap();
        let mut session = client.start_session().await.unwrap();
        let count = things.count_documents(doc! {}).session(&mut session);
        assert_eq!(count.await.unwrap(), 5);
        things.delete_one(doc! { "_id": 0 }).await.unwrap();
        assert_eq!(db.list_collection_names().await.unwrap(), ["things"]);
        live::forget(&db).await;
        // Ends its sessions at the server.
        client.close().await;
    });
}
