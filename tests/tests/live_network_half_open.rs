//! Connections whose other end has vanished without a word: a reset that comes late, or nothing at
//! all until something is sent, or nothing at all because there is nothing to send.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::join_all;
use mongo_client::{Client, Collection, event::sdam::SdamEvent, options::ClientOptions};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    fault::{Network, Road, Way},
    live::{self, Event, FailPoint, Recorder},
    pools::{recovers, warm},
    rt,
};

const CONNECTIONS: usize = 4;

/// Options with which only what is sent can find out that a connection is dead.
fn options(uri: &str) -> ClientOptions {
    let mut options = live::options(uri);
    options.direct_connection = Some(true);
    options.heartbeat_freq = Some(Duration::from_secs(60));
    options.max_pool_size = Some(4);
    options
}

/// Twice as many finds as there are connections.
async fn find_eight(people: Collection<Document>) {
    let finds = (0..8).map(|n| people.find_one(doc! { "_id": n }).into_future());
    for (n, found) in (0..8).zip(join_all(finds).await) {
        assert_eq!(found.unwrap(), Some(doc! { "_id": n }));
    }
}

async fn wait_for_leases(client: &Client, count: usize) {
    live::eventually("connections in use", || async {
        client.handle().census().pools[0].1.leased == count
    })
    .await;
}

/// A client behind a road on which nothing passes any more.
async fn silenced() -> Option<(Road, Client, Collection<Document>)> {
    let uri = deploy::uri("STANDALONE")?;
    let address = ClientOptions::parse_uri(&uri).unwrap().options.hosts[0].to_string();
    let road = Road::start(address).await.unwrap();
    let (client, people) = warm(
        options(&format!("mongodb://{}/", road.address())),
        CONNECTIONS,
    )
    .await;
    road.hold(Way::ToClient);
    road.hold(Way::ToServer);
    Some((road, client, people))
}

#[test]
fn reads_survive_a_reset_after_a_silence() {
    rt::block_on(async {
        let Some((road, client, people)) = silenced().await else {
            return;
        };
        let finds = rt::spawn(find_eight(people.clone()));
        wait_for_leases(&client, CONNECTIONS).await;

        road.clear();
        road.reset();

        finds.await.unwrap();
        recovers(&client, &people, CONNECTIONS).await;
    });
}

#[test]
fn reset_after_a_silence_ends_writes_that_cannot_be_repeated() {
    rt::block_on(async {
        let Some((road, client, people)) = silenced().await else {
            return;
        };
        // A standalone server has no retryable writes.
        let inserts = rt::spawn({
            let people = people.clone();
            async move {
                let inserts =
                    (0..4).map(|n| people.insert_one(doc! { "_id": 100 + n }).into_future());
                join_all(inserts).await
            }
        });
        wait_for_leases(&client, CONNECTIONS).await;

        road.reset();

        for inserted in inserts.await.unwrap() {
            let error = inserted.unwrap_err();
            assert!(
                error.is_network() && !error.is_network_timeout(),
                "{error:?}"
            );
        }
        road.clear();
        recovers(&client, &people, CONNECTIONS).await;
    });
}

#[test]
fn late_replies_of_dropped_operations_are_given_to_nobody() {
    rt::block_on(async {
        let Some((road, client, people)) = silenced().await else {
            return;
        };
        for n in 0..4 {
            let find = people.find_one(doc! { "_id": 40 + n }).into_future();
            rt::timeout(Duration::from_millis(50), find)
                .await
                .unwrap_err();
        }
        let draining = client.handle().census().pools[0].1.draining;
        assert_eq!(draining, CONNECTIONS);

        // The replies come while the connections still wait for them.
        road.clear();

        find_eight(people.clone()).await;
        let total = client.handle().census().pools[0].1.total();
        assert_eq!(total, CONNECTIONS, "connections were closed");
        recovers(&client, &people, CONNECTIONS).await;
    });
}

/// Runs a test with a standalone server in a network of its own.
fn in_a_network<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Network, OwnCluster) -> F) {
    if deploy::skips_live() {
        return;
    }
    Network::run(name, |network| {
        let server = OwnCluster::start("half-open", Plan::standalone()).unwrap();
        rt::block_on(test(network, server));
    });
}

#[test]
fn destructive_idle_half_open_connections_are_found_out_by_what_is_sent() {
    let name = "destructive_idle_half_open_connections_are_found_out_by_what_is_sent";
    in_a_network(name, |network, server| async move {
        let mut options = options(&server.uri());
        let events = Recorder::attach(&mut options);
        let (client, people) = warm(options, CONNECTIONS).await;
        let before = events.started("find").len();
        if let Err(why) = network.half_open(server.ports()[0]) {
            println!("skipped: {why}");
            return;
        }

        find_eight(people.clone()).await;

        // Each connection was tried once, by a find that was then sent again.
        let failed = events.failed("find").len();
        assert!((1..=CONNECTIONS).contains(&failed), "{failed}");
        assert_eq!(events.started("find").len() - before, 8 + failed);
        recovers(&client, &people, CONNECTIONS).await;
    });
}

#[test]
fn destructive_wait_on_a_half_open_connection_ends_by_the_monitors_limit() {
    let name = "destructive_wait_on_a_half_open_connection_ends_by_the_monitors_limit";
    in_a_network(name, |network, server| async move {
        let heartbeat = Duration::from_millis(600);
        let connect = Duration::from_millis(400);
        let mut options = options(&server.uri());
        options.heartbeat_freq = Some(heartbeat);
        options.connect_timeout = Some(connect);
        let app_name = live::app_name(&options);
        let events = Recorder::attach(&mut options);
        let (client, people) = warm(options, CONNECTIONS).await;
        let observer = live::client(&server.uri());
        let data = doc! {
            "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 60_000,
        };
        // Used up by one find, on a server that nobody else has.
        FailPoint::set(&observer, 1, &app_name, data).await;
        let find = rt::spawn({
            let people = people.clone();
            async move { people.find_one(doc! { "_id": 7 }).await }
        });
        // The server has the request, so there is nothing that TCP would have to send again.
        let admin = observer.database("admin");
        admin
            .run_command(doc! {
                "waitForFailPoint": "failCommand", "timesEntered": 1_i64, "maxTimeMS": 30_000,
            })
            .await
            .unwrap();

        let start = Instant::now();
        if let Err(why) = network.half_open(server.ports()[0]) {
            println!("skipped: {why}");
            return;
        }
        let found = find.await.unwrap().unwrap();

        // The monitor's connection is half open too; the second attempt meets the healed network.
        let took = start.elapsed();
        assert_eq!(found, Some(doc! { "_id": 7 }));
        assert!(
            took < heartbeat + connect + Duration::from_secs(2),
            "{took:?}"
        );
        assert_eq!(events.failed("find").len(), 1);
        let noticed = events.events().into_iter().any(|event| {
            matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatFailed(failed))
                if failed.failure.is_network_timeout())
        });
        assert!(noticed, "{:#?}", events.events());
        recovers(&client, &people, CONNECTIONS).await;
    });
}
