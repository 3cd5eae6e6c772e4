//! What is told of pools and their connections (specification: "Connection Monitoring and Pooling").

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::{
    logs::{Logs, messages},
    sim::{ADDRESS, Servers},
};
use tracing::Level;

use super::{assert_host, heard, keys};

#[test]
fn a_pool_is_told_from_its_beginning_to_its_end() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let db = client.database("db");
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        client.shutdown().await;
    });
    let events = logs.component("connection");
    let mut expected = vec![
        "Connection pool created",
        "Connection pool ready",
        "Connection checkout started",
        "Connection created",
        "Connection ready",
        "Connection checked out",
        "Connection checked in",
    ];
    // The second command, and the end of the session.
    for _ in 0..2 {
        expected.extend([
            "Connection checkout started",
            "Connection checked out",
            "Connection checked in",
        ]);
    }
    expected.extend(["Connection closed", "Connection pool closed"]);
    assert_eq!(messages(&events), expected);
    for event in &events {
        assert_eq!(event.level, Level::DEBUG);
        assert_host(event);
        let mut more = vec!["serverHost", "serverPort"];
        match &*event.message {
            "Connection created" | "Connection checked in" => more.push("driverConnectionId"),
            "Connection ready" | "Connection checked out" => {
                more.extend(["driverConnectionId", "durationMS"]);
            }
            "Connection closed" => more.extend(["driverConnectionId", "reason"]),
            _ => {}
        }
        more.sort_unstable();
        assert_eq!(keys(event), more, "{event:?}");
    }
    let closed = logs.one("Connection closed");
    assert_eq!(closed.text("reason"), "Connection pool was closed");
    assert_eq!(closed.field("driverConnectionId"), 1);
}

#[test]
fn a_pool_tells_the_options_that_were_set() {
    let logs = Logs::new(Level::DEBUG);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let client = servers.client(|options| {
            options.max_pool_size = Some(5);
            options.min_pool_size = Some(0);
            options.max_connecting = Some(3);
            options.max_idle_time = Some(Duration::from_secs(10));
            options.wait_queue_timeout = Some(Duration::from_millis(1_500));
        });
        let db = client.database("db");
        let ping = servers
            .sim
            .block_on(async { db.run_command(doc! { "ping": 1 }).await });
        ping.unwrap();
    });
    let created = logs.one("Connection pool created");
    assert_eq!(created.field("maxPoolSize"), 5);
    assert_eq!(created.field("minPoolSize"), 0);
    assert_eq!(created.field("maxConnecting"), 3);
    assert_eq!(created.field("maxIdleTimeMS"), 10_000);
    assert_eq!(created.field("waitQueueTimeoutMS"), 1_500);
    assert_eq!(keys(&created).len(), 7);
}

#[test]
fn a_checkout_that_fails_tells_why() {
    let logs = Logs::new(Level::DEBUG);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let client = servers.client(|options| {
            options.max_pool_size = Some(1);
            options.wait_queue_timeout = Some(Duration::from_millis(20));
        });
        servers.set_rule(|seen| {
            let slow = Scripted::Later(doc! { "ok": 1.0 }, Duration::from_millis(100));
            (seen.name() == "ping").then_some(slow)
        });
        let ping = || async {
            let db = client.database("db");
            db.run_command(doc! { "ping": 1 }).await
        };
        let results = servers.sim.block_on(join_all([ping(), ping()]));
        assert_eq!(results.iter().filter(|r| r.is_err()).count(), 1);
    });
    let failed = logs.one("Connection checkout failed");
    assert_eq!(
        failed.text("reason"),
        "Wait queue timeout elapsed without a connection becoming available"
    );
    assert_eq!(failed.field("durationMS"), 20.0);
    assert_eq!(
        keys(&failed),
        ["durationMS", "reason", "serverHost", "serverPort"]
    );
}

#[test]
fn a_connection_that_cannot_be_opened_is_told_with_its_error() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        let db = client.database("db");
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        // The monitor has its connection; new ones are refused.
        servers.set_rule(|seen| {
            matches!(seen.name(), "ping").then_some(Scripted::Later(
                doc! { "ok": 1.0 },
                Duration::from_millis(50),
            ))
        });
        servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
        let ping = || async { db.run_command(doc! { "ping": 1 }).await };
        join_all([ping(), ping()]).await;
    });
    let failed = logs.with_message("Connection checkout failed");
    let failed = failed.first().expect("a checkout failed");
    assert_eq!(
        failed.text("reason"),
        "An error occurred while trying to establish a new connection"
    );
    assert!(failed.text("error").contains("refused"), "{failed:?}");
    let closed = logs.with_message("Connection closed");
    assert!(closed[0].text("error").contains("refused"), "{closed:?}");
}
