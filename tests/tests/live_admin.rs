//! The administration of a server: dropping databases, flushing and locking.

use bson::{Document, doc};
use mongo_client::{Client, error::ErrorKind, options::FsyncOptions};
use mongo_client_tests::{
    deploy::{self, Plan},
    live, rt,
};

async fn names(client: &Client) -> Vec<String> {
    client.list_database_names().await.unwrap()
}

#[test]
fn a_database_is_dropped_by_its_name_or_by_its_handle() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let dbs = [live::database(&client), live::database(&client)];
        for db in &dbs {
            let coll = db.collection::<Document>("c");
            coll.insert_one(doc! {}).await.unwrap();
            assert!(names(&client).await.contains(&db.name().to_owned()));
        }

        client.drop_database(dbs[0].name()).await.unwrap();
        client.drop_database(&dbs[1]).await.unwrap();

        let left = names(&client).await;
        for db in &dbs {
            assert!(!left.contains(&db.name().to_owned()));
            // Once more: there is nothing to drop, which is fine.
            client.drop_database(db).await.unwrap();
        }
    });
}

#[test]
fn fsync_with_lock_and_async_is_an_error_that_names_both() {
    rt::block_on(async {
        let client = live::client("mongodb://127.0.0.1:1/");
        let options = FsyncOptions::builder().lock(true).async_(true).build();
        for fsync in [
            client.fsync().lock(true).async_(true),
            client.fsync().with_options(options),
        ] {
            let error = fsync.await.unwrap_err();
            let ErrorKind::InvalidArgument { message } = &*error.kind else {
                panic!("{error:?}");
            };
            assert!(
                message.contains("lock") && message.contains("async"),
                "{message}"
            );
        }
    });
}

#[test]
fn fsync_flushes_at_once_or_in_the_background() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        for fsync in [client.fsync(), client.fsync().async_(true)] {
            let reply = fsync.await.unwrap();
            assert_eq!(reply.get_f64("ok").unwrap(), 1.0, "{reply}");
        }
        // There is nothing to unlock, which is fine.
        client.unlock().await.unwrap();
    });
}

/// A server of its own: a lock stops the writes of all others.
#[test]
fn destructive_a_locked_server_takes_no_writes_until_it_is_unlocked() {
    rt::block_on(async {
        let Some(server) = deploy::own_cluster("members-lock", Plan::standalone()) else {
            return;
        };
        let client = live::client(&server.uri());
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! {}).await.unwrap();
        assert!(!client.is_locked().await.unwrap());

        client.fsync().lock(true).await.unwrap();

        assert!(client.is_locked().await.unwrap());
        let blocked = rt::spawn({
            let people = people.clone();
            async move { people.insert_one(doc! {}).await }
        });
        // The server says of itself that the write waits.
        live::eventually("a blocked write", || async {
            let ops = doc! {
                "currentOp": 1, "command.insert": "people", "waitingForLock": true,
            };
            let reply = client.database("admin").run_command(ops).await.unwrap();
            !reply.get_array("inprog").unwrap().is_empty()
        })
        .await;

        client.unlock().await.unwrap();

        blocked.await.unwrap().unwrap();
        assert!(!client.is_locked().await.unwrap());
        assert_eq!(people.count_documents(doc! {}).await.unwrap(), 2);
    });
}
