//! The beginning and the end of clients, and the order of what they report.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, IntoFuture},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongo_client::{
    Client,
    error::ErrorKind,
    event::{
        cmap::{CmapEvent, ConnectionClosedReason},
        command::CommandEvent,
        sdam::SdamEvent,
    },
    options::ServerAddress,
    topology::{ServerType, TopologyDescription, TopologyType},
};
use mongo_client_driver::{Ambient, Handle, RuntimeSource, UnixMillis};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
};

/// Fails unless the client's connections all go away.
async fn leaves_no_connections(observer: &Client, app_name: &str) {
    live::eventually("no connections", || async {
        live::connections_of(observer, app_name).await.unwrap() == 0
    })
    .await;
}

#[test]
fn client_built_outside_every_runtime_works_inside_one() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let client = live::client(&uri);
    rt::tokio_runtime().block_on(async {
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();
        live::forget(&db).await;
    });
}

#[test]
fn operation_outside_every_runtime_is_an_error_not_a_panic() {
    let ambient = Ambient {
        clock: Arc::new(|| UnixMillis(0)),
        entropy: Arc::new(|out| out.fill(7)),
    };
    let options = live::options("mongodb://127.0.0.1:1/");
    let client = Handle::new(options, RuntimeSource::find(|| None), ambient).unwrap();
    let mut future = pin!(client.ready());
    let mut context = Context::from_waker(Waker::noop());

    let Poll::Ready(result) = future.as_mut().poll(&mut context) else {
        panic!("it waits for a runtime");
    };

    let error = result.unwrap_err();
    assert!(
        matches!(&*error.kind, ErrorKind::InvalidArgument { message } if message.contains("runtime")),
        "{error:?}"
    );
}

#[test]
fn client_and_cursor_may_be_dropped_outside_and_after_their_runtime() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let options = live::options(&uri);
    let app_name = live::app_name(&options);
    let first = rt::tokio_runtime();
    let (client, cursor) = first.block_on(async {
        let client = live::build(options);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();
        let mut cursor = numbers.find(doc! {}).batch_size(2).await.unwrap();
        cursor.next().await.unwrap().unwrap();
        (client, cursor)
    });
    // The same client again, while its runtime lives and nobody is in it.
    drop(cursor);
    first
        .block_on(client.list_database_names().into_future())
        .unwrap();
    drop(first);
    drop(client);

    rt::tokio_runtime().block_on(async {
        leaves_no_connections(&live::client(&uri), &app_name).await;
    });
}

#[test]
fn last_clone_dropped_leaves_no_connections() {
    live::on("REPLICA_SET", async |uri| {
        let options = live::options(&uri);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        let clone = client.clone();
        client.list_database_names().await.unwrap();
        drop(client);
        clone.list_database_names().await.unwrap();
        let observer = live::client(&uri);
        assert!(live::connections_of(&observer, &app_name).await.unwrap() > 0);

        drop(clone);

        leaves_no_connections(&observer, &app_name).await;
    });
}

#[test]
fn shutdown_ends_all_clones_and_leaves_no_connections() {
    live::on("REPLICA_SET", async |uri| {
        let options = live::options(&uri);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        let clone = client.clone();
        let db = live::database(&clone);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();
        let mut cursor = numbers.find(doc! {}).batch_size(5).await.unwrap();
        cursor.next().await.unwrap().unwrap();
        let observer = live::client(&uri);
        live::forget(&observer.database(db.name())).await;

        client.shutdown().await;

        let is_shutdown = |error: mongo_client::error::Error| {
            assert!(matches!(&*error.kind, ErrorKind::Shutdown), "{error:?}");
        };
        is_shutdown(numbers.insert_one(doc! {}).await.unwrap_err());
        is_shutdown(numbers.find_one(doc! {}).await.unwrap_err());
        is_shutdown(clone.start_session().await.unwrap_err());
        let rest: Vec<_> = cursor.collect().await;
        assert_eq!(rest.len(), 5, "what was fetched, then the error");
        is_shutdown(rest.into_iter().last().unwrap().unwrap_err());
        leaves_no_connections(&observer, &app_name).await;
    });
}

#[test]
fn shutdown_ends_operations_that_wait_for_a_server() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let client = live::client("mongodb://127.0.0.1:1/");
        let waiting = rt::spawn({
            let client = client.clone();
            async move { client.list_database_names().await }
        });
        // The wait begins before or after the shutdown; both have to end.
        rt::yield_now().await;

        client.shutdown().await;

        let result = rt::timeout(Duration::from_secs(5), waiting).await;
        let error = result.unwrap().unwrap().unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Shutdown), "{error:?}");
    });
}

/// The events of a client that did a little and was shut down.
async fn a_short_life(uri: &str) -> Vec<Event> {
    let mut options = live::options(uri);
    let events = live::Recorder::attach(&mut options);
    let client = live::build(options);
    let db = live::database(&client);
    let people = db.collection::<Document>("people");
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let people = people.clone();
            rt::spawn(async move { people.insert_one(doc! { "_id": n }).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    people.insert_one(doc! { "_id": 1 }).await.unwrap_err();
    live::forget(&db).await;
    client.shutdown().await;
    let is_end = |event: &Event| matches!(event, Event::Sdam(SdamEvent::TopologyClosed(_)));
    events
        .wait("the end", |events| events.iter().any(is_end))
        .await;
    events.events()
}

#[test]
fn commands_start_before_they_end_and_each_ends_once() {
    live::on("REPLICA_SET", async |uri| {
        let mut open = BTreeMap::new();
        let mut ended = 0;
        for event in a_short_life(&uri).await {
            let Event::Command(event) = event else {
                continue;
            };
            match event {
                CommandEvent::Started(e) => {
                    let key = (e.connection.address.clone(), e.request_id);
                    let before = open.insert(key, (e.command_name, e.connection));
                    assert_eq!(before, None);
                }
                CommandEvent::Succeeded(e) => {
                    let key = (e.connection.address.clone(), e.request_id);
                    assert_eq!(open.remove(&key), Some((e.command_name, e.connection)));
                    ended += 1;
                }
                CommandEvent::Failed(e) => {
                    panic!("a reply with write errors is no failure: {e:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(ended >= 10, "{ended}");
    });
}

/// What a connection went through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Created,
    Idle,
    InUse,
    Closed,
}

#[test]
fn connections_are_created_ready_used_and_closed_in_this_order() {
    live::on("REPLICA_SET", async |uri| {
        let (mut stages, mut pools) = (BTreeMap::new(), BTreeMap::new());
        let mut checkouts = 0;
        for event in a_short_life(&uri).await {
            let Event::Cmap(event) = event else {
                continue;
            };
            match event {
                CmapEvent::PoolCreated(e) => assert_eq!(pools.insert(e.address, "paused"), None),
                CmapEvent::PoolReady(e) => {
                    assert_eq!(pools.insert(e.address, "ready"), Some("paused"));
                }
                CmapEvent::PoolCleared(e) => panic!("nothing failed: {e:?}"),
                CmapEvent::PoolClosed(e) => {
                    let rest = stages.iter().filter(|((address, _), stage)| {
                        *address == e.address && **stage != Stage::Closed
                    });
                    assert_eq!(rest.count(), 0);
                    assert!(pools.insert(e.address, "closed").is_some());
                }
                CmapEvent::ConnectionCreated(e) => {
                    assert_eq!(pools.get(&e.address), Some(&"ready"));
                    let key = (e.address, e.connection_id);
                    assert_eq!(stages.insert(key, Stage::Created), None);
                }
                CmapEvent::ConnectionReady(e) => {
                    let key = (e.address, e.connection_id);
                    assert_eq!(stages.insert(key, Stage::Idle), Some(Stage::Created));
                }
                CmapEvent::ConnectionCheckoutStarted(_) => checkouts += 1,
                CmapEvent::ConnectionCheckedOut(e) => {
                    checkouts -= 1;
                    assert!(checkouts >= 0);
                    let key = (e.address, e.connection_id);
                    assert_eq!(stages.insert(key, Stage::InUse), Some(Stage::Idle));
                }
                CmapEvent::ConnectionCheckedIn(e) => {
                    let key = (e.address, e.connection_id);
                    assert_eq!(stages.insert(key, Stage::Idle), Some(Stage::InUse));
                }
                CmapEvent::ConnectionClosed(e) => {
                    assert_eq!(e.reason, ConnectionClosedReason::PoolClosed);
                    let before = stages.insert((e.address, e.connection_id), Stage::Closed);
                    assert!(before.is_some_and(|stage| stage != Stage::Closed));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(checkouts, 0);
        assert_eq!(pools.len(), 3);
        assert!(pools.values().all(|state| *state == "closed"), "{pools:?}");
        assert!(stages.values().all(|s| *s == Stage::Closed), "{stages:?}");
        assert!(!stages.is_empty());
    });
}

/// The types of a topology and its servers.
fn kinds(topology: &TopologyDescription) -> (TopologyType, BTreeMap<ServerAddress, ServerType>) {
    let servers = topology.servers.values();
    let servers = servers.map(|server| (server.address.clone(), server.server_type));
    (topology.topology_type, servers.collect())
}

#[test]
fn topology_opens_first_closes_last_and_every_heartbeat_has_its_end() {
    live::on("REPLICA_SET", async |uri| {
        let events: Vec<SdamEvent> = a_short_life(&uri)
            .await
            .into_iter()
            .filter_map(|event| match event {
                Event::Sdam(event) => Some(event),
                _ => None,
            })
            .collect();
        assert!(matches!(events[0], SdamEvent::TopologyOpening(_)));
        assert!(matches!(events.last(), Some(SdamEvent::TopologyClosed(_))));
        let mut beating = BTreeSet::new();
        let (mut opened, mut closed, mut previous) = (Vec::new(), Vec::new(), None);
        for event in events {
            match event {
                SdamEvent::ServerOpening(e) => opened.push(e.address),
                SdamEvent::ServerClosed(e) => closed.push(e.address),
                SdamEvent::ServerHeartbeatStarted(e) => {
                    assert!(opened.contains(&e.server_address));
                    let key = (e.server_address, e.driver_connection_id);
                    assert!(beating.insert(key), "two heartbeats at once");
                }
                SdamEvent::ServerHeartbeatSucceeded(e) => {
                    let key = (e.server_address, e.driver_connection_id);
                    assert!(beating.remove(&key), "an end without a beginning");
                }
                SdamEvent::TopologyDescriptionChanged(e) => {
                    if let Some(previous) = previous {
                        assert_eq!(kinds(&e.previous_description), previous, "a gap");
                    }
                    previous = Some(kinds(&e.new_description));
                }
                _ => {}
            }
        }
        opened.sort();
        closed.sort();
        assert_eq!(opened.len(), 3);
        assert_eq!(opened, closed);
    });
}
