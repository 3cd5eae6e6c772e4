//! What goes on beside operations: monitors, pools, SRV records, the end.

use core::net::SocketAddr;
use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};

use super::{
    SET,
    world::{ALONE, Answer, Seen, World, find, found, insert, text},
};
use crate::{
    dns::ResolverConfig,
    engine::{Command, DnsInput, DnsOutput, Input},
    error::ErrorKind,
    event::EventHandler,
    net::ServerAddress,
};

const SECOND: Duration = Duration::from_secs(1);

fn version(counter: i64) -> Document {
    doc! { "processId": ObjectId::from_bytes([7; 12]), "counter": counter }
}

/// The awaitable hellos that a server has not answered yet.
fn awaiting(world: &World, address: &str) -> Option<Seen> {
    let all = world.log.iter().rev();
    let mut all = all.filter(|seen| seen.address == address);
    all.find(|seen| seen.command.contains_key("maxAwaitTimeMS"))
        .cloned()
}

#[test]
fn a_streaming_server_tells_of_changes_and_is_probed() {
    let mut world = super::set();
    let members: Vec<String> = SET.iter().map(|m| (*m).to_owned()).collect();
    let hello = world.hello(SET[0]);
    let second = world.hello(SET[1]);
    world.set_rule(move |seen| {
        if seen.command.contains_key("maxAwaitTimeMS") {
            return Some(Answer::Silence);
        }
        let mut reply = match seen.name() {
            "hello" | "isMaster" | "ismaster" => {
                if seen.address == SET[0] {
                    hello.clone()
                } else {
                    second.clone()
                }
            }
            _ => return None,
        };
        reply.insert("topologyVersion", version(1));
        Some(Answer::Reply(reply))
    });
    world.execute(insert(1)).unwrap();
    let monitor = awaiting(&world, SET[0]).expect("a stream is asked for");
    let primary = |world: &World| {
        let topology = world.engine.topology().unwrap();
        topology.primary().map(|server| server.address.to_string())
    };
    assert_eq!(primary(&world).as_deref(), Some(SET[0]));
    // Two monitors, one connection of the pool; the probes only begin after a heartbeat.
    assert_eq!(world.engine.census().sockets, 3);
    let mut change = doc! {
        "ok": 1.0, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 21, "setName": "rs",
        "hosts": members, "isWritablePrimary": false, "secondary": true, "me": SET[0],
        "topologyVersion": version(2), "logicalSessionTimeoutMinutes": 30,
    };
    let first = world.push(monitor.conn, monitor.request_id, true, &change);
    world.settle();
    assert_eq!(primary(&world), None);
    change.insert("isWritablePrimary", true);
    change.insert("secondary", false);
    change.insert("topologyVersion", version(3));
    world.push(monitor.conn, first, true, &change);
    world.settle();
    assert_eq!(primary(&world).as_deref(), Some(SET[0]));
    let hellos = |world: &World| world.seen("hello").len() + world.seen("isMaster").len();
    let before = hellos(&world);
    world.pass(11 * SECOND);
    assert!(hellos(&world) > before, "the probes begin");
    assert_eq!(world.engine.census().sockets, 5);
    let before = hellos(&world);
    world.pass(11 * SECOND);
    assert!(hellos(&world) > before, "the probes go on");
    // A stream that ends its time breaks the server's connections.
    world.pass(60 * SECOND);
    world.rule = None;
    world.execute(insert(2)).unwrap();
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_pool_keeps_its_least_size_and_closes_what_is_idle() {
    let mut world = World::new(&[], |options| {
        options.min_pool_size = Some(3);
        options.max_idle_time = Some(5 * SECOND);
    });
    world.settle();
    let counts = |world: &World| world.engine.census().pools[0].1;
    assert_eq!(counts(&world).available, 3);
    let opened = world.opened;
    world.pass(6 * SECOND);
    assert_eq!(counts(&world).available, 3, "closed and replaced");
    assert!(world.opened > opened);
    world.down.push(ALONE.to_owned());
    world.break_connections(ALONE);
    world.pass(30 * SECOND);
    assert_eq!(counts(&world).total(), 0);
    world.down.clear();
    world.pass(15 * SECOND);
    assert_eq!(counts(&world).available, 3, "populated again");
    world.shut_down();
}

#[test]
fn a_check_that_times_out_interrupts_what_is_in_use() {
    let mut world = World::new(&[], |options| {
        options.connect_timeout = Some(SECOND);
        options.heartbeat_freq = Some(2 * SECOND);
        options.retry_reads = Some(false);
    });
    world.execute(find(0)).unwrap();
    world.set_rule(|_| Some(Answer::Silence));
    world.stuck.push(ALONE.to_owned());
    let op = world.submit(find(1));
    world.pass(5 * SECOND);
    let result = world.done.remove(&op).expect("interrupted");
    assert!(result.unwrap_err().is_network());
    assert_eq!(world.engine.census().pools[0].1.total(), 0);
    world.rule = None;
    world.stuck.clear();
    world.execute(find(2)).unwrap();
    world.assert_quiet();
}

#[test]
fn behind_a_load_balancer_there_are_no_monitors() {
    let mut world = World::new(&[], |options| options.load_balanced = Some(true));
    world.settle();
    assert_eq!(world.opened, 0);
    let mut hello = world.hello(ALONE);
    hello.insert("msg", "isdbgrid");
    hello.insert("serviceId", ObjectId::from_bytes([1; 12]));
    let first = world.execute(find(0));
    assert!(
        first.is_err(),
        "a server that does not know of it: {first:?}"
    );
    world.set_rule(move |seen| {
        let shaking = seen.command.contains_key("loadBalanced");
        shaking.then(|| Answer::Reply(hello.clone()))
    });
    assert_eq!(found(&world.execute(find(1)).unwrap()), 1);
    let census = world.engine.census();
    assert_eq!(census.sockets, 1, "{census:?}");
    let (mut rule, mut once) = (world.rule.take().unwrap(), true);
    world.set_rule(move |seen| {
        let fails = seen.name() == "find" && std::mem::take(&mut once);
        if fails {
            Some(Answer::Hangup)
        } else {
            rule(seen)
        }
    });
    assert_eq!(found(&world.execute(find(2)).unwrap()), 2);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_removed_server_goes_once_its_connections_are_back() {
    let mut world = super::set();
    world.execute(insert(0)).unwrap();
    world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Silence));
    let op = world.submit(find(1));
    world.settle();
    world.primary = SET[1].to_owned();
    world.members = vec![SET[1].to_owned()];
    world.pass(11 * SECOND);
    let census = world.engine.census();
    let addresses: Vec<_> = census.pools.iter().map(|(a, _)| a.to_string()).collect();
    assert_eq!(addresses, SET, "the connection in use keeps its server");
    world.engine.cancel(op, world.now);
    world.pass(2 * SECOND);
    assert_eq!(world.engine.census().pools.len(), 1);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn shutting_down_waits_two_seconds_for_a_reply() {
    for answers in [true, false] {
        let mut world = World::alone();
        world.execute(find(0)).unwrap();
        world.set_rule(|seen| (seen.name() == "find").then_some(Answer::Silence));
        let op = world.submit(find(1));
        world.settle();
        let asked = world
            .seen("find")
            .last()
            .map(|seen| (seen.conn, seen.request_id));
        world.engine.shutdown(world.now);
        world.pass(SECOND);
        assert!(!world.engine.is_closed() && !world.done.contains_key(&op));
        if let (true, Some((conn, id))) = (answers, asked) {
            let reply = doc! {
                "cursor": { "firstBatch": [{ "_id": 1 }], "id": 0_i64, "ns": "db.c" }, "ok": 1.0,
            };
            world.push(conn, id, false, &reply);
            world.settle();
        }
        world.pass(2 * SECOND);
        assert!(world.engine.is_closed(), "{:?}", world.engine.census());
        let result = world.done.remove(&op).unwrap();
        assert_eq!(result.is_ok(), answers, "{result:?}");
        if let Err(error) = result {
            assert!(matches!(*error.kind, ErrorKind::Shutdown), "{error}");
        }
        world.shut_down();
    }
}

#[test]
fn an_engine_that_is_not_to_connect_waits_for_its_first_operation() {
    let mut world = World::new(&[], |options| options.connect = Some(false));
    world.pass(20 * SECOND);
    assert_eq!(world.opened, 0);
    world.execute(find(1)).unwrap();
    world.shut_down();
    let mut unused = World::new(&[], |options| options.connect = Some(false));
    unused.shut_down();
}

#[test]
fn events_are_told_in_an_order_that_makes_sense() {
    let mut world = World::new(&[], |options| {
        options.sdam_event_handler = Some(EventHandler::callback(|_| {}));
        options.cmap_event_handler = Some(EventHandler::callback(|_| {}));
    });
    world.execute(find(1)).unwrap();
    world.shut_down();
    let names: Vec<String> = world
        .events
        .iter()
        .map(|event| {
            let text = format!("{event:?}");
            let inner = text.split_once('(').unwrap().1;
            inner.split(['(', ' ']).next().unwrap().to_owned()
        })
        .collect();
    let at = |name: &str| {
        let found = names.iter().position(|n| n == name);
        found.unwrap_or_else(|| panic!("no {name} in {names:?}"))
    };
    let order = [
        "TopologyOpening",
        "ServerOpening",
        "PoolCreated",
        "ServerHeartbeatStarted",
        "ServerHeartbeatSucceeded",
        "PoolReady",
        "ConnectionCheckoutStarted",
        "ConnectionCreated",
        "ConnectionReady",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
        "PoolClosed",
        "TopologyClosed",
    ];
    for pair in order.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{pair:?} in {names:?}");
    }
    assert_eq!(names.iter().filter(|n| *n == "TopologyClosed").count(), 1);
}

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The answer to a question: an SRV record for a member, no TXT record.
fn dns_answer(question: &[u8], port: u16) -> Vec<u8> {
    let is_srv = question.windows(4).any(|w| w == [0, 33, 0, 1]);
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::from(is_srv)]);
    out.extend([0; 4]);
    out.extend(&question[12..]);
    if is_srv {
        let data = [
            &[0, 0, 0, 0][..],
            &port.to_be_bytes(),
            &name("a.example.com"),
        ]
        .concat();
        out.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    out
}

/// Answers all questions that were asked; whether there were any.
fn answer_dns(world: &mut World, port: Option<u16>) -> bool {
    world.settle();
    let mut any = false;
    for (lookup, output) in std::mem::take(&mut world.dns) {
        let DnsOutput::SendDatagram { server, bytes } = output else {
            continue;
        };
        any = true;
        let answer = match port {
            Some(port) => dns_answer(&bytes, port),
            None => {
                let mut answer = dns_answer(&bytes, 1);
                answer[3] |= 3; // NXDOMAIN
                answer[7] = 0;
                answer
            }
        };
        let input = DnsInput::Datagram {
            from: server,
            bytes: &answer,
        };
        world.engine.handle(Input::Dns { lookup, input }, world.now);
    }
    any
}

fn srv_world() -> World {
    World::new(&[], |options| {
        let server: SocketAddr = ([10, 0, 0, 1], 53).into();
        options.hosts.clear();
        options.srv_host = Some("cluster.example.com".to_owned());
        options.resolver_config = Some(ResolverConfig::new(vec![server]));
        options.tls = Some(crate::options::Tls::Disabled);
    })
}

#[test]
fn srv_records_are_looked_up_before_the_start_and_polled_after_it() {
    let mut world = srv_world();
    let mut hello = world.hello(ALONE);
    hello.insert("msg", "isdbgrid");
    world.set_rule(move |seen| {
        let hellos = ["hello", "ismaster", "isMaster"].contains(&seen.name());
        hellos.then(|| Answer::Reply(hello.clone()))
    });
    let op = world.submit(find(1));
    assert!(answer_dns(&mut world, Some(27017)));
    while answer_dns(&mut world, Some(27017)) {}
    assert_eq!(found(&world.wait(op).unwrap()), 1);
    let expected = ServerAddress::tcp("a.example.com", 27017);
    assert_eq!(world.engine.options().hosts, [expected]);
    // Polling: the records have moved.
    world.pass(61 * SECOND);
    assert!(answer_dns(&mut world, Some(27018)));
    world.settle();
    let executed = world.execute(find(2)).unwrap();
    assert_eq!(executed.address.port(), Some(27018));
    assert_eq!(world.engine.census().lookups, 0);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_failed_lookup_fails_those_who_wait_and_the_next_one_tries_again() {
    let mut world = srv_world();
    let op = world.submit(find(1));
    while answer_dns(&mut world, None) {}
    world.settle();
    let result = world.done.remove(&op).expect("a result");
    assert!(text(&result).contains("cluster.example.com"), "{result:?}");
    world.assert_quiet();
    // Nobody answers: the deadline ends the wait, and shutting down the lookup.
    let command = Command::new(find(2)).with_deadline(world.now + SECOND);
    let late = world.engine.submit(command, world.now);
    world.pass(2 * SECOND);
    assert!(world.done.remove(&late).expect("a result").is_err());
    assert_eq!(world.engine.census().lookups, 1);
    let cut = world.submit(find(3));
    world.shut_down();
    let result = world.done.remove(&cut).unwrap();
    assert!(matches!(*result.unwrap_err().kind, ErrorKind::Shutdown));
    let ends = |output: &(_, DnsOutput)| matches!(output.1, DnsOutput::End);
    assert_eq!(world.dns.iter().filter(|output| ends(output)).count(), 1);
}
