//! The step machine of one operation: select a server, check out a connection, exchange, retry.
//!
//! It decides what comes next and builds the request of each attempt. It holds no resources and
//! knows no sockets: the driver does what [`Operation::want`] says and reports what happened.
//! Dropping it at any point is a plain drop.
//!
//! ```text
//! Selecting --selected--> Leasing --checked_out--> Exchanging --replied--> Finished
//!     ^                      |                         |
//!     |                    failed                    failed, replied with an error
//!     +------ resumed --- Pausing <--(overloaded)------+---> Selecting (retry) or Finished
//! ```
//!
//! Invariants: 1. one want at a time; 2. a transaction number is taken at most once and goes with
//! every later attempt; 3. the error that leaves is the one that says most about what was executed.

use super::{
    CommandSpec, ConnFacts, Failure, OperationContext, Progress, Retryability, Selected, Stage,
    Target, Want,
    reply::{self, ReplyFacts},
    request::{self, Parts},
    retry::{self, Attempt, Decision, History, Policy, refusal::Sighting},
};
use crate::{
    error::{Error, ErrorKind, Result},
    hello::TopologyVersion,
    id::ServerId,
    marks::{self, Mark},
    mutants::{self, Mutant},
    net::ServerAddress,
    rng::Rng,
    session::{ClusterTime, SessionState},
    time::Instant,
    topology::ServerType,
    wire::{Reply, Request},
};

#[derive(Clone, Copy, Debug)]
enum State {
    Selecting,
    Leasing(ServerId),
    Exchanging,
    Pausing(Instant),
    Finished,
}

/// One operation, from its command to its result.
#[derive(Debug)]
pub struct Operation {
    spec: CommandSpec,
    context: OperationContext,
    state: State,
    request: Request,
    selected: Option<Selected>,
    facts: Option<ConnFacts>,
    deprioritized: Vec<ServerAddress>,
    txn_number: Option<i64>,
    /// Whether the first attempt went out without a transaction number, which is final.
    txn_refused: bool,
    /// What happened to earlier attempts: most operations have none.
    history: Option<Box<History>>,
    /// The error of an earlier attempt that leaves if no later one says more.
    remembered: Option<Error>,
}

impl Operation {
    /// Starts an operation.
    #[inline]
    #[must_use]
    pub fn new(spec: CommandSpec, context: OperationContext) -> Self {
        Self {
            spec,
            context,
            state: State::Selecting,
            request: Request::default(),
            selected: None,
            facts: None,
            deprioritized: Vec::new(),
            txn_number: None,
            txn_refused: false,
            history: None,
            remembered: None,
        }
    }

    /// What the operation waits for; asking changes nothing.
    #[inline]
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        match self.state {
            State::Selecting => Want::Server {
                target: &self.spec.target,
                deprioritized: &self.deprioritized,
            },
            State::Leasing(server) => Want::Lease(server),
            State::Exchanging => Want::Exchange(&self.request),
            State::Pausing(until) => Want::Pause { until },
            State::Finished => Want::Nothing,
        }
    }

    /// When the operation must have ended.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.context.deadline
    }

    /// What was asked for.
    #[inline]
    #[must_use]
    pub fn spec(&self) -> &CommandSpec {
        &self.spec
    }

    /// What the client contributed.
    #[inline]
    #[must_use]
    pub fn context(&self) -> &OperationContext {
        &self.context
    }

    /// The repetitions so far.
    #[must_use]
    pub fn retries(&self) -> u32 {
        let history = self.history.as_deref();
        history.map_or(0, |history| history.retries + history.followed)
    }

    /// Until when a server that could be selected is not to be, unless its description changes: it
    /// has just refused the operation, and nothing new is known of it. Whoever selects servers asks
    /// for a check of it then, and waits.
    #[inline]
    #[must_use]
    pub fn hold(
        &self,
        server: ServerId,
        version: Option<TopologyVersion>,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        let hold = self.history.as_ref()?.hold?;
        let kept = hold.keeps(Sighting { server, version }, now());
        kept.then_some(hold.until)
    }

    /// The server of this attempt.
    #[must_use]
    pub fn server(&self) -> Option<&Selected> {
        self.selected.as_ref()
    }

    /// Takes the server of the last attempt out, once the operation is over.
    #[inline]
    #[must_use]
    pub fn take_server(&mut self) -> Option<Selected> {
        self.selected.take()
    }

    /// Whether a session would be sent over this connection: only then may an implicit session take
    /// a server session (Sessions: "Sessions and Connections").
    #[inline]
    #[must_use]
    pub fn sends_session(&self, facts: &ConnFacts) -> bool {
        self.spec.supports_session && facts.sessions_supported && self.spec.is_acknowledged()
    }

    /// Takes a buffer over for its request, unless it has one.
    #[inline]
    pub fn lend(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.request.document.capacity() == 0 {
            self.request.document = buffer();
        }
    }

    /// Gives its buffers up, once the operation is over.
    #[inline]
    pub fn reclaim(&mut self, mut keep: impl FnMut(Vec<u8>)) {
        keep(std::mem::take(&mut self.request.document));
        for sequence in self.request.sequences.iter_mut() {
            keep(sequence.documents.take_buffer());
        }
        keep(self.spec.body.take_buffer());
    }

    /// A server was selected.
    #[inline]
    pub fn selected(&mut self, selected: Selected) {
        if matches!(self.state, State::Selecting | State::Pausing(_)) {
            self.state = State::Leasing(selected.server);
            self.selected = Some(selected);
            self.facts = None;
        }
    }

    /// The pause is over; without effect before its end.
    pub fn resumed(&mut self, now: Instant) {
        if let State::Pausing(until) = self.state
            && now >= until
        {
            self.state = State::Selecting;
        }
    }

    /// A connection was checked out: builds the request of this attempt.
    ///
    /// An implicit `session` has its server session by now if [`Self::sends_session`] says so.
    ///
    /// # Errors
    ///
    /// Ends the operation without sending: sessions that the deployment or `w: 0` does not allow,
    /// no time left, or, on a retry, a server that cannot execute an equivalent command (then the
    /// error is that of the previous attempt).
    #[inline]
    pub fn checked_out(
        &mut self,
        facts: &ConnFacts,
        session: Option<&mut SessionState>,
        cluster_time: Option<&ClusterTime>,
        now: Instant,
    ) -> Result<()> {
        match self.build(facts, session, cluster_time, now) {
            Ok(()) => {
                self.facts = Some(*facts);
                self.state = State::Exchanging;
                Ok(())
            }
            Err(error) => {
                self.state = State::Finished;
                Err(self.remembered.take().unwrap_or(error))
            }
        }
    }

    #[inline]
    fn build(
        &mut self,
        facts: &ConnFacts,
        mut session: Option<&mut SessionState>,
        cluster_time: Option<&ClusterTime>,
        now: Instant,
    ) -> Result<()> {
        let Some(selected) = &self.selected else {
            return Err(Error::internal("a connection without a selected server"));
        };
        let explicit = session.as_ref().is_some_and(|s| s.is_explicit());
        if explicit && !self.spec.is_acknowledged() {
            return Err(Error::invalid_argument(
                "session: cannot be used with unacknowledged writes (w: 0)",
            ));
        }
        if explicit && self.spec.supports_session && !facts.sessions_supported {
            return Err(Error::new(ErrorKind::SessionsNotSupported));
        }
        if !self.sends_session(facts) {
            session = None;
        }
        let mut server = session.as_deref_mut().and_then(SessionState::server_mut);
        if explicit && server.is_none() && self.spec.supports_session {
            return Err(Error::internal(
                "an explicit session without server session",
            ));
        }
        if let Some(server) = &mut server {
            server.last_use = now;
        }
        let retryable = self.spec.retryability == Retryability::Write
            && self.context.retry_writes
            && self.spec.is_acknowledged()
            && !self.txn_refused;
        if retryable {
            let supported = facts.supports_retryable_writes();
            match (self.txn_number, server) {
                (None, Some(server)) if supported => {
                    self.txn_number = Some(server.next_txn_number());
                }
                (None, _) => self.txn_refused = true,
                (Some(_), Some(server)) if mutants::active(Mutant::TxnNumberChanged) => {
                    self.txn_number = Some(server.next_txn_number());
                }
                (Some(_), Some(_)) if supported => {}
                (Some(_), _) => {
                    return Err(Error::new(ErrorKind::SessionsNotSupported));
                }
            }
        }
        let max_time = match self.context.deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.saturating_since(now);
                let rtt = selected.description.min_round_trip_time;
                if left <= rtt {
                    return Err(out_of_time(self.remembered.take()));
                }
                Some(left.saturating_sub(rtt))
            }
        };
        if !self.spec.sequences.is_empty() {
            self.request.sequences = std::mem::take(&mut self.spec.sequences);
        }
        let parts = Parts {
            spec: &self.spec,
            selected,
            facts,
            session: session.as_deref(),
            txn_number: self.txn_number,
            cluster_time,
            server_api: self.context.server_api.as_ref(),
            max_time,
        };
        request::build(&mut self.request, &parts)
    }

    /// A reply came.
    pub fn replied(
        &mut self,
        reply: Reply,
        session: Option<&mut SessionState>,
        now: Instant,
        rng: &mut Rng,
    ) -> Progress {
        if let State::Finished = self.state {
            return over();
        }
        let facts = match reply::facts_of(reply.as_bytes()) {
            Ok(facts) => facts,
            Err(error) => return self.finish(Err(error)),
        };
        if let Some(session) = session {
            session.observe(&facts);
        }
        let lost_primary = facts.ok && facts.lost_primary && self.txn_number.is_some();
        if facts.ok && facts.write_concern_error.is_none() && !lost_primary {
            return self.finish(Ok(reply));
        }
        let mut error = match self.reply_error(&reply, &facts) {
            Ok(error) => error,
            Err(error) => return self.finish(Err(error)),
        };
        self.explain_transaction_numbers(&mut error);
        let stage = Stage::Exchange { sent: true };
        // Helpers read the counts beside a writeConcernError, unless they asked for an error.
        let kept = facts.ok && (lost_primary || !self.spec.check_write_concern_error);
        let kept = kept.then_some(reply);
        self.settle(Failure { error, stage }, kept, now, rng)
    }

    /// A reply came that carries no error, as [`route::reply`](crate::route::reply()) has found: it
    /// is the result.
    #[inline]
    pub fn succeeded(&mut self, reply: Reply) -> Progress {
        if let State::Finished = self.state {
            return over();
        }
        self.finish(Ok(reply))
    }

    /// The request was sent and has no reply (`w: 0`).
    pub fn replied_nothing(&mut self, _now: Instant) -> Progress {
        self.finish(Ok(reply::unacknowledged()))
    }

    /// The attempt failed without a reply.
    pub fn failed(
        &mut self,
        failure: Failure,
        session: Option<&mut SessionState>,
        now: Instant,
        rng: &mut Rng,
    ) -> Progress {
        if let State::Finished = self.state {
            return over();
        }
        if let (Stage::Exchange { .. }, Some(session)) = (failure.stage, session)
            && failure.error.is_network()
        {
            session.mark_dirty();
        }
        self.settle(failure, None, now, rng)
    }

    /// As [`Self::failed`], where the connection broke for a reason on this side: the runtime that
    /// it belonged to was shut down. That says nothing about the server, so a retry is not counted.
    pub fn orphaned(
        &mut self,
        failure: Failure,
        session: Option<&mut SessionState>,
        now: Instant,
        rng: &mut Rng,
    ) -> Progress {
        let history = self.history.get_or_insert_default();
        let counted = std::mem::take(&mut history.retries);
        let progress = self.failed(failure, session, now, rng);
        self.history.get_or_insert_default().retries = counted;
        progress
    }

    /// The error of a reply that is no plain success.
    fn reply_error(&self, reply: &Reply, facts: &ReplyFacts<'_>) -> Result<Error> {
        let doc = reply.document();
        if !facts.ok {
            return reply::command_error(doc);
        }
        if facts.lost_primary && self.txn_number.is_some() {
            return reply::lost_primary_error(doc);
        }
        let error = reply::write_concern_failure(doc, facts)?;
        error.ok_or_else(|| Error::internal("a failed reply without error"))
    }

    /// Servers that cannot retry writes answer with a text that does not say so (Retryable Writes:
    /// code 20, "Transaction numbers ...").
    fn explain_transaction_numbers(&self, error: &mut Error) {
        if self.txn_number.is_some()
            && let ErrorKind::Command(e) = &mut *error.kind
            && e.code == 20
            && e.message.starts_with("Transaction numbers")
        {
            e.message = "This MongoDB deployment does not support retryable writes. \
                         Please add retryWrites=false to your connection string."
                .to_owned();
        }
    }

    /// Decides about a failure. `kept` is the reply to return if this failure is the result.
    fn settle(
        &mut self,
        failure: Failure,
        kept: Option<Reply>,
        now: Instant,
        rng: &mut Rng,
    ) -> Progress {
        let Failure { mut error, stage } = failure;
        let policy = self.policy(stage);
        let facts = self.facts.as_ref();
        let attempt = Attempt {
            retryability: policy.retryability,
            stage,
            max_wire_version: facts.map(|f| f.max_wire_version),
            mongos: facts.is_some_and(|f| f.server_type == ServerType::Mongos),
        };
        retry::classify(&mut error, &attempt);
        if stage != Stage::Selection
            && error.server_address().is_none()
            && let Some(selected) = &self.selected
        {
            error = error.with_server((*selected.address).clone());
        }
        let selected = self.sighting();
        let history = self.history.get_or_insert_default();
        let decision = match stage {
            Stage::Selection => {
                marks::reached(Mark::RetryNoServer);
                Decision::Fail
            }
            _ => retry::decide(&policy, history, selected, &error, now, rng),
        };
        if let Decision::Retry { follows, .. } = decision {
            history.add(selected, &error, follows, now);
        }
        let latest = self.remember(error, stage);
        match decision {
            Decision::Fail => {
                if let (true, Some(reply)) = (latest, kept) {
                    return self.finish(Ok(reply));
                }
                let error = self.remembered.take();
                let mut error = error.expect("remember() leaves an error");
                if self
                    .context
                    .deadline
                    .is_some_and(|deadline| now >= deadline)
                {
                    error = error.with_timeout();
                }
                self.finish(Err(error))
            }
            Decision::Retry {
                pause,
                deprioritize,
                ..
            } => {
                if deprioritize {
                    self.deprioritize();
                }
                self.state = match pause {
                    Some(pause) => State::Pausing(now + pause),
                    None => State::Selecting,
                };
                Progress::Continue
            }
        }
    }

    /// Keeps the error that says most about what was executed: the last one that implies an
    /// attempt, otherwise the first. Says whether `error` is the one kept.
    fn remember(&mut self, error: Error, stage: Stage) -> bool {
        let read = self.spec.retryability == Retryability::Read;
        let keep = self.remembered.is_none() || retry::implies_attempt(&error, stage, read);
        if keep {
            self.remembered = Some(error);
        }
        keep
    }

    /// The server of this attempt, as it was described when it was selected.
    fn sighting(&self) -> Sighting {
        let selected = self.selected.as_ref();
        Sighting {
            server: selected.map_or(ServerId::default(), |s| s.server),
            version: selected.and_then(|s| s.description.topology_version),
        }
    }

    fn deprioritize(&mut self) {
        if let Some(selected) = &self.selected
            && !self.deprioritized.contains(&selected.address)
        {
            self.deprioritized.push((*selected.address).clone());
        }
    }

    /// The terms that are in force for the current attempt.
    fn policy(&self, stage: Stage) -> Policy {
        let context = &self.context;
        let server_type = self.selected.as_ref().map(|s| s.description.server_type);
        let retryability = match self.spec.retryability {
            Retryability::Read if context.retry_reads => Retryability::Read,
            Retryability::Write if context.retry_writes && self.spec.is_acknowledged() => {
                let possible = match stage {
                    Stage::Exchange { .. } => self.txn_number.is_some(),
                    _ => !self.txn_refused && server_type != Some(ServerType::Standalone),
                };
                if possible {
                    Retryability::Write
                } else {
                    Retryability::None
                }
            }
            _ => Retryability::None,
        };
        let overload = match (self.spec.retryability, &self.spec.target) {
            _ if self.spec.user_command => context.retry_reads && context.retry_writes,
            (Retryability::Read, _) => context.retry_reads,
            (Retryability::Write, _) | (_, Target::Write | Target::Output(_)) => {
                context.retry_writes
            }
            (_, Target::Server(_)) => context.retry_reads,
            (_, Target::Read(_)) => context.retry_reads && context.retry_writes,
        };
        Policy {
            retryability,
            overload,
            max_adaptive_retries: context.max_adaptive_retries,
            overload_retargeting: context.enable_overload_retargeting,
            sharded: server_type == Some(ServerType::Mongos),
            deadline: context.deadline,
        }
    }

    #[inline]
    fn finish(&mut self, result: Result<Reply>) -> Progress {
        self.state = State::Finished;
        let address = self.selected.as_ref().map(|s| &s.address);
        Progress::Done(result.map_err(|error| match address {
            Some(address) if needs_server(&error) => error.with_server((**address).clone()),
            _ => error,
        }))
    }
}

/// The answer to events after the end.
fn over() -> Progress {
    Progress::Done(Err(Error::internal(
        "an event for an operation that is over",
    )))
}

/// Whether an error should say which server it came from, and does not.
fn needs_server(error: &Error) -> bool {
    error.server_address().is_none() && !error.is_server_selection()
}

/// The error of an operation whose time does not suffice for another round trip.
fn out_of_time(previous: Option<Error>) -> Error {
    previous
        .unwrap_or_else(|| Error::from(std::io::ErrorKind::TimedOut))
        .with_timeout()
}
