//! Levels, targets, and the span of each operation.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use mongo_client::Client;
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::{
    logs::Logs,
    sim::{ADDRESS, Servers, drop_after},
};
use tracing::Level;

use super::{heard, things};

const A: &str = "a.test:27017";
const B: &str = "b.test:27018";
const COMPONENTS: [&str; 4] = ["command", "connection", "server_selection", "topology"];

#[test]
fn nothing_is_told_below_the_level() {
    for level in [Level::ERROR, Level::WARN, Level::INFO] {
        let logs = heard(level, async |servers, client| {
            servers.sim.sleep(Duration::from_millis(100)).await;
            things(&client).insert_one(doc! { "_id": 1 }).await.unwrap();
            client.shutdown().await;
        });
        assert!(logs.events().is_empty(), "{:?}", logs.events());
        assert!(logs.spans().is_empty());
    }
}

#[test]
fn each_component_can_be_listened_to_alone() {
    for component in COMPONENTS {
        let target: &'static str = match component {
            "command" => "mongo_client::command",
            "connection" => "mongo_client::connection",
            "server_selection" => "mongo_client::server_selection",
            _ => "mongo_client::topology",
        };
        let logs = Logs::of(target, Level::DEBUG);
        logs.listen(|| {
            let servers = Servers::standalone(1);
            let client = servers.client(|_| {});
            servers.sim.block_on(async {
                things(&client).insert_one(doc! { "_id": 1 }).await.unwrap();
            });
        });
        let events = logs.events();
        assert!(!events.is_empty(), "{target}");
        assert!(
            events.iter().all(|event| event.target == target),
            "{events:?}"
        );
    }
}

#[test]
fn warnings_of_connection_strings_are_told() {
    let logs = Logs::new(Level::WARN);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let uri = format!("mongodb://{ADDRESS}/?noSuchOption=1");
        let builder = Client::builder().uri(&uri).unwrap();
        builder.runtime(servers.sim.runtime()).build().unwrap();
    });
    let events = logs.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].target, "mongo_client");
    assert_eq!(events[0].level, Level::WARN);
    assert!(events[0].message.contains("noSuchOption"));
}

#[test]
fn each_operation_has_a_span_that_is_entered_only_while_it_runs() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let things = things(&client);
        let finds = (0..3).map(|i| {
            let things = things.clone();
            async move { things.find_one(doc! { "_id": i }).await }
        });
        for found in join_all(finds).await {
            found.unwrap();
        }
    });
    let spans = logs.spans();
    assert_eq!(spans.len(), 3);
    for (id, span) in &spans {
        assert_eq!(span.name, "mongo_client.operation");
        assert_eq!(span.target, "mongo_client::operation");
        assert_eq!(span.fields["db.system.name"], "mongodb");
        assert_eq!(span.fields["db.namespace"], "db");
        assert_eq!(span.fields["db.operation.name"], "find");
        assert_eq!(span.fields["db.collection.name"], "c");
        assert_eq!(span.fields["server.address"], "db.test");
        assert_eq!(span.fields["server.port"], 27017);
        assert!(span.closed && span.entered > 1, "{span:?}");
        // What an operation tells is in its own span, also while others run.
        let events = logs.events();
        let mine = events.iter().filter(|event| event.span == Some(*id));
        let mine: Vec<_> = mine.collect();
        assert_eq!(mine.len(), 5, "{mine:?}");
        for event in mine {
            assert_eq!(*event.field("operationId"), span.fields["operationId"]);
        }
    }
    for event in logs.events() {
        let alone = ["connection", "topology"].map(|c| format!("mongo_client::{c}"));
        assert_eq!(
            event.span.is_none(),
            alone.contains(&event.target),
            "{event:?}"
        );
    }
}

#[test]
fn a_span_belongs_to_the_callers() {
    let logs = Logs::of("", Level::DEBUG);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let client = servers.client(|_| {});
        let outer = tracing::debug_span!("outer");
        let find = async { things(&client).find_one(doc! {}).await };
        servers
            .sim
            .block_on(tracing::Instrument::instrument(find, outer))
            .unwrap();
    });
    let spans = logs.spans();
    let outer = spans.iter().find(|(_, span)| span.name == "outer").unwrap();
    let inner = spans
        .values()
        .find(|span| span.name == "mongo_client.operation");
    assert_eq!(inner.unwrap().parent, Some(*outer.0));
}

#[test]
fn a_dropped_operation_leaves_no_span_behind() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.set_rule(|seen| (seen.name() == "find").then_some(Scripted::Silence));
        let things = things(&client);
        let found = drop_after(
            &servers.sim,
            things.find_one(doc! {}),
            Duration::from_millis(50),
        );
        assert!(found.await.is_none());
        assert_eq!(Logs::entered(), 0);
    });
    let spans = logs.spans();
    assert_eq!(spans.len(), 1);
    assert!(spans.values().all(|span| span.closed), "{spans:?}");
}

#[test]
fn an_operation_that_fails_has_its_error_in_the_span() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
        things(&client).find_one(doc! {}).await.unwrap_err();
    });
    let spans = logs.spans();
    let span = spans.values().next().unwrap();
    let error = span.fields["error"].as_str().unwrap();
    assert!(error.contains("server selection failed"), "{error}");
}

#[test]
fn retries_are_told_in_the_span_of_their_operation() {
    let logs = Logs::new(Level::DEBUG);
    logs.listen(|| {
        let servers = Servers::replica_set(1, &[A, B]);
        let client = servers.client(|_| {});
        let mut first = true;
        servers.set_rule(move |seen| {
            (seen.name() == "insert" && std::mem::take(&mut first)).then_some(Scripted::Close)
        });
        servers.sim.block_on(async {
            things(&client).insert_one(doc! { "_id": 1 }).await.unwrap();
        });
    });
    let retried = logs.one("Operation retried");
    assert_eq!(retried.target, "mongo_client::operation");
    assert_eq!(retried.field("attempt"), 2);
    assert_eq!(retried.text("operation"), "insert");
    assert!(retried.span.is_some());
    let started = logs.with_message("Command started");
    assert_eq!(started.len(), 2);
    for event in &started {
        assert_eq!(event.field("operationId"), retried.field("operationId"));
        assert_eq!(event.span, retried.span);
    }
}
