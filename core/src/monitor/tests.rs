//! The rules of monitors, with written time.

use std::{io, time::Duration};

use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};

use super::*;
use crate::{
    error::Error, event::sdam::SdamEvent, hello::HelloReply, options::ServerApiVersion, rng::Rng,
    time::Instant, topology::CheckOutcome,
};

const HEARTBEAT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(20);
const RTT: Duration = Duration::from_millis(3);

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn config(streaming: bool) -> MonitorConfig {
    MonitorConfig {
        address: ServerAddress::tcp("a", 27017),
        heartbeat_frequency: HEARTBEAT,
        connect_timeout: Some(CONNECT),
        streaming,
        server_api: None,
        events: true,
    }
}

fn reply() -> Document {
    doc! {
        "ok": 1, "helloOk": true, "isWritablePrimary": true, "maxWireVersion": 21,
        "connectionId": 7,
        "topologyVersion": { "processId": ObjectId::from_bytes([1; 12]), "counter": 4_i64 },
    }
}

fn hello(doc: Document) -> Box<HelloReply> {
    Box::new(HelloReply::from_document(doc).expect("a hello reply"))
}

fn raw(doc: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(doc).expect("a document")
}

fn reset() -> Error {
    Error::from(io::ErrorKind::ConnectionReset)
}

/// All actions, in short.
fn told(monitor: &mut Monitor) -> Vec<&'static str> {
    let mut all = Vec::new();
    while let Some(action) = monitor.poll_action() {
        all.push(match action {
            MonitorAction::Outcome(CheckOutcome::Success { rtt: None, .. }) => "success",
            MonitorAction::Outcome(CheckOutcome::Success { rtt: Some(_), .. }) => "success+rtt",
            MonitorAction::Outcome(CheckOutcome::Failure { .. }) => "failure",
            MonitorAction::Event(SdamEvent::ServerHeartbeatStarted(e)) if e.awaited => "started~",
            MonitorAction::Event(SdamEvent::ServerHeartbeatStarted(_)) => "started",
            MonitorAction::Event(SdamEvent::ServerHeartbeatSucceeded(e)) if e.awaited => {
                "succeeded~"
            }
            MonitorAction::Event(SdamEvent::ServerHeartbeatSucceeded(_)) => "succeeded",
            MonitorAction::Event(SdamEvent::ServerHeartbeatFailed(e)) if e.awaited => "failed~",
            MonitorAction::Event(SdamEvent::ServerHeartbeatFailed(_)) => "failed",
            MonitorAction::Event(_) => "another event",
        });
    }
    all
}

fn sent(monitor: &Monitor) -> (Document, bool, Option<Instant>) {
    match monitor.want() {
        Want::Exchange { request, deadline } => {
            let doc = Document::from_reader(&*request.document).expect("a document");
            assert_eq!(doc.keys().next().map(String::as_str), Some(request.name));
            assert!(!request.compressible, "a hello is never compressed");
            (doc, request.exhaust_allowed, deadline)
        }
        other => panic!("no exchange: {other:?}"),
    }
}

fn sleeps_until(monitor: &Monitor) -> Instant {
    match monitor.want() {
        Want::Sleep { until } => until,
        other => panic!("no sleep: {other:?}"),
    }
}

/// A monitor whose connection was established at 0 ms, with the actions so far taken out.
fn established(streaming: bool) -> Monitor {
    let mut monitor = Monitor::new(config(streaming), at(0));
    monitor.handle_established(hello(reply()), RTT, at(0));
    told(&mut monitor);
    monitor
}

#[test]
fn handshake_is_the_first_check() {
    let mut monitor = Monitor::new(config(false), at(0));
    assert!(matches!(monitor.want(), Want::Open));
    assert_eq!(told(&mut monitor), ["started"], "before the socket exists");
    monitor.handle_established(hello(reply()), RTT, at(5));
    assert_eq!(told(&mut monitor), ["succeeded", "success+rtt"]);
    assert_eq!(sleeps_until(&monitor), at(5) + HEARTBEAT);
    assert!(!monitor.is_streaming());
}

#[test]
fn polling_asks_every_heartbeat_on_the_open_connection() {
    let mut monitor = established(false);
    monitor.handle_timeout(at(9_999));
    assert!(matches!(monitor.want(), Want::Sleep { .. }));
    monitor.handle_timeout(at(10_000));
    let (command, exhaust, deadline) = sent(&monitor);
    assert_eq!(
        command,
        doc! { "hello": 1, "helloOk": true, "$db": "admin" }
    );
    assert!(!exhaust);
    assert_eq!(deadline, Some(at(10_000) + CONNECT));
    assert_eq!(told(&mut monitor), ["started"]);
    monitor.handle_reply(&raw(&reply()), false, at(10_004));
    let Some(MonitorAction::Event(SdamEvent::ServerHeartbeatSucceeded(event))) =
        monitor.poll_action()
    else {
        panic!("no event")
    };
    assert_eq!(event.duration, Duration::from_millis(4));
    assert_eq!(
        (event.driver_connection_id, event.server_connection_id),
        (1, Some(7))
    );
    assert_eq!(told(&mut monitor), ["success+rtt"]);
    assert_eq!(sleeps_until(&monitor), at(10_004) + HEARTBEAT);
}

#[test]
fn streaming_asks_at_once_and_reads_on_without_asking() {
    let mut monitor = Monitor::new(config(true), at(0));
    monitor.handle_established(hello(reply()), RTT, at(0));
    assert_eq!(
        told(&mut monitor),
        ["started", "succeeded", "success+rtt", "started~"]
    );
    assert!(monitor.is_streaming());
    let (command, exhaust, deadline) = sent(&monitor);
    let version = reply().get_document("topologyVersion").cloned();
    assert_eq!(
        command.get_document("topologyVersion").ok(),
        version.as_ref().ok()
    );
    assert_eq!(command.get_i64("maxAwaitTimeMS").ok(), Some(10_000));
    assert!(exhaust);
    assert_eq!(deadline, Some(at(0) + CONNECT + HEARTBEAT));

    monitor.handle_reply(&raw(&reply()), true, at(9_000));
    assert_eq!(told(&mut monitor), ["succeeded~", "success", "started~"]);
    let Want::AwaitReply { deadline } = monitor.want() else {
        panic!("reads the next reply: {:?}", monitor.want())
    };
    assert_eq!(deadline, Some(at(9_000) + CONNECT + HEARTBEAT));

    monitor.handle_reply(&raw(&reply()), false, at(9_500));
    assert_eq!(told(&mut monitor), ["succeeded~", "success", "started~"]);
    assert!(
        sent(&monitor).1,
        "asks again when the server stops streaming"
    );
}

#[test]
fn server_without_topology_version_is_polled() {
    let mut monitor = Monitor::new(config(true), at(0));
    let mut old = reply();
    old.remove("topologyVersion");
    monitor.handle_established(hello(old), RTT, at(0));
    assert_eq!(sleeps_until(&monitor), at(0) + HEARTBEAT);
    assert!(!monitor.is_streaming());
}

#[test]
fn no_connect_timeout_means_no_deadline() {
    for connect_timeout in [None, Some(Duration::ZERO)] {
        let config = MonitorConfig {
            connect_timeout,
            ..config(true)
        };
        let mut monitor = Monitor::new(config, at(0));
        monitor.handle_established(hello(reply()), RTT, at(0));
        assert_eq!(sent(&monitor).2, None);
        monitor.handle_reply(&raw(&reply()), true, at(1));
        monitor.handle_timeout(Instant::MAX);
        let want = monitor.want();
        assert!(
            matches!(want, Want::AwaitReply { deadline: None }),
            "{want:?}"
        );
    }
}

#[test]
fn passed_deadline_is_a_network_timeout() {
    let mut monitor = established(true);
    let deadline = sent(&monitor).2.expect("a deadline");
    monitor.handle_timeout(deadline);
    assert!(matches!(monitor.want(), Want::Close));
    assert!(matches!(
        monitor.poll_action(),
        Some(MonitorAction::Event(_))
    ));
    let Some(MonitorAction::Outcome(CheckOutcome::Failure { error })) = monitor.poll_action()
    else {
        panic!("no failure")
    };
    assert!(error.is_network_timeout());
}

#[test]
fn known_server_is_retried_once_without_delay() {
    let mut monitor = established(true);
    monitor.handle_failure(reset(), at(100));
    assert_eq!(told(&mut monitor), ["failed~", "failure"]);
    assert!(matches!(monitor.want(), Want::Close));
    monitor.closed(at(101));
    assert_eq!(told(&mut monitor), ["started"]);
    assert!(matches!(monitor.want(), Want::Open));
    monitor.handle_failure(reset(), at(102));
    monitor.closed(at(103));
    assert_eq!(sleeps_until(&monitor), at(102) + HEARTBEAT);
    assert!(!monitor.is_streaming());
}

#[test]
fn command_error_waits_even_when_the_server_was_known() {
    let mut monitor = established(true);
    let refusal = doc! { "ok": 0, "code": 91, "errmsg": "shutting down" };
    monitor.handle_reply(&raw(&refusal), true, at(100));
    assert!(matches!(
        monitor.poll_action(),
        Some(MonitorAction::Event(_))
    ));
    let Some(MonitorAction::Outcome(CheckOutcome::Failure { error })) = monitor.poll_action()
    else {
        panic!("no failure")
    };
    assert_eq!(error.code(), Some(91));
    assert!(matches!(monitor.want(), Want::Close));
    monitor.closed(at(100));
    assert_eq!(sleeps_until(&monitor), at(100) + HEARTBEAT);
}

#[test]
fn requests_are_coalesced_and_keep_the_minimum_interval() {
    let mut monitor = established(false);
    monitor.request_check(at(100));
    assert_eq!(sleeps_until(&monitor), at(500));
    monitor.request_check(at(200));
    assert_eq!(sleeps_until(&monitor), at(500));
    monitor.handle_timeout(at(500));
    assert!(matches!(monitor.want(), Want::Exchange { .. }));
    monitor.request_check(at(510));
    monitor.handle_reply(&raw(&reply()), false, at(520));
    assert_eq!(
        sleeps_until(&monitor),
        at(520) + HEARTBEAT,
        "the running check was answer enough"
    );
    monitor.request_check(at(5_000));
    assert_eq!(sleeps_until(&monitor), at(5_000));
}

#[test]
fn request_while_the_connection_closes_is_kept() {
    let mut monitor = Monitor::new(config(true), at(0));
    monitor.handle_failure(reset(), at(0));
    monitor.request_check(at(10));
    monitor.closed(at(20));
    assert_eq!(sleeps_until(&monitor), at(500));
}

#[test]
fn cancelled_check_closes_and_waits() {
    let mut monitor = established(true);
    monitor.cancel_check(at(100));
    assert_eq!(
        told(&mut monitor),
        ["failed~"],
        "the topology knows already"
    );
    assert!(matches!(monitor.want(), Want::Close));
    monitor.handle_reply(&raw(&reply()), true, at(101));
    monitor.handle_failure(reset(), at(101));
    assert_eq!(
        told(&mut monitor),
        [""; 0],
        "what comes late changes nothing"
    );
    monitor.closed(at(102));
    assert_eq!(sleeps_until(&monitor), at(100) + HEARTBEAT);
    monitor.request_check(at(103));
    assert_eq!(sleeps_until(&monitor), at(600));
    monitor.handle_timeout(at(600));
    assert!(matches!(monitor.want(), Want::Open));
}

#[test]
fn cancel_between_checks_closes_the_connection_and_keeps_the_schedule() {
    let mut monitor = established(false);
    monitor.cancel_check(at(100));
    assert!(matches!(monitor.want(), Want::Close));
    assert_eq!(told(&mut monitor), [""; 0]);
    monitor.closed(at(101));
    assert_eq!(sleeps_until(&monitor), at(0) + HEARTBEAT);
    monitor.handle_timeout(at(10_000));
    assert!(matches!(monitor.want(), Want::Open));
}

#[test]
fn old_server_is_asked_with_the_legacy_command() {
    let mut monitor = Monitor::new(config(false), at(0));
    let mut old = reply();
    old.remove("helloOk");
    monitor.handle_established(hello(old), RTT, at(0));
    monitor.handle_timeout(at(10_000));
    assert_eq!(
        sent(&monitor).0,
        doc! { "isMaster": 1, "helloOk": true, "$db": "admin" }
    );
}

#[test]
fn server_api_is_declared_and_implies_hello() {
    let mut api = crate::options::ServerApi::new(ServerApiVersion::V1);
    api.strict = Some(true);
    let config = MonitorConfig {
        server_api: Some(api),
        ..config(false)
    };
    let mut monitor = Monitor::new(config, at(0));
    let mut old = reply();
    old.remove("helloOk");
    monitor.handle_established(hello(old), RTT, at(0));
    monitor.handle_timeout(at(10_000));
    let (command, ..) = sent(&monitor);
    assert!(command.contains_key("hello"));
    assert_eq!(command.get_str("apiVersion").ok(), Some("1"));
    assert_eq!(command.get_bool("apiStrict").ok(), Some(true));
    assert!(!command.contains_key("apiDeprecationErrors"));
}

#[test]
fn stop_ends_the_running_check_and_everything_else() {
    let mut monitor = established(true);
    monitor.stop(at(50));
    assert_eq!(told(&mut monitor), ["failed~"]);
    monitor.handle_reply(&raw(&reply()), true, at(60));
    monitor.handle_timeout(Instant::MAX);
    monitor.request_check(at(70));
    monitor.cancel_check(at(80));
    assert!(matches!(monitor.want(), Want::Stopped));
    assert_eq!(told(&mut monitor), [""; 0]);
}

/// One random but possible event; returns the time after it.
fn disturb(monitor: &mut Monitor, rng: &mut Rng, now: Instant) -> Instant {
    let mut now = now + Duration::from_millis(rng.below(300) as u64);
    match (rng.below(8), monitor.want()) {
        (0, _) => monitor.request_check(now),
        (1, _) => monitor.cancel_check(now),
        (2, _) => monitor.handle_failure(reset(), now),
        (_, Want::Close) => monitor.closed(now),
        (_, Want::Sleep { until }) => {
            now = now.max(until);
            monitor.handle_timeout(now);
        }
        (3, _) => monitor.handle_reply(&raw(&doc! { "ok": 0 }), false, now),
        (4, _) => monitor.handle_reply(&raw(&doc! { "hosts": ["a:0"], "ok": 1 }), true, now),
        (_, Want::Open) => monitor.handle_established(hello(reply()), RTT, now),
        (n, _) => monitor.handle_reply(&raw(&reply()), n == 5, now),
    }
    now
}

#[test]
fn every_started_check_ends_exactly_once_whatever_happens() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut monitor = Monitor::new(config(seed % 2 == 0), at(0));
        let (mut now, mut running) = (at(0), false);
        for step in 0..200 {
            if step == 199 {
                monitor.stop(now);
            } else {
                now = disturb(&mut monitor, &mut rng, now);
            }
            for action in told(&mut monitor) {
                match action.trim_end_matches('~') {
                    "started" => assert!(!std::mem::replace(&mut running, true), "seed {seed}"),
                    "succeeded" | "failed" => {
                        assert!(std::mem::replace(&mut running, false), "seed {seed}");
                    }
                    _ => {}
                }
            }
        }
        assert!(!running, "seed {seed}");
    }
}

#[test]
fn probe_measures_every_heartbeat_on_its_own_connection() {
    let mut probe = RttProbe::new(config(true), at(0));
    assert!(matches!(probe.want(), Want::Sleep { until } if until == at(0) + HEARTBEAT));
    probe.handle_timeout(at(10_000));
    assert!(matches!(probe.want(), Want::Open));
    probe.handle_established(hello(reply()), RTT, at(10_003));
    assert_eq!(probe.poll_action(), Some(RttAction::Sample(RTT)));
    probe.handle_timeout(at(10_003) + HEARTBEAT);
    let Want::Exchange { request, deadline } = probe.want() else {
        panic!("no exchange: {:?}", probe.want())
    };
    assert_eq!(request.name, "hello");
    assert!(!request.exhaust_allowed);
    assert_eq!(deadline, Some(at(10_003) + HEARTBEAT + CONNECT));
    probe.handle_reply(&raw(&reply()), false, at(20_008));
    assert_eq!(
        probe.poll_action(),
        Some(RttAction::Sample(Duration::from_millis(5)))
    );
    assert_eq!(probe.poll_action(), None);
    assert!(matches!(probe.want(), Want::Sleep { until } if until == at(20_008) + HEARTBEAT));
}

#[test]
fn failing_probe_gives_no_sample_and_opens_another_connection() {
    let mut probe = RttProbe::new(config(true), at(0));
    probe.handle_timeout(at(10_000));
    probe.handle_established(hello(reply()), RTT, at(10_000));
    let _ = probe.poll_action();
    probe.handle_timeout(at(20_000));
    probe.handle_reply(&raw(&doc! { "ok": 0 }), false, at(20_001));
    assert_eq!(probe.poll_action(), None);
    assert!(matches!(probe.want(), Want::Close));
    probe.closed(at(20_002));
    assert!(matches!(probe.want(), Want::Sleep { until } if until == at(20_001) + HEARTBEAT));
    probe.handle_timeout(at(30_001));
    assert!(matches!(probe.want(), Want::Open));
    probe.stop(at(30_002));
    assert!(matches!(probe.want(), Want::Stopped));
}

#[test]
fn without_listeners_only_outcomes_are_told() {
    let mut monitor = Monitor::new(
        MonitorConfig {
            events: false,
            ..config(true)
        },
        at(0),
    );
    let hello = HelloReply::from_document(reply()).unwrap();
    monitor.handle_established(Box::new(hello), RTT, at(1));
    monitor.handle_failure(Error::from(std::io::ErrorKind::ConnectionReset), at(2));
    monitor.stop(at(3));
    let told: Vec<_> = std::iter::from_fn(|| monitor.poll_action()).collect();
    assert!(
        matches!(
            told[..],
            [
                MonitorAction::Outcome(CheckOutcome::Success { .. }),
                MonitorAction::Outcome(CheckOutcome::Failure { .. })
            ]
        ),
        "{told:?}"
    );
}
