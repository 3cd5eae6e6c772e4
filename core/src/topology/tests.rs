//! The traps of the specification that its files do not reach.

use std::{io, sync::Arc, time::Duration};

use bson::{Document, doc, oid::ObjectId};

use super::*;
use crate::{
    error::{CommandError, Error, ErrorKind, SYSTEM_OVERLOADED_ERROR, WriteError, WriteFailure},
    event::sdam::SdamEvent,
    hello::HelloReply,
    id::{Generation, ServerId, TopologyId},
    net::ServerAddress,
    pool::{PoolDirective, PoolState},
    rng::Rng,
    time::Instant,
};

const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn config(seeds: &[&str]) -> TopologyConfig {
    let seeds = seeds.iter().map(|s| ServerAddress::tcp(s, 27017)).collect();
    TopologyConfig::new(TopologyId(1), seeds)
}

/// A topology with its first actions taken out.
fn start(config: TopologyConfig) -> Topology {
    let mut topology = Topology::new(config, at(0));
    told(&mut topology);
    topology
}

fn primary(hosts: &[&str], counter: i64) -> Document {
    let hosts: Vec<String> = hosts.iter().map(|h| format!("{h}:27017")).collect();
    doc! {
        "ok": 1, "isWritablePrimary": true, "setName": "rs", "hosts": hosts,
        "minWireVersion": 0, "maxWireVersion": 21,
        "topologyVersion": { "processId": ObjectId::from_bytes([1; 12]), "counter": counter },
    }
}

fn outcome(reply: Document) -> CheckOutcome {
    CheckOutcome::Success {
        hello: Box::new(HelloReply::from_document(reply).expect("a hello reply")),
        rtt: Some(Duration::from_millis(10)),
    }
}

fn io_error(kind: io::ErrorKind) -> Error {
    Error::from(kind)
}

fn command_error(code: i32, counter: Option<i64>) -> Error {
    let process = ObjectId::from_bytes([1; 12]);
    Error::new(ErrorKind::Command(CommandError {
        code,
        topology_version: counter.map(|n| doc! { "processId": process, "counter": n }),
        ..CommandError::default()
    }))
}

/// All actions, in short.
fn told(topology: &mut Topology) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(action) = topology.poll_action() {
        all.push(match action {
            TopologyAction::AddServer { id, .. } => format!("add {id}"),
            TopologyAction::CancelCheck { id } => format!("cancel {id}"),
            TopologyAction::CheckNow { id } => format!("check {id}"),
            TopologyAction::Event(event) => short(&event),
            TopologyAction::Pool { id, directive } => order(id, &directive),
            TopologyAction::Publish(_) => "publish".to_owned(),
            TopologyAction::RemoveServer { id } => format!("remove {id}"),
            TopologyAction::ResolveSrv => "resolve".to_owned(),
        });
    }
    topology.check_invariants();
    all
}

fn order(id: ServerId, directive: &PoolDirective) -> String {
    let state = match directive.state {
        PoolState::Paused => "paused",
        PoolState::Ready => "ready",
    };
    let mut text = format!("{state} {id} {} e{}", directive.generation, directive.epoch);
    if directive.interrupt_in_use {
        text.push_str(" interrupt");
    }
    if directive.service_id.is_some() {
        text.push_str(" service");
    }
    text
}

fn short(event: &SdamEvent) -> String {
    match event {
        SdamEvent::ServerOpening(e) => format!("opening {}", e.address.host()),
        SdamEvent::ServerClosed(e) => format!("closed {}", e.address.host()),
        SdamEvent::ServerDescriptionChanged(e) => {
            format!("{} is {}", e.address.host(), e.new_description.server_type)
        }
        SdamEvent::TopologyOpening(_) => "opening".to_owned(),
        SdamEvent::TopologyClosed(_) => "closed".to_owned(),
        SdamEvent::TopologyDescriptionChanged(e) => {
            format!("topology is {}", e.new_description.topology_type)
        }
        other => panic!("a heartbeat: {other:?}"),
    }
}

/// A set of a primary A and an unknown B, with the actions so far taken out.
fn replica_set() -> Topology {
    let mut topology = start(config(&["a"]));
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(1));
    told(&mut topology);
    topology
}

fn fail(topology: &mut Topology, error: Error, phase: ErrorPhase) -> Vec<String> {
    let app = AppError::new(error, phase, topology.generation(A, None));
    topology.handle_app_error(A, &app, at(2));
    told(topology)
}

#[test]
fn pool_is_ready_before_the_view_and_only_once() {
    let mut topology = Topology::new(config(&["A"]), at(0));
    let opening = [
        "opening",
        "topology is Unknown",
        "opening a",
        "add s0",
        "publish",
    ];
    assert_eq!(told(&mut topology), opening);
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(1));
    let discovery = [
        "a is RSPrimary",
        "opening b",
        "add s1",
        "topology is ReplicaSetWithPrimary",
        "ready s0 g0 e1",
        "publish",
    ];
    assert_eq!(told(&mut topology), discovery);
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(2));
    assert_eq!(
        told(&mut topology),
        ["publish"],
        "equal descriptions are no event"
    );
}

#[test]
fn failed_check_publishes_before_it_clears() {
    let mut topology = replica_set();
    let before = topology.view().version;
    let error = io_error(io::ErrorKind::ConnectionReset);
    topology.handle_check(A, CheckOutcome::Failure { error }, at(2));
    let expected = [
        "a is Unknown",
        "topology is ReplicaSetNoPrimary",
        "publish",
        "paused s0 g1 e2",
    ];
    assert_eq!(told(&mut topology), expected);
    let view = topology.view();
    assert_eq!(view.version, before + 1);
    assert_eq!(view.generations[&A], Generation(1));
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(3));
    assert!(told(&mut topology).contains(&"ready s0 g1 e3".to_owned()));
}

#[test]
fn only_a_network_timeout_of_a_check_interrupts_connections() {
    let mut topology = replica_set();
    let error = io_error(io::ErrorKind::TimedOut);
    topology.handle_check(A, CheckOutcome::Failure { error }, at(2));
    assert!(told(&mut topology).contains(&"paused s0 g1 e2 interrupt".to_owned()));
    topology.handle_check(A, outcome(doc! { "ok": 0, "errmsg": "no" }), at(3));
    assert!(told(&mut topology).contains(&"paused s0 g2 e3".to_owned()));
}

#[test]
fn network_error_of_an_application_cancels_the_check_and_requests_none() {
    let mut topology = replica_set();
    let error = io_error(io::ErrorKind::ConnectionReset);
    let expected = [
        "a is Unknown",
        "topology is ReplicaSetNoPrimary",
        "publish",
        "paused s0 g1 e2",
        "cancel s0",
    ];
    assert_eq!(
        fail(&mut topology, error, ErrorPhase::Established),
        expected
    );
    assert_eq!(
        topology.view().description.servers[&A].topology_version,
        None
    );
}

#[test]
fn errors_that_say_nothing_about_the_server_change_nothing() {
    let mut topology = replica_set();
    let nothing = [
        (io_error(io::ErrorKind::TimedOut), ErrorPhase::Established),
        (command_error(11000, None), ErrorPhase::Established),
        (command_error(10107, Some(5)), ErrorPhase::Established),
        (Error::invalid_response("x"), ErrorPhase::Established),
        (write_error(11000), ErrorPhase::Established),
        (
            io_error(io::ErrorKind::TimedOut).with_label(SYSTEM_OVERLOADED_ERROR),
            ErrorPhase::Hello,
        ),
    ];
    for (error, phase) in nothing {
        let text = error.to_string();
        assert_eq!(fail(&mut topology, error, phase), [""; 0], "{text}");
    }
}

fn write_error(code: i32) -> Error {
    let error = WriteError {
        code,
        ..WriteError::default()
    };
    Error::new(ErrorKind::Write(WriteFailure::WriteError(error)))
}

#[test]
fn write_errors_of_a_lost_primary_hasten_its_check_and_change_nothing() {
    let mut topology = replica_set();
    let before = topology.view();
    let actions = fail(&mut topology, write_error(189), ErrorPhase::Established);
    assert_eq!(actions, ["check s0"]);
    assert!(Arc::ptr_eq(&topology.view(), &before));
}

#[test]
fn unlabelled_handshake_errors_mark_the_server_unknown() {
    let dns = Error::new(ErrorKind::DnsResolve {
        message: String::new(),
    });
    for (error, phase) in [
        (dns, ErrorPhase::Connect),
        (io_error(io::ErrorKind::TimedOut), ErrorPhase::Auth),
        (Error::authentication("no"), ErrorPhase::Auth),
        (command_error(18, None), ErrorPhase::Auth),
    ] {
        let mut topology = replica_set();
        let told = fail(&mut topology, error, phase);
        assert_eq!(told[0], "a is Unknown");
        assert_eq!(told[3..], ["paused s0 g1 e2", "cancel s0"]);
    }
}

#[test]
fn state_change_requests_a_check_and_clears_only_on_shutdown() {
    let mut topology = replica_set();
    let expected = [
        "a is Unknown",
        "topology is ReplicaSetNoPrimary",
        "publish",
        "check s0",
    ];
    let error = command_error(10107, Some(6));
    assert_eq!(
        fail(&mut topology, error, ErrorPhase::Established),
        expected
    );
    let version = topology.view().description.servers[&A].topology_version;
    assert_eq!(version.map(|v| v.counter), Some(6));
    let error = command_error(91, Some(7));
    let told = fail(&mut topology, error, ErrorPhase::Established);
    let expected = [
        "a is Unknown",
        "topology is ReplicaSetNoPrimary",
        "publish",
        "paused s0 g1 e2",
        "check s0",
    ];
    assert_eq!(told, expected, "the error and its topologyVersion are new");
}

#[test]
fn write_concern_error_counts_even_behind_a_write_error() {
    let reply = doc! { "ok": 1, "writeConcernError": { "code": 91, "errmsg": "bye" } };
    let error = Error::new(ErrorKind::Write(WriteFailure::WriteError(
        WriteError::default(),
    )));
    let response = bson::RawDocumentBuf::try_from(&reply).expect("a document");
    let mut topology = replica_set();
    let error = error.with_response(response);
    let told = fail(&mut topology, error, ErrorPhase::Established);
    assert_eq!(told[3..], ["paused s0 g1 e2", "check s0"]);
}

#[test]
fn without_a_code_the_text_decides() {
    for (message, counts) in [
        ("not master", true),
        ("node is recovering", true),
        ("not master or secondary", true),
        ("not primary", false),
    ] {
        let error = CommandError {
            message: message.to_owned(),
            ..CommandError::default()
        };
        let error = Error::new(ErrorKind::Command(error));
        let told = fail(&mut replica_set(), error, ErrorPhase::Established);
        assert_eq!(!told.is_empty(), counts, "{message}");
    }
}

#[test]
fn error_of_an_older_generation_is_ignored() {
    let mut topology = replica_set();
    let stale = AppError::new(
        io_error(io::ErrorKind::ConnectionReset),
        ErrorPhase::Established,
        Generation(0),
    );
    topology.handle_app_error(A, &stale, at(2));
    told(&mut topology);
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(3));
    told(&mut topology);
    topology.handle_app_error(A, &stale, at(4));
    assert_eq!(told(&mut topology), [""; 0]);
}

#[test]
fn only_strictly_older_replies_are_stale() {
    let mut topology = replica_set();
    topology.handle_check(A, outcome(primary(&["a", "b"], 4)), at(2));
    assert_eq!(told(&mut topology), [""; 0]);
    let mut equal = primary(&["a", "b"], 5);
    equal.insert("tags", doc! { "dc": "x" });
    topology.handle_check(A, outcome(equal), at(3));
    assert_eq!(told(&mut topology)[0], "a is RSPrimary");
}

#[test]
fn deposed_primary_is_checked_and_keeps_its_pool() {
    let mut topology = replica_set();
    topology.handle_check(B, outcome(primary(&["a", "b"], 1)), at(2));
    let expected = [
        "b is RSPrimary",
        "a is Unknown",
        "topology is ReplicaSetWithPrimary",
        "ready s1 g0 e1",
        "publish",
        "check s0",
    ];
    assert_eq!(told(&mut topology), expected);
    let error = topology.view().description.servers[&A].error.clone();
    assert!(error.is_some_and(|e| e.to_string().contains("discovery of newer primary")));
}

#[test]
fn removed_server_is_never_heard_of_again() {
    let mut topology = replica_set();
    topology.handle_check(A, outcome(primary(&["a"], 6)), at(2));
    let expected = [
        "a is RSPrimary",
        "closed b",
        "topology is ReplicaSetWithPrimary",
    ];
    let told_now = told(&mut topology);
    assert_eq!(told_now[..3], expected);
    assert_eq!(told_now[3..], ["publish", "remove s1"]);
    topology.handle_check(B, outcome(primary(&["a", "b"], 7)), at(3));
    assert_eq!(told(&mut topology), [""; 0]);
    topology.handle_check(A, outcome(primary(&["a", "b"], 8)), at(4));
    assert!(
        told(&mut topology).contains(&"add s2".to_owned()),
        "ids are not reused"
    );
}

#[test]
fn round_trip_times_publish_without_events_and_only_for_known_servers() {
    let mut topology = replica_set();
    topology.handle_rtt(A, Duration::from_millis(20), at(2));
    assert_eq!(told(&mut topology), ["publish"]);
    let server = topology.view().description.servers[&A].clone();
    assert_eq!(
        server.average_round_trip_time,
        Some(Duration::from_millis(12))
    );
    assert_eq!(server.min_round_trip_time, Duration::from_millis(10));
    topology.handle_rtt(B, Duration::from_millis(20), at(2));
    assert_eq!(told(&mut topology), [""; 0]);
    assert_eq!(
        topology.view().description.servers[&B].average_round_trip_time,
        None
    );

    let error = io_error(io::ErrorKind::ConnectionReset);
    topology.handle_check(A, CheckOutcome::Failure { error }, at(3));
    assert_eq!(
        topology.view().description.servers[&A].average_round_trip_time,
        None
    );
    topology.handle_check(A, outcome(primary(&["a", "b"], 5)), at(4));
    let server = topology.view().description.servers[&A].clone();
    assert_eq!(
        server.average_round_trip_time,
        Some(Duration::from_millis(10)),
        "starts anew"
    );
}

#[test]
fn another_error_of_an_unknown_server_is_an_event_and_the_same_is_not() {
    let mut topology = replica_set();
    let mut check = |kind| {
        let error = io_error(kind);
        topology.handle_check(B, CheckOutcome::Failure { error }, at(2));
        told(&mut topology)
    };
    let reset = check(io::ErrorKind::ConnectionReset);
    assert_eq!(reset[0], "b is Unknown");
    let again = check(io::ErrorKind::ConnectionReset);
    assert_eq!(again, ["publish", "paused s1 g2 e2"]);
    let refused = check(io::ErrorKind::ConnectionRefused);
    assert_eq!(refused[0], "b is Unknown");
}

#[test]
fn last_write_is_no_event() {
    let mut topology = replica_set();
    let mut reply = primary(&["a", "b"], 5);
    reply.insert(
        "lastWrite",
        doc! { "lastWriteDate": bson::DateTime::from_millis(7) },
    );
    topology.handle_check(A, outcome(reply), at(2));
    assert_eq!(told(&mut topology), ["publish"]);
    let hello = topology.view().description.servers[&A].hello.clone();
    assert_eq!(hello.and_then(|h| h.last_write_date), Some(7));
}

#[test]
fn pools_of_servers_without_data_stay_paused_unless_connected_directly() {
    let arbiter = doc! {
        "ok": 1, "arbiterOnly": true, "setName": "rs", "hosts": ["b:27017"],
        "arbiters": ["a:27017"], "minWireVersion": 0, "maxWireVersion": 21,
    };
    let mut topology = start(config(&["a"]));
    topology.handle_check(A, outcome(arbiter.clone()), at(1));
    assert!(!told(&mut topology).contains(&"ready s0 g0 e1".to_owned()));
    let mut topology = start(TopologyConfig {
        direct: true,
        ..config(&["a"])
    });
    topology.handle_check(A, outcome(arbiter), at(1));
    assert!(told(&mut topology).contains(&"ready s0 g0 e1".to_owned()));
}

#[test]
fn direct_connection_to_another_set_is_unknown_and_not_ready() {
    let mut topology = start(TopologyConfig {
        direct: true,
        set_name: Some("other".to_owned()),
        ..config(&["a"])
    });
    topology.handle_check(A, outcome(primary(&["a", "b"], 1)), at(1));
    assert_eq!(
        told(&mut topology),
        ["a is Unknown", "topology is Single", "publish"]
    );
}

#[test]
fn load_balancer_is_ready_at_once_and_clears_by_service() {
    let mut topology = Topology::new(
        TopologyConfig {
            load_balanced: true,
            ..config(&["a"])
        },
        at(0),
    );
    let opening = [
        "opening",
        "topology is LoadBalanced",
        "opening a",
        "add s0",
        "a is LoadBalancer",
        "topology is LoadBalanced",
        "ready s0 g0 e1",
        "publish",
    ];
    assert_eq!(told(&mut topology), opening);
    let service = ObjectId::from_bytes([9; 12]);
    let mut app = AppError::new(
        io_error(io::ErrorKind::ConnectionReset),
        ErrorPhase::Established,
        Generation(0),
    );
    topology.handle_app_error(A, &app, at(1));
    assert_eq!(told(&mut topology), [""; 0], "no service is known");
    app.service_id = Some(service);
    topology.handle_app_error(A, &app, at(1));
    assert_eq!(told(&mut topology), ["ready s0 g1 e2 service"]);
    topology.handle_app_error(A, &app, at(2));
    assert_eq!(told(&mut topology), [""; 0], "stale");
    app.generation = topology.generation(A, Some(service));
    app.error = command_error(10107, None);
    topology.handle_app_error(A, &app, at(3));
    topology.request_check(at(3));
    assert_eq!(told(&mut topology), [""; 0], "there is no monitor to ask");
    app.error = command_error(91, None);
    topology.handle_app_error(A, &app, at(4));
    assert_eq!(told(&mut topology), ["ready s0 g2 e3 service"]);
    let other = topology.generation(A, Some(ObjectId::from_bytes([8; 12])));
    assert_eq!(other, Generation(0));
}

#[test]
fn close_empties_the_topology_and_is_the_end() {
    let mut topology = replica_set();
    topology.close(at(2));
    let expected = [
        "closed a",
        "closed b",
        "topology is Unknown",
        "publish",
        "remove s0",
        "remove s1",
        "closed",
    ];
    assert_eq!(told(&mut topology), expected);
    assert!(topology.view().closed);
    topology.close(at(3));
    topology.request_check(at(3));
    topology.handle_check(A, outcome(primary(&["a", "b"], 9)), at(3));
    assert_eq!(told(&mut topology), [""; 0]);
}

fn srv_config(max_hosts: u32) -> TopologyConfig {
    TopologyConfig {
        srv: Some(SrvPolling {
            host: "test.example.com".to_owned(),
            service: "mongodb".to_owned(),
            max_hosts,
            rescan_interval: Duration::from_secs(5),
            rescan_interval_min: SRV_RESCAN_INTERVAL_MIN,
        }),
        ..config(&["a", "b"])
    }
}

fn hosts(names: &[&str]) -> Vec<ServerAddress> {
    names.iter().map(|n| ServerAddress::tcp(n, 27017)).collect()
}

#[test]
fn srv_rescan_keeps_unchanged_servers() {
    let mut topology = start(srv_config(0));
    let due = Some((at(60), TopologyTimer::SrvRescan));
    assert_eq!(topology.poll_timeout(), due, "60 s at least");
    topology.handle_timeout(at(59));
    assert_eq!(told(&mut topology), [""; 0]);
    topology.handle_timeout(at(60));
    assert_eq!(told(&mut topology), ["resolve"]);
    assert_eq!(topology.poll_timeout(), None, "one lookup at a time");
    let records = (hosts(&["b", "c"]), Duration::from_secs(90));
    topology.handle_srv(Ok(records), at(61));
    let expected = [
        "opening c",
        "add s2",
        "closed a",
        "topology is Unknown",
        "publish",
        "remove s0",
    ];
    assert_eq!(told(&mut topology), expected);
    assert_eq!(topology.poll_timeout().map(|(at, _)| at), Some(at(151)));
}

#[test]
fn failed_srv_lookup_changes_nothing_and_is_repeated_after_a_heartbeat() {
    let failures = [Err(Error::internal("no")), Ok((vec![], Duration::MAX))];
    for failure in failures {
        let mut topology = start(srv_config(0));
        topology.handle_timeout(at(60));
        told(&mut topology);
        topology.handle_srv(failure, at(61));
        assert_eq!(told(&mut topology), [""; 0]);
        assert_eq!(topology.poll_timeout().map(|(at, _)| at), Some(at(71)));
    }
}

#[test]
fn srv_records_are_not_polled_for_replica_sets() {
    let mut topology = start(srv_config(0));
    topology.handle_timeout(at(60));
    topology.handle_check(A, outcome(primary(&["a", "b"], 1)), at(61));
    told(&mut topology);
    topology.handle_srv(Ok((hosts(&["c"]), Duration::ZERO)), at(62));
    assert_eq!(told(&mut topology), [""; 0]);
    assert_eq!(topology.poll_timeout(), None);
}

#[test]
fn srv_max_hosts_fills_up_at_random_but_never_replaces() {
    let mut chosen = std::collections::BTreeSet::new();
    for rng_seed in 0..20 {
        let mut topology = start(TopologyConfig {
            rng_seed,
            ..srv_config(2)
        });
        let records = (hosts(&["a", "c", "d", "e"]), Duration::ZERO);
        topology.handle_srv(Ok(records), at(60));
        let view = topology.view();
        let names: Vec<_> = view
            .description
            .servers
            .values()
            .map(|s| s.address.host())
            .collect();
        assert_eq!((names.len(), &*names[0]), (2, "a"));
        chosen.insert(names[1].to_string());
    }
    assert!(chosen.len() > 1, "{chosen:?}");
}

/// A random reply of a server of the set, or of another kind of server.
fn random_reply(rng: &mut Rng) -> Document {
    let all = ["a", "b", "c", "d"];
    let first = rng.below(3);
    let mut reply = primary(&all[first..first + 1 + rng.below(2)], rng.below(8) as i64);
    match rng.below(8) {
        0 => {
            reply.remove("setName");
            reply.insert("msg", "isdbgrid")
        }
        1 => reply.remove("setName"),
        2 => reply.insert("setName", "other"),
        3 => reply.insert("isreplicaset", true),
        4 => reply.insert("ok", 0),
        5 => reply.insert("me", "z:1"),
        _ => None,
    };
    if rng.below(2) == 0 {
        reply.remove("isWritablePrimary");
        reply.insert("secondary", true);
    }
    if rng.below(2) == 0 {
        reply.insert("setVersion", rng.below(3) as i32);
        reply.insert("electionId", ObjectId::from_bytes([rng.below(3) as u8; 12]));
    }
    if rng.below(4) == 0 {
        reply.insert("maxWireVersion", 16);
    }
    reply
}

#[test]
fn invariants_hold_and_events_chain_whatever_happens() {
    for seed in 0..300 {
        let mut rng = Rng::from_seed(seed);
        let mut topology = Topology::new(config(&["a", "b"][..1 + rng.below(2)]), at(0));
        let (mut last, mut epochs) = (None, std::collections::BTreeMap::new());
        for step in 0..60 {
            let server = ServerId(rng.below(6) as u32);
            match rng.below(5) {
                0 => {
                    let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionReset];
                    let error = io_error(kinds[rng.below(2)]);
                    topology.handle_check(server, CheckOutcome::Failure { error }, at(step));
                }
                1 => {
                    let code = [91, 10107, 18][rng.below(3)];
                    let app = AppError::new(
                        command_error(code, Some(rng.below(9) as i64)),
                        [ErrorPhase::Auth, ErrorPhase::Established][rng.below(2)],
                        topology.generation(server, None),
                    );
                    topology.handle_app_error(server, &app, at(step));
                }
                _ => topology.handle_check(server, outcome(random_reply(&mut rng)), at(step)),
            }
            topology.check_invariants();
            while let Some(action) = topology.poll_action() {
                match action {
                    TopologyAction::Event(SdamEvent::TopologyDescriptionChanged(e)) => {
                        if let Some(last) = last.replace(e.new_description.clone()) {
                            assert!(facts::same_topology(&last, &e.previous_description));
                        }
                    }
                    TopologyAction::Pool { id, directive } => {
                        let previous = epochs.insert(id, directive.epoch).unwrap_or(0);
                        assert!(directive.epoch > previous, "seed {seed}");
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn without_a_primary_the_number_of_servers_is_bounded() {
    let mut topology = start(config(&["a", "b"]));
    for round in 0..5 {
        let hosts: Vec<String> = (0..900).map(|n| format!("h{round}-{n}:27017")).collect();
        let reply = doc! {
            "ok": 1, "secondary": true, "setName": "rs", "hosts": hosts,
            "minWireVersion": 0, "maxWireVersion": 21,
        };
        topology.handle_check(A, outcome(reply), at(round));
    }
    assert_eq!(topology.view().description.servers.len(), 1000);
    // A primary decides who is a member, however many were named before.
    let hosts: Vec<String> = (0..999).map(|n| format!("new{n}")).collect();
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.push("a");
    topology.handle_check(A, outcome(primary(&hosts, 1)), at(9));
    let view = topology.view();
    assert_eq!(view.description.servers.len(), 1000);
    assert!(view.description.primary().is_some());
}
