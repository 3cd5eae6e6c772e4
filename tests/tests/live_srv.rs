//! `mongodb+srv` connection strings, with name servers of the test's own.
//!
//! The targets are `127.0.0.1` taken as a name of four labels, so that no other name server is
//! asked for them; it lies in the domain of `cluster.0.0.1`.

use std::{
    future::IntoFuture,
    net::UdpSocket,
    pin::pin,
    sync::Mutex,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::{Either, select};
use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, ResolverConfig, ServerAddress},
};
use mongo_client_tests::{
    deploy,
    fault::{
        Bogus, Manner, NameServer,
        name_server::{Data, Query, REFUSED, Reaction, Record, SERVFAIL, SRV, TXT, Way, Zone},
    },
    live, rt,
};

const HOST: &str = "cluster.0.0.1";
const SERVICE: &str = "_mongodb._tcp.cluster.0.0.1";
const URI: &str = "mongodb+srv://cluster.0.0.1/?tls=false";
/// How long clients wait for a name server in tests of silence.
const TIMEOUT: Duration = Duration::from_millis(400);

fn targets(uri: &str) -> Vec<(String, u16)> {
    let targets = live::options(uri).hosts.into_iter().map(|host| match host {
        ServerAddress::Tcp { host, port } => (host, port.unwrap_or(27017)),
        other => panic!("{other}"),
    });
    targets.collect()
}

fn zone(targets: &[(String, u16)], text: &str) -> Zone {
    let mut zone = Zone::new();
    zone.set_service(HOST, targets);
    if !text.is_empty() {
        zone.set(HOST, vec![Record::text(text)]);
    }
    zone
}

/// The zone of a shared deployment, without a text.
fn zone_of(deployment: &str) -> Option<Zone> {
    Some(zone(&targets(&deploy::uri(deployment)?), ""))
}

async fn serve(zone: Zone) -> NameServer {
    NameServer::start(zone).await.unwrap()
}

fn options(servers: &[&NameServer], uri: &str) -> ClientOptions {
    let mut options = live::options(uri);
    let servers = servers.iter().map(|s| s.address());
    options.resolver_config = Some(ResolverConfig::new(servers.collect()));
    options
}

/// Options of a client that does not wait long for a name server.
fn hasty(servers: &[&NameServer]) -> ClientOptions {
    let mut options = options(servers, URI);
    if let Some(resolver) = &mut options.resolver_config {
        resolver.timeout = TIMEOUT;
    }
    options
}

/// The error of an operation, which has to be one of DNS.
async fn dns_error(options: ClientOptions) -> Error {
    let client = live::build(options);
    let error = client.list_database_names().await.unwrap_err();
    let kind = &*error.kind;
    assert!(matches!(kind, ErrorKind::DnsResolve { .. }), "{error:?}");
    assert!(error.to_string().contains(HOST), "{error}");
    error
}

async fn set_is_found(client: &Client) {
    client.list_database_names().await.unwrap();
    let topology = client.topology_description().await.unwrap();
    assert_eq!(topology.set_name.as_deref(), Some(deploy::SET_NAME));
    assert_eq!(topology.servers.len(), 3);
}

#[test]
fn records_lead_to_the_replica_set() {
    live::on("REPLICA_SET", async |uri| {
        let text = format!("replicaSet={}", deploy::SET_NAME);
        let server = serve(zone(&targets(&uri), &text)).await;
        let client = live::build(options(&[&server], URI));
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        people.insert_one(doc! { "_id": 1 }).await.unwrap();

        set_is_found(&client).await;
        assert_eq!((server.count(SRV), server.count(TXT)), (1, 1));
        live::forget(&db).await;
    });
}

#[test]
fn a_missing_text_is_no_error() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        set_is_found(&live::build(options(&[&server], URI))).await;
        // The name of the text exists, without a text.
        server.change(|zone| zone.set(HOST, Vec::new()));
        set_is_found(&live::build(options(&[&server], URI))).await;
    });
}

#[test]
fn tls_is_on_unless_it_is_turned_off() {
    live::on("TLS", async |uri| {
        let server = serve(zone(&targets(&uri), "")).await;
        let (_, query) = uri.split_once('?').unwrap();
        let rest: Vec<&str> = query.split('&').filter(|o| *o != "tls=true").collect();
        let on = format!("mongodb+srv://{HOST}/?{}", rest.join("&"));
        set_is_found(&live::build(options(&[&server], &on))).await;

        let mut off = options(&[&server], URI);
        off.server_selection_timeout = Some(Duration::from_millis(500));
        let error = live::build(off).list_database_names().await.unwrap_err();
        let kind = &*error.kind;
        assert!(
            matches!(kind, ErrorKind::ServerSelection { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn the_strings_of_a_text_are_joined_and_its_source_is_used() {
    live::on("AUTH", async |uri| {
        let mut zone = zone(&targets(&uri), "");
        let strings = ["replicaS", "et=rs&auth", "", "Source=admin"].map(|s| s.into());
        zone.set(HOST, vec![Record::new(9, Data::Txt(strings.to_vec()))]);
        let server = serve(zone).await;
        // Without the text the source would be the database.
        let user = format!("root:{}", deploy::PASSWORD);
        let uri = format!("mongodb+srv://{user}@{HOST}/elsewhere?tls=false");
        let client = live::build(options(&[&server], &uri));
        set_is_found(&client).await;

        // What the connection string says wins over the text.
        server.change(|zone| zone.set(HOST, vec![Record::text("authSource=nowhere")]));
        let client = live::build(options(&[&server], &format!("{uri}&authSource=admin")));
        set_is_found(&client).await;
        let client = live::build(options(&[&server], &uri));
        let error = client.list_database_names().await.unwrap_err();
        let kind = &*error.kind;
        assert!(
            matches!(kind, ErrorKind::Authentication { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn texts_with_more_than_the_three_options_are_refused() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        let both = vec![
            Record::text("replicaSet=rs"),
            Record::text("authSource=admin"),
        ];
        let refused = [
            (vec![Record::text("ssl=false")], "option other than"),
            (vec![Record::text("replicaSet=rs&w=0")], "option other than"),
            (vec![Record::text("authSource")], "malformed"),
            (vec![Record::text("authSource=")], "empty"),
            (both, "more than one TXT record"),
            (
                vec![Record::new(1, Data::Txt(vec![vec![0xff]]))],
                "not UTF-8",
            ),
        ];
        for (records, why) in refused {
            server.change(|zone| zone.set(HOST, records));
            let client = live::build(options(&[&server], URI));
            let error = client.list_database_names().await.unwrap_err();
            let kind = &*error.kind;
            assert!(matches!(kind, ErrorKind::DnsResolve { .. }), "{error:?}");
            assert!(error.to_string().contains(why), "{error}");
        }
        // The options that are allowed, and one that is wrong for this deployment.
        server.change(|zone| zone.set(HOST, vec![Record::text("replicaSet=other")]));
        let mut other = options(&[&server], URI);
        other.server_selection_timeout = Some(Duration::from_millis(300));
        let error = live::build(other).list_database_names().await.unwrap_err();
        let kind = &*error.kind;
        assert!(
            matches!(kind, ErrorKind::ServerSelection { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn answers_too_long_for_a_datagram_come_by_stream() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        // More than a datagram holds: the members, and names of theirs that are not.
        server.change(|zone| {
            let mut records = targets(&deploy::uri("REPLICA_SET").unwrap());
            let rest = (0..40).map(|n| (format!("{}.{n}.0.0.1", "a".repeat(40)), 9));
            records.extend(rest);
            zone.set_service(HOST, &records);
        });
        let client = live::build(options(&[&server], URI));
        set_is_found(&client).await;
        let ways = |kind| {
            let queries = server.queries().into_iter();
            let ways = queries.filter(move |q| q.question.kind == kind);
            ways.map(|q| q.way).collect::<Vec<_>>()
        };
        assert_eq!(ways(SRV), [Way::Datagram, Way::Stream]);
        assert_eq!(ways(TXT), [Way::Datagram]);
        drop(client);

        // Byte by byte, with the length in two pieces.
        server.set_rule(|query| match query.way {
            Way::Datagram => Reaction::Truncated,
            Way::Stream => Reaction::Pieces(query.answer.clone(), 1, Duration::ZERO),
        });
        server.change(|zone| {
            zone.set_service(HOST, &targets(&deploy::uri("REPLICA_SET").unwrap()));
        });
        set_is_found(&live::build(options(&[&server], URI))).await;
    });
}

#[test]
fn the_next_name_server_is_asked_when_one_is_of_no_use() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        type Rule = fn(&Query) -> Reaction;
        let rules: [(&str, Rule); 8] = [
            ("silent", |_| Reaction::Silence),
            ("failing", |_| Reaction::Code(SERVFAIL)),
            ("refusing", |_| Reaction::Code(REFUSED)),
            ("malformed", |q| {
                let mut bytes = q.answer.clone();
                bytes[6..12].fill(0xff);
                Reaction::Messages(vec![bytes])
            }),
            ("of another id", |q| {
                let mut bytes = q.answer.clone();
                bytes[0] ^= 0xff;
                Reaction::Messages(vec![bytes])
            }),
            ("another question's", |q| {
                let mut bytes = q.answer.clone();
                bytes[13] ^= 1;
                Reaction::Messages(vec![bytes])
            }),
            ("truncated on the stream", |_| Reaction::Truncated),
            ("closing the stream", |q| match q.way {
                Way::Datagram => Reaction::Truncated,
                Way::Stream => Reaction::Bytes(vec![0, 99, 1]),
            }),
        ];
        let good = serve(zone.clone()).await;
        for (what, rule) in rules {
            let bad = serve(zone.clone()).await;
            bad.set_rule(rule);
            let before = good.count(SRV);
            let client = live::build(hasty(&[&bad, &good]));
            set_is_found(&client).await;
            assert!(bad.count(SRV) > 0, "{what}");
            assert!(good.count(SRV) > before, "{what}");
        }
    });
}

#[test]
fn a_name_server_that_is_not_there_costs_no_time() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let good = serve(zone).await;
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut with_gone = options(&[&good], URI);
        if let Some(resolver) = &mut with_gone.resolver_config {
            resolver.timeout = Duration::from_secs(60);
            resolver.name_servers.insert(0, gone.local_addr().unwrap());
        }
        drop(gone);
        let start = Instant::now();
        set_is_found(&live::build(with_gone)).await;
        assert!(start.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn answers_that_nobody_asked_for_are_passed_over() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        server.set_rule(|query| {
            // What somebody who does not see the questions would send.
            let evil = (query.question.name.clone(), Record::srv("evil.0.0.1", 1));
            let mut evil = query.question.answer(0, &[evil]);
            evil[1] ^= 1;
            let mut other = query.answer.clone();
            other[14] ^= 2;
            let noise = vec![0; 3];
            Reaction::Messages(vec![noise, evil, other, Vec::new(), query.answer.clone()])
        });
        set_is_found(&live::build(options(&[&server], URI))).await;
        assert_eq!(server.queries().len(), 2);
    });
}

#[test]
fn a_name_that_does_not_exist_is_final_and_named() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let (first, second) = (serve(Zone::new()).await, serve(Zone::new()).await);
        let error = dns_error(options(&[&first, &second], URI)).await;
        assert!(error.to_string().contains("does not exist"), "{error}");
        first.change(|zone| zone.set(SERVICE, Vec::new()));
        let error = dns_error(options(&[&first, &second], URI)).await;
        assert!(error.to_string().contains("no SRV records"), "{error}");
        assert_eq!((first.count(SRV), second.count(SRV)), (2, 0));
    });
}

#[test]
fn silent_name_servers_are_given_up_within_the_limits() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let (first, second) = (serve(Zone::new()).await, serve(Zone::new()).await);
        first.set_rule(|_| Reaction::Silence);
        second.set_rule(|_| Reaction::Silence);
        let start = Instant::now();
        let error = dns_error(hasty(&[&first, &second])).await;
        let took = start.elapsed();
        assert!(error.to_string().contains("in time"), "{error}");
        assert!(took >= 4 * TIMEOUT, "{took:?}");
        assert!(took < 10 * TIMEOUT, "{took:?}");
        assert_eq!((first.count(SRV), second.count(SRV)), (2, 2));

        // A text that nobody tells of could say anything: it is an error too.
        first.change(|zone| zone.set_service(HOST, &[("127.0.0.1".into(), 9)]));
        first.set_rule(|query| match query.question.kind {
            SRV => Reaction::Zone,
            _ => Reaction::Silence,
        });
        let error = dns_error(hasty(&[&first, &second])).await;
        assert!(error.to_string().contains("in time"), "{error}");
    });
}

#[test]
fn a_stream_that_does_not_answer_is_given_up() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = serve(Zone::new()).await;
        server.set_rule(|query| match query.way {
            Way::Datagram => Reaction::Truncated,
            Way::Stream => Reaction::Silence,
        });
        let start = Instant::now();
        let error = dns_error(hasty(&[&server])).await;
        assert!(error.to_string().contains("in time"), "{error}");
        assert!(start.elapsed() < 10 * TIMEOUT);
    });
}

#[test]
fn targets_outside_the_domain_are_refused() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = serve(Zone::new()).await;
        for target in ["elsewhere.example.com", "evil0.0.1", "0.0.1", "a.0.0.2"] {
            // One that is inside does not excuse it.
            let targets = [("127.0.0.1".to_owned(), 27017), (target.to_owned(), 27017)];
            server.change(|zone| zone.set_service(HOST, &targets));
            let error = dns_error(options(&[&server], URI)).await;
            assert!(error.to_string().contains(target), "{error}");
        }
    });
}

#[test]
fn a_suffix_of_choice_takes_the_place_of_the_domain() {
    live::on("REPLICA_SET", async |uri| {
        let mut zone = Zone::new();
        zone.set_service("cluster.example.test", &targets(&uri));
        let server = serve(zone).await;
        let base = "mongodb+srv://cluster.example.test/?tls=false";

        let uri = format!("{base}&srvAllowedHostsSuffix=0.0.1");
        set_is_found(&live::build(options(&[&server], &uri))).await;

        for wrong in [base, &format!("{base}&srvAllowedHostsSuffix=127.0.0.1")] {
            let client = live::build(options(&[&server], wrong));
            let error = client.list_database_names().await.unwrap_err();
            assert!(error.to_string().contains("outside the domain"), "{error}");
        }
    });
}

#[test]
fn another_service_is_asked_for_by_its_name() {
    live::on("REPLICA_SET", async |uri| {
        let mut zone = Zone::new();
        let records = targets(&uri).into_iter();
        let records = records.map(|(host, port)| Record::srv(&host, port));
        zone.set("_other-1._tcp.cluster.0.0.1", records.collect());
        let server = serve(zone).await;
        let named = format!("{URI}&srvServiceName=other-1");
        set_is_found(&live::build(options(&[&server], &named))).await;
        let error = dns_error(options(&[&server], URI)).await;
        assert!(error.to_string().contains(SERVICE), "{error}");
    });
}

#[test]
fn as_many_hosts_are_taken_as_wanted() {
    live::on("REPLICA_SET", async |uri| {
        let server = serve(zone(&targets(&uri), "")).await;
        // One seed finds the others.
        let one = format!("{URI}&srvMaxHosts=1");
        let client = live::build(options(&[&server], &one));
        live::eventually("all members are known", || async {
            let topology = client.topology_description().await.unwrap();
            topology.servers.len() == 3
        })
        .await;
        // A set has no use for the option.
        server.change(|zone| zone.set(HOST, vec![Record::text("replicaSet=rs")]));
        let client = live::build(options(&[&server], &one));
        let error = client.list_database_names().await.unwrap_err();
        assert!(error.to_string().contains("srvMaxHosts"), "{error}");
    });
}

#[test]
fn a_failed_start_is_begun_anew_by_the_next_operation() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(Zone::new()).await;
        let address = server.address();
        let client = live::build(options(&[&server], URI));
        drop(server);
        for _ in 0..2 {
            let error = client.list_database_names().await.unwrap_err();
            let kind = &*error.kind;
            assert!(matches!(kind, ErrorKind::DnsResolve { .. }), "{error:?}");
        }
        let again = Mutex::new(None);
        live::eventually("the port is free", || async {
            let started = NameServer::start_at(address, zone.clone()).await;
            let mut again = again.lock().unwrap();
            *again = started.ok();
            again.is_some()
        })
        .await;
        set_is_found(&client).await;
    });
}

#[test]
fn a_dropped_start_leaves_nothing_and_is_begun_anew() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        let mut patient = options(&[&server], URI);
        if let Some(resolver) = &mut patient.resolver_config {
            resolver.timeout = live::PATIENCE;
        }
        let client = live::build(patient);
        // At the first question, at the second, and on a stream.
        let silent: [fn(&Query) -> bool; 3] = [
            |query| query.question.kind == SRV,
            |query| query.question.kind == TXT,
            |query| query.way == Way::Stream,
        ];
        let mut asked = 0;
        for (round, silent) in silent.into_iter().enumerate() {
            server.set_rule(move |query| match query.way {
                _ if silent(query) => Reaction::Silence,
                Way::Datagram if round == 2 => Reaction::Truncated,
                _ => Reaction::Zone,
            });
            asked += [1, 2, 2][round];
            let start = client.list_database_names().into_future();
            let (start, come) = (pin!(start), pin!(server.wait_for(asked)));
            assert!(matches!(select(start, come).await, Either::Right(_)));
            assert_eq!(client.handle().census(), Default::default());
        }
        server.set_rule(|_| Reaction::Zone);
        set_is_found(&client).await;
    });
}

#[test]
fn operations_that_start_together_all_end() {
    rt::block_on(async {
        let Some(zone) = zone_of("REPLICA_SET") else {
            return;
        };
        let server = serve(zone).await;
        let client = live::build(options(&[&server], URI));
        let all = (0..8).map(|_| {
            let client = client.clone();
            rt::spawn(async move { client.list_database_names().await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
        set_is_found(&client).await;
    });
}

#[test]
fn something_else_on_the_port_of_a_name_server_is_no_harm() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = serve(Zone::new()).await;
        let other = Bogus::start(Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
        let other = other.await.unwrap();
        let mut options = options(&[&server], URI);
        if let Some(resolver) = &mut options.resolver_config {
            // Only streams are there.
            resolver.name_servers = vec![other.address()];
        }
        let error = dns_error(options).await;
        assert!(error.to_string().contains("cannot reach"), "{error}");
        assert_eq!(server.queries().len(), 0);
    });
}
