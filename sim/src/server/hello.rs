//! The handshake and its streaming form.

use bson::Bson;
use mongo_client_core::time::Instant;

use super::{
    Membership, OpTime, SimServer, State,
    dispatch::{Call, Done},
    park::Wait,
    reply::Reply,
};
use crate::{
    failure::{BAD_VALUE, Failure, Result},
    set::Visible,
    store::value::{truthy, whole},
    wire::{Command, Compressor, Elements},
};

pub(super) fn run(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let command = call.command;
    if let Some(client) = command.get_document("client") {
        let name = client
            .get_document("application")
            .and_then(|a| a.get_str("name"));
        if let (Ok(name), Some(connection)) = (name, server.connections.get_mut(&call.connection)) {
            connection.app_name = Some(name.to_owned());
        }
    }
    if command.get("helloOk").is_some_and(truthy)
        && let Some(connection) = server.connections.get_mut(&call.connection)
    {
        connection.hello_ok = true;
    }
    let known = command.get_document("topologyVersion");
    let patience = command.get("maxAwaitTimeMS").and_then(whole);
    match (known, patience) {
        (None, None) => {}
        (Some(known), Some(patience)) => {
            let same = known.get("processId") == Some(&Bson::ObjectId(server.process));
            let counter = known.get("counter").and_then(whole).unwrap_or(-1);
            if same && counter == server.version {
                // Without any wait an exhaust hello would answer for ever at one instant.
                let millis = u64::try_from(patience).unwrap_or(0).max(1);
                let until = call.now + std::time::Duration::from_millis(millis);
                return Ok(Done::Wait(Wait::Hello(counter), Some(until)));
            }
        }
        (None, Some(_)) => {
            let message = "A request with 'maxAwaitTimeMS' must include a 'topologyVersion'";
            return Err(Failure::new(31368, message));
        }
        (Some(_), None) => {
            let message = "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'";
            return Err(Failure::new(31368, message));
        }
    }
    if patience.is_some_and(|patience| patience < 0) {
        let message = "maxAwaitTimeMS must be a non-negative integer";
        return Err(Failure::new(BAD_VALUE, message));
    }
    let mut reply = server.hello(call.connection, command, call.now);
    server.greet_user(call.connection, command, &mut reply);
    Ok(Done::reply(reply))
}

impl SimServer {
    /// The reply of a hello.
    pub(super) fn hello(&self, connection: u64, command: &Command, now: Instant) -> Reply {
        let legacy = !command.contains_key("hello");
        let writable = if legacy {
            "ismaster"
        } else {
            "isWritablePrimary"
        };
        Reply::written(|out| {
            if command.get("helloOk").is_some_and(truthy) {
                out.boolean("helloOk", true);
            }
            match &self.membership {
                None => {
                    out.boolean(writable, true);
                    if self.routing.is_some() {
                        out.text("msg", "isdbgrid");
                    }
                    self.write_topology_version(out);
                }
                Some(member) => self.describe(member, writable, out),
            }
            out.int("maxBsonObjectSize", 16 * 1024 * 1024);
            out.int("maxMessageSizeBytes", self.message_len_max);
            out.int("maxWriteBatchSize", 100_000);
            out.date("localTime", self.wall(now));
            out.int("logicalSessionTimeoutMinutes", 30);
            out.int(
                "connectionId",
                i32::try_from(connection).unwrap_or(i32::MAX),
            );
            out.int("minWireVersion", self.wire_versions.0);
            out.int("maxWireVersion", self.wire_versions.1);
            out.boolean("readOnly", false);
            if let Some(wanted) = command.get_array("compression") {
                let known = |name: &&str| Compressor::ALL.iter().any(|(_, known)| known == name);
                let mut common = wanted
                    .iter()
                    .filter_map(Bson::as_str)
                    .filter(known)
                    .peekable();
                if common.peek().is_some() {
                    out.array("compression", |out| common.for_each(|name| out.text(name)));
                }
            }
        })
    }

    fn write_topology_version(&self, out: &mut Elements<'_>) {
        out.document("topologyVersion", |out| {
            out.id("processId", self.process);
            out.long("counter", self.version);
        });
    }

    fn describe(&self, member: &Membership, writable: &str, out: &mut Elements<'_>) {
        self.write_topology_version(out);
        let Some((config, place)) = member.config.as_ref().zip(member.place) else {
            out.boolean(writable, false);
            out.boolean("secondary", false);
            out.text("info", "Does not have a valid replica set config");
            out.boolean("isreplicaset", true);
            return;
        };
        for (field, kind) in [
            ("hosts", Visible::Host),
            ("passives", Visible::Passive),
            ("arbiters", Visible::Arbiter),
        ] {
            let mut hosts = config.hosts(kind).peekable();
            if hosts.peek().is_some() {
                out.array(field, |out| hosts.for_each(|host| out.text(host)));
            }
        }
        out.text("setName", &member.set);
        out.int(
            "setVersion",
            i32::try_from(config.version).unwrap_or(i32::MAX),
        );
        out.boolean(writable, member.is_primary());
        out.boolean("secondary", member.state == State::Secondary);
        if let Some(primary) = &member.primary {
            out.text("primary", primary);
        }
        let own = &config.members[place];
        if own.arbiter {
            out.boolean("arbiterOnly", true);
        } else if own.priority <= 0.0 {
            out.boolean("passive", true);
        }
        if own.hidden {
            out.boolean("hidden", true);
        }
        if !own.delay.is_zero() {
            let seconds = i32::try_from(own.delay.as_secs()).unwrap_or(i32::MAX);
            out.int("secondaryDelaySecs", seconds);
        }
        if !own.tags.is_empty() {
            out.document("tags", |out| {
                for (key, value) in &own.tags {
                    out.text(key, value);
                }
            });
        }
        out.text("me", self.address());
        if member.is_primary() {
            out.id("electionId", member.election_id());
        }
        out.document("lastWrite", |out| {
            let at = |time: OpTime, names: [&str; 2], out: &mut Elements<'_>| {
                out.document(names[0], |out| {
                    out.timestamp("ts", time.timestamp());
                    out.long("t", time.term);
                });
                out.date(names[1], i64::from(time.time) * 1000);
            };
            at(self.data.last(), ["opTime", "lastWriteDate"], out);
            let names = ["majorityOpTime", "majorityWriteDate"];
            at(self.data.committed(), names, out);
        });
    }
}
