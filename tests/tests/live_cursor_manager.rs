//! Cursors that are removed by their ids, and the manager that decides when dropped ones are.

use std::sync::{Arc, Mutex};

use bson::{Document, doc};
use mongo_client::{
    Client, Collection,
    cursor::{ClosedCursor, CursorManager},
};
use mongo_client_tests::live;

/// Keeps what it is told of.
#[derive(Debug, Default)]
struct Keeper(Mutex<Vec<ClosedCursor>>);

impl CursorManager for Keeper {
    fn close(&self, cursor: ClosedCursor) {
        self.0.lock().unwrap().push(cursor);
    }
}

async fn numbers(client: &Client) -> Collection<Document> {
    let numbers = live::database(client).collection::<Document>("numbers");
    let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
    numbers.insert_many(&documents).await.unwrap();
    numbers
}

/// How many cursors the server has on the collection.
async fn cursors(client: &Client, of: &Collection<Document>) -> usize {
    let stages = [
        doc! { "$currentOp": { "idleCursors": true, "allUsers": true } },
        doc! { "$match": { "ns": of.namespace().to_string(), "cursor": { "$exists": true } } },
    ];
    let admin = client.database("admin");
    let mut found = admin.aggregate(stages).await.unwrap();
    let mut count = 0;
    while found.advance().await.unwrap() {
        count += 1;
    }
    count
}

#[test]
fn cursors_are_removed_by_their_ids_in_the_background() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let numbers = numbers(&client).await;
        let db = client.database(&numbers.namespace().db);
        let mut ids = Vec::new();
        for _ in 0..3 {
            let find = doc! { "find": numbers.name(), "batchSize": 2 };
            let reply = db.run_command(find).await.unwrap();
            let cursor = reply.get_document("cursor").unwrap();
            ids.push(cursor.get_i64("id").unwrap());
        }
        assert_eq!(cursors(&client, &numbers).await, 3);

        let address = client.address().unwrap();
        client.kill_cursors(&ids[..2], address.as_ref());
        live::eventually("two are gone", || async {
            cursors(&client, &numbers).await == 1
        })
        .await;
        client.close_cursor(ids[2], None);
        live::eventually("all are gone", || async {
            cursors(&client, &numbers).await == 0
        })
        .await;
        live::forget(&db).await;
    });
}

#[test]
fn a_manager_decides_when_a_dropped_cursor_is_removed() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let numbers = numbers(&client).await;
        let keeper = Arc::new(Keeper::default());
        client.set_cursor_manager(Some(keeper.clone()));

        drop(numbers.find(doc! {}).batch_size(2).await.unwrap());

        let kept = keeper.0.lock().unwrap().pop().unwrap();
        assert_ne!(kept.id(), 0);
        assert_eq!(kept.address(), client.address().unwrap());
        assert_eq!(cursors(&client, &numbers).await, 1);
        kept.kill();
        live::eventually("it is gone", || async {
            cursors(&client, &numbers).await == 0
        })
        .await;
        client.set_cursor_manager(None);
        drop(numbers.find(doc! {}).batch_size(2).await.unwrap());
        live::eventually("it is gone", || async {
            cursors(&client, &numbers).await == 0
        })
        .await;
        live::forget(&client.database(&numbers.namespace().db)).await;
    });
}
