//! What is checked before a command runs: its name and fields, its database,
//! the server's state, its concerns, and its place in a session.

use std::time::Duration;

use bson::Bson;
use mongo_client_core::time::Instant;

use super::{
    SimServer, State,
    concern::{Level, ReadConcern, W, WriteConcern},
    failpoint::Injected,
    log::SessionId,
    park::{Busy, Wait},
    reply::Reply,
    table::{COMMON, COMMON_LEFT_OUT, Kind, LEFT_OUT, Spec, lookup},
};
use crate::{
    failure::{
        COMMAND_NOT_FOUND, Failure, ILLEGAL_OPERATION, INVALID_NAMESPACE, INVALID_OPTIONS,
        NOT_A_REPLICA_SET, NOT_PRIMARY_NO_SECONDARY_OK, NOT_PRIMARY_OR_SECONDARY,
        NOT_WRITABLE_PRIMARY, Result, TRANSACTION_TOO_OLD, UNAUTHORIZED, UNKNOWN_FIELD,
    },
    store::{Namespace, Op, value::whole},
    wire::{Command, Request},
};

/// One command as its handler gets it.
pub(super) struct Call<'a> {
    pub(super) connection: u64,
    pub(super) name: &'static str,
    pub(super) command: &'a Command,
    pub(super) database: &'a str,
    pub(super) now: Instant,
    pub(super) level: Level,
    /// A write that is not to be acknowledged.
    pub(super) is_unacknowledged: bool,
    /// The session and number of a retryable write.
    pub(super) retry: Option<(SessionId, i64)>,
}

impl Call<'_> {
    /// The collection that the command names.
    pub(super) fn namespace(&self) -> Result<Namespace> {
        let collection = match self.command.get(self.command.name()) {
            Some(Bson::String(name)) => name,
            other => {
                let kind = other.map_or("missing", crate::store::value::type_name);
                let message = format!("collection name has invalid type {kind}");
                return Err(Failure::new(crate::failure::BAD_VALUE, message));
            }
        };
        self.named(collection)
    }

    pub(super) fn named(&self, collection: &str) -> Result<Namespace> {
        let ns = Namespace::new(self.database, collection);
        let bad = |message: String| Err(Failure::new(INVALID_NAMESPACE, message));
        if collection.is_empty() || collection.contains('\0') {
            return bad(format!("Invalid namespace specified '{ns}'"));
        }
        if collection.contains('$') || collection.starts_with('.') {
            return bad(format!("Invalid collection name: {collection}"));
        }
        Ok(ns)
    }
}

/// How a command goes on.
pub(super) enum Done {
    Reply(Reply),
    Wait(Wait, Option<Instant>),
}

impl Done {
    pub(super) fn reply(reply: impl Into<Reply>) -> Self {
        Self::Reply(reply.into())
    }
}

impl SimServer {
    /// Runs a command that no fail point stops.
    pub(super) fn run(&mut self, id: u64, request: Request, injected: Injected, now: Instant) {
        match self.execute(id, &request, &injected, now) {
            Ok(Done::Reply(reply)) => {
                self.complete(id, request, Ok(reply), injected.labels, false);
            }
            Ok(Done::Wait(wait, until)) => {
                let labels = injected.labels;
                let busy = Busy {
                    request,
                    wait,
                    until,
                    labels,
                };
                if self.is_over(&busy, now) {
                    self.resume(id, busy, now);
                } else {
                    self.park(id, busy);
                }
            }
            Err(failure) => {
                self.complete(id, request, Err(failure), injected.labels, false);
            }
        }
    }

    fn execute(
        &mut self,
        id: u64,
        request: &Request,
        injected: &Injected,
        now: Instant,
    ) -> Result<Done> {
        let command = &request.command;
        let name = command.name();
        let Some(spec) = lookup(name) else {
            if LEFT_OUT.contains(&name) {
                return Err(Failure::not_simulated(name));
            }
            let message = format!("no such command: '{name}'");
            return Err(Failure::new(COMMAND_NOT_FOUND, message));
        };
        let database = command
            .get_str("$db")
            .ok_or_else(|| Failure::new(40571, "OP_MSG requests require a $db argument"))?;
        self.check_user(id, spec.name)?;
        if self.forwards(spec) {
            return self.forward(id, spec, command, injected);
        }
        if spec.admin && database != "admin" {
            let message = format!("{} may only be run against the admin database.", spec.name);
            return Err(Failure::new(UNAUTHORIZED, message));
        }
        check_fields(spec, command)?;
        let replicated = self.membership.is_some();
        let concern = WriteConcern::parse(command, replicated)?;
        let read = ReadConcern::parse(command, spec.name, spec.kind == Kind::Read)?;
        self.check_state(id, spec, command, read.level)?;
        let patience = command.get("maxTimeMS").and_then(whole).filter(|n| *n > 0);
        let patience = patience.and_then(|n| u64::try_from(n).ok());
        let until = patience.map(|millis| now + Duration::from_millis(millis));
        if let Some(after) = read.after.filter(|t| *t > self.data.last().timestamp()) {
            if !self.is_writable() {
                return Ok(Done::Wait(Wait::Applied(after), until));
            }
            self.write(Op::Noop, None, now);
        }
        let mut level = read.level;
        // The applied entries may not be the majority's yet, as on a member that has just caught up.
        if replicated && level == Level::Majority && read.snapshot.is_none() {
            let committed = self.data.committed().timestamp();
            if let Some(after) = read.after.filter(|t| *t > committed) {
                return Ok(Done::Wait(Wait::Durable(after), until));
            }
        }
        if let Some(time) = read.snapshot {
            if !replicated {
                let message = "node needs to be a replica set member to use readConcern: snapshot";
                return Err(Failure::new(NOT_A_REPLICA_SET, message));
            }
            let committed = self.data.committed().timestamp();
            let wanted = time.or(read.after).unwrap_or(committed);
            if wanted > committed {
                return Ok(Done::Wait(Wait::Durable(wanted), until));
            }
            level = Level::Snapshot(time.unwrap_or(committed));
        }
        let before = self.data.last();
        let call = Call {
            connection: id,
            name: spec.name,
            command,
            database,
            now,
            level,
            is_unacknowledged: concern.w == W::Members(0),
            retry: self.begin_retryable(spec, command)?,
        };
        let mut done = (spec.run)(self, &call)?;
        if read.level == Level::Linearizable
            && replicated
            && let Done::Reply(reply) = done
        {
            let at = self.write(Op::Noop, None, now);
            done = Done::Wait(Wait::Committed(reply, at), until);
        }
        // A pipeline may end in a stage that writes.
        if spec.kind != Kind::Write && (spec.kind == Kind::Any || self.data.last() == before) {
            return Ok(done);
        }
        Ok(self.after_write(done, concern, injected, now))
    }

    /// Lets a write wait for its concern.
    fn after_write(
        &mut self,
        done: Done,
        concern: WriteConcern,
        injected: &Injected,
        now: Instant,
    ) -> Done {
        let Done::Reply(mut reply) = done else {
            return done;
        };
        if let Some(error) = &injected.write_concern_error {
            reply.insert("writeConcernError", error.clone());
            return Done::Reply(reply);
        }
        let Some(member) = &self.membership else {
            return Done::Reply(reply);
        };
        if let Some(error) =
            concern.unsatisfiable(member.config.as_ref().map_or(1, |config| config.holders()))
        {
            reply.insert("writeConcernError", error);
            return Done::Reply(reply);
        }
        let until = concern.timeout.map(|time| now + time);
        Done::Wait(Wait::Concern(reply, self.data.last(), concern), until)
    }

    fn check_state(&self, id: u64, spec: &Spec, command: &Command, level: Level) -> Result<()> {
        let Some(member) = &self.membership else {
            return Ok(());
        };
        if spec.kind == Kind::Any || member.is_primary() {
            return Ok(());
        }
        let names = self.connections.get(&id).is_some_and(|c| c.hello_ok);
        if spec.kind == Kind::Write {
            let message = if names { "not primary" } else { "not master" };
            return Err(Failure::new(NOT_WRITABLE_PRIMARY, message));
        }
        if level == Level::Linearizable {
            let message = "cannot satisfy linearizable read concern on non-primary node";
            return Err(Failure::new(NOT_WRITABLE_PRIMARY, message));
        }
        let preference = command.get_document("$readPreference");
        let mode = preference
            .and_then(|p| p.get_str("mode").ok())
            .unwrap_or("primary");
        if mode == "primary" {
            let message = if names {
                "not primary and secondaryOk=false"
            } else {
                "not master and slaveOk=false"
            };
            return Err(Failure::new(NOT_PRIMARY_NO_SECONDARY_OK, message));
        }
        if member.state != State::Secondary {
            let message = if member.state == State::Recovering {
                "node is recovering"
            } else {
                "node is not in primary or recovering state"
            };
            return Err(Failure::new(NOT_PRIMARY_OR_SECONDARY, message));
        }
        Ok(())
    }

    /// The session and number of a retryable write; a number that is too old is refused.
    fn begin_retryable(
        &mut self,
        spec: &Spec,
        command: &Command,
    ) -> Result<Option<(SessionId, i64)>> {
        let Some(number) = command.get("txnNumber").and_then(whole) else {
            return Ok(None);
        };
        let Some(Bson::Binary(session)) = command.nested("lsid", "id") else {
            let message = "Transaction number requires a session ID to also be specified";
            return Err(Failure::new(INVALID_OPTIONS, message));
        };
        if self.membership.is_none() {
            let message = "Transaction numbers are only allowed on a replica set member or mongos";
            return Err(Failure::new(ILLEGAL_OPERATION, message));
        }
        if spec.kind != Kind::Write {
            return Ok(None);
        }
        let session = SessionId::from(session.bytes);
        let writes = self.data.sessions.entry(session.clone()).or_default();
        if number < writes.number {
            let message = format!(
                "Retryable write with txnNumber {number} is prohibited on session {} -  because a \
                 newer retryable write with txnNumber {} has already started on this session.",
                hex(&session),
                writes.number
            );
            return Err(Failure::new(TRANSACTION_TOO_OLD, message));
        }
        if number > writes.number {
            writes.number = number;
            writes.done.clear();
        }
        Ok(Some((session, number)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_fields(spec: &Spec, command: &Command) -> Result<()> {
    let Some(field) = command.first_unknown(&[COMMON, spec.fields]) else {
        return Ok(());
    };
    // The first that is left out or unknown fails, and others are of no matter to some commands.
    let left_out = |field: &str| spec.left_out.contains(&field) || COMMON_LEFT_OUT.contains(&field);
    let culprit = if spec.lenient {
        command.keys().skip(1).find(|field| left_out(field))
    } else {
        Some(field)
    };
    let Some(field) = culprit else {
        return Ok(());
    };
    if left_out(field) {
        return Err(Failure::not_simulated(format_args!(
            "{}.{field}",
            spec.name
        )));
    }
    let name = if spec.name == "find" {
        "FindCommandRequest"
    } else {
        spec.name
    };
    let message = format!("BSON field '{name}.{field}' is an unknown field.");
    Err(Failure::new(UNKNOWN_FIELD, message))
}
