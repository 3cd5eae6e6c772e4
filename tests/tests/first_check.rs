//! Who goes first once the first check of a server has succeeded: those who waited for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::doc;
use mongo_client::Client;
use mongo_client_sim::{
    NetworkConfig, Seeded, ServerConfig, Sim, SimServer, request_document, swarm::Observation,
};

const ADDRESS: &str = "a.test:27017";

#[test]
fn an_operation_that_waited_for_it_dials_before_the_next_hello() {
    // One queue, as most executors have: whoever is woken first runs first.
    let sim = Sim::new(1);
    sim.set_in_order();
    let server = SimServer::new(ServerConfig::new(ADDRESS), Box::new(Seeded::new(2)));
    let _hosted = sim.host_on(server, NetworkConfig::default(), Box::new(Seeded::new(3)));
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&log);
    sim.set_observer(Some(Box::new(move |_, what| {
        let line = match what {
            Observation::Dialled { connection, .. } => format!("dials {connection}"),
            Observation::ClientBytes { connection, bytes } => match request_document(bytes) {
                Some((.., command)) if command.contains_key("maxAwaitTimeMS") => {
                    format!("awaits changes on {connection}")
                }
                _ => return,
            },
            _ => return,
        };
        told.lock().unwrap().push(line);
    })));
    let uri = format!("mongodb://{ADDRESS}/");
    let builder = Client::builder().uri(&uri).unwrap();
    let client = builder.runtime(sim.runtime()).build().unwrap();
    sim.block_on(async {
        let things = client.database("db").collection("c");
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
    });
    let log = log.lock().unwrap();
    assert_eq!(log[..3], ["dials 1", "dials 2", "awaits changes on 1"]);
}
