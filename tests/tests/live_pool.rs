//! Pools under pressure: dropped operations, limits, and connections made in advance.

use std::{
    future::IntoFuture,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongo_client::{
    event::cmap::CmapEvent,
    options::{ReadPreference, ServerMonitoringMode},
};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
};

/// Monitors and their round-trip probes: two connections for each of three members.
const MONITORING_MAX: usize = 6;

/// Polls a future some times, with a turn of the runtime between, then drops it.
async fn drop_after<F: IntoFuture>(operation: F, polls: usize) {
    let mut future = pin!(operation.into_future());
    for _ in 0..polls {
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            return;
        }
        rt::yield_now().await;
    }
}

#[test]
fn operations_dropped_anywhere_leave_the_client_whole() {
    live::on("REPLICA_SET", async |uri| {
        let mut options = live::options(&uri);
        options.max_pool_size = Some(4);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let documents: Vec<Document> = (0..50).map(|n| doc! { "_id": n }).collect();
        people.insert_many(&documents).await.unwrap();

        for polls in 0..150 {
            let id = i32::try_from(1000 + polls).unwrap();
            drop_after(people.insert_one(doc! { "_id": id }), polls).await;
            drop_after(people.find_one(doc! { "_id": 1 }), polls).await;
            drop_after(people.find(doc! {}).batch_size(2), polls).await;
            let mut cursor = people.find(doc! {}).batch_size(2).await.unwrap();
            drop_after(cursor.next(), polls % 9).await;
            drop_after(client.start_session(), polls).await;
        }

        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let people = people.clone();
                rt::spawn(async move { people.find_one(doc! { "_id": n }).await })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            let found = rt::timeout(Duration::from_secs(10), task).await;
            let found = found.expect("the pool has a connection left");
            assert_eq!(found.unwrap().unwrap(), Some(doc! { "_id": n }));
        }
        let observer = live::client(&uri);
        live::eventually("no more connections than allowed", || async {
            live::connections_of(&observer, &app_name).await.unwrap() <= 4 + MONITORING_MAX
        })
        .await;
        live::forget(&db).await;
    });
}

#[test]
fn cursor_goes_on_after_a_dropped_wait_without_losing_a_document() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..200).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();

        let find = numbers.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(3);
        let mut cursor = find.await.unwrap();
        let mut found = Vec::new();
        let mut polls = 0;
        'read: loop {
            // Waits that are dropped after one poll, after two, and so on.
            polls = polls % 4 + 1;
            let mut next = pin!(cursor.next());
            for _ in 0..polls {
                match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(document)) => {
                        found.push(document.unwrap());
                        break;
                    }
                    Poll::Ready(None) => break 'read,
                    Poll::Pending => rt::yield_now().await,
                }
            }
        }

        assert_eq!(found, documents);
        live::forget(&db).await;
    });
}

#[test]
fn connections_are_made_in_advance_for_the_minimum() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        options.min_pool_size = Some(5);
        let events = live::Recorder::attach(&mut options);
        let _client = live::build(options);
        let is_ready = |event: &&Event| matches!(event, Event::Cmap(CmapEvent::ConnectionReady(_)));

        events
            .wait("five connections", |events| {
                events.iter().filter(is_ready).count() == 5
            })
            .await;
    });
}

#[test]
fn both_ways_of_monitoring_find_the_members() {
    live::on("REPLICA_SET", async |uri| {
        for mode in [ServerMonitoringMode::Poll, ServerMonitoringMode::Stream] {
            let mut options = live::options(&uri);
            options.server_monitoring_mode = Some(mode);
            let client = live::build(options);
            let admin = client.database("admin");
            for preference in [ReadPreference::primary(), ReadPreference::secondary(None)] {
                let ping = admin.run_command(doc! { "ping": 1 });
                ping.selection_criteria(preference).await.unwrap();
            }
        }
    });
}

mod serial_standalone {
    use super::*;

    #[test]
    fn full_pool_fails_after_the_wait_queue_timeout_and_serves_later() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let control = live::client(&uri);
            let mut options = live::options(&uri);
            options.max_pool_size = Some(1);
            options.wait_queue_timeout = Some(Duration::from_millis(300));
            options.retry_reads = Some(false);
            let app_name = live::app_name(&options);
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let data = doc! {
                "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 2_000,
            };
            let point = live::FailPoint::set(&control, 1, &app_name, data).await;

            let blocked = rt::spawn({
                let people = people.clone();
                async move { people.find_one(doc! {}).await }
            });
            events
                .wait("the first find", |_| events.started("find").len() == 1)
                .await;
            let start = Instant::now();
            let error = people.find_one(doc! {}).await.unwrap_err();
            let took = start.elapsed();

            assert!(error.is_timeout(), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("checking out a connection"), "{text}");
            assert!(took < Duration::from_millis(1500), "{took:?}");
            assert_eq!(blocked.await.unwrap().unwrap(), None);
            assert_eq!(people.find_one(doc! {}).await.unwrap(), None);
            point.off().await;
        });
    }

    #[test]
    fn waiting_operations_are_served_one_after_the_other() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let control = live::client(&uri);
            let mut options = live::options(&uri);
            options.max_pool_size = Some(1);
            let app_name = live::app_name(&options);
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            let data = doc! {
                "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 100,
            };
            let point = live::FailPoint::set(&control, 5, &app_name, data).await;
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let people = people.clone();
                    rt::spawn(async move { people.find_one(doc! {}).await })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await.unwrap().unwrap(), None);
            }

            let finds = events.started("find");
            assert_eq!(finds.len(), 20);
            assert!(
                finds
                    .iter()
                    .all(|f| f.connection.id == finds[0].connection.id)
            );
            point.off().await;
        });
    }
}
