//! `mongodb+srv` connection strings, with a name server of the test's own.
//!
//! The targets are `127.0.0.1` taken as a name of four labels, so that no other name server is
//! asked for them; it lies in the domain of `cluster.0.0.1`.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, ResolverConfig, ServerAddress},
};
use mongo_client_tests::{
    deploy,
    fault::{NameServer, Service},
    live, rt,
};

const HOST: &str = "cluster.0.0.1";

fn ports(uri: &str) -> Vec<(String, u16)> {
    let ports = live::options(uri).hosts.into_iter().map(|host| match host {
        ServerAddress::Tcp { host, port } => (host, port.unwrap_or(27017)),
        other => panic!("{other}"),
    });
    ports.collect()
}

async fn name_server(targets: Vec<(String, u16)>, text: &str) -> NameServer {
    let service = Service {
        name: format!("_mongodb._tcp.{HOST}"),
        targets,
        text: text.to_owned(),
    };
    NameServer::start(service).await.unwrap()
}

fn options(server: &NameServer, uri: &str) -> ClientOptions {
    let mut options = live::options(uri);
    let mut resolver = ResolverConfig::new(vec![server.address()]);
    resolver.timeout = Duration::from_millis(500);
    options.resolver_config = Some(resolver);
    options
}

#[test]
fn records_lead_to_the_replica_set() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let text = format!("replicaSet={}", deploy::SET_NAME);
        let server = name_server(ports(&uri), &text).await;
        let options = options(&server, &format!("mongodb+srv://{HOST}/?tls=false"));

        let client = live::build(options);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();

        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.set_name.as_deref(), Some(deploy::SET_NAME));
        assert_eq!(topology.servers.len(), 3);
        live::forget(&db).await;
    });
}

#[test]
fn service_without_records_and_silent_name_servers_fail_by_name() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = name_server(Vec::new(), "").await;
        let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let uri = format!("mongodb+srv://{HOST}/?tls=false");
        let without = options(&server, &uri);
        let mut silent = without.clone();
        if let Some(resolver) = &mut silent.resolver_config {
            resolver.name_servers = vec![deaf.local_addr().unwrap()];
        }
        for options in [without, silent] {
            let client: Client = live::build(options);
            let start = Instant::now();

            let error = client.list_database_names().await.unwrap_err();

            assert!(start.elapsed() < Duration::from_secs(5));
            assert!(
                matches!(&*error.kind, ErrorKind::DnsResolve { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(HOST), "{error}");
        }
    });
}

#[test]
fn target_outside_the_domain_is_refused() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let targets = vec![("elsewhere.example.com".to_owned(), 27017)];
        let server = name_server(targets, "").await;
        let client = live::build(options(
            &server,
            &format!("mongodb+srv://{HOST}/?tls=false"),
        ));

        let error = client.list_database_names().await.unwrap_err();

        assert!(
            error.to_string().contains("elsewhere.example.com"),
            "{error}"
        );
    });
}
