//! The handshake and its streaming form.

use bson::{Bson, DateTime, Document, doc};
use mongo_client_core::time::Instant;

use super::{
    Membership, OpTime, SimServer, State,
    dispatch::{Call, Done},
    park::Wait,
};
use crate::{
    failure::{BAD_VALUE, Failure, Result},
    set::Visible,
    store::value::{truthy, whole},
    wire::Compressor,
};

pub(super) fn run(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let command = call.command;
    if let Ok(client) = command.get_document("client") {
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
    let known = command.get_document("topologyVersion").ok();
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
    Ok(Done::Reply(reply))
}

impl SimServer {
    /// The reply of a hello.
    pub(super) fn hello(&self, connection: u64, command: &Document, now: Instant) -> Document {
        let legacy = !command.contains_key("hello");
        let mut reply = Document::new();
        if command.get("helloOk").is_some_and(truthy) {
            reply.insert("helloOk", true);
        }
        let writable = if legacy {
            "ismaster"
        } else {
            "isWritablePrimary"
        };
        match &self.membership {
            None => {
                reply.insert(writable, true);
                if self.routing.is_some() {
                    reply.insert("msg", "isdbgrid");
                }
                reply.insert("topologyVersion", self.topology_version());
            }
            Some(member) => self.describe(member, writable, &mut reply),
        }
        reply.extend(doc! {
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": DateTime::from_millis(self.wall(now)),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": i32::try_from(connection).unwrap_or(i32::MAX),
            "minWireVersion": self.wire_versions.0,
            "maxWireVersion": self.wire_versions.1,
            "readOnly": false,
        });
        if let Ok(wanted) = command.get_array("compression") {
            let known = |name: &&str| Compressor::ALL.iter().any(|(_, known)| known == name);
            let common = wanted.iter().filter_map(Bson::as_str).filter(known);
            let common: Vec<&str> = common.collect();
            if !common.is_empty() {
                reply.insert("compression", common);
            }
        }
        reply
    }

    fn describe(&self, member: &Membership, writable: &str, reply: &mut Document) {
        reply.insert("topologyVersion", self.topology_version());
        let Some((config, place)) = member.config.as_ref().zip(member.place) else {
            reply.extend(doc! {
                writable: false,
                "secondary": false,
                "info": "Does not have a valid replica set config",
                "isreplicaset": true,
            });
            return;
        };
        for (field, kind) in [
            ("hosts", Visible::Host),
            ("passives", Visible::Passive),
            ("arbiters", Visible::Arbiter),
        ] {
            let hosts = config.hosts(kind);
            if !hosts.is_empty() {
                reply.insert(field, hosts);
            }
        }
        reply.extend(doc! {
            "setName": &member.set,
            "setVersion": i32::try_from(config.version).unwrap_or(i32::MAX),
            writable: member.is_primary(),
            "secondary": member.state == State::Secondary,
        });
        if let Some(primary) = &member.primary {
            reply.insert("primary", primary);
        }
        let own = &config.members[place];
        if own.arbiter {
            reply.insert("arbiterOnly", true);
        } else if own.priority <= 0.0 {
            reply.insert("passive", true);
        }
        if own.hidden {
            reply.insert("hidden", true);
        }
        if !own.delay.is_zero() {
            let seconds = i32::try_from(own.delay.as_secs()).unwrap_or(i32::MAX);
            reply.insert("secondaryDelaySecs", seconds);
        }
        if !own.tags.is_empty() {
            let tags = own.tags.iter().map(|(k, v)| (k.clone(), Bson::from(v)));
            reply.insert("tags", tags.collect::<Document>());
        }
        reply.insert("me", self.address());
        if member.is_primary() {
            reply.insert("electionId", member.election_id());
        }
        let date = |at: OpTime| DateTime::from_millis(i64::from(at.time) * 1000);
        let (last, committed) = (self.data.last(), self.data.committed());
        reply.insert(
            "lastWrite",
            doc! {
                "opTime": { "ts": last.timestamp(), "t": last.term },
                "lastWriteDate": date(last),
                "majorityOpTime": { "ts": committed.timestamp(), "t": committed.term },
                "majorityWriteDate": date(committed),
            },
        );
    }
}
