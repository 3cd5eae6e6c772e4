//! SRV records that change, before routers (specification: "Polling SRV Records for mongos
//! Discovery"). The routers are proxies of the replica set's primary that call themselves mongos.
//!
//! The records live for no time at all, and the least interval is short: see `options`.

use std::{collections::BTreeSet, time::Duration};

use bson::{Document, doc};
use mongo_client::{
    Client,
    event::{cmap::CmapEvent, sdam::SdamEvent},
    options::{ClientOptions, ResolverConfig},
};
use mongo_client_core::topology::ServerType;
use mongo_client_tests::{
    deploy,
    fault::{
        Mongos, NameServer,
        name_server::{Data, Reaction, Record, SERVFAIL, SRV, TXT, Zone},
    },
    live::{self, Event, Recorder},
    rt,
};

const HOST: &str = "cluster.0.0.1";
const SERVICE: &str = "_mongodb._tcp.cluster.0.0.1";
const URI: &str = "mongodb+srv://cluster.0.0.1/?tls=false";
const RESCAN: Duration = Duration::from_millis(30);

/// The address of the shared replica set's primary.
async fn primary() -> Option<String> {
    let client = live::client(&deploy::uri("REPLICA_SET")?);
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    Some(hello.get_str("primary").unwrap().to_owned())
}

async fn routers(count: usize) -> Option<Vec<Mongos>> {
    let primary = primary().await?;
    let mut routers = Vec::new();
    for _ in 0..count {
        routers.push(Mongos::start(primary.clone()).await.unwrap());
    }
    Some(routers)
}

fn record(router: &Mongos) -> Record {
    let address = router.address();
    Record::new(0, Data::Srv(address.ip().to_string(), address.port()))
}

fn records<'a>(routers: impl IntoIterator<Item = &'a Mongos>) -> Vec<Record> {
    routers.into_iter().map(record).collect()
}

fn addresses<'a>(routers: impl IntoIterator<Item = &'a Mongos>) -> BTreeSet<String> {
    let routers = routers.into_iter();
    routers.map(|r| r.address().to_string()).collect()
}

async fn serve(service: &str, records: Vec<Record>) -> NameServer {
    let mut zone = Zone::new();
    zone.set(service, records);
    NameServer::start(zone).await.unwrap()
}

/// Options of a client that looks the records up often.
fn options(server: &NameServer, uri: &str) -> ClientOptions {
    let mut options = live::options(uri);
    let mut resolver = ResolverConfig::new(vec![server.address()]);
    resolver.timeout = Duration::from_secs(1);
    resolver.rescan_interval_min = Some(RESCAN);
    options.resolver_config = Some(resolver);
    // Failed lookups are repeated after as long.
    options.heartbeat_freq = Some(Duration::from_millis(500));
    options
}

async fn hosts(client: &Client) -> BTreeSet<String> {
    let topology = client.topology_description().await.unwrap();
    let servers = topology.servers.values();
    servers.map(|s| s.address.to_string()).collect()
}

/// Waits until the client knows these hosts and no others, and all of them as routers.
async fn knows(client: &Client, wanted: &BTreeSet<String>) {
    live::eventually("the hosts of the records", || async {
        hosts(client).await == *wanted
    })
    .await;
    live::eventually("all are routers", || async {
        let topology = client.topology_description().await.unwrap();
        let mut servers = topology.servers.values();
        servers.all(|s| s.server_type == ServerType::Mongos)
    })
    .await;
}

/// Waits until the records have been looked up so often again.
async fn polls(server: &NameServer, times: usize) {
    let now = server.queries().len();
    server.wait_for(now + times).await;
}

#[test]
fn records_that_are_added_removed_and_replaced_are_followed() {
    rt::block_on(async {
        let Some(routers) = routers(4).await else {
            return;
        };
        let [a, b, c, d] = &routers[..] else {
            panic!("four routers");
        };
        let server = serve(SERVICE, records([a, b])).await;
        let mut options = options(&server, URI);
        let recorder = Recorder::attach(&mut options);
        let client = live::build(options);
        let things = live::database(&client).collection::<Document>("things");
        things.insert_one(doc! { "_id": 0 }).await.unwrap();
        knows(&client, &addresses([a, b])).await;
        let steps: [&[&Mongos]; 8] = [
            &[a, b, c],
            &[a, c],
            &[a, d],
            &[b],
            &[c, d],
            &[c, d],
            &[a, c, d],
            &[a, b, c, d],
        ];
        for (step, routers) in steps.into_iter().enumerate() {
            let routers = routers.iter().copied();
            server.change(|zone| zone.set(SERVICE, records(routers.clone())));
            knows(&client, &addresses(routers)).await;
            let id = i32::try_from(step).unwrap() + 1;
            things.insert_one(doc! { "_id": id }).await.unwrap();
        }
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 9);
        // Polling asks for nothing else.
        assert_eq!(server.count(TXT), 1);
        // What stays is left alone: a was added thrice, and removed twice.
        let of_a = a.address().to_string();
        let opened = recorder.events().into_iter().filter(
            |event| matches!(event, Event::Sdam(SdamEvent::ServerOpening(e)) if e.address.to_string() == of_a),
        );
        assert_eq!(opened.count(), 2);
        let cleared = |event: &Event| matches!(event, Event::Cmap(CmapEvent::PoolCleared(_)));
        assert!(!recorder.events().iter().any(cleared));
        live::forget(&client.database(things.namespace().db.as_str())).await;
    });
}

#[test]
fn the_pool_and_the_monitor_of_a_removed_router_end() {
    rt::block_on(async {
        let Some(routers) = routers(2).await else {
            return;
        };
        let [a, b] = &routers[..] else {
            panic!("two routers");
        };
        let server = serve(SERVICE, records([a, b])).await;
        let mut options = options(&server, URI);
        options.min_pool_size = Some(3);
        let recorder = Recorder::attach(&mut options);
        let client = live::build(options);
        client.list_database_names().await.unwrap();
        let of = |event: &Event, router: &Mongos| {
            let address = match event {
                Event::Cmap(CmapEvent::ConnectionReady(e)) => &e.address,
                _ => return false,
            };
            *address.to_string() == router.address().to_string()
        };
        recorder
            .wait("both pools are full", |events| {
                let ready = |router| events.iter().filter(|e| of(e, router)).count();
                ready(a) >= 3 && ready(b) >= 3
            })
            .await;
        server.change(|zone| zone.set(SERVICE, records([b])));
        let gone = a.address().to_string();
        recorder
            .wait("the pool is closed", |events| {
                events.iter().any(
                    |e| matches!(e, Event::Cmap(CmapEvent::PoolClosed(e)) if e.address.to_string() == gone),
                )
            })
            .await;
        a.wait_until_left().await;
        assert!(b.connections() >= 3);
        let census = client.handle().census();
        let pools: Vec<_> = census.pools.iter().map(|(a, _)| a.to_string()).collect();
        assert_eq!(pools, [b.address().to_string()]);
        for _ in 0..10 {
            client.list_database_names().await.unwrap();
        }
        assert_eq!(a.connections(), 0);
    });
}

#[test]
fn a_lookup_that_fails_or_finds_nothing_keeps_the_hosts() {
    rt::block_on(async {
        let Some(routers) = routers(3).await else {
            return;
        };
        let [a, b, c] = &routers[..] else {
            panic!("three routers");
        };
        let server = serve(SERVICE, records([a, b])).await;
        let client = live::build(options(&server, URI));
        client.list_database_names().await.unwrap();
        let both = addresses([a, b]);
        knows(&client, &both).await;
        type Harm = fn(&NameServer);
        let harms: [(&str, Harm); 6] = [
            ("NXDOMAIN", |s| s.change(|z| z.remove(SERVICE))),
            ("no records", |s| s.change(|z| z.set(SERVICE, Vec::new()))),
            ("failure", |s| s.set_rule(|_| Reaction::Code(SERVFAIL))),
            ("silence", |s| s.set_rule(|_| Reaction::Silence)),
            ("other domain", |s| {
                s.change(|z| z.set(SERVICE, vec![Record::srv("evil.example.com", 1)]));
            }),
            ("malformed", |s| {
                s.set_rule(|q| {
                    let mut bytes = q.answer.clone();
                    bytes[6..12].fill(0xff);
                    Reaction::Messages(vec![bytes])
                });
            }),
        ];
        for (round, (what, harm)) in harms.into_iter().enumerate() {
            harm(&server);
            polls(&server, 3).await;
            assert_eq!(hosts(&client).await, both, "{what}");
            client.list_database_names().await.unwrap();
            // What comes afterwards is followed again.
            let others: &[&Mongos] = if round % 2 == 0 { &[c] } else { &[b, c] };
            for routers in [others, &[a, b]] {
                server.set_rule(|_| Reaction::Zone);
                let routers = routers.iter().copied();
                server.change(|zone| zone.set(SERVICE, records(routers.clone())));
                knows(&client, &addresses(routers)).await;
            }
        }
    });
}

#[test]
fn a_target_outside_the_domain_is_left_out() {
    rt::block_on(async {
        let Some(routers) = routers(2).await else {
            return;
        };
        let [a, b] = &routers[..] else {
            panic!("two routers");
        };
        let server = serve(SERVICE, records([a])).await;
        let client = live::build(options(&server, URI));
        client.list_database_names().await.unwrap();
        knows(&client, &addresses([a])).await;
        let mut with_evil = vec![Record::new(0, Data::Srv("evil.example.com".into(), 1))];
        with_evil.extend(records([a, b]));
        server.change(|zone| zone.set(SERVICE, with_evil));
        knows(&client, &addresses([a, b])).await;
        // One verified host is a success: the interval is not the one after failures.
        polls(&server, 3).await;
        assert_eq!(hosts(&client).await, addresses([a, b]));
    });
}

#[test]
fn polling_ends_when_the_servers_are_a_replica_set() {
    live::on("REPLICA_SET", async |uri| {
        let members = uri.trim_start_matches("mongodb://");
        let members = members.split('/').next().unwrap().split(',');
        let found = members.map(|member| {
            let (host, port) = member.split_once(':').unwrap();
            Record::new(0, Data::Srv(host.to_owned(), port.parse().unwrap()))
        });
        let server = serve(SERVICE, found.collect()).await;
        let mut options = options(&server, URI);
        let recorder = Recorder::attach(&mut options);
        let client = live::build(options);
        client.list_database_names().await.unwrap();
        // A lookup may have begun before the members were known.
        let known = server.count(SRV);
        server.change(|zone| zone.set(SERVICE, vec![Record::srv("127.0.0.9", 9)]));
        recorder
            .wait("many intervals have passed", |events| {
                let beats = events
                    .iter()
                    .filter(|e| matches!(e, Event::Sdam(SdamEvent::ServerHeartbeatSucceeded(_))));
                beats.count() >= 15
            })
            .await;
        assert!(server.count(SRV) <= known + 1, "{}", server.count(SRV));
        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.servers.len(), 3);
        assert!(!hosts(&client).await.contains("127.0.0.9:9"));
    });
}

#[test]
fn no_more_hosts_are_added_than_wanted() {
    rt::block_on(async {
        let Some(routers) = routers(4).await else {
            return;
        };
        let [a, b, c, d] = &routers[..] else {
            panic!("four routers");
        };
        let limited = |limit: u32| format!("{URI}&srvMaxHosts={limit}");
        let start = || serve(SERVICE, records([a, b]));

        // No limit.
        let server = start().await;
        let client = live::build(options(&server, &limited(0)));
        knows(&client, &addresses([a, b])).await;
        server.change(|zone| zone.set(SERVICE, records([a, c, d])));
        knows(&client, &addresses([a, c, d])).await;

        // As many as there are.
        let server = start().await;
        let client = live::build(options(&server, &limited(2)));
        knows(&client, &addresses([a, b])).await;
        server.change(|zone| zone.set(SERVICE, records([c, d])));
        knows(&client, &addresses([c, d])).await;

        // More than wanted: what stays is kept, the rest is chosen.
        let server = start().await;
        let client = live::build(options(&server, &limited(2)));
        knows(&client, &addresses([a, b])).await;
        server.change(|zone| zone.set(SERVICE, records([a, c, d])));
        live::eventually("the new hosts", || async {
            !hosts(&client).await.contains(&b.address().to_string())
        })
        .await;
        let chosen = hosts(&client).await;
        assert_eq!(chosen.len(), 2, "{chosen:?}");
        assert!(chosen.contains(&a.address().to_string()), "{chosen:?}");
        polls(&server, 3).await;
        assert_eq!(hosts(&client).await, chosen, "the choice stays");
    });
}

#[test]
fn another_service_is_polled_by_its_name() {
    rt::block_on(async {
        let Some(routers) = routers(4).await else {
            return;
        };
        let [a, b, c, d] = &routers[..] else {
            panic!("four routers");
        };
        let service = format!("_customname._tcp.{HOST}");
        let server = serve(&service, records([a, b])).await;
        let client = live::build(options(
            &server,
            &format!("{URI}&srvServiceName=customname"),
        ));
        knows(&client, &addresses([a, b])).await;
        server.change(|zone| zone.set(&service, records([c, d])));
        knows(&client, &addresses([c, d])).await;
    });
}

#[test]
fn a_client_that_is_shut_down_asks_no_more() {
    rt::block_on(async {
        let Some(routers) = routers(1).await else {
            return;
        };
        let server = serve(SERVICE, records(&routers)).await;
        let client = live::build(options(&server, URI));
        knows(&client, &addresses(&routers)).await;
        polls(&server, 3).await;
        client.shutdown().await;
        routers[0].wait_until_left().await;
        let asked = server.queries().len();
        rt::sleep(10 * RESCAN).await;
        // One that was under way may still have come.
        assert!(server.queries().len() <= asked + 1);
    });
}
