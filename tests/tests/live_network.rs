//! Servers and networks that fall silent without an end of the stream: operations end by the
//! limit that they have, whichever it is, and the pool is whole again afterwards.
//!
//! Every fault is suffered by the same clients, one for each limit. In a process that is starved
//! of processor time everything is late: how late is measured, and allowed for.

use std::{
    future::IntoFuture,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::join_all;
use mongo_client::{
    error::{Error, ErrorKind},
    event::{
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    options::{ClientOptions, ServerMonitoringMode},
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    fault::{Network, Road, Way},
    live::{self, Event, Recorder},
    pools::{DOCUMENTS, recovers, total, warm},
    rt,
    sim::assert_quiet,
    witness::Witness,
};
use tokio::sync::Barrier;

/// How much later than its limit an operation may end on an idle machine.
const SLACK: Duration = Duration::from_millis(500);

/// How long a connection may consume the reply of a dropped operation.
const DRAIN: Duration = Duration::from_secs(1);

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

/// How many clients suffer a fault at once; see [`suffer`].
const CLIENTS: usize = 7;

/// Steps that all clients of a test, and what makes the fault, take together.
struct Fault {
    uri: String,
    monitoring: ServerMonitoringMode,
    steps: Barrier,
    /// How late a timer of this process was at worst, in milliseconds.
    lag_ms: AtomicU64,
    /// How long the machine stood still.
    witness: Witness,
}

impl Fault {
    fn new(uri: String, monitoring: ServerMonitoringMode) -> Self {
        Self {
            uri,
            monitoring,
            steps: Barrier::new(CLIENTS + 1),
            lag_ms: AtomicU64::new(0),
            witness: Witness::new(),
        }
    }

    /// All clients are ready; then the fault begins; then all see whether they end in time; then
    /// the fault ends.
    async fn step(&self) {
        self.steps.wait().await;
    }

    /// Never ends.
    async fn watch_lag(&self) {
        let tick = Duration::from_millis(10);
        loop {
            let ((), took) = timed(rt::sleep(tick)).await;
            let late = took.saturating_sub(tick).as_millis();
            self.lag_ms
                .fetch_max(u64::try_from(late).unwrap(), Ordering::Relaxed);
        }
    }

    /// How much later than its limit an operation may end. Several timers and wake-ups make one
    /// end, and each may be as late as any.
    fn slack(&self) -> Duration {
        let lag = Duration::from_millis(self.lag_ms.load(Ordering::Relaxed));
        SLACK + 4 * lag.max(self.witness.longest())
    }

    #[track_caller]
    fn assert_ended_at(&self, limit: Duration, took: Duration) {
        // Timers of runtimes count in milliseconds.
        let earliest = limit.saturating_sub(Duration::from_millis(20));
        let latest = limit + self.slack();
        assert!(
            (earliest..latest).contains(&took),
            "the limit was {limit:?}, it took {took:?}, of at most {latest:?}"
        );
    }

    /// Options that leave every limit far away.
    fn options(&self) -> ClientOptions {
        let mut options = live::options(&self.uri);
        options.direct_connection = Some(true);
        options.heartbeat_freq = Some(FAR);
        options.connect_timeout = Some(Duration::from_secs(2));
        options.server_selection_timeout = Some(FAR);
        options.server_monitoring_mode = Some(self.monitoring);
        options.retry_reads = Some(false);
        options
    }
}

async fn timed<F: IntoFuture>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.into_future().await;
    (output, start.elapsed())
}

/// Dropping is a deadline of the caller's own. What was dropped leaves the pool within a second,
/// however much of it there is.
async fn callers_own_limit(fault: &Fault) {
    const MAX: usize = 3;
    const LIMIT: Duration = Duration::from_millis(200);
    let mut options = fault.options();
    options.max_pool_size = Some(3);
    let events = Recorder::attach(&mut options);
    let (client, people) = warm(options, MAX).await;
    fault.step().await;
    fault.step().await;

    for round in 0..8 {
        let finds = (0..6).map(|n| {
            let find = people.find_one(doc! { "_id": n });
            timed(rt::timeout(LIMIT, find.into_future()))
        });
        for (result, took) in join_all(finds).await {
            assert!(result.is_err(), "{result:?}");
            fault.assert_ended_at(LIMIT, took);
        }
        let census = client.handle().census();
        assert_eq!((census.operations, census.wait_slots), (0, 0), "{census:?}");
        let counts = census.pools[0].1;
        assert_eq!((counts.leased, counts.waiting), (0, 0), "{census:?}");
        assert!(counts.total() <= MAX, "{census:?}");
        if round == 0 {
            assert_eq!(counts.draining, MAX, "{census:?}");
        }
    }
    let drained = live::within(DRAIN + fault.slack(), || async {
        client.handle().census().pools[0].1.draining == 0
    });
    assert!(drained.await, "{:?}", client.handle().census());
    let dropped = events.events().into_iter().filter(|event| {
        matches!(event, Event::Cmap(CmapEvent::ConnectionClosed(closed))
            if closed.reason == ConnectionClosedReason::Dropped)
    });
    assert_eq!(dropped.count(), MAX);

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, MAX).await;
}

/// `socketTimeoutMS` ends an exchange, and its connection.
async fn socket_limit(fault: &Fault) {
    const LIMIT: Duration = Duration::from_millis(600);
    let mut options = fault.options();
    options.max_pool_size = Some(1);
    options.socket_timeout = Some(LIMIT);
    let (client, people) = warm(options, 1).await;
    fault.step().await;
    fault.step().await;

    let (result, took) = timed(people.find_one(doc! { "_id": 1 })).await;
    let error = result.unwrap_err();
    assert!(error.is_network_timeout(), "{error:?}");
    fault.assert_ended_at(LIMIT, took);
    assert_eq!(total(&client), 0);

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, 1).await;
}

/// `serverSelectionTimeoutMS` ends an operation once the monitor has given the server up.
async fn selection_limit(fault: &Fault) {
    const LIMIT: Duration = Duration::from_millis(600);
    let mut options = fault.options();
    options.max_pool_size = Some(2);
    options.heartbeat_freq = Some(Duration::from_millis(500));
    options.connect_timeout = Some(Duration::from_millis(500));
    options.server_selection_timeout = Some(LIMIT);
    let events = Recorder::attach(&mut options);
    let (client, people) = warm(options, 2).await;
    fault.step().await;
    let before = events.events().len();
    fault.step().await;

    events
        .wait("the server is given up", |events| {
            events[before..].iter().any(is_clear)
        })
        .await;
    for _ in 0..3 {
        let (result, took) = timed(people.find_one(doc! { "_id": 1 })).await;
        let error = result.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
        fault.assert_ended_at(LIMIT, took);
    }

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, 2).await;
}

/// `waitQueueTimeoutMS` ends the wait for a connection: one that is in use, and then one that is
/// being opened.
async fn queue_limit(fault: &Fault) {
    const LIMIT: Duration = Duration::from_millis(500);
    let mut options = fault.options();
    options.max_pool_size = Some(1);
    options.wait_queue_timeout = Some(LIMIT);
    let (client, people) = warm(options, 1).await;
    fault.step().await;
    fault.step().await;

    let stuck = rt::spawn({
        let people = people.clone();
        async move { people.find_one(doc! { "_id": 1 }).await }
    });
    live::eventually("a connection in use", || async {
        client.handle().census().pools[0].1.leased == 1
    })
    .await;
    let refused = |(result, took): (Result<Option<Document>, Error>, Duration)| {
        let error = result.unwrap_err();
        let kind = matches!(error.kind.as_ref(), ErrorKind::ConnectionCheckout { .. });
        assert!(kind, "{error:?}");
        fault.assert_ended_at(LIMIT, took);
    };
    refused(timed(people.find_one(doc! { "_id": 2 })).await);
    stuck.abort();
    live::eventually("the connection to be closed", || async {
        let counts = client.handle().census().pools[0].1;
        counts.leased + counts.draining == 0
    })
    .await;
    refused(timed(people.find_one(doc! { "_id": 3 })).await);

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, 1).await;
}

/// `connectTimeoutMS` ends the opening of a connection, and the operation that waits for it.
async fn connect_limit(fault: &Fault) {
    const LIMIT: Duration = Duration::from_millis(500);
    let mut options = fault.options();
    options.max_pool_size = Some(1);
    options.connect_timeout = Some(LIMIT);
    let (client, people) = warm(options, 1).await;
    fault.step().await;
    fault.step().await;

    // The only connection is lost to an operation that is dropped.
    let find = people.find_one(doc! { "_id": 1 }).into_future();
    rt::timeout(Duration::from_millis(50), find)
        .await
        .unwrap_err();
    live::eventually("the connection to be closed", || async {
        total(&client) == 0
    })
    .await;
    let (result, took) = timed(people.find_one(doc! { "_id": 2 })).await;
    let error = result.unwrap_err();
    assert!(error.is_network_timeout(), "{error:?}");
    fault.assert_ended_at(LIMIT, took);

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, 1).await;
}

/// A client that has never seen the server: its operations end with the selection.
async fn stranger(fault: &Fault) {
    const LIMIT: Duration = Duration::from_millis(900);
    fault.step().await;
    fault.step().await;
    let mut options = fault.options();
    options.connect_timeout = Some(Duration::from_millis(300));
    options.server_selection_timeout = Some(LIMIT);
    let client = live::build(options);
    let people = live::database(&client).collection::<Document>("people");

    let (result, took) = timed(people.insert_one(doc! { "_id": 1 })).await;
    let error = result.unwrap_err();
    assert!(error.is_server_selection(), "{error:?}");
    // Either the connection or the first reply on it is what never came.
    let text = error.to_string();
    let reason = ["timed out", "connectTimeoutMS elapsed"];
    assert!(reason.iter().any(|why| text.contains(why)), "{text}");
    fault.assert_ended_at(LIMIT, took);

    fault.step().await;
    fault.step().await;
    live::eventually("an insert succeeds", || async {
        let inserted = people.insert_one(doc! { "_id": 2 });
        rt::timeout(Duration::from_secs(2), inserted.into_future())
            .await
            .is_ok_and(|inserted| inserted.is_ok())
    })
    .await;
    let documents = (0..DOCUMENTS).map(|n| doc! { "_id": 100 + n });
    people.insert_many(documents).await.unwrap();
    assert_quiet(&client.handle().census());
    live::forget(&client.database(&people.namespace().db)).await;
}

/// An operation that has no limit at all ends when the monitor's own limit has passed: a check
/// takes at most the heartbeat frequency and `connectTimeoutMS`.
async fn no_limit(fault: &Fault) {
    const HEARTBEAT: Duration = Duration::from_millis(600);
    const CONNECT: Duration = Duration::from_millis(400);
    let mut options = fault.options();
    options.max_pool_size = Some(1);
    options.heartbeat_freq = Some(HEARTBEAT);
    options.connect_timeout = Some(CONNECT);
    let events = Recorder::attach(&mut options);
    let (client, people) = warm(options, 1).await;
    fault.step().await;
    let before = events.events().len();
    fault.step().await;

    let (result, took) = timed(people.find_one(doc! { "_id": 1 })).await;
    let error = result.unwrap_err();
    let kind = matches!(error.kind.as_ref(), ErrorKind::ConnectionPoolCleared { .. });
    assert!(kind || error.is_network(), "{error:?}");
    // Where only requests are lost, the server can send one more reply to a streaming check before
    // its network waits for an acknowledgement.
    let limit = 2 * HEARTBEAT + CONNECT;
    assert!(took < limit + fault.slack(), "{took:?}");
    // Events are told after the operation was interrupted.
    events
        .wait("the failed check clears the pool", |events| {
            let events = &events[before..];
            let noticed = events.iter().position(|event| {
                matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatFailed(failed))
                    if failed.failure.is_network_timeout())
            });
            let cleared = events.iter().position(is_clear);
            noticed.is_some() && cleared.is_some_and(|cleared| noticed < Some(cleared))
        })
        .await;

    fault.step().await;
    fault.step().await;
    recovers(&client, &people, 1).await;
}

fn is_clear(event: &Event) -> bool {
    matches!(event, Event::Cmap(CmapEvent::PoolCleared(cleared))
        if cleared.interrupt_in_use_connections)
}

/// Lets all the clients suffer one fault.
async fn suffer(fault: Fault, begin: impl FnOnce(), end: impl FnOnce()) {
    let master = async {
        fault.step().await;
        begin();
        fault.step().await;
        fault.step().await;
        end();
        fault.step().await;
    };
    let clients = async {
        tokio::join!(
            master,
            callers_own_limit(&fault),
            socket_limit(&fault),
            selection_limit(&fault),
            queue_limit(&fault),
            connect_limit(&fault),
            stranger(&fault),
            no_limit(&fault),
        )
    };
    tokio::select! {
        _ = clients => {}
        () = fault.watch_lag() => {}
    }
}

async fn road() -> Option<(String, Road)> {
    let uri = deploy::uri("STANDALONE")?;
    let address = ClientOptions::parse_uri(&uri).unwrap().options.hosts[0].to_string();
    let road = Road::start(address).await.unwrap();
    Some((format!("mongodb://{}/", road.address()), road))
}

fn suffer_on_a_road(ways: &[Way], monitoring: ServerMonitoringMode) {
    rt::block_on(async {
        let Some((uri, road)) = road().await else {
            return;
        };
        let begin = || ways.iter().for_each(|way| road.hold(*way));
        suffer(Fault::new(uri, monitoring), begin, || road.clear()).await;
    });
}

fn suffer_in_a_network(name: &str, ways: &[Way]) {
    if deploy::skips_live() {
        return;
    }
    Network::run(name, |network| {
        rt::block_on(async {
            let server = OwnCluster::start("network", Plan::standalone()).unwrap();
            let port = server.ports()[0];
            let begin = || ways.iter().for_each(|way| network.lose(*way, port));
            suffer(
                Fault::new(server.uri(), ServerMonitoringMode::Auto),
                begin,
                || network.heal(),
            )
            .await;
        });
    });
}

#[test]
fn limits_hold_where_requests_are_held_up() {
    // What is held here is acknowledged, so a streaming monitor gets its replies all along.
    suffer_on_a_road(&[Way::ToServer], ServerMonitoringMode::Poll);
}

#[test]
fn limits_hold_where_replies_are_held_up() {
    suffer_on_a_road(&[Way::ToClient], ServerMonitoringMode::Auto);
}

#[test]
fn limits_hold_where_nothing_passes() {
    suffer_on_a_road(&[Way::ToClient, Way::ToServer], ServerMonitoringMode::Auto);
}

#[test]
fn destructive_limits_hold_where_requests_are_lost() {
    suffer_in_a_network(
        "destructive_limits_hold_where_requests_are_lost",
        &[Way::ToServer],
    );
}

#[test]
fn destructive_limits_hold_where_replies_are_lost() {
    suffer_in_a_network(
        "destructive_limits_hold_where_replies_are_lost",
        &[Way::ToClient],
    );
}

#[test]
fn destructive_limits_hold_with_a_frozen_server() {
    rt::block_on(async {
        let Some(server) = deploy::own_cluster("frozen", Plan::standalone()) else {
            return;
        };
        let begin = || server.freeze(0).unwrap();
        suffer(
            Fault::new(server.uri(), ServerMonitoringMode::Auto),
            begin,
            || server.thaw(0).unwrap(),
        )
        .await;
    });
}
