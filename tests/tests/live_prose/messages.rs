//! The test plan of `OP_MSG`: what a write of several documents is on the wire.

use std::sync::{Arc, Mutex};

use bson::{Document, doc};
use mongo_client_tests::{
    deploy,
    fault::{Fate, Proxy},
    live, rt,
};

/// The bodies of commands that pass, without the document sequences that follow them.
type Bodies = Arc<Mutex<Vec<Document>>>;

/// The bodies of the commands of this name.
fn named(bodies: &Bodies, name: &str) -> Vec<Document> {
    let mut bodies = bodies.lock().unwrap().clone();
    bodies.retain(|body| body.keys().next().is_some_and(|first| first == name));
    bodies
}

#[test]
fn documents_of_every_size_are_written_in_one_round_trip() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let bodies = Bodies::default();
        let noted = Arc::clone(&bodies);
        let target = live::options(&uri).hosts[0].to_string();
        let proxy = Proxy::start(target, move |request| {
            noted.lock().unwrap().push(request.command.clone());
            Fate::Pass
        });
        let proxy = proxy.await.unwrap();
        let client = live::client(&format!("mongodb://{}/", proxy.address()));
        let db = live::database(&client);
        // The server itself adds nothing to what it stores.
        let large = "x".repeat(16 * 1024 * 1024 - 100);
        for documents in [
            vec![doc! { "_id": 1 }],
            vec![doc! { "_id": 1 }, doc! { "_id": 2 }],
            vec![doc! { "_id": 1, "a": "" }, doc! { "_id": 2, "a": &large }],
        ] {
            let things = db.collection::<Document>("things");
            let inserted = things.insert_many(&documents).await.unwrap();
            assert_eq!(inserted.inserted_ids.len(), documents.len());
            let count = u64::try_from(documents.len()).unwrap();
            let update = doc! { "$set": { "b": 1 } };
            let updated = things.update_many(doc! {}, update).await.unwrap();
            assert_eq!(updated.modified_count, count);
            let deleted = things.delete_many(doc! {}).await.unwrap();
            assert_eq!(deleted.deleted_count, count);
        }
        for (name, sequence) in [
            ("insert", "documents"),
            ("update", "updates"),
            ("delete", "deletes"),
        ] {
            let sent = named(&bodies, name);
            assert_eq!(sent.len(), 3, "{name}");
            let apart = sent.iter().all(|body| !body.contains_key(sequence));
            assert!(apart, "{sent:?}");
        }
        live::forget(&db).await;
    });
}
