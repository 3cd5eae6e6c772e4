//! What a client's first operation waits for: the first check, and nothing that can wait for it.

use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};
use mongo_client::Client;
use mongo_client_sim::{Scripted, hello_reply};
use mongo_client_tests::sim::{ADDRESS, Seen, Servers, assert_quiet, drop_after, find_reply};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A server that streams its state and takes some time for a `find`.
fn streaming(find_takes: Duration) -> Servers {
    let servers = Servers::standalone(1);
    servers.set_rule(move |seen| {
        if seen.name() == "find" {
            return Some(Scripted::Later(find_reply(seen, 0), find_takes));
        }
        let mut hello = hello_reply(&seen.command)?;
        let version = doc! { "processId": ObjectId::from_bytes([1; 12]), "counter": 0_i64 };
        hello.insert("topologyVersion", version);
        Some(if is_awaitable(seen) {
            Scripted::Later(hello, 10 * SECOND)
        } else {
            Scripted::Reply(hello)
        })
    });
    servers
}

fn is_awaitable(seen: &Seen) -> bool {
    seen.command.contains_key("maxAwaitTimeMS")
}

fn find(client: &Client) -> impl Future<Output = ()> {
    let things = client.database("db").collection::<Document>("c");
    async move {
        let found = things.find_one(doc! { "_id": 1 }).await.unwrap();
        assert_eq!(found, Some(doc! { "_id": 1 }));
    }
}

/// When the servers got the first `find`, and when the awaitable hello.
fn times(servers: &Servers) -> (Duration, Duration) {
    let first = |wanted: &dyn Fn(&Seen) -> bool| {
        let seen = servers.seen("").into_iter().find(wanted).expect("it came");
        Duration::from_nanos(seen.at.as_nanos())
    };
    (first(&|seen| seen.name() == "find"), first(&is_awaitable))
}

#[test]
fn the_second_check_begins_after_the_first_reply() {
    let servers = streaming(3 * MS);
    let client = servers.client(|_| {});
    servers.sim.block_on(find(&client));
    servers.pass(SECOND);
    let (find, check) = times(&servers);
    assert!(check >= find + 3 * MS, "{find:?} {check:?}");
    assert!(check < find + 10 * MS, "{find:?} {check:?}");
    assert_quiet(&client.handle().census());
}

#[test]
fn the_second_check_does_not_wait_for_a_slow_operation() {
    let servers = streaming(SECOND);
    let client = servers.client(|_| {});
    servers.sim.block_on(find(&client));
    let (find, check) = times(&servers);
    assert!(check < find + 11 * MS, "{find:?} {check:?}");
}

#[test]
fn the_second_check_begins_at_once_where_nobody_has_waited() {
    let servers = streaming(MS);
    let client = servers.client(|_| {});
    servers.pass(SECOND);
    servers.sim.block_on(find(&client));
    let (find, check) = times(&servers);
    let hello = servers.seen("isMaster")[0].at;
    let after = check - Duration::from_nanos(hello.as_nanos());
    assert!(after < 5 * MS && check < find, "{after:?}");
}

#[test]
fn a_client_that_ends_while_a_check_waits_leaves_nothing() {
    let servers = streaming(SECOND);
    let client = servers.client(|_| {});
    let operation = find(&client);
    let sim = servers.sim.clone();
    servers.sim.block_on(async move {
        let cut = drop_after(&sim, operation, 5 * MS).await;
        assert!(cut.is_none());
    });
    drop(client);
    servers.pass(SECOND);
    assert!(!servers.seen("").iter().any(is_awaitable));
}

#[test]
fn the_second_check_of_a_server_that_cannot_serve_begins_at_once() {
    let servers = Servers::standalone(1);
    servers.set_rule(|seen| {
        let mut hello = hello_reply(&seen.command)?;
        let version = doc! { "processId": ObjectId::from_bytes([1; 12]), "counter": 0_i64 };
        hello.extend(doc! {
            "topologyVersion": version, "isWritablePrimary": false, "ismaster": false,
            "secondary": true, "setName": "rs", "setVersion": 1, "hosts": [ADDRESS],
        });
        Some(match is_awaitable(seen) {
            true => Scripted::Later(hello, 10 * SECOND),
            false => Scripted::Reply(hello),
        })
    });
    let client = servers.client(|options| {
        options.repl_set_name = Some("rs".to_owned());
        options.server_selection_timeout = Some(SECOND);
    });
    servers.sim.block_on(async {
        let things = client.database("db").collection::<Document>("c");
        things.find_one(doc! {}).await.unwrap_err();
    });
    let seen = servers.seen("");
    let hello = seen.iter().find(|seen| seen.name() == "isMaster").unwrap();
    let check = seen.iter().find(|seen| is_awaitable(seen)).unwrap();
    assert!(check.at - hello.at < 5 * MS, "{seen:?}");
}
