//! A server as a router: what it answers itself, and what it has answered by a replica set.
//!
//! Cursors are the router's: their ids mean nothing to another one.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongo_client_core::time::Instant;

use super::{
    Demand, SimServer,
    dispatch::Done,
    failpoint::Injected,
    park::{Busy, Wait},
    table::{Kind, Spec},
};
use crate::{
    failure::{CURSOR_NOT_FOUND, Failure, Result, is_retryable_write},
    store::value::whole,
    wire::Command,
};

/// Commands that a router answers itself.
const LOCAL: &[&str] = &[
    "buildInfo",
    "configureFailPoint",
    "endSessions",
    "getParameter",
    "hello",
    "killAllSessions",
    "ping",
    "refreshSessions",
    "saslContinue",
    "saslStart",
];

/// Commands of members that no router has.
const OF_MEMBERS: &[&str] = &["replSetGetConfig", "replSetReconfig", "replSetStepDown"];

/// Where a router sends a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Destination {
    /// To a member that has a cursor.
    Member(usize),
    Primary,
    /// To whom the read preference says.
    Preferred,
}

/// What a router keeps.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    cursors: BTreeMap<i64, Routed>,
}

/// A cursor of a member.
#[derive(Clone, Copy, Debug)]
struct Routed {
    member: usize,
    id: i64,
}

impl SimServer {
    /// Makes a router of a server.
    pub(crate) fn route(&mut self) {
        self.routing = Some(Routing::default());
    }

    /// Whether a router has this command answered by its set.
    pub(super) fn forwards(&self, spec: &Spec) -> bool {
        self.routing.is_some() && !LOCAL.contains(&spec.name)
    }

    pub(super) fn forward(
        &mut self,
        connection: u64,
        spec: &Spec,
        command: &Command,
        injected: &Injected,
    ) -> Result<Done> {
        if OF_MEMBERS.contains(&spec.name) {
            return Err(Failure::not_simulated(format_args!(
                "{} of a router",
                spec.name
            )));
        }
        let mut command = command.to_document();
        let to = match spec.name {
            "getMore" => self.own_cursor(&mut command)?,
            "killCursors" => return Ok(Done::reply(self.kill_routed(&command))),
            "aggregate" if writes(&command) => Destination::Primary,
            _ if spec.kind == Kind::Read => Destination::Preferred,
            _ => Destination::Primary,
        };
        self.demands.push_back(Demand::Forward {
            connection: Some(connection),
            command,
            to,
        });
        let error = injected.write_concern_error.clone();
        Ok(Done::Wait(Wait::Forwarded(error), None))
    }

    /// Puts the member's id of a cursor into a getMore.
    fn own_cursor(&mut self, command: &mut Document) -> Result<Destination> {
        let id = command.get("getMore").and_then(whole).unwrap_or(0);
        let routing = self.routing.as_ref();
        let Some(routed) = routing.and_then(|r| r.cursors.get(&id)) else {
            let message = format!("cursor id {id} not found");
            return Err(Failure::new(CURSOR_NOT_FOUND, message));
        };
        command.insert("getMore", routed.id);
        Ok(Destination::Member(routed.member))
    }

    /// Forgets cursors, and has their members kill them.
    fn kill_routed(&mut self, command: &Document) -> Document {
        let (mut killed, mut unknown) = (Vec::new(), Vec::new());
        for id in command
            .get_array("cursors")
            .into_iter()
            .flatten()
            .filter_map(whole)
        {
            let routed = self.routing.as_mut().and_then(|r| r.cursors.remove(&id));
            let Some(routed) = routed else {
                unknown.push(id);
                continue;
            };
            let mut theirs = command.clone();
            theirs.insert("cursors", vec![routed.id]);
            self.demands.push_back(Demand::Forward {
                connection: None,
                command: theirs,
                to: Destination::Member(routed.member),
            });
            killed.push(id);
        }
        doc! {
            "cursorsKilled": killed,
            "cursorsNotFound": unknown,
            "cursorsAlive": [],
            "cursorsUnknown": [],
        }
    }

    /// Answers a command with the reply of a member, or with an error of the router's own.
    pub(crate) fn finish_forward(
        &mut self,
        id: u64,
        member: Option<usize>,
        mut reply: Document,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let forwarded = |busy: &mut Busy| matches!(busy.wait, Wait::Forwarded(_));
        let Some(busy) = connection.busy.take_if(forwarded) else {
            return;
        };
        self.parked.remove(&id);
        for name in ["electionId", "opTime", "topologyVersion"] {
            reply.remove(name);
        }
        let retryable = busy.request.command.contains_key("txnNumber");
        if let Wait::Forwarded(Some(error)) = busy.wait {
            let code = error.get_i32("code").unwrap_or(0);
            let own = || (retryable && is_retryable_write(code)).then(retryable_label);
            if let Some(labels) = busy.labels.or_else(own) {
                reply.insert("errorLabels", labels);
            }
            reply.insert("writeConcernError", error);
        } else if retryable && reply.get_i32("code").is_ok_and(is_retryable_write) {
            reply.insert("errorLabels", retryable_label());
        }
        self.rename_cursor(&busy.request.command, member, &mut reply);
        self.send(id, &busy.request, false, |out| out.all(&reply));
        self.serve(id, now);
    }

    /// Gives a member's cursor the id that it has with this router.
    fn rename_cursor(&mut self, command: &Command, member: Option<usize>, reply: &mut Document) {
        let asked = command.get("getMore").and_then(whole);
        let theirs = reply.get_document("cursor").and_then(|c| c.get_i64("id"));
        let (Ok(theirs), Some(member)) = (theirs, member) else {
            // A cursor that its member does not know any more is gone here too.
            if let (Some(asked), Some(routing)) = (asked, &mut self.routing)
                && reply.get_i32("code").ok() == Some(CURSOR_NOT_FOUND)
            {
                routing.cursors.remove(&asked);
            }
            return;
        };
        let own = match (theirs, asked) {
            (0, asked) => {
                if let (Some(asked), Some(routing)) = (asked, &mut self.routing) {
                    routing.cursors.remove(&asked);
                }
                return;
            }
            (_, Some(asked)) => asked,
            (_, None) => self.cursor_id(),
        };
        if let Some(routing) = &mut self.routing {
            routing.cursors.insert(own, Routed { member, id: theirs });
        }
        if let Ok(cursor) = reply.get_document_mut("cursor") {
            cursor.insert("id", own);
        }
    }

    /// Whether an id is that of a router's cursor.
    pub(super) fn is_routed_cursor(&self, id: i64) -> bool {
        let routing = self.routing.as_ref();
        routing.is_some_and(|routing| routing.cursors.contains_key(&id))
    }
}

fn retryable_label() -> Vec<String> {
    vec!["RetryableWriteError".to_owned()]
}

/// Whether a pipeline ends in a stage that writes.
fn writes(command: &Document) -> bool {
    let stages = command.get_array("pipeline").ok();
    let last = stages
        .and_then(|stages| stages.last())
        .and_then(Bson::as_document);
    last.is_some_and(|stage| stage.contains_key("$out") || stage.contains_key("$merge"))
}
