//! Errors of operations and of a client's members, on the scripted runtime.

use std::{future::IntoFuture, time::Duration};

use bson::{Document, doc};
use futures_util::future::select_all;
use mongo_client::{
    error::{Error, ErrorKind, WriteFailure},
    options::{ClientOptions, ReadPreference, ReadPreferenceOptions, WriteConcern},
};
use mongo_client_sim::{Behaviour, Scripted, hello_reply};
use mongo_client_tests::sim::{ADDRESS, Servers, credential};

use crate::{Is, argument, check};

const A: &str = "a.test:27017";
const B: &str = "b.test:27018";

fn operation(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::InvalidOperation { .. })
}

fn selection(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::ServerSelection { .. }) && error.is_timeout()
}

fn full_queue(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::ConnectionCheckout { .. }) && !error.is_timeout()
}

fn late_checkout(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::ConnectionCheckout { .. }) && error.is_timeout()
}

fn late_reply(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Io(_)) && error.is_network_timeout()
}

fn login(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Authentication { .. }) && error.is_authentication()
}

fn concern(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteConcernError(_))
    )
}

/// A server at two addresses that says this of itself.
fn pair(say: impl Fn(&mut Document) + Send + 'static) -> Servers {
    let servers = Servers::replica_set(1, &[A, B]);
    servers.set_rule(move |seen| {
        let mut hello = hello_reply(&seen.command)?;
        say(&mut hello);
        Some(Scripted::Reply(hello))
    });
    servers
}

/// The error of a read by a client of these servers.
fn read(servers: &Servers, change: impl FnOnce(&mut ClientOptions)) -> Error {
    let client = servers.client(change);
    let things = client.database("db").collection::<Document>("c");
    let found = servers
        .sim
        .block_on(async { things.find_one(doc! {}).await });
    found.expect_err("the operation fails")
}

/// Servers that never answer a read.
fn silent() -> Servers {
    let servers = Servers::standalone(1);
    servers.set_rule(|seen| (seen.name() == "find").then_some(Scripted::Silence));
    servers
}

#[test]
fn servers_that_do_not_fit_are_named_by_what_is_wrong() {
    let alone = |_: &mut Document| {};
    let another = |options: &mut ClientOptions| {
        options.repl_set_name = Some("another".to_owned());
    };
    let rows: Vec<(&str, Error, Is, &[&str])> = vec![
        (
            "nobody is there",
            {
                let servers = Servers::standalone(1);
                servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse);
                read(&servers, |_| {})
            },
            selection,
            &[ADDRESS, "no suitable server"],
        ),
        (
            "nobody answers there",
            {
                let servers = Servers::standalone(1);
                servers.set_rule(|_| Some(Scripted::Silence));
                read(&servers, |options| {
                    options.connect_timeout = Some(Duration::from_millis(300));
                })
            },
            selection,
            &[ADDRESS, "connectTimeoutMS"],
        ),
        (
            "several standalone servers",
            read(&pair(alone), |options| options.repl_set_name = None),
            selection,
            &["no servers", "a standalone server cannot be one of several"],
        ),
        (
            "standalone servers in place of a set",
            read(&pair(alone), |_| {}),
            selection,
            &[
                "replica set \"rs\"",
                "no servers",
                "no member of a replica set",
            ],
        ),
        (
            "the set's name is another",
            read(&Servers::replica_set(1, &[A, B]), another),
            selection,
            &[
                "replica set \"another\"",
                "no servers",
                "its setName is \"rs\"",
            ],
        ),
        (
            "the only server's set has another name",
            read(&Servers::replica_set(1, &[A]), |options| {
                another(options);
                options.direct_connection = Some(true);
            }),
            selection,
            &[A, "\"another\"", "\"rs\""],
        ),
        (
            "nobody has the tags",
            read(&Servers::replica_set(1, &[A, B]), |options| {
                let tags = [("dc".to_owned(), "nowhere".to_owned())];
                let mut preference = ReadPreferenceOptions::default();
                preference.tag_sets = Some(vec![tags.into_iter().collect()]);
                options.selection_criteria = Some(ReadPreference::secondary(preference).into());
            }),
            selection,
            &["tag sets", "nowhere"],
        ),
        (
            "a wrong password",
            read(&Servers::standalone(1), |options| {
                let mut wrong = credential();
                wrong.password = Some("s3cret".to_owned());
                options.credential = Some(wrong);
            }),
            login,
            &[ADDRESS],
        ),
        (
            "a late reply",
            read(&silent(), |options| {
                options.socket_timeout = Some(Duration::from_millis(300));
            }),
            late_reply,
            &[ADDRESS],
        ),
    ];
    for (what, error, is, names) in &rows {
        check(what, error, *is, names);
    }
}

#[test]
fn a_full_queue_is_named_by_its_option_and_a_late_checkout_by_its_pool() {
    for (multiple, timeout, is, names) in [
        (Some(1), None, full_queue as Is, &["waitQueueMultiple"][..]),
        (
            None,
            Some(Duration::from_millis(300)),
            late_checkout,
            &["connection pool", "maxPoolSize"],
        ),
    ] {
        let servers = silent();
        let client = servers.client(|options| {
            options.max_pool_size = Some(1);
            options.wait_queue_multiple = multiple;
            options.wait_queue_timeout = timeout;
            options.retry_reads = Some(false);
        });
        let things = client.database("db").collection::<Document>("c");
        let error = servers.sim.block_on(async {
            // One has the connection and is not answered, one waits for it.
            let reads = (0..3).map(|_| Box::pin(things.find_one(doc! {}).into_future()));
            select_all(reads).await.0
        });
        check("a full pool", &error.expect_err("refused"), is, names);
    }
}

#[test]
fn what_a_client_cannot_do_is_told_by_name() {
    let servers = pair(|hello| {
        hello.insert("msg", "isdbgrid");
    });
    let client = servers.client(|options| options.repl_set_name = None);
    servers.sim.block_on(async {
        let db = client.database("db");
        db.run_command(doc! { "ping": 1 }).await.unwrap();
        let error = client.address().expect_err("there are two");
        check("address", &error, operation, &["address", "nodes"]);
        let error = client.get_default_database(None).expect_err("none");
        check("no database", &error, argument, &["default database"]);
        let error = client.fsync().lock(true).async_(true).await;
        let error = error.expect_err("cannot be had together");
        check("fsync", &error, argument, &["lock", "async"]);

        let people = db.collection::<Document>("c");
        for (set, names) in [
            ("fsync and a journal", ["fsync", "journal"]),
            ("w=0 and a journal", ["w=0", "journal"]),
            ("w=0 and fsync", ["w=0", "fsync"]),
        ] {
            let mut wanted = WriteConcern::default();
            wanted.w = set.contains("w=0").then_some(0.into());
            wanted.fsync = set.contains("fsync").then_some(true);
            wanted.journal = set.contains("journal").then_some(true);
            let insert = people.insert_one(doc! {}).write_concern(wanted);
            check(set, &insert.await.expect_err(set), argument, &names);
        }

        client.close().await;
        client.shutdown().await;
        let error = db.run_command(doc! { "ping": 1 }).await;
        let ended: Is = |error| matches!(&*error.kind, ErrorKind::Shutdown);
        check(
            "after the end",
            &error.expect_err("ended"),
            ended,
            &["shut down"],
        );
    });
    assert!(servers.seen("insert").is_empty());
}

#[test]
fn names_are_refused_by_the_rule_that_they_break() {
    let servers = Servers::standalone(1);
    let client = servers.client(|_| {});
    let long = "x".repeat(256);
    let databases = [
        ("", "empty"),
        ("a.b", "'.'"),
        ("a/b", "'/'"),
        ("a\\b", r"'\\'"),
        ("a b", "' '"),
        ("a\"b", "'\"'"),
        ("a$b", "'$'"),
        ("a\0b", r"'\0'"),
        (&long, "63 bytes"),
    ];
    let collections = [
        ("", "empty"),
        ("a..b", "\"..\""),
        (".a", "'.'"),
        ("a.", "'.'"),
        ("a$b", "'$'"),
        ("a\0b", r"'\0'"),
        (&long, "255 bytes"),
    ];
    let of_databases = databases.map(|(name, rule)| (name, "c", "database", rule));
    let of_collections = collections.map(|(name, rule)| ("db", name, "collection", rule));
    servers.sim.block_on(async {
        for (db, coll, what, named) in of_databases.into_iter().chain(of_collections) {
            let things = client.database(db).collection::<Document>(coll);
            let error = things.find_one(doc! {}).await.expect_err(named);
            let ErrorKind::InvalidName { name, rule } = &*error.kind else {
                panic!("{db:?} {coll:?}: {error:?}");
            };
            assert_eq!(name, if what == "database" { db } else { coll });
            assert!(rule.contains(what) && rule.contains(named), "{rule}");
        }
    });
    assert!(servers.seen("find").is_empty());
}

#[test]
fn a_write_that_is_not_acknowledged_as_asked_names_what_the_server_says() {
    let servers = Servers::standalone(1);
    servers.set_rule(|seen| {
        (seen.name() == "insert").then(|| {
            let limit = doc! { "wtimeout": true };
            Scripted::Reply(doc! {
                "n": 1,
                "ok": 1.0,
                "writeConcernError": {
                    "code": 64, "codeName": "WriteConcernTimeout", "errInfo": limit,
                    "errmsg": "waiting for replication timed out",
                },
            })
        })
    });
    let client = servers.client(|_| {});
    let things = client.database("db").collection::<Document>("c");
    let inserted = servers
        .sim
        .block_on(async { things.insert_one(doc! {}).await });
    let error = inserted.expect_err("missed");
    check("wtimeout", &error, concern, &["waiting for replication"]);
    assert_eq!(error.code(), Some(64));
}
