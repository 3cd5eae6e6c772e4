//! What is told of servers: their selection and the topology.

use std::time::Duration;

use bson::doc;
use mongo_client::error::ErrorKind;
use mongo_client_core::read_preference::{ReadPreference, SelectionCriteria};
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::{logs::messages, sim::ADDRESS};
use tracing::Level;

use super::{assert_host, heard, keys, things};

#[test]
fn a_selection_is_told_when_it_starts_and_when_it_succeeds() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.sim.sleep(Duration::from_millis(100)).await;
        things(&client).insert_one(doc! { "_id": 1 }).await.unwrap();
    });
    let events = logs.component("server_selection");
    assert_eq!(
        messages(&events),
        ["Server selection started", "Server selection succeeded"]
    );
    let common = [
        "operation",
        "operationId",
        "selector",
        "topologyDescription",
    ];
    for event in &events {
        assert_eq!(event.level, Level::DEBUG);
        assert_eq!(event.text("operation"), "insert");
        assert_eq!(
            event.field("operationId"),
            logs.one("Command started").field("operationId")
        );
        let topology = event.text("topologyDescription");
        assert!(topology.contains("type: Single"), "{topology}");
        assert!(topology.contains("db.test:27017"), "{topology}");
    }
    assert_eq!(keys(&events[0]), common);
    assert_host(&events[1]);
    assert_eq!(keys(&events[1]).len(), common.len() + 2);
}

#[test]
fn a_selection_that_waits_and_fails_says_so_once() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
        let found = things(&client).find_one(doc! {}).await;
        let error = found.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::ServerSelection { .. }));
    });
    let events = logs.component("server_selection");
    assert_eq!(
        messages(&events),
        [
            "Server selection started",
            "Waiting for suitable server to become available",
            "Server selection failed",
        ]
    );
    let waiting = &events[1];
    assert_eq!(waiting.level, Level::INFO);
    assert_eq!(waiting.field("remainingTimeMS"), 900);
    assert_eq!(waiting.text("operation"), "find");
    let failed = &events[2];
    assert_eq!(failed.level, Level::DEBUG);
    // What has a field of its own is not said twice.
    assert!(!failed.text("failure").contains("db.test"), "{failed:?}");
    assert!(failed.text("topologyDescription").contains("refused"));
}

#[test]
fn a_selector_shows_the_whole_read_preference() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let tags = [("dc".to_owned(), "ny".to_owned())].into();
        let options = mongo_client::options::ReadPreferenceOptions::builder()
            .tag_sets(vec![tags])
            .max_staleness(Duration::from_secs(120))
            .build();
        let criteria = SelectionCriteria::ReadPreference(ReadPreference::Nearest {
            options: Some(options),
        });
        let things = things(&client);
        let find = things.find_one(doc! {});
        find.selection_criteria(criteria).await.unwrap();
    });
    let selector = logs.one("Server selection succeeded");
    let selector = selector.text("selector");
    for part in ["nearest", "dc", "ny", "120"] {
        assert!(selector.contains(part), "{selector}");
    }
}

#[test]
fn the_topology_is_told_from_its_beginning_to_its_end() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let db = client.database("db");
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        client.shutdown().await;
    });
    let mut events = logs.component("topology");
    let id = events[0].field("topologyId").clone();
    for event in &events {
        assert_eq!(event.level, Level::DEBUG);
        assert_eq!(*event.field("topologyId"), id);
    }
    events.retain(|event| !event.message.contains("heartbeat"));
    assert_eq!(
        messages(&events),
        [
            "Starting topology monitoring",
            "Topology description changed",
            "Starting server monitoring",
            "Topology description changed",
            "Stopped server monitoring",
            "Topology description changed",
            "Stopped topology monitoring",
        ]
    );
    assert_eq!(keys(&events[0]), ["topologyId"]);
    assert_eq!(
        keys(&events[1]),
        ["newDescription", "previousDescription", "topologyId"]
    );
    assert!(
        events[3]
            .text("previousDescription")
            .contains("type: Unknown")
    );
    assert!(
        events[3]
            .text("newDescription")
            .contains("type: Standalone")
    );
    assert_host(&events[2]);
    assert_host(&events[4]);
}

#[test]
fn heartbeats_are_told() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        let db = client.database("db");
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
        servers.set_rule(|seen| {
            matches!(seen.name(), "hello" | "isMaster").then_some(Scripted::Close)
        });
        servers.sim.sleep(Duration::from_secs(30)).await;
    });
    let started = &logs.with_message("Server heartbeat started")[0];
    assert_host(started);
    let common = [
        "awaited",
        "driverConnectionId",
        "serverHost",
        "serverPort",
        "topologyId",
    ];
    assert_eq!(keys(started), common);
    let succeeded = &logs.with_message("Server heartbeat succeeded")[0];
    assert_host(succeeded);
    assert!(succeeded.field("durationMS").is_f64());
    assert!(succeeded.field("awaited").is_boolean());
    assert!(succeeded.text("reply").contains("maxWireVersion"));
    let failed = &logs.with_message("Server heartbeat failed")[0];
    assert!(failed.field("durationMS").is_f64());
    assert!(failed.text("failure").contains("network error"));
}
