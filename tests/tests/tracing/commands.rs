//! What is told of commands (specification: "Command Logging and Monitoring").

use std::time::Duration;

use bson::doc;
use mongo_client_sim::Scripted;
use mongo_client_tests::{
    logs::{Logs, messages},
    sim::Servers,
};
use tracing::Level;

use super::{assert_host, heard, keys, things};

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
