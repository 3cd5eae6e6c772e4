//! Elections on virtual time, one after the other: servers that end operations before they step down,
//! and refuse them afterwards.

use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};
use futures_util::future::join_all;
use mongo_client::{
    Client, Collection,
    error::Result,
    options::{ClientOptions, ReadPreference, ReadPreferenceOptions, ServerMonitoringMode},
};
use mongo_client_sim::{Scripted, member_reply};
use mongo_client_tests::sim::{Seen, Servers, assert_quiet};

const MS: Duration = Duration::from_millis(1);
const A: &str = "a.test:27017";
const B: &str = "b.test:27018";
const C: &str = "c.test:27019";
const HOSTS: [&str; 3] = [A, B, C];

/// When which server begins or ends to be primary, in milliseconds.
const CHANGES: [(u64, &str, bool); 5] = [
    (0, A, true),
    (3_000, A, false),
    (3_100, B, true),
    (3_200, B, false),
    (3_300, C, true),
];
/// So long before it steps down, a primary ends every operation. The second one is primary no longer.
const INTERRUPTED: u64 = 100;
/// When virtual time begins.
const EPOCH: u64 = 1_000;

fn millis(seen: &Seen) -> u64 {
    seen.at.as_nanos() / 1_000_000 - EPOCH
}

fn changes_of(server: &str) -> impl Iterator<Item = (u64, bool)> {
    let of_server = CHANGES.iter().filter(move |(_, of, _)| *of == server);
    of_server.map(|(at, _, elected)| (*at, *elected))
}

/// How many changes a server has seen by now, itself included.
fn counter(server: &str, now: u64) -> i64 {
    let past = changes_of(server).filter(|(at, _)| *at <= now).count();
    i64::try_from(past).unwrap()
}

fn is_primary(server: &str, now: u64) -> bool {
    let past = changes_of(server).filter(|(at, _)| *at <= now);
    past.last().is_some_and(|(_, elected)| elected)
}

fn version(server: &str, now: u64) -> Document {
    doc! { "processId": ObjectId::from_bytes([7; 12]), "counter": counter(server, now) }
}

fn hello(seen: &Seen, now: u64) -> Option<Document> {
    let primary = HOSTS.into_iter().find(|host| is_primary(host, now));
    let mut reply = member_reply(&seen.command, &HOSTS, seen.address, primary.unwrap_or(""))?;
    if primary.is_none() {
        reply.remove("primary");
    }
    reply.insert("topologyVersion", version(seen.address, now));
    Some(reply)
}

/// An awaited hello is answered at the server's next change.
fn hello_or_news(seen: &Seen) -> Option<Scripted> {
    let now = millis(seen);
    let known = seen.command.get_document("topologyVersion");
    let known = known.ok().and_then(|v| v.get_i64("counter").ok());
    if known != Some(counter(seen.address, now)) {
        return Some(Scripted::Reply(hello(seen, now)?));
    }
    let next = changes_of(seen.address)
        .map(|(at, _)| at)
        .find(|at| *at > now);
    let at = next.unwrap_or(now + 10_000);
    Some(Scripted::Later(
        hello(seen, at)?,
        u32::try_from(at - now).unwrap() * MS,
    ))
}

fn refusal(seen: &Seen, code: i32) -> Scripted {
    let labels = ["RetryableWriteError"];
    let version = version(seen.address, millis(seen));
    Scripted::Reply(doc! {
        "ok": 0.0, "code": code, "errmsg": "refused", "errorLabels": labels, "topologyVersion": version,
    })
}

/// What a member answers by its role.
fn in_role(seen: &Seen) -> Option<Scripted> {
    if !matches!(seen.name(), "insert" | "find") {
        return hello_or_news(seen);
    }
    let now = millis(seen);
    let steps_down = changes_of(seen.address)
        .any(|(at, elected)| !elected && (at.saturating_sub(INTERRUPTED)..at).contains(&now));
    match is_primary(seen.address, now) {
        true if steps_down => Some(refusal(seen, 11602)),
        true => None,
        false => Some(refusal(seen, 10107)),
    }
}

fn set(seed: u64, change: impl FnOnce(&mut ClientOptions)) -> (Servers, Client) {
    let servers = Servers::replica_set(seed, &HOSTS);
    servers.set_rule(in_role);
    let client = servers.client(change);
    (servers, client)
}

async fn insert(servers: &Servers, things: &Collection<Document>, number: u64) -> Result<()> {
    let number = i64::try_from(number).unwrap();
    let until = u32::try_from(number).unwrap() * MS;
    servers.sim.sleep(until).await;
    things.insert_one(doc! { "_id": number }).await.map(drop)
}

/// The servers that an insert was sent to, in order.
fn path(servers: &Servers, number: u64) -> Vec<&'static str> {
    let number = i64::try_from(number).unwrap();
    let seen = servers.seen("insert").into_iter();
    let of_number = seen.filter(|seen| seen.token().and_then(bson::Bson::as_i64) == Some(number));
    of_number.map(|seen| seen.address).collect()
}

#[test]
fn an_operation_that_a_step_down_ends_waits_until_it_is_told() {
    let (servers, client) = set(1, |_| {});
    let things = client.database("db").collection("c");
    servers
        .sim
        .block_on(insert(&servers, &things, 2_980))
        .unwrap();
    // Nobody is asked twice, also not the second primary, which steps down as well.
    assert_eq!(path(&servers, 2_980), [A, B, C]);
    assert_quiet(&client.handle().census());
}

#[test]
fn a_monitor_that_polls_is_not_waited_for_and_nothing_is_lost() {
    let (servers, client) = set(2, |o| {
        o.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
    });
    let things = client.database("db").collection("c");
    servers
        .sim
        .block_on(insert(&servers, &things, 2_950))
        .unwrap();
    let path = path(&servers, 2_950);
    assert_eq!(path[..2], [A, A]);
    let seen = servers.seen("insert");
    let pause = seen[1].at - seen[0].at;
    assert!((100 * MS..110 * MS).contains(&pause), "{pause:?}");
    assert_quiet(&client.handle().census());
}

#[test]
fn two_elections_in_a_row_fail_no_write_and_no_read() {
    for (seed, mode) in (3..).zip([ServerMonitoringMode::Stream, ServerMonitoringMode::Poll]) {
        let (servers, client) = set(seed, |o| o.server_monitoring_mode = Some(mode));
        let things = client.database("db").collection("c");
        let one = |number| {
            let (servers, things) = (&servers, &things);
            async move {
                insert(servers, things, number).await?;
                things.find_one(doc! { "_id": 0 }).await
            }
        };
        let all = join_all((2_900..3_350).step_by(5).map(one));
        for done in servers.sim.block_on(all) {
            done.unwrap();
        }
        assert_quiet(&client.handle().census());
    }
}

#[test]
fn a_server_that_refuses_in_one_state_is_asked_twice() {
    for (code, pauses) in [(11602, true), (10107, true), (262, false)] {
        let (servers, client) = set(5, |_| {});
        servers.set_rule(move |seen| match seen.name() {
            "insert" => Some(refusal(seen, code)),
            _ => hello_or_news(seen),
        });
        let things = client.database("db").collection("c");
        let failed = servers.sim.block_on(insert(&servers, &things, 1_000));
        assert_eq!(failed.unwrap_err().code(), Some(code));
        let seen = servers.seen("insert");
        assert_eq!(seen.len(), 2);
        let pause = seen[1].at - seen[0].at;
        assert_eq!(
            (100 * MS..110 * MS).contains(&pause),
            pauses,
            "{code}: {pause:?}"
        );
    }
}

#[test]
fn the_wait_for_news_ends_with_the_time_for_a_selection() {
    let (servers, client) = set(6, |o| o.server_selection_timeout = Some(40 * MS));
    servers.set_rule(move |seen| match seen.name() {
        "insert" => Some(refusal(seen, 11602)),
        _ => hello_or_news(seen),
    });
    let things = client.database("db").collection("c");
    let failed = servers.sim.block_on(insert(&servers, &things, 1_000));
    assert_eq!(failed.unwrap_err().code(), Some(11602));
    let seen = servers.seen("insert");
    assert_eq!(seen.len(), 2);
    assert!((40 * MS..50 * MS).contains(&(seen[1].at - seen[0].at)));
}

#[test]
fn a_read_that_another_server_may_serve_does_not_wait_for_news() {
    let nearest = ReadPreference::nearest(ReadPreferenceOptions::default());
    let preferred = ReadPreference::primary_preferred(ReadPreferenceOptions::default());
    let mut refused = 0;
    for seed in 20..40 {
        for preference in [&nearest, &preferred] {
            let (servers, client) = set(seed, |_| {});
            servers.set_rule(|seen| match (seen.name(), seen.address) {
                ("find", A) => Some(refusal(seen, 11602)),
                ("find", _) => None,
                _ => hello_or_news(seen),
            });
            let things = client.database("db").collection::<Document>("c");
            let found = servers.sim.block_on(async {
                servers.sim.sleep(1_000 * MS).await;
                let find = things.find_one(doc! { "_id": 0 });
                find.selection_criteria(preference.clone()).await
            });
            found.unwrap();
            let seen = servers.seen("find");
            if let [first, second] = &seen[..] {
                refused += 1;
                assert!(first.address == A && second.address != A, "{seen:?}");
                let pause = second.at - first.at;
                assert!(pause < 10 * MS, "{pause:?}");
            }
            assert_quiet(&client.handle().census());
        }
    }
    assert!(refused > 20, "only {refused} reads were refused");
}
