//! When connections end and servers are checked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    options::{ClientOptions, ServerAddress, ServerMonitoringMode},
};
use mongo_client_tests::{
    live::{self, Event},
    secure::ping,
};

/// The connections of which the events tell this, in order.
fn connections(events: &[Event], which: fn(&CmapEvent) -> Option<u32>) -> Vec<u32> {
    let ids = events.iter().filter_map(|event| match event {
        Event::Cmap(event) => which(event),
        _ => None,
    });
    ids.collect()
}

fn ready(event: &CmapEvent) -> Option<u32> {
    match event {
        CmapEvent::ConnectionReady(e) => Some(e.connection_id),
        _ => None,
    }
}

/// The connections that were closed, all of them because they were idle.
fn idle(event: &CmapEvent) -> Option<u32> {
    match event {
        CmapEvent::ConnectionClosed(e) => {
            assert_eq!(e.reason, ConnectionClosedReason::Idle, "{e:?}");
            Some(e.connection_id)
        }
        _ => None,
    }
}

#[test]
fn an_idle_connection_is_closed_and_the_next_operation_has_another() {
    live::on("STANDALONE", async |uri| {
        let limit = Duration::from_millis(300);
        let mut options = live::options(&format!("{uri}?maxIdleTimeMS=300"));
        assert_eq!(options.max_idle_time, Some(limit));
        let app_name = live::app_name(&options);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let start = Instant::now();
        ping(&client).await.unwrap();

        let is_closed = |events: &[Event]| !connections(events, idle).is_empty();
        events.wait("an idle connection", is_closed).await;

        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
        assert_eq!(connections(&events.events(), idle), [1]);
        let observer = live::client(&uri);
        live::eventually("only monitors are connected", || async {
            // The monitor's connection, and its probe's.
            live::connections_of(&observer, &app_name).await.unwrap() <= 2
        })
        .await;
        assert_eq!(connections(&events.events(), ready), [1]);
        ping(&client).await.unwrap();
        assert_eq!(connections(&events.events(), ready), [1, 2]);
    });
}

#[test]
fn idle_connections_are_replaced_as_the_minimum_demands() {
    live::on("STANDALONE", async |uri| {
        let limits = "maxIdleTimeMS=200&minPoolSize=2";
        let mut options = live::options(&format!("{uri}?{limits}"));
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);

        // No operation asks for them.
        let replaced = |events: &[Event]| {
            let (ready, idle) = (connections(events, ready), connections(events, idle));
            ready.len() >= 6 && idle.len() >= 4
        };
        events.wait("two generations replaced", replaced).await;

        let seen = events.events();
        let mut open = 0_usize;
        for event in &seen {
            open += usize::from(!connections(std::slice::from_ref(event), ready).is_empty());
            open -= usize::from(!connections(std::slice::from_ref(event), idle).is_empty());
            assert!(open <= 2, "{seen:#?}");
        }
        ping(&client).await.unwrap();
    });
}

type Checks = Arc<Mutex<BTreeMap<ServerAddress, Vec<Instant>>>>;

/// Notes when each server is checked, without streaming.
fn note_checks(options: &mut ClientOptions) -> Checks {
    let checks = Checks::default();
    let noted = Arc::clone(&checks);
    options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
    options.sdam_event_handler = Some(EventHandler::callback(move |event| {
        if let SdamEvent::ServerHeartbeatStarted(e) = event {
            let mut checks = noted.lock().unwrap();
            let times = checks.entry(e.server_address).or_default();
            times.push(Instant::now());
        }
    }));
    checks
}

/// How late a callback may be called after its moment, compared with the one before.
const SLACK: Duration = Duration::from_millis(60);

#[test]
fn servers_are_checked_as_often_as_asked() {
    live::on("STANDALONE", async |uri| {
        const ROUNDS: u32 = 4;
        for millis in [500, 1_100] {
            let asked = Duration::from_millis(millis);
            let mut options = live::options(&uri);
            let text = format!("{uri}?heartbeatFrequencyMS={millis}");
            let parsed = ClientOptions::parse_uri(&text);
            options.heartbeat_freq = parsed.unwrap().options.heartbeat_freq;
            assert_eq!(options.heartbeat_freq, Some(asked));
            let checks = note_checks(&mut options);
            let _client = live::build(options);
            let times = || {
                let checks = checks.lock().unwrap();
                checks.values().next().cloned().unwrap_or_default()
            };

            live::eventually("five checks", || async { times().len() > ROUNDS as usize }).await;

            let times = times();
            let took = times[ROUNDS as usize] - times[0];
            let exact = asked * ROUNDS;
            assert!(took + SLACK >= exact, "{took:?}");
            // The default would take 40 s.
            assert!(took < exact + Duration::from_secs(5), "{took:?}");
        }
    });
}

#[test]
fn operations_that_wait_have_servers_checked_every_half_second_at_most() {
    live::on("REPLICA_SET", async |uri| {
        let nobody = "readPreference=secondary&readPreferenceTags=dc:nowhere";
        let mut options = live::options(&format!("{uri}&{nobody}"));
        // Nothing but the waiting operation asks within the test.
        options.heartbeat_freq = Some(Duration::from_secs(60));
        options.server_selection_timeout = Some(Duration::from_millis(2_700));
        let checks = note_checks(&mut options);
        let client = live::build(options);
        let people = client
            .database("live_options")
            .collection::<Document>("people");

        let error = people.find_one(doc! {}).await.unwrap_err();

        assert!(error.is_server_selection(), "{error:?}");
        let checks = checks.lock().unwrap().clone();
        assert_eq!(checks.len(), 3);
        for (server, times) in checks {
            assert!(times.len() >= 3, "{server}: {times:?}");
            for pair in times.windows(2) {
                let between = pair[1] - pair[0];
                let least = Duration::from_millis(500);
                assert!(between + SLACK >= least, "{server}: {between:?}");
            }
        }
    });
}
