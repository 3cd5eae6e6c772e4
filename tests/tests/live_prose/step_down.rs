//! Connections that survive a step-down: source/connections-survive-step-down/tests/README.md.

use bson::{Document, doc};
use mongo_client::{
    Client, Database,
    event::{cmap::CmapEvent, sdam::SdamEvent},
    options::{ReadPreference, WriteConcern},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy::{self, Plan},
    live::{self, Event, Recorder},
    rt,
};

/// A client that retries no writes, and a fresh collection `step-down`.
async fn set_up(uri: &str) -> (Client, Recorder, String, Database) {
    let mut options = live::options(uri);
    options.retry_writes = Some(false);
    let recorder = Recorder::attach(&mut options);
    let app_name = live::app_name(&options);
    let client = live::build(options);
    let db = live::database(&client);
    let things = db.collection::<Document>("step-down");
    let drop = things.drop().write_concern(WriteConcern::majority());
    drop.await.unwrap();
    let create = db.create_collection("step-down");
    let create = create.write_concern(WriteConcern::majority());
    create.await.unwrap();
    (client, recorder, app_name, db)
}

fn cleared(recorder: &Recorder) -> usize {
    let events = recorder.events().into_iter();
    let cleared = events.filter(|e| matches!(e, Event::Cmap(CmapEvent::PoolCleared(_))));
    cleared.count()
}

#[test]
fn destructive_get_more_iteration() {
    rt::block_on(async {
        let Some(set) = deploy::own_cluster("getmore", Plan::replica_set(3)) else {
            return;
        };
        let (client, recorder, _, db) = set_up(&set.uri()).await;
        let things = db.collection::<Document>("step-down");
        let documents: Vec<_> = (0..5).map(|n| doc! { "_id": n }).collect();
        let insert = things.insert_many(&documents);
        let insert = insert.write_concern(WriteConcern::majority());
        insert.await.unwrap();
        let mut cursor = things.find(doc! {}).batch_size(2).await.unwrap();
        for _ in 0..2 {
            assert!(cursor.advance().await.unwrap());
        }
        let admin = client.database("admin");
        let thaw = admin.run_command(doc! { "replSetFreeze": 0 });
        thaw.selection_criteria(ReadPreference::secondary(None))
            .await
            .unwrap();
        let (before, known) = (cleared(&recorder), recorder.events().len());
        let step_down = doc! { "replSetStepDown": 30, "force": true };
        admin.run_command(step_down).await.unwrap();

        assert!(cursor.advance().await.unwrap());

        let more = recorder.started("getMore");
        assert_eq!(more.len(), 1);
        let finds = recorder.started("find");
        let address = &finds[0].connection.address;
        assert_eq!(&more[0].connection.address, address);
        // What the monitor hears of the step-down clears no pool either.
        recorder
            .wait("the step-down is known", |events| {
                events[known..].iter().any(|event| {
                    matches!(event, Event::Sdam(SdamEvent::ServerDescriptionChanged(e))
                        if e.address == *address
                            && e.new_description.server_type == ServerType::RsSecondary)
                })
            })
            .await;
        assert_eq!(cleared(&recorder), before);
    });
}

mod serial_replica_set {
    use mongo_client_tests::live::FailPoint;

    use super::*;
    use crate::two_faults::failure;

    /// How often pools are cleared when an insert fails with this code.
    async fn clearings(code: i32) -> Option<usize> {
        let uri = deploy::uri("REPLICA_SET")?;
        let (client, recorder, app_name, db) = set_up(&uri).await;
        let things = db.collection::<Document>("step-down");
        let data = failure("insert", code, &[]);
        let point = FailPoint::set(&client, 1, &app_name, data).await;
        let before = cleared(&recorder);
        let error = things.insert_one(doc! { "test": 1 }).await.unwrap_err();
        assert_eq!(error.code(), Some(code));
        let after = cleared(&recorder);
        things.insert_one(doc! { "test": 1 }).await.unwrap();
        assert_eq!(cleared(&recorder), after);
        point.off().await;
        live::forget(&db).await;
        Some(after - before)
    }

    #[test]
    fn not_primary_keep_connection_pool() {
        rt::block_on(async {
            if let Some(count) = clearings(10107).await {
                assert_eq!(count, 0);
            }
        });
    }

    #[test]
    fn shutdown_in_progress_reset_connection_pool() {
        rt::block_on(async {
            if let Some(count) = clearings(91).await {
                assert_eq!(count, 1);
            }
        });
    }

    #[test]
    fn interrupted_at_shutdown_reset_connection_pool() {
        rt::block_on(async {
            if let Some(count) = clearings(11600).await {
                assert_eq!(count, 1);
            }
        });
    }
}
