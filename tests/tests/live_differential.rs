//! The simulated server beside a real one: the same command scripts, the same replies.
//!
//! Replies are compared after normalisation: without what differs from run to run (times, made-up
//! ids, cursor ids), without the fields that only members of a set add, and with the fields of the
//! reply itself in one order. What is left out of the comparison: hello's `topologyVersion`,
//! buildInfo (the simulated server says less), the sizes of listDatabases, messages with ids in them
//! (the build of a unique index over duplicates), and everything that docs/SIMULATION.md calls not
//! simulated.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongo_client_core::options::ClientOptions;
use mongo_client_sim::{Listing, Seeded, Served, ServerConfig, SimServer};
use mongo_client_tests::{deploy, live};
use xtask::wire::Wire;

const SCRIPTS: &str = include_str!("differential/scripts.txt");
const FAIL_POINTS: &str = include_str!("differential/fail_points.txt");
const PATIENCE: Duration = Duration::from_secs(20);

/// Fields of a reply that differ from run to run, or from a standalone server to a member.
const PASSING: [&str; 7] = [
    "$clusterTime",
    "operationTime",
    "electionId",
    "opTime",
    "topologyVersion",
    "localTime",
    "connectionId",
];

struct Script<'a> {
    title: &'a str,
    /// Whether a command is for the admin database, and its text.
    commands: Vec<(bool, &'a str)>,
}

fn scripts(text: &str) -> Vec<Script<'_>> {
    let mut scripts: Vec<Script<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            let commands = Vec::new();
            scripts.push(Script { title, commands });
        } else if !line.is_empty() && !line.starts_with("# ") {
            let (admin, command) = match line.strip_prefix("@admin ") {
                Some(command) => (true, command),
                None => (false, line),
            };
            let script = scripts.last_mut().expect("a script has a title");
            script.commands.push((admin, command));
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

/// A server that scripts run against.
struct Side {
    wire: Wire,
    cursor: i64,
}

impl Side {
    fn new(port: u16) -> Self {
        Self {
            wire: Wire::connect(port, PATIENCE).unwrap(),
            cursor: 0,
        }
    }

    fn run(&mut self, database: &str, admin: bool, command: &str) -> Document {
        let mut command = Bson::Document(parse(command));
        let namespace = format!("{database}.c");
        substitute(&mut command, self.cursor, &namespace);
        let command = command.as_document().unwrap().clone();
        let database = if admin { "admin" } else { database };
        let reply = self.wire.send(database, command).unwrap();
        let cursor = reply.get_document("cursor").and_then(|c| c.get_i64("id"));
        if let Ok(cursor) = cursor
            && cursor != 0
        {
            self.cursor = cursor;
        }
        normalised(reply, self.cursor)
    }
}

fn substitute(value: &mut Bson, cursor: i64, namespace: &str) {
    match value {
        Bson::String(text) if text == "$cursor" => *value = Bson::Int64(cursor),
        Bson::String(text) if text == "$namespace" => *value = Bson::from(namespace),
        Bson::Array(values) => values
            .iter_mut()
            .for_each(|v| substitute(v, cursor, namespace)),
        Bson::Document(document) => {
            let values = document.iter_mut().map(|(_, value)| value);
            values.for_each(|value| substitute(value, cursor, namespace));
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

fn simulated() -> Served<SimServer> {
    let served = Served::start(1, |addresses, wall| {
        let mut config = ServerConfig::new(addresses[0].clone());
        config.wall_epoch_ms = wall;
        SimServer::new(config, Box::new(Seeded::new(1)))
    });
    served.unwrap()
}

/// Runs all scripts of a table on both servers and panics with every difference.
fn compare(text: &str, uri: &str) {
    let hosts = ClientOptions::parse_uri(uri).unwrap().options.hosts;
    let port = hosts[0].port().unwrap_or(27017);
    let served = simulated();
    let mut real = Side::new(port);
    let mut ours = Side::new(served.addresses()[0].port());
    let mut differences = Vec::new();
    let mut compared = 0;
    for script in scripts(text) {
        let database = live::unique("differential");
        for (admin, command) in &script.commands {
            let expected = real.run(&database, *admin, command);
            let found = ours.run(&database, *admin, command);
            compared += 1;
            if expected != found {
                differences.push(format!(
                    "{}: {command}\n  real      {expected}\n  simulated {found}",
                    script.title
                ));
            }
        }
        real.wire
            .send(&database, doc! { "dropDatabase": 1 })
            .unwrap();
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
    compare(SCRIPTS, &uri);
}

#[test]
fn serial_standalone_fail_points_are_those_of_a_real_server() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    compare(FAIL_POINTS, &uri);
}

#[test]
fn every_name_that_is_simulated_is_in_a_script() {
    let listing = Listing::new();
    let all = format!("{SCRIPTS}{FAIL_POINTS}");
    // Without a partner for comparison: see the head of this file.
    let alone = [
        "buildInfo",
        "appName",
        "failInternalCommands",
        "closeConnection",
    ];
    let commands = listing.commands.iter().map(|(name, _)| *name);
    let names = commands
        .chain(listing.query_operators)
        .chain(listing.update_operators)
        .chain(listing.stages)
        .chain(listing.accumulators)
        .chain(listing.fail_command);
    for name in names.filter(|name| !alone.contains(name)) {
        assert!(all.contains(&format!("\"{name}\"")), "no script has {name}");
    }
}
