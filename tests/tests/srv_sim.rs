//! `mongodb+srv` on virtual time: when SRV records are looked up again, and how starts and lookups
//! end.

use std::{
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::Document;
use futures_util::future::join;
use mongo_client::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, DriverInfo},
};
use mongo_client_core::{
    dns::ResolverConfig,
    event::{EventHandler, sdam::SdamEvent},
};
use mongo_client_driver::Instant;
use mongo_client_sim::{Script, Scripted, Sim, hello_reply, member_reply};
use mongo_client_tests::fault::name_server::{
    Data, NXDOMAIN, Question, Record, SERVFAIL, SRV, TXT, Zone,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SERVICE: &str = "_mongodb._tcp.cluster.example.test";
const URI: &str = "mongodb+srv://cluster.example.test/?tls=false";
const A: &str = "a.example.test:27017";
const B: &str = "b.example.test:27018";
/// How long the name server takes.
const LATENCY: Duration = Duration::from_millis(5);

/// What the name server has in its zone, and what it was asked.
#[derive(Default)]
struct Names {
    zone: Zone,
    /// The code of all its answers.
    failing: Option<u8>,
    silent: bool,
    asked: Vec<(Instant, u16)>,
}

/// A name server, and servers that call themselves mongos or members of a set.
struct World {
    sim: Sim,
    names: Arc<Mutex<Names>>,
    /// What clients have said of themselves.
    told: Arc<Mutex<Vec<Document>>>,
}

impl World {
    fn new(set: bool) -> Self {
        let this = Self {
            sim: Sim::new(7),
            names: Arc::default(),
            told: Arc::default(),
        };
        for address in [A, B] {
            let told = Arc::clone(&this.told);
            let script = Script::new(move |_, command| {
                if let Ok(client) = command.get_document("client") {
                    told.lock().unwrap().push(client.clone());
                }
                Scripted::Reply(reply(command, address, set))
            });
            this.sim.listen(address, move |n| script.peer(n));
        }
        let (names, sim) = (Arc::clone(&this.names), this.sim.clone());
        this.sim.answer_datagrams(LATENCY, move |message| {
            let question = Question::parse(message)?;
            let mut names = names.lock().unwrap();
            names.asked.push((sim.now(), question.kind));
            match names.failing {
                _ if names.silent => None,
                Some(code) => Some(question.answer(code, &[])),
                None => Some(names.zone.answer(&question)),
            }
        });
        this
    }

    fn change(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock().unwrap());
    }

    fn records(&self, ttls: &[(&str, u32)]) {
        let records = ttls.iter().map(|(address, ttl)| {
            let (host, port) = address.split_once(':').unwrap();
            Record::new(*ttl, Data::Srv(host.to_owned(), port.parse().unwrap()))
        });
        self.change(|names| names.zone.set(SERVICE, records.collect()));
    }

    fn client(&self, uri: &str, change: impl FnOnce(&mut ClientOptions)) -> Client {
        let mut options = ClientOptions::parse_uri(uri).unwrap().options;
        options.resolver_config = Some(ResolverConfig::new(vec![([10, 0, 0, 1], 53).into()]));
        change(&mut options);
        let builder = Client::builder().options(options);
        builder.runtime(self.sim.runtime()).build().unwrap()
    }

    fn started(&self, uri: &str) -> Client {
        let client = self.client(uri, |_| {});
        self.sim.block_on(ping(&client)).unwrap();
        client
    }

    fn pass(&self, time: Duration) {
        self.sim.block_on(self.sim.sleep(time));
    }

    /// When SRV records were asked for.
    fn asked(&self) -> Vec<Instant> {
        let names = self.names.lock().unwrap();
        let asked = names.asked.iter().filter(|(_, kind)| *kind == SRV);
        asked.map(|(at, _)| *at).collect()
    }

    /// The times between the questions for SRV records, in whole seconds.
    fn intervals(&self) -> Vec<u64> {
        let asked = self.asked();
        let between = asked
            .windows(2)
            .map(|pair| pair[1].saturating_since(pair[0]));
        between.map(|time| time.as_secs()).collect()
    }

    fn hosts(&self, client: &Client) -> Vec<String> {
        let topology = self.sim.block_on(client.topology_description()).unwrap();
        let servers = topology.servers.values();
        servers.map(|s| s.address.to_string()).collect()
    }
}

fn reply(command: &Document, address: &str, set: bool) -> Document {
    let hello = if set {
        member_reply(command, &[A, B], address, A)
    } else {
        hello_reply(command).map(|mut hello| {
            hello.insert("msg", "isdbgrid");
            hello
        })
    };
    hello.unwrap_or_else(|| bson::doc! { "ok": 1.0 })
}

async fn ping(client: &Client) -> mongo_client::error::Result<()> {
    let ping = bson::doc! { "ping": 1 };
    client.database("admin").run_command(ping).await.map(drop)
}

#[test]
fn records_are_looked_up_every_minute_however_short_they_live() {
    let world = World::new(false);
    world.records(&[(A, 1), (B, 59)]);
    let client = world.started(URI);
    world.pass(610 * SECOND);
    assert_eq!(world.intervals(), [60; 10]);
    // The time counts from the end of a lookup.
    let asked = world.asked();
    assert_eq!(asked[2].saturating_since(asked[1]), 60 * SECOND + LATENCY);
    let names = world.names.lock().unwrap();
    let texts = names.asked.iter().filter(|(_, kind)| *kind == TXT);
    assert_eq!(texts.count(), 1, "polling asks for SRV records only");
    drop(client);
}

#[test]
fn records_that_live_longer_are_looked_up_when_the_first_of_them_dies() {
    let world = World::new(false);
    world.records(&[(A, 500), (B, 90)]);
    let _client = world.started(URI);
    world.pass(85 * SECOND);
    assert_eq!(world.intervals(), [0; 0], "the first lookup counts");
    world.records(&[(A, 200)]);
    world.pass(10 * SECOND);
    world.records(&[(A, 7)]);
    world.pass(280 * SECOND);
    assert_eq!(world.intervals(), [90, 200, 60]);
}

#[test]
fn a_time_to_live_beyond_31_bits_is_none() {
    // RFC 2181, 8: such a number means zero.
    let world = World::new(false);
    world.records(&[(A, u32::MAX)]);
    let _client = world.started(URI);
    world.pass(61 * SECOND);
    assert_eq!(world.intervals(), [60]);
}

#[test]
fn failed_lookups_are_repeated_after_a_heartbeat_until_one_succeeds() {
    type Harm = fn(&mut Names);
    let harms: [Harm; 4] = [
        |names| names.zone.remove(SERVICE),
        |names| names.zone.set(SERVICE, Vec::new()),
        |names| names.failing = Some(SERVFAIL),
        |names| names.failing = Some(NXDOMAIN),
    ];
    for harm in harms {
        let world = World::new(false);
        world.records(&[(A, 60)]);
        let client = world.client(URI, |o| o.heartbeat_freq = Some(7 * SECOND));
        world.sim.block_on(ping(&client)).unwrap();
        world.change(harm);
        world.pass(78 * SECOND);
        // A failure is asked for twice at once, as each name server is.
        let mut intervals = world.intervals();
        intervals.retain(|seconds| *seconds > 0);
        assert_eq!(intervals, [60, 7, 7]);
        assert_eq!(world.hosts(&client), [A], "the hosts stay");
        world.change(|names| names.failing = None);
        world.records(&[(B, 0)]);
        world.pass(70 * SECOND);
        let mut intervals = world.intervals();
        intervals.retain(|seconds| *seconds > 0);
        assert_eq!(intervals, [60, 7, 7, 7, 60]);
        assert_eq!(world.hosts(&client), [B]);
    }
}

#[test]
fn a_lookup_that_is_not_answered_keeps_the_hosts() {
    let world = World::new(false);
    world.records(&[(A, 60)]);
    let client = world.started(URI);
    world.change(|names| names.silent = true);
    world.pass(95 * SECOND);
    // Two attempts of 5 s, a heartbeat of 10 s, and so on.
    assert_eq!(world.intervals(), [60, 5, 15, 5]);
    assert_eq!(world.hosts(&client), [A]);
}

#[test]
fn sets_and_load_balancers_are_not_polled() {
    let world = World::new(true);
    world.records(&[(A, 1)]);
    let client = world.started(URI);
    world.records(&[("c.example.test:27019", 1)]);
    world.pass(300 * SECOND);
    assert_eq!(world.asked().len(), 1);
    assert_eq!(world.hosts(&client), [A, B]);

    let world = World::new(false);
    world.records(&[(A, 1)]);
    let client = world.client(&format!("{URI}&loadBalanced=true"), |_| {});
    assert_eq!(world.hosts(&client), [A]);
    world.records(&[(A, 1), (B, 1)]);
    world.pass(300 * SECOND);
    assert_eq!(world.asked().len(), 1);
    assert_eq!(world.hosts(&client), [A]);
}

#[test]
fn hosts_are_polled_while_none_of_them_answers() {
    let world = World::new(false);
    world.records(&[("c.example.test:27019", 1)]);
    let client = world.client(URI, |o| o.server_selection_timeout = Some(SECOND));
    let error = world.sim.block_on(ping(&client)).unwrap_err();
    let kind = &*error.kind;
    assert!(matches!(kind, ErrorKind::ServerSelection { .. }), "{error}");
    world.records(&[(A, 1)]);
    world.pass(61 * SECOND);
    world.sim.block_on(ping(&client)).unwrap();
    assert_eq!(world.hosts(&client), [A]);
}

#[test]
fn a_lookup_ends_with_its_client() {
    for end in 0..2 {
        let world = World::new(false);
        world.records(&[(A, 1)]);
        let client = world.started(URI);
        world.change(|names| names.silent = true);
        world.pass(61 * SECOND);
        assert_eq!(world.asked().len(), 2);
        if end == 0 {
            world.sim.block_on(client.clone().shutdown().into_future());
        } else {
            drop(client);
        }
        // A client that is dropped tells its sessions first: one exchange of a millisecond.
        world.pass(2 * MS);
        assert_eq!(world.sim.tasks_alive(), 0);
        world.pass(100 * SECOND);
        assert_eq!(world.asked().len(), 2);
    }
}

/// A library with a name of that length.
fn library(length: usize) -> DriverInfo {
    let mut info = DriverInfo::default();
    info.name = "x".repeat(length);
    info
}

#[test]
fn a_library_that_is_added_before_the_start_is_named_in_every_handshake() {
    let world = World::new(false);
    world.records(&[(A, 1), (B, 1)]);
    let client = world.client(URI, |o| o.driver_info = Some(library(3)));
    client.append_metadata(library(5)).unwrap();
    let error = client.append_metadata(library(600)).unwrap_err();
    assert!(matches!(&*error.kind, ErrorKind::InvalidArgument { .. }));
    world.sim.block_on(ping(&client)).unwrap();
    world.pass(SECOND);
    let told = world.told.lock().unwrap();
    assert!(told.len() > 2, "{told:?}");
    for client in &*told {
        let driver = client.get_document("driver").unwrap();
        let name = driver.get_str("name").unwrap();
        assert!(name.ends_with("|xxx|xxxxx"), "{name}");
    }
}

#[test]
fn a_start_that_is_overtaken_by_a_shutdown_ends_what_it_started() {
    overtake(false);
}

#[test]
fn a_library_without_room_does_not_hide_a_shutdown_from_the_start() {
    overtake(true);
}

/// `crowded`: a library was added that has no room, which only the start finds out.
fn overtake(crowded: bool) {
    // The start takes two answers: the end comes before, between and after them.
    for pause in 0..=15 {
        let world = World::new(false);
        world.records(&[(A, 1)]);
        let events: Arc<Mutex<Vec<SdamEvent>>> = Arc::default();
        let sink = Arc::clone(&events);
        let client = world.client(URI, |o| {
            let record = move |event| sink.lock().unwrap().push(event);
            o.sdam_event_handler = Some(EventHandler::callback(record));
            o.app_name = Some("y".repeat(128));
            o.driver_info = Some(library(128));
        });
        if crowded {
            client.append_metadata(library(250)).unwrap();
        }
        let other = client.clone();
        let shutdown = async {
            world.sim.sleep(pause * MS).await;
            other.shutdown().await;
        };
        let (result, ()) = world.sim.block_on(join(ping(&client), shutdown));
        if 2 * LATENCY > pause * MS {
            let error = result.unwrap_err();
            let expected = match &*error.kind {
                ErrorKind::Shutdown => true,
                ErrorKind::InvalidArgument { .. } => crowded,
                _ => false,
            };
            assert!(expected, "{error}");
        }
        // The handles are still there: it is the shutdown that ends everything.
        world.pass(SECOND);
        assert_eq!(world.sim.tasks_alive(), 0, "{pause} ms");
        assert_eq!(world.sim.open_connections(A), 0, "{pause} ms");
        let error = world.sim.block_on(ping(&client)).unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Shutdown), "{error}");
        let events = events.lock().unwrap();
        let opened = events
            .iter()
            .any(|e| matches!(e, SdamEvent::TopologyOpening(_)));
        if opened {
            let last = events.last().unwrap();
            assert!(matches!(last, SdamEvent::TopologyClosed(_)), "{last:?}");
        }
    }
}

#[test]
fn no_heartbeat_is_told_of_after_the_end_of_the_topology() {
    // A monitor is in a check at the end, wherever the end comes.
    for pause in 0..20 {
        let world = World::new(false);
        world.records(&[(A, 1), (B, 1)]);
        world.sim.set_latency(A, 3 * MS);
        world.sim.set_latency(B, 7 * MS);
        let events: Arc<Mutex<Vec<SdamEvent>>> = Arc::default();
        let sink = Arc::clone(&events);
        let client = world.client(URI, |o| {
            let record = move |event| sink.lock().unwrap().push(event);
            o.sdam_event_handler = Some(EventHandler::callback(record));
        });
        world.sim.block_on(client.handle().ready()).unwrap();
        world.pass(pause * MS);
        world.sim.block_on(client.clone().shutdown().into_future());
        let told = events.lock().unwrap().len();
        world.pass(30 * SECOND);
        let events = events.lock().unwrap();
        assert_eq!(events.len(), told, "{pause} ms: {:?}", events.last());
        let last = events.last().unwrap();
        assert!(matches!(last, SdamEvent::TopologyClosed(_)), "{last:?}");
    }
}

#[test]
fn a_dropped_start_asks_no_more() {
    let world = World::new(false);
    world.records(&[(A, 1)]);
    world.change(|names| names.silent = true);
    let client = world.client(URI, |_| {});
    let start = client.list_database_names().into_future();
    let dropped = mongo_client_tests::sim::drop_after(&world.sim, start, SECOND);
    assert!(world.sim.block_on(dropped).is_none());
    world.pass(60 * SECOND);
    assert_eq!(world.asked().len(), 1);
    assert_eq!(world.sim.tasks_alive(), 0);
    world.change(|names| names.silent = false);
    world.sim.block_on(ping(&client)).unwrap();
}
