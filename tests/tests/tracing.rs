//! What the client tells `tracing`, on the scripted runtime (specification: "Logging").

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use mongo_client::{Client, Collection, error::ErrorKind};
use mongo_client_core::read_preference::{ReadPreference, SelectionCriteria};
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::{
    logs::{Entry, Logs, messages},
    sim::{ADDRESS, Servers, drop_after},
};
use tracing::Level;

const A: &str = "a.test:27017";
const B: &str = "b.test:27018";
const COMPONENTS: [&str; 4] = ["command", "connection", "server_selection", "topology"];

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

/// The keys of a command's message, and those given.
fn command_keys<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut keys = vec![
        "commandName",
        "databaseName",
        "driverConnectionId",
        "operationId",
        "requestId",
        "serverConnectionId",
        "serverHost",
        "serverPort",
    ];
    keys.extend(more);
    keys.sort_unstable();
    keys
}

#[test]
fn a_command_is_told_when_it_starts_and_when_it_succeeds() {
    let logs = heard(Level::DEBUG, async |_, client| {
        things(&client).insert_one(doc! { "_id": 1 }).await.unwrap();
    });
    let events = logs.component("command");
    // Neither handshakes nor heartbeats are commands of an application.
    assert_eq!(messages(&events), ["Command started", "Command succeeded"]);
    let [started, succeeded] = &events[..] else {
        unreachable!("there are two")
    };
    for event in [started, succeeded] {
        assert_eq!(event.level, Level::DEBUG);
        assert_host(event);
        assert_eq!(event.text("commandName"), "insert");
        assert_eq!(event.text("databaseName"), "db");
        assert_eq!(event.field("driverConnectionId"), 1);
    }
    assert_eq!(keys(started), command_keys(&["command"]));
    assert_eq!(keys(succeeded), command_keys(&["durationMS", "reply"]));
    for same in ["requestId", "operationId", "serverConnectionId"] {
        assert_eq!(started.field(same), succeeded.field(same));
        assert!(started.field(same).is_i64() || started.field(same).is_u64());
    }
    let command = started.text("command");
    assert!(command.starts_with("{\"insert\":\"c\","), "{command}");
    assert!(command.contains("\"$db\":\"db\""), "{command}");
    assert!(
        command.ends_with("\"documents\":[{\"_id\":1}]}"),
        "{command}"
    );
    assert_eq!(succeeded.text("reply"), "{\"n\":1,\"ok\":1.0}");
    assert!(succeeded.field("durationMS").is_f64());
}

#[test]
fn a_command_that_fails_is_told_with_its_failure() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.set_rule(|seen| {
            (seen.name() == "ping").then(|| {
                Scripted::Reply(doc! {
                    "ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": "not for you",
                    "errorLabels": ["Special"],
                })
            })
        });
        let ping = doc! { "ping": 1 };
        client.database("db").run_command(ping).await.unwrap_err();
    });
    let failed = logs.one("Command failed");
    assert_eq!(failed.level, Level::DEBUG);
    assert_eq!(keys(&failed), command_keys(&["durationMS", "failure"]));
    assert_eq!(failed.text("commandName"), "ping");
    for part in ["not for you", "13", "Unauthorized", "Special"] {
        assert!(failed.text("failure").contains(part), "{failed:?}");
    }
}

#[test]
fn a_command_whose_connection_breaks_is_told_with_the_error() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.set_rule(|seen| (seen.name() == "ping").then_some(Scripted::Close));
        let ping = doc! { "ping": 1 };
        client.database("db").run_command(ping).await.unwrap_err();
        servers.sim.sleep(Duration::from_secs(1)).await;
    });
    let failed = logs.one("Command failed");
    assert!(
        failed.text("failure").contains("network error"),
        "{failed:?}"
    );
    let closed = logs.one("Connection closed");
    assert_eq!(
        closed.text("reason"),
        "An error occurred while using the connection"
    );
    assert!(closed.text("error").contains("network error"), "{closed:?}");
    assert_host(&logs.one("Connection pool cleared"));
}

#[test]
fn documents_are_cut_at_1000_bytes_by_default() {
    let logs = heard(Level::DEBUG, async |servers, client| {
        servers.set_rule(|seen| {
            (seen.name() == "find").then(|| {
                let batch = vec![doc! { "x": "y" }; 100];
                Scripted::Reply(doc! {
                    "cursor": { "firstBatch": batch, "id": 0_i64, "ns": "db.c" }, "ok": 1.0,
                })
            })
        });
        let things = things(&client);
        things
            .insert_many(vec![doc! { "x": "y" }; 100])
            .await
            .unwrap();
        things.find_one(doc! {}).await.unwrap();
    });
    let started = logs.with_message("Command started");
    let succeeded = logs.with_message("Command succeeded");
    assert_eq!(started[0].text("command").len(), 1_000 + "...".len());
    assert!(started[0].text("command").ends_with("..."));
    assert!(succeeded[0].text("reply").len() <= 1_000 + "...".len());
    assert_eq!(succeeded[1].text("reply").len(), 1_000 + "...".len());
}

#[test]
fn an_option_sets_the_length_and_no_character_is_split() {
    let text = "漢".repeat(20);
    for (limit, kept) in [(5, 5), (40, 39), (41, 39), (42, 42)] {
        let logs = Logs::new(Level::DEBUG);
        logs.listen(|| {
            let servers = Servers::standalone(1);
            let (echo, limit) = (text.clone(), Some(limit));
            servers.set_rule(move |seen| match seen.name() {
                "echo" => Some(Scripted::Reply(doc! { "echoed": &echo, "ok": 1.0 })),
                "fails" => Some(Scripted::Reply(
                    doc! { "ok": 0.0, "code": 1, "errmsg": &echo },
                )),
                _ => None,
            });
            let client = servers.client(|o| o.tracing_max_document_length_bytes = limit);
            servers.sim.block_on(async {
                let db = client.database("db");
                db.run_command(doc! { "echo": &text }).await.unwrap();
                db.run_command(doc! { "fails": &text }).await.unwrap_err();
            });
        });
        let started = &logs.with_message("Command started")[0];
        let reply = logs.one("Command succeeded");
        let failure = logs.one("Command failed");
        for text in [
            started.text("command"),
            reply.text("reply"),
            failure.text("failure"),
        ] {
            let shown = text.strip_suffix("...").expect("a mark at the end");
            assert!(
                shown.len() <= limit && shown.len() + 3 > limit,
                "{limit}: {text}"
            );
        }
        // `{"echo":"` and `{"echoed":"` are 9 and 11 bytes long, a character is 3.
        assert_eq!(started.text("command").len() - 3, kept, "{limit}");
    }
}

#[test]
fn commands_with_secrets_are_not_shown() {
    let commands = [
        doc! { "authenticate": 1, "mechanism": "MONGODB-X509", "user": "sesame" },
        doc! { "saslStart": 1, "payload": "sesame", "db": "admin" },
        doc! { "saslContinue": 1, "conversationId": 0, "payload": "sesame" },
        doc! { "getnonce": 1, "x": "sesame" },
        doc! { "createUser": "sesame", "pwd": "sesame", "roles": [] },
        doc! { "updateUser": "sesame", "pwd": "sesame", "roles": [] },
        doc! { "copydbgetnonce": 1, "fromhost": "sesame" },
        doc! { "copydbsaslstart": 1, "payload": "sesame" },
        doc! { "copydb": 1, "key": "sesame" },
        doc! { "CREATEUSER": "sesame", "pwd": "sesame" },
        doc! { "hello": 1, "speculativeAuthenticate": { "saslStart": 1, "payload": "sesame" } },
        doc! { "ismaster": 1, "speculativeAuthenticate": { "saslStart": 1, "x": "sesame" } },
        doc! { "isMaster": 1, "speculativeAuthenticate": { "saslStart": 1, "x": "sesame" } },
    ];
    for fails in [false, true] {
        let logs = heard(Level::TRACE, async |servers, client| {
            servers.set_rule(move |seen| {
                let secret = seen.command.get_str("$db").is_ok_and(|db| db == "secret");
                secret.then(|| {
                    let ok = if fails { 0.0 } else { 1.0 };
                    let reply =
                        doc! { "ok": ok, "code": 11, "errmsg": "sesame", "reply": "sesame" };
                    Scripted::Reply(reply)
                })
            });
            for command in &commands {
                let result = client.database("secret").run_command(command.clone()).await;
                assert_eq!(result.is_err(), fails);
            }
        });
        let started = logs.with_message("Command started");
        assert_eq!(started.len(), commands.len());
        for (event, command) in started.iter().zip(&commands) {
            assert_eq!(event.text("command"), "{}");
            assert_eq!(
                Some(event.text("commandName")),
                command.keys().next().map(String::as_str)
            );
        }
        let (ended, field) = match fails {
            true => ("Command failed", "failure"),
            false => ("Command succeeded", "reply"),
        };
        let ended = logs.with_message(ended);
        assert_eq!(ended.len(), commands.len());
        for event in &ended {
            match fails {
                true => assert!(event.text(field).contains("redacted"), "{event:?}"),
                false => assert_eq!(event.text(field), "{}"),
            }
        }
        let all = format!("{:?} {:?}", logs.events(), logs.spans());
        assert!(!all.contains("sesame"), "{all}");
    }
}

#[test]
fn a_hello_without_authentication_is_shown() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let db = client.database("db");
        db.run_command(doc! { "hello": 1 }).await.unwrap();
    });
    let started = logs.one("Command started");
    assert!(started.text("command").starts_with("{\"hello\":1,"));
    let reply = logs.one("Command succeeded");
    assert!(reply.text("reply").contains("isWritablePrimary"));
}

#[test]
fn an_unacknowledged_write_succeeds_with_ok() {
    let logs = heard(Level::DEBUG, async |_, client| {
        let concern = mongo_client::options::WriteConcern::nodes(0);
        let things = things(&client);
        let insert = things.insert_one(doc! { "_id": 1 });
        insert.write_concern(concern).await.unwrap();
    });
    assert_eq!(logs.one("Command succeeded").text("reply"), "{\"ok\":1}");
}

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

#[test]
fn texts_of_servers_are_cut_wherever_they_stand() {
    let long = "é".repeat(50_000);
    for name in ["ping", "hello"] {
        let errmsg = long.clone();
        let logs = heard(Level::DEBUG, async |servers, client| {
            servers.set_rule(move |seen| {
                let hello = matches!(seen.name(), "hello" | "isMaster" | "ismaster");
                let failure = doc! { "ok": 0.0, "code": 91, "errmsg": &errmsg };
                (seen.name() == name || (name == "hello" && hello))
                    .then_some(Scripted::Reply(failure))
            });
            let ping = doc! { "ping": 1 };
            client.database("db").run_command(ping).await.unwrap_err();
        });
        let spans = logs.spans();
        let fields = spans.values().flat_map(|span| &span.fields);
        let events = logs.events();
        let fields = fields.chain(events.iter().flat_map(|event| &event.fields));
        let mut cut = 0;
        for (field, value) in fields {
            let text = value.as_str().unwrap_or_default();
            assert!(text.len() < 2_000, "{name}: {field} has {}", text.len());
            cut += usize::from(text.contains("ééé..."));
        }
        assert!(cut >= 3, "{name}: {events:?}");
    }
}
