//! Server discovery and monitoring: `tests/README.md` and the test plan of the specification.

use std::{
    collections::BTreeMap,
    io::Read,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{
    Client,
    event::{EventHandler, cmap::CmapEvent, sdam::SdamEvent},
    options::{ClientOptions, ServerAddress},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    fault::Mongos,
    live::{self, Event},
    rt,
    witness::Witness,
};

/// How early a server's timer may be.
const SLACK: Duration = Duration::from_millis(100);
/// The names of the command that checks servers.
const HELLOS: [&str; 3] = ["hello", "isMaster", "ismaster"];

/// The primary's address.
async fn primary(client: &Client) -> ServerAddress {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    hello.get_str("primary").unwrap().parse().unwrap()
}

/// Streams the replies of so many servers and looks at when they come.
async fn replies_are_streamed_twice_a_second(uri: &str, servers: usize) {
    const ROUNDS: usize = 5;
    let mut options = live::options(uri);
    let asked = Duration::from_millis(500);
    assert_eq!(options.heartbeat_freq, Some(asked));
    let replies = Arc::new(Mutex::new(BTreeMap::<ServerAddress, Vec<Instant>>::new()));
    let noted = Arc::clone(&replies);
    options.sdam_event_handler = Some(EventHandler::callback(move |event| {
        if let SdamEvent::ServerHeartbeatSucceeded(e) = event
            && e.awaited
        {
            let mut replies = noted.lock().unwrap();
            replies
                .entry(e.server_address)
                .or_default()
                .push(Instant::now());
        }
    }));
    let start = Instant::now();
    let _client = live::build(options);
    live::eventually("streamed replies", || async {
        let replies = replies.lock().unwrap();
        replies.len() == servers && replies.values().all(|times| times.len() >= ROUNDS)
    })
    .await;
    // Callbacks can be late, but not early. With the default this would take 50 s, for which
    // nobody waits here.
    let exact = asked * u32::try_from(ROUNDS).unwrap();
    for (server, times) in replies.lock().unwrap().iter() {
        let took = times[ROUNDS - 1] - start;
        assert!(took + SLACK >= exact, "{server}: {took:?}");
    }
}

#[test]
fn streaming_1_replies_come_as_often_as_asked() {
    rt::block_on(async {
        let (Some(one), Some(set)) = (deploy::uri("STANDALONE"), deploy::uri("REPLICA_SET")) else {
            return;
        };
        replies_are_streamed_twice_a_second(&one, 1).await;
        replies_are_streamed_twice_a_second(&set, 3).await;
        let primary = primary(&live::client(&set)).await;
        let router = Mongos::start(primary.to_string()).await.unwrap();
        let uri = format!("mongodb://{}/", router.address());
        replies_are_streamed_twice_a_second(&uri, 1).await;
    });
}

#[test]
fn heartbeat_1_is_told_before_its_connection_is_made() {
    rt::block_on(async {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn({
            let told = Arc::clone(&told);
            // Whoever comes after the first is refused.
            move || {
                let (mut stream, _) = listener.accept().unwrap();
                told.lock().unwrap().push("client connected");
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                told.lock().unwrap().push("client hello received");
            }
        });
        let mut options = live::options(&format!("mongodb://{address}/"));
        options.server_selection_timeout = Some(Duration::from_millis(500));
        let heard = Arc::clone(&told);
        options.sdam_event_handler = Some(EventHandler::callback(move |event| match event {
            SdamEvent::ServerHeartbeatStarted(_) => heard.lock().unwrap().push("started"),
            SdamEvent::ServerHeartbeatFailed(_) => heard.lock().unwrap().push("failed"),
            _ => {}
        }));
        let client = live::build(options);
        let error = client.list_database_names().await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
        server.join().unwrap();
        live::eventually("four events", || async { told.lock().unwrap().len() >= 4 }).await;
        assert_eq!(
            told.lock().unwrap()[..4],
            [
                "started",
                "client connected",
                "client hello received",
                "failed"
            ]
        );
    });
}

#[test]
fn a_client_of_servers_that_are_all_unavailable_is_constructed() {
    rt::block_on(async {
        let closed: Vec<String> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .map(|listener| listener.local_addr().unwrap().to_string())
            .collect();
        let mut options = live::options(&format!("mongodb://{}/", closed.join(",")));
        options.server_selection_timeout = Some(Duration::from_millis(600));
        let client = live::build(options);
        let error = client.list_database_names().await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
    });
}

#[test]
fn a_secondary_alone_leads_to_the_primary_unless_the_connection_is_direct() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let set = live::client(&uri);
        let primary = primary(&set).await;
        let hosts = live::options(&uri).hosts;
        let secondary = hosts.iter().find(|host| **host != primary).unwrap();
        for (direct, written) in [("?directConnection=false", true), ("", true)]
            .into_iter()
            .chain([("?directConnection=true", false)])
        {
            let client = live::client(&format!("mongodb://{secondary}/{direct}"));
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            match people.insert_one(doc! {}).await {
                Ok(_) => {
                    assert!(written, "{direct}");
                    live::forget(&db).await;
                }
                Err(error) => {
                    assert!(!written, "{direct}: {error}");
                    assert_eq!(error.code(), Some(10107), "{error:?}");
                }
            }
        }
    });
}

/// The average round-trip time that a client knows of a server.
async fn average(client: &Client, server: &ServerAddress) -> Option<Duration> {
    let topology = client.topology_description().await.unwrap();
    topology.server(server)?.1.average_round_trip_time
}

/// Lets the checks of a server be slow and waits until the client knows.
async fn round_trip_time_follows(uri: &str, server: &ServerAddress) {
    let control = live::client(uri);
    let mut options = live::options(uri);
    let app_name = live::app_name(&options);
    let events = live::Recorder::attach(&mut options);
    let client = live::build(options);
    let people = client.database("test").collection::<Document>("people");
    people.find_one(doc! {}).await.unwrap();
    let checked = |event: &Event| {
        matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatSucceeded(e))
            if e.server_address == *server)
    };
    let often = |events: &[Event]| events.iter().filter(|e| checked(e)).count() >= 4;
    events.wait("several checks", often).await;
    let mut described = 0;
    for event in events.events() {
        if let Event::Sdam(SdamEvent::ServerDescriptionChanged(e)) = event
            && e.new_description.server_type != ServerType::Unknown
        {
            let time = e.new_description.average_round_trip_time;
            assert!(time > Some(Duration::ZERO), "{e:?}");
            described += 1;
        }
    }
    assert!(described > 0);

    let slow = doc! { "failCommands": HELLOS, "blockConnection": true, "blockTimeMS": 500 };
    let point = live::FailPoint::set(&control, 1_000, &app_name, slow).await;
    let patience = Duration::from_secs(10);
    let is_slow = live::within(patience, || async {
        average(&client, server).await > Some(Duration::from_millis(250))
    });
    let is_slow = is_slow.await;
    point.off().await;
    assert!(is_slow, "{:?}", average(&client, server).await);
}

/// A pool is ready after the first check, and again after checks that failed.
async fn pool_follows_the_checks(uri: &str, server: &ServerAddress) {
    let control = live::client(uri);
    let mut options = live::options(&format!("mongodb://{server}/?directConnection=true"));
    let app_name = live::app_name(&options);
    let events = live::Recorder::attach(&mut options);
    let _client = live::build(options);
    events
        .wait("a pool that is ready", |events| {
            at(events, |e| {
                matches!(e, Event::Cmap(CmapEvent::PoolReady(_)))
            })
            .is_some()
        })
        .await;
    let seen = events.events();
    let succeeded = at(&seen, is_success).expect("a check succeeded");
    let ready = at(&seen, |e| matches!(e, Event::Cmap(CmapEvent::PoolReady(_))));
    assert!(Some(succeeded) < ready, "{seen:#?}");

    let broken = doc! { "failCommands": HELLOS, "errorCode": 1234 };
    let point = live::FailPoint::set(&control, 2, &app_name, broken).await;
    events
        .wait("a pool that is cleared and ready again", |events| {
            let is_failure =
                |e: &Event| matches!(e, Event::Sdam(SdamEvent::ServerHeartbeatFailed(_)));
            let Some(failed) = at(events, is_failure) else {
                return false;
            };
            let rest = &events[failed..];
            let is_cleared = |e: &Event| matches!(e, Event::Cmap(CmapEvent::PoolCleared(_)));
            let Some(cleared) = at(rest, is_cleared) else {
                return false;
            };
            let rest = &rest[cleared..];
            let Some(succeeded) = at(rest, is_success) else {
                return false;
            };
            let is_ready = |e: &Event| matches!(e, Event::Cmap(CmapEvent::PoolReady(_)));
            at(&rest[succeeded..], is_ready).is_some()
        })
        .await;
    point.off().await;
}

fn is_success(event: &Event) -> bool {
    matches!(event, Event::Sdam(SdamEvent::ServerHeartbeatSucceeded(_)))
}

/// Where the first event of this kind is.
fn at(events: &[Event], is: impl Fn(&Event) -> bool) -> Option<usize> {
    events.iter().position(is)
}

mod serial_standalone {
    use super::*;

    #[test]
    fn monitors_sleep_the_minimum_between_checks_that_fail() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let control = live::client(&uri);
            let uri = format!("{uri}?directConnection=true");
            let mut options = ClientOptions::parse_uri(&uri).unwrap().options;
            options.server_selection_timeout = Some(Duration::from_secs(5));
            let app_name = live::unique("min_heartbeat");
            options.app_name = Some(app_name.clone());
            let broken = doc! { "failCommands": HELLOS, "errorCode": 1234 };
            let point = live::FailPoint::set(&control, 5, &app_name, broken).await;
            let witness = Witness::new();
            let client = live::build(options);
            let start = Instant::now();
            let admin = client.database("admin");
            let pong = admin.run_command(doc! { "ping": 1 }).await;
            let took = start.elapsed();
            // Each of the checks is as late as the machine.
            let late = 5 * witness.longest();
            point.off().await;
            pong.unwrap();
            let expected = Duration::from_secs(2)..Duration::from_millis(3_500) + late;
            assert!(expected.contains(&took), "{took:?}");
        });
    }

    #[test]
    fn rtt_1_is_measured_while_replies_are_streamed() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let server = live::options(&uri).hosts.remove(0);
            round_trip_time_follows(&uri, &server).await;
        });
    }

    #[test]
    fn pool_management_follows_the_checks() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let server = live::options(&uri).hosts.remove(0);
            pool_follows_the_checks(&uri, &server).await;
        });
    }
}

mod serial_replica_set {
    use super::*;

    #[test]
    fn rtt_1_is_measured_while_replies_are_streamed() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let server = primary(&live::client(&uri)).await;
            round_trip_time_follows(&uri, &server).await;
        });
    }

    #[test]
    fn pool_management_follows_the_checks() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let server = primary(&live::client(&uri)).await;
            pool_follows_the_checks(&uri, &server).await;
        });
    }
}
