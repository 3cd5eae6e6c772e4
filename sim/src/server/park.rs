//! Commands that wait, and what ends their wait.

use bson::{Document, Timestamp};
use mongo_client_core::time::Instant;

use super::{
    SimServer,
    concern::{W, WriteConcern},
    failpoint::Injected,
    log::OpTime,
    reply::Reply,
};
use crate::{
    failure::{Failure, MAX_TIME_MS_EXPIRED, PRIMARY_STEPPED_DOWN, Result},
    wire::Request,
};

/// A connection whose command waits.
pub(super) struct Busy {
    pub(super) request: Request,
    pub(super) wait: Wait,
    pub(super) until: Option<Instant>,
    /// Labels that a fail point gave.
    pub(super) labels: Option<Vec<String>>,
}

/// What a command waits for.
pub(super) enum Wait {
    /// That this time is applied; then the command runs.
    Applied(Timestamp),
    Block(After),
    /// That this much is majority-committed; then the reply goes out.
    Committed(Reply, OpTime),
    /// That so many members have an entry, in the term in which it was written.
    Concern(Reply, OpTime, WriteConcern),
    /// That this time is majority-committed; then the command runs.
    Durable(Timestamp),
    /// For the reply of a member, to which a fail point may add a write concern error.
    Forwarded(Option<Document>),
    /// That the topology is not any more what it was.
    Hello(i64),
    Silence,
    /// For the replica set.
    Set,
}

/// What follows a fail point's block.
pub(super) enum After {
    Close,
    Run(Injected),
    Scripted(Document),
}

impl Busy {
    pub(super) fn block(request: Request, after: After, until: Instant) -> Self {
        Self {
            request,
            wait: Wait::Block(after),
            until: Some(until),
            labels: None,
        }
    }

    pub(super) fn silent(request: Request) -> Self {
        Self {
            request,
            wait: Wait::Silence,
            until: None,
            labels: None,
        }
    }
}

impl SimServer {
    pub(super) fn park(&mut self, id: u64, busy: Busy) {
        if let Some(connection) = self.connections.get_mut(&id) {
            self.parked.insert(id, busy.until);
            connection.busy = Some(busy);
        }
    }

    /// Resumes every command whose wait is over.
    pub fn settle(&mut self, now: Instant) {
        let mut next = 0;
        while let Some((&id, _)) = self.parked.range(next..).next() {
            next = id + 1;
            let busy = self.connections.get(&id).and_then(|c| c.busy.as_ref());
            if !busy.is_some_and(|busy| self.is_over(busy, now)) {
                continue;
            }
            self.parked.remove(&id);
            let busy = self.connections.get_mut(&id).and_then(|c| c.busy.take());
            if let Some(busy) = busy {
                self.resume(id, busy, now);
                self.serve(id, now);
            }
        }
    }

    pub(super) fn is_over(&self, busy: &Busy, now: Instant) -> bool {
        let due = busy.until.is_some_and(|until| now >= until);
        match &busy.wait {
            Wait::Forwarded(_) | Wait::Silence | Wait::Set => false,
            Wait::Block(_) => due,
            Wait::Hello(version) => due || *version != self.version,
            Wait::Applied(time) => due || self.data.last().timestamp() >= *time,
            Wait::Durable(time) => due || self.data.committed().timestamp() >= *time,
            Wait::Committed(_, at) => due || self.data.committed() >= *at || !self.leads(*at),
            Wait::Concern(_, at, concern) => {
                due || self.is_replicated(*at, concern) || !self.leads(*at)
            }
        }
    }

    pub(super) fn resume(&mut self, id: u64, busy: Busy, now: Instant) {
        let due = busy.until.is_some_and(|until| now >= until);
        let Busy {
            request,
            wait,
            labels,
            ..
        } = busy;
        let expired = || {
            Err(Failure::new(
                MAX_TIME_MS_EXPIRED,
                "operation exceeded time limit",
            ))
        };
        let result: Result<Reply> = match wait {
            Wait::Forwarded(_) | Wait::Silence | Wait::Set => return,
            Wait::Block(after) => return self.after(id, request, after, now),
            Wait::Hello(_) => Ok(self.hello(id, &request.command, now)),
            Wait::Applied(_) | Wait::Durable(_) => {
                if !due {
                    let injected = Injected {
                        labels,
                        ..Injected::default()
                    };
                    return self.run(id, request, injected, now);
                }
                expired()
            }
            Wait::Committed(reply, at) => {
                if self.data.committed() >= at {
                    Ok(reply)
                } else if !self.leads(at) {
                    Err(self.stepped_down())
                } else {
                    expired()
                }
            }
            Wait::Concern(mut reply, at, concern) => {
                if !self.leads(at) {
                    let message = "Primary stepped down while waiting for replication";
                    let error = concern.error(PRIMARY_STEPPED_DOWN, message, Document::new());
                    reply.insert("writeConcernError", error);
                } else if !self.is_replicated(at, &concern) {
                    reply.insert("writeConcernError", concern.timed_out());
                }
                Ok(reply)
            }
        };
        self.complete(id, request, result, labels, false);
    }

    fn stepped_down(&self) -> Failure {
        let message = "operation was interrupted because the node is no longer primary";
        Failure::new(11602, message)
    }

    /// Whether the server is still the primary that wrote an entry.
    fn leads(&self, at: OpTime) -> bool {
        let member = self.membership.as_ref();
        member.is_none_or(|m| m.is_primary() && m.term >= at.term)
    }

    /// Whether enough members have an entry.
    fn is_replicated(&self, at: OpTime, concern: &WriteConcern) -> bool {
        let Some(member) = &self.membership else {
            return true;
        };
        match &concern.w {
            W::Majority => self.data.committed() >= at,
            W::Members(n) => {
                let have = member.progress.iter().filter(|applied| **applied >= at);
                *n <= 1 || have.count() >= *n
            }
            W::Named(_) => false,
        }
    }

    /// Answers what the replica set has carried out, or refuses it.
    pub(crate) fn finish_demand(&mut self, id: u64, result: Result<()>, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some(busy) = connection
            .busy
            .take_if(|busy| matches!(busy.wait, Wait::Set))
        {
            self.parked.remove(&id);
            let result = result.map(|()| Reply::default());
            self.complete(id, busy.request, result, busy.labels, false);
            self.serve(id, now);
        }
    }
}
