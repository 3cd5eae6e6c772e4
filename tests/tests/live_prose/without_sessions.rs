//! Sessions, prose tests 18 and 19: servers that have none. Those are simulated: every mongod that
//! the client speaks to has sessions.

use bson::{Document, doc};
use mongo_client::error::{Error, ErrorKind};
use mongo_client_sim::Scripted;
use mongo_client_tests::sim::Servers;

/// A server whose hello has no `logicalSessionTimeoutMinutes`.
fn without_sessions() -> Servers {
    let servers = Servers::standalone(1);
    servers.set_rule(|seen| {
        let hello = ["hello", "isMaster", "ismaster"].contains(&seen.name());
        hello.then(|| {
            Scripted::Reply(doc! {
                "ok": 1, "isWritablePrimary": true, "helloOk": true,
                "minWireVersion": 0, "maxWireVersion": 21,
                "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000,
            })
        })
    });
    servers
}

fn assert_not_supported(error: &Error) {
    let kind = &*error.kind;
    assert!(matches!(kind, ErrorKind::SessionsNotSupported), "{error:?}");
}

#[test]
fn prose_18_commands_carry_no_implicit_session() {
    let servers = without_sessions();
    let client = servers.client(|_| {});
    servers.sim.block_on(async {
        let people = client.database("db").collection::<Document>("people");
        // Whatever the server answers.
        let _ = people.find_one(doc! {}).await;
        let _ = people.insert_one(doc! {}).await;
    });
    for name in ["find", "insert"] {
        let seen = servers.seen(name);
        assert_eq!(seen.len(), 1, "{name}");
        assert_eq!(seen[0].lsid(), None, "{name}");
    }
}

#[test]
fn prose_19_an_explicit_session_is_an_error_of_the_operation() {
    let servers = without_sessions();
    let client = servers.client(|_| {});
    servers.sim.block_on(async {
        let people = client.database("db").collection::<Document>("people");
        let mut session = client.start_session().await.unwrap();
        let read = people.find_one(doc! {}).session(&mut session).await;
        assert_not_supported(&read.unwrap_err());
        let write = people.insert_one(doc! {}).session(&mut session).await;
        assert_not_supported(&write.unwrap_err());
    });
    assert!(servers.seen("find").is_empty() && servers.seen("insert").is_empty());
}
