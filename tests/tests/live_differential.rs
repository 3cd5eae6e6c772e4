//! The simulated server beside a real one: the same command scripts, the same replies.
//!
//! Replies are compared after normalisation: without what differs from run to run (times, made-up
//! ids, cursor ids), without the fields that only members of a set add, and with the fields of the
//! reply itself in one order. What is left out of the comparison: hello's `topologyVersion`,
//! buildInfo (the simulated server says less), the sizes of listDatabases, messages with ids in them
//! (the build of a unique index over duplicates), and everything that docs/SIMULATION.md calls not
//! simulated.

use std::time::Duration;

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use mongo_client_core::options::ClientOptions;
use mongo_client_sim::{
    Deployment, Instant, Listing, Seeded, Served, ServerConfig, SetConfig, SimReplicaSet, SimServer,
};
use mongo_client_tests::{deploy, live};
use xtask::wire::Wire;

const SCRIPTS: &str = include_str!("differential/scripts.txt");
const FAIL_POINTS: &str = include_str!("differential/fail_points.txt");
const REPLICA_SET: &str = include_str!("differential/replica_set.txt");
const PATIENCE: Duration = Duration::from_secs(20);

/// Fields of a reply that differ from run to run, or from a standalone server to a member.
const PASSING: [&str; 11] = [
    "$clusterTime",
    "hosts",
    "lastWrite",
    "me",
    "primary",
    "operationTime",
    "electionId",
    "opTime",
    "topologyVersion",
    "localTime",
    "connectionId",
];

struct Script<'a> {
    title: &'a str,
    commands: Vec<(To, &'a str)>,
}

/// Where a command goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Admin,
    Own,
    Secondary,
}

fn scripts(text: &str) -> Vec<Script<'_>> {
    let mut scripts: Vec<Script<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            let commands = Vec::new();
            scripts.push(Script { title, commands });
        } else if !line.is_empty() && !line.starts_with("# ") {
            let (to, command) = match line.split_once(' ') {
                Some(("@admin", command)) => (To::Admin, command),
                Some(("@secondary", command)) => (To::Secondary, command),
                _ => (To::Own, line),
            };
            let script = scripts.last_mut().expect("a script has a title");
            script.commands.push((to, command));
        }
    }
    scripts
}

fn parse(text: &str) -> Document {
    let value: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    match Bson::try_from(value) {
        Ok(Bson::Document(document)) => document,
        other => panic!("{text}: {other:?}"),
    }
}

/// A deployment that scripts run against.
struct Side {
    primary: Wire,
    secondary: Option<Wire>,
    cursor: i64,
    /// The time of the last snapshot that was read from.
    snapshot: Bson,
}

impl Side {
    /// Connects to the primary and another of the servers on these ports.
    fn new(ports: &[u16]) -> Self {
        let mut this = Self {
            primary: Wire::connect(ports[0], PATIENCE).unwrap(),
            secondary: None,
            cursor: 0,
            snapshot: Bson::Null,
        };
        for port in ports {
            let mut wire = Wire::connect(*port, PATIENCE).unwrap();
            let hello = wire.send("admin", doc! { "hello": 1 }).unwrap();
            if hello.get_bool("isWritablePrimary").unwrap() {
                this.primary = wire;
            } else {
                this.secondary = Some(wire);
            }
        }
        this
    }

    fn run(&mut self, database: &str, to: To, command: &str) -> Document {
        let mut command = Bson::Document(parse(command));
        substitute(&mut command, self, database);
        let command = command.as_document().unwrap().clone();
        let reply = match to {
            To::Admin => self.primary.send("admin", command),
            To::Own => self.primary.send(database, command),
            To::Secondary => {
                let secondary = self.secondary.as_mut().expect("a secondary");
                secondary.send(database, command)
            }
        };
        let reply = reply.unwrap();
        let cursor = reply.get_document("cursor").and_then(|c| c.get_i64("id"));
        if let Ok(cursor) = cursor
            && cursor != 0
        {
            self.cursor = cursor;
        }
        if let Ok(cursor) = reply.get_document("cursor")
            && let Some(time) = cursor.get("atClusterTime")
        {
            self.snapshot = time.clone();
        }
        normalised(reply, self.cursor)
    }
}

/// Puts in what a script cannot know. The session is one of the database, which nobody else uses.
fn substitute(value: &mut Bson, side: &Side, database: &str) {
    match value {
        Bson::String(text) if text == "$cursor" => *value = Bson::Int64(side.cursor),
        Bson::String(text) if text == "$snapshot" => *value = side.snapshot.clone(),
        Bson::String(text) if text == "$namespace" => *value = Bson::from(format!("{database}.c")),
        Bson::String(text) if text == "$session" => {
            let mut id: Vec<u8> = database.bytes().rev().take(16).collect();
            id.resize(16, 0);
            *value = Bson::Binary(Binary {
                subtype: BinarySubtype::Uuid,
                bytes: id,
            });
        }
        Bson::Array(values) => {
            let values = values.iter_mut();
            values.for_each(|value| substitute(value, side, database));
        }
        Bson::Document(document) => {
            let values = document.iter_mut().map(|(_, value)| value);
            values.for_each(|value| substitute(value, side, database));
        }
        _ => {}
    }
}

fn normalised(reply: Document, cursor: i64) -> Document {
    let mut fields: Vec<(String, Bson)> = reply.into_iter().collect();
    fields.retain(|(name, _)| !PASSING.contains(&name.as_str()));
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut reply: Document = fields.into_iter().collect();
    if reply.contains_key("count") {
        // Other tests have entered the fail point of a shared server before.
        reply.insert("count", "any");
    }
    let mut value = Bson::Document(reply);
    made_up(&mut value, cursor);
    value.as_document().unwrap().clone()
}

/// Replaces ids that the server makes up.
fn made_up(value: &mut Bson, cursor: i64) {
    match value {
        Bson::ObjectId(_) => *value = Bson::from("object id"),
        Bson::Binary(_) => *value = Bson::from("binary"),
        Bson::Int64(n) if *n == cursor && cursor != 0 => *value = Bson::from("cursor id"),
        Bson::Timestamp(_) => *value = Bson::from("time"),
        // The messages show the session.
        Bson::String(text) if text.contains("Failing write for ") => {
            let begin = text.find("Failing write for ").unwrap_or(0);
            text.truncate(begin + "Failing write for".len());
        }
        Bson::String(text) if text.starts_with("Retryable write with txnNumber") => {
            text.truncate("Retryable write with txnNumber".len());
        }
        Bson::String(text) if cursor != 0 => {
            *text = text.replace(&cursor.to_string(), "cursor id");
        }
        Bson::Array(values) => values.iter_mut().for_each(|v| made_up(v, cursor)),
        Bson::Document(document) => {
            let values = document.iter_mut().map(|(_, value)| value);
            values.for_each(|value| made_up(value, cursor));
        }
        _ => {}
    }
}

fn standalone() -> Served<SimServer> {
    let served = Served::start(1, |addresses, wall| {
        let mut config = ServerConfig::new(addresses[0].clone());
        config.wall_epoch_ms = wall;
        SimServer::new(config, Box::new(Seeded::new(1)))
    });
    served.unwrap()
}

fn replica_set() -> Served<SimReplicaSet> {
    let served = Served::start(3, |addresses, wall| {
        let mut config = SetConfig::new("rs", addresses);
        config.wall_epoch_ms = wall;
        SimReplicaSet::new(config, Box::new(Seeded::new(1)), Instant::ZERO)
    });
    served.unwrap()
}

/// Runs all scripts of a table on both servers and panics with every difference.
fn compare<D: Deployment>(text: &str, uri: &str, simulated: &Served<D>) {
    let hosts = ClientOptions::parse_uri(uri).unwrap().options.hosts;
    let ports: Vec<u16> = hosts
        .iter()
        .map(|host| host.port().unwrap_or(27017))
        .collect();
    let mut real = Side::new(&ports);
    let ports: Vec<u16> = simulated.addresses().iter().map(|a| a.port()).collect();
    let mut ours = Side::new(&ports);
    let mut differences = Vec::new();
    let mut compared = 0;
    for script in scripts(text) {
        let database = live::unique("differential");
        for (to, command) in &script.commands {
            let expected = real.run(&database, *to, command);
            let found = ours.run(&database, *to, command);
            compared += 1;
            if expected != found {
                differences.push(format!(
                    "{}: {command}\n  real      {expected}\n  simulated {found}",
                    script.title
                ));
            }
        }
        let drop = doc! { "dropDatabase": 1 };
        real.primary.send(&database, drop).unwrap();
    }
    let count = differences.len();
    let all = differences.join("\n");
    assert_eq!(count, 0, "{count} of {compared} replies differ:\n{all}");
}

#[test]
fn every_script_gets_the_replies_of_a_real_server() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    compare(SCRIPTS, &uri, &standalone());
}

#[test]
fn serial_standalone_fail_points_are_those_of_a_real_server() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    compare(FAIL_POINTS, &uri, &standalone());
}

#[test]
fn serial_replica_set_scripts_get_the_replies_of_a_real_set() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    compare(REPLICA_SET, &uri, &replica_set());
}

#[test]
fn every_name_that_is_simulated_is_in_a_script() {
    let listing = Listing::new();
    let all = format!("{SCRIPTS}{FAIL_POINTS}{REPLICA_SET}");
    // Without a partner for comparison: see the head of this file.
    let alone = [
        "authenticationMechanisms",
        "buildInfo",
        "appName",
        "failInternalCommands",
        "saslStart",
        "saslContinue",
        "closeConnection",
    ];
    let commands = listing.commands.iter().map(|(name, _)| *name);
    let names = commands
        .chain(listing.query_operators)
        .chain(listing.update_operators)
        .chain(listing.stages)
        .chain(listing.accumulators)
        .chain(listing.expressions)
        .chain(listing.parameters)
        .chain(listing.fail_command);
    for name in names.filter(|name| !alone.contains(name)) {
        assert!(all.contains(&format!("\"{name}\"")), "no script has {name}");
    }
}
