//! Connection pools (`connection-monitoring-and-pooling/tests/README.md`), and how the operations
//! in progress steer the selection of servers (`server-selection-tests.md`).

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use mongo_client::{
    Client, Collection,
    error::ErrorKind,
    event::cmap::{CmapEvent, ConnectionCheckoutFailedReason, PoolEventOptions},
    options::{ClientOptions, Credential, ServerAddress},
};
use mongo_client_tests::{
    deploy,
    fault::Mongos,
    live::{self, Event, Recorder},
    rt,
};

/// The pools that were created, with their options.
fn created(events: &[Event]) -> Vec<(ServerAddress, PoolEventOptions)> {
    let created = events.iter().filter_map(|event| match event {
        Event::Cmap(CmapEvent::PoolCreated(e)) => Some((e.address.clone(), e.options.clone())),
        _ => None,
    });
    created.collect()
}

#[test]
fn prose_1_to_4_options_of_a_uri_are_those_of_all_pools_and_events_are_heard() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let limits = "maxPoolSize=7&minPoolSize=2&maxIdleTimeMS=60000&maxConnecting=3\
                      &waitQueueTimeoutMS=9000";
        let mut options = live::options(&format!("{uri}&{limits}"));
        let events = Recorder::attach(&mut options);
        let client = live::build(options);
        let open = |events: &[Event]| {
            let ready = |e: &&Event| matches!(e, Event::Cmap(CmapEvent::ConnectionReady(_)));
            created(events).len() == 3 && events.iter().filter(ready).count() >= 6
        };
        events
            .wait("three pools with their connections", open)
            .await;

        let pools = created(&events.events());
        assert_eq!(pools.len(), 3);
        let mut hosts: Vec<_> = pools.iter().map(|(host, _)| host).collect();
        hosts.sort();
        hosts.dedup();
        assert_eq!(hosts.len(), 3, "{pools:?}");
        for (_, options) in &pools {
            assert_eq!(options.max_pool_size, Some(7));
            assert_eq!(options.min_pool_size, Some(2));
            assert_eq!(options.max_idle_time, Some(Duration::from_secs(60)));
            assert_eq!(options.max_connecting, Some(3));
            assert_eq!(options.wait_queue_timeout, Some(Duration::from_secs(9)));
        }
        client.list_database_names().await.unwrap();
        let count = |which: fn(&CmapEvent) -> bool| {
            let events = events.events();
            let of = |e: &&Event| matches!(e, Event::Cmap(e) if which(e));
            events.iter().filter(of).count()
        };
        assert!(count(|e| matches!(e, CmapEvent::ConnectionCheckoutStarted(_))) > 0);
        assert!(count(|e| matches!(e, CmapEvent::ConnectionCheckedOut(_))) > 0);
        client.close().await;
        let closed = |events: &[Event]| {
            let closed = |e: &&Event| matches!(e, Event::Cmap(CmapEvent::PoolClosed(_)));
            events.iter().filter(closed).count() == 3
        };
        events.wait("three closed pools", closed).await;
    });
}

#[test]
fn prose_5_a_connection_that_cannot_be_set_up_fails_its_checkout() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("AUTH") else {
            return;
        };
        let mut options = live::options(&uri);
        let nobody = Credential::builder().username("nobody").password("wrong");
        options.credential = Some(nobody.source("admin"));
        let events = Recorder::attach(&mut options);
        let client = live::build(options);
        let error = client.list_database_names().await.unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::Authentication { .. }),
            "{error:?}"
        );
        let reasons = |events: &[Event]| -> Vec<_> {
            let failed = events.iter().filter_map(|event| match event {
                Event::Cmap(CmapEvent::ConnectionCheckoutFailed(e)) => Some(e.reason),
                _ => None,
            });
            failed.collect()
        };
        let failed = |events: &[Event]| !reasons(events).is_empty();
        events.wait("a checkout that failed", failed).await;
        let expected = ConnectionCheckoutFailedReason::ConnectionError;
        let reasons = reasons(&events.events());
        assert!(reasons.iter().all(|r| *r == expected), "{reasons:?}");
    });
}

const TASKS: usize = 10;

/// Runs finds in ten tasks; returns how many of all went to this server.
async fn share(people: &Collection<Document>, events: &Recorder, each: usize, of: &str) -> f64 {
    let before = events.started("find").len();
    let tasks = (0..TASKS).map(|_| {
        let people = people.clone();
        rt::spawn(async move {
            for _ in 0..each {
                people.find_one(doc! {}).await.unwrap();
            }
        })
    });
    for task in join_all(tasks.collect::<Vec<_>>()).await {
        task.unwrap();
    }
    let finds = events.started("find").split_off(before);
    assert_eq!(finds.len(), TASKS * each);
    let there = finds
        .iter()
        .filter(|e| e.connection.address.to_string() == of);
    #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
    let share = there.count() as f64 / finds.len() as f64;
    share
}

/// A client of two routers, with all connections that it may have.
async fn saturated(mut options: ClientOptions) -> (Client, Recorder) {
    let size = u32::try_from(TASKS).unwrap();
    options.local_threshold = Some(Duration::from_secs(30));
    options.min_pool_size = Some(size);
    options.max_pool_size = Some(size);
    let events = Recorder::attach(&mut options);
    let client = live::build(options);
    let full = |events: &[Event]| {
        let ready = |e: &&Event| matches!(e, Event::Cmap(CmapEvent::ConnectionReady(_)));
        events.iter().filter(ready).count() == 2 * TASKS
    };
    events.wait("two full pools", full).await;
    (client, events)
}

mod serial_replica_set {
    use super::*;

    /// The routers are proxies of two members, so that one of them alone has the fail point.
    #[test]
    fn operations_avoid_the_router_where_they_wait_and_share_routers_that_are_alike() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let hosts = live::options(&uri).hosts;
            let slow = Mongos::start(hosts[0].to_string()).await.unwrap();
            let other = Mongos::start(hosts[1].to_string()).await.unwrap();
            let direct = format!("mongodb://{}/?directConnection=true", hosts[0]);
            let control = live::client(&direct);

            let (slow_at, other_at) = (slow.address().to_string(), other.address().to_string());
            // Whichever of the members is a secondary answers, too.
            let uri = format!("mongodb://{slow_at},{other_at}/?readPreference=secondaryPreferred");
            let options = live::options(&uri);
            let app_name = live::app_name(&options);
            let (client, events) = saturated(options).await;
            let people = client.database("test").collection::<Document>("nobody");

            let block = doc! {
                "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 500,
            };
            let point = live::FailPoint::set(&control, 10_000, &app_name, block).await;
            let blocked = share(&people, &events, 10, &slow_at).await;
            point.off().await;
            assert!(blocked < 0.25, "{blocked}");

            let even = share(&people, &events, 100, &slow_at).await;
            assert!((0.4..=0.6).contains(&even), "{even}");
        });
    }
}
