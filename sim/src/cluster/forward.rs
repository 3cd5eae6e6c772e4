//! How a router has a command answered: the choice of a member, the way there and back, and the
//! second attempt.

use bson::{Bson, Document};
use mongo_client_core::time::Instant;

use super::SimCluster;
use crate::{
    Output,
    deployment::Deployment,
    failure::{Failure, HOST_UNREACHABLE, UNSATISFIED_PREFERENCE, is_retryable_write},
    server::{Demand, Destination, lookup},
    wire,
};

/// How often a command is sent to members.
const ATTEMPTS_MAX: u32 = 3;

/// A command on its way.
pub(super) struct Pending {
    router: usize,
    /// The client's connection; `None` for what nobody waits for.
    client: Option<u64>,
    command: Document,
    to: Destination,
    attempts: u32,
    deadline: Instant,
    member: usize,
    /// The connection to the member.
    upstream: u64,
}

impl Pending {
    pub(super) fn client(&self) -> u64 {
        self.client.unwrap_or(u64::MAX)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether a second attempt does no harm.
    fn may_repeat(&self) -> bool {
        let name = self.command.keys().next().map_or("", String::as_str);
        let reads = lookup(name).is_some_and(|spec| !spec.is_write());
        let has_cursor = matches!(self.to, Destination::Member(_));
        self.command.contains_key("txnNumber") || (reads && !has_cursor)
    }
}

impl SimCluster {
    /// Carries commands and replies until nothing moves at this instant.
    pub(super) fn pump(&mut self) {
        loop {
            let mut moved = false;
            for router in 0..self.routers.len() {
                while let Some(demand) = self.routers[router].server.demands.pop_front() {
                    moved = true;
                    self.take(router, demand);
                }
            }
            while let Some(output) = self.set.poll_output() {
                moved = true;
                match output {
                    Output::Bytes(upstream, bytes) => self.answered(upstream, &bytes),
                    Output::Close(upstream) | Output::Reset(upstream) => self.cut(upstream),
                }
            }
            moved |= self.try_waiting();
            if !moved {
                return;
            }
        }
    }

    fn take(&mut self, router: usize, demand: Demand) {
        let Demand::Forward {
            connection,
            command,
            to,
        } = demand
        else {
            return;
        };
        self.dispatch(Pending {
            router,
            client: connection,
            command,
            to,
            attempts: 0,
            deadline: self.now + self.patience,
            member: 0,
            upstream: 0,
        });
    }

    /// Sends what has waited for a member, and gives up what has waited too long.
    fn try_waiting(&mut self) -> bool {
        let mut moved = false;
        for pending in std::mem::take(&mut self.waiting) {
            if self.target(&pending).is_some() {
                moved = true;
                self.dispatch(pending);
            } else if pending.deadline <= self.now {
                moved = true;
                let mode = mode(&pending.command);
                let failure = Failure::new(
                    UNSATISFIED_PREFERENCE,
                    format!(
                        "Could not find host matching read preference {{ mode: \"{mode}\" }} for set {}",
                        self.set.name()
                    ),
                );
                self.finish(&pending, None, failure.reply());
            } else {
                self.waiting.push(pending);
            }
        }
        moved
    }

    fn dispatch(&mut self, mut pending: Pending) {
        let Some(member) = self.target(&pending) else {
            self.waiting.push(pending);
            return;
        };
        let client = pending.client();
        let upstream = match self.upstream.get(&(client, member)) {
            Some(upstream) => *upstream,
            None => {
                let upstream = self.next_connection;
                self.next_connection += 1;
                if !self.set.accept_internal(member, upstream, self.now) {
                    self.lost(pending);
                    return;
                }
                self.upstream.insert((client, member), upstream);
                self.owners.insert(upstream, (client, member));
                upstream
            }
        };
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        pending.attempts += 1;
        pending.member = member;
        pending.upstream = upstream;
        let bytes = wire::request(request, &pending.command);
        self.pending.insert(request, pending);
        self.set.receive(upstream, &bytes, self.now);
    }

    /// The member that a command goes to now.
    fn target(&mut self, pending: &Pending) -> Option<usize> {
        match pending.to {
            Destination::Member(member) => Some(member),
            Destination::Primary => self.set.primary(),
            Destination::Preferred => {
                let primary = self.set.primary();
                match mode(&pending.command).as_str() {
                    "primary" => primary,
                    "primaryPreferred" => primary.or_else(|| self.secondary(&pending.command)),
                    "secondary" => self.secondary(&pending.command),
                    "secondaryPreferred" => self.secondary(&pending.command).or(primary),
                    _ => {
                        let any = self.choices.draw("nearest member", 2) == 0;
                        let secondary = self.secondary(&pending.command);
                        if any {
                            primary.or(secondary)
                        } else {
                            secondary.or(primary)
                        }
                    }
                }
            }
        }
    }

    /// One of the secondaries that have the tags that are asked for.
    fn secondary(&mut self, command: &Document) -> Option<usize> {
        let preference = command.get_document("$readPreference").ok();
        let sets = preference.and_then(|p| p.get_array("tags").ok());
        let none = vec![Bson::Document(Document::new())];
        for tags in sets.unwrap_or(&none).iter().filter_map(Bson::as_document) {
            let found = self.set.secondaries(tags);
            if !found.is_empty() {
                let drawn = self.choices.draw("secondary", found.len() as u64);
                return found.get(usize::try_from(drawn).unwrap_or(0)).copied();
            }
        }
        None
    }

    /// A member has answered.
    fn answered(&mut self, upstream: u64, bytes: &[u8]) {
        let Some((request, reply)) = wire::parse_reply(bytes) else {
            return;
        };
        let Some(pending) = self.pending.remove(&request) else {
            return;
        };
        if pending.upstream != upstream {
            return;
        }
        let code = reply.get_i32("code").ok();
        let error = reply.get_document("writeConcernError").ok();
        let code = code.or_else(|| error.and_then(|error| error.get_i32("code").ok()));
        let again = pending.may_repeat() && pending.attempts < ATTEMPTS_MAX;
        if again && code.is_some_and(is_retryable_write) {
            self.waiting.push(pending);
            return;
        }
        let member = Some(pending.member);
        self.finish(&pending, member, reply);
    }

    /// A connection to a member has ended.
    fn cut(&mut self, upstream: u64) {
        if let Some(owner) = self.owners.remove(&upstream) {
            self.upstream.remove(&owner);
        }
        let lost = self.pending.iter().filter(|(_, p)| p.upstream == upstream);
        let lost: Vec<i32> = lost.map(|(request, _)| *request).collect();
        for request in lost {
            if let Some(pending) = self.pending.remove(&request) {
                self.lost(pending);
            }
        }
    }

    /// There is no telling whether a member has carried out the command.
    fn lost(&mut self, mut pending: Pending) {
        pending.attempts += 1;
        if pending.may_repeat() && pending.attempts <= ATTEMPTS_MAX {
            self.waiting.push(pending);
            return;
        }
        let failure = Failure::new(HOST_UNREACHABLE, "Connection closed by peer");
        self.finish(&pending, None, failure.reply());
    }

    fn finish(&mut self, pending: &Pending, member: Option<usize>, reply: Document) {
        if let Some(client) = pending.client {
            let router = &mut self.routers[pending.router].server;
            router.finish_forward(client, member, reply, self.now);
        }
    }
}

fn mode(command: &Document) -> String {
    let preference = command.get_document("$readPreference");
    let mode = preference.and_then(|p| p.get_str("mode"));
    mode.unwrap_or("primary").to_owned()
}
