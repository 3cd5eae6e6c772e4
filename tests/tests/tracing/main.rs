//! What the client tells `tracing`, on the scripted runtime (specification: "Logging").

mod commands;
mod connections;
mod servers;
mod spans;

use std::time::Duration;

use bson::Document;
use mongo_client::{Client, Collection};
use mongo_client_tests::{
    logs::{Entry, Logs},
    sim::Servers,
};
use tracing::Level;

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("c")
}

/// Runs a test's section on a standalone server while somebody listens.
fn heard(level: Level, section: impl AsyncFnOnce(&Servers, Client)) -> Logs {
    let logs = Logs::new(level);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let client = servers.client(|options| {
            options.server_selection_timeout = Some(Duration::from_millis(900));
        });
        servers.sim.block_on(section(&servers, client));
    });
    assert_eq!(Logs::entered(), 0, "a span was left open on this thread");
    logs
}

fn keys(entry: &Entry) -> Vec<&str> {
    let mut keys: Vec<_> = entry.fields.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn assert_host(entry: &Entry) {
    assert_eq!(entry.text("serverHost"), "db.test");
    assert_eq!(entry.field("serverPort"), 27017);
}
