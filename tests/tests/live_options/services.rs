//! `mongodb+srv` connection strings and the blocking client.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongo_client::{
    error::ErrorKind,
    options::{ClientOptions, ResolverConfig},
    sync::Client,
};
use mongo_client_tests::{
    deploy,
    fault::{
        NameServer,
        name_server::{Record, SRV, TXT, Zone},
    },
    live, rt,
};

const HOST: &str = "cluster.0.0.1";
const URI: &str = "mongodb+srv://cluster.0.0.1/chosen?tls=false";

/// A name server that knows the shared replica set; it runs beside the test's thread.
fn serve(uri: &str) -> NameServer {
    let hosts = live::options(uri).hosts;
    let targets: Vec<(String, u16)> = hosts
        .iter()
        .map(|host| (host.host().into_owned(), host.port().unwrap()))
        .collect();
    let mut zone = Zone::new();
    zone.set_service(HOST, &targets);
    let text = format!("replicaSet={}", deploy::SET_NAME);
    zone.set(HOST, vec![Record::text(&text)]);
    rt::block_on(NameServer::start(zone)).unwrap()
}

fn options(server: &NameServer) -> ClientOptions {
    let mut options = live::options(URI);
    options.resolver_config = Some(ResolverConfig::new(vec![server.address()]));
    options
}

#[test]
fn records_lead_the_blocking_client_to_the_set() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let server = serve(&uri);
    let client = Client::with_options(options(&server)).unwrap();
    assert_eq!(client.default_database().unwrap().name(), "chosen");
    let db = client.database(&live::unique("live"));
    let people = db.collection::<Document>("people");

    people.insert_one(doc! { "_id": 1 }).run().unwrap();

    assert_eq!(people.count_documents(doc! {}).run().unwrap(), 1);
    assert!(client.is_primary().unwrap());
    let topology = client.topology_description().unwrap();
    assert_eq!(topology.set_name.as_deref(), Some(deploy::SET_NAME));
    assert_eq!(topology.servers.len(), 3);
    assert_eq!((server.count(SRV), server.count(TXT)), (1, 1));
    db.drop().run().unwrap();
    client.shutdown().run();
}

#[test]
fn the_text_beside_the_records_counts_for_the_blocking_client() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let server = serve(&uri);
    server.change(|zone| zone.set(HOST, vec![Record::text("replicaSet=another")]));
    let mut options = options(&server);
    options.server_selection_timeout = Some(Duration::from_secs(1));
    let client = Client::with_options(options).unwrap();
    let error = client.list_database_names().run().unwrap_err();
    assert!(
        matches!(&*error.kind, ErrorKind::ServerSelection { message } if message.contains("\"another\"")),
        "{error:?}"
    );
}

#[test]
fn a_name_without_records_is_an_error_of_the_blocking_operation_that_names_it() {
    if deploy::skips_live() {
        return;
    }
    let server = rt::block_on(NameServer::start(Zone::new())).unwrap();
    let client = Client::with_options(options(&server)).unwrap();
    let start = Instant::now();
    let error = client.list_database_names().run().unwrap_err();
    assert!(
        matches!(&*error.kind, ErrorKind::DnsResolve { message } if message.contains(HOST)),
        "{error:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(20));
}
