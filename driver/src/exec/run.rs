//! The steps of an operation, one poll at a time; [`select`](super::select) has the first.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mongo_client_core::{
    conn::ConnError,
    cursor::pin::{self, Ended, Pick},
    error::{Error, ErrorKind, Result},
    marks::{self, Mark},
    op::{CommandSpec, Failure, Operation, OperationContext, Progress, Stage, Want, reply::Counts},
    route,
    session::SessionState,
    time::Instant,
    topology::AppError,
    wire::Reply,
};

use super::{
    Executed, Held, SessionArg,
    select::{OpCount, ServerWait},
};
use crate::{
    buffers,
    command_events::CommandMonitor,
    lease::{self, CheckoutFuture, Lease, Started},
    pinned::Pinned,
    session::{self, ImplicitSession},
    shared::Shared,
    trace,
    wait::{Deadline, Tick},
};

/// What is waited for.
pub(super) enum Step<'a> {
    /// Nothing has been looked at.
    Begin,
    /// Whatever the operation wants next.
    Next,
    /// Another view.
    Selecting(ServerWait<'a>),
    /// A connection.
    CheckingOut(CheckoutFuture<'a>),
    /// A reply or, where none comes, the last byte of the request.
    Exchanging { silent: bool },
    /// The end of a pause.
    Pausing(Deadline<'a>),
    /// The operation is over.
    Over,
}

impl Step<'_> {
    /// Takes the next step. Most hold nothing that has to be dropped; those are only overwritten.
    #[inline]
    fn set(&mut self, next: Self) {
        match self {
            Self::Selecting(_) | Self::CheckingOut(_) | Self::Pausing(_) => *self = next,
            Self::Begin | Self::Next | Self::Exchanging { .. } | Self::Over => {
                std::mem::forget(std::mem::replace(self, next));
            }
        }
    }
}

/// A request under way, and who is to be told of its end.
struct Flight {
    monitor: Option<Box<CommandMonitor>>,
}

/// An operation and everything that it holds.
pub(super) struct Run<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) step: Step<'a>,
    pub(super) operation: Operation,
    /// What the client answered when the operation entered.
    pub(super) entered: u32,
    pub(super) server: Option<OpCount>,
    lease: Option<Lease>,
    /// Where a cursor keeps its connection, behind a load balancer.
    pub(super) pinned: Option<&'a mut Pinned>,
    held: Held<'a>,
    flight: Option<Flight>,
    /// Of the last reply, if that was a success.
    counts: Option<Counts>,
    pub(super) waited: trace::Waited,
    span: trace::OperationSpan,
}

impl<'a> Run<'a> {
    #[inline]
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        spec: CommandSpec,
        session: SessionArg<'a>,
        deadline: Option<Instant>,
    ) -> Self {
        let context = OperationContext {
            operation_id: shared.next_operation(),
            retry_reads: shared.settings.retry_reads,
            retry_writes: shared.settings.retry_writes,
            max_adaptive_retries: shared.settings.max_adaptive_retries,
            enable_overload_retargeting: shared.settings.enable_overload_retargeting,
            server_api: shared.options.server_api.clone(),
            deadline,
        };
        Self {
            shared,
            step: Step::Begin,
            operation: Operation::new(spec, context),
            entered: 0,
            server: None,
            lease: None,
            pinned: None,
            held: match session {
                SessionArg::Implicit => Held::None,
                SessionArg::Explicit(session) => Held::Explicit(session),
                SessionArg::Keep(slot) => Held::Kept(slot),
            },
            flight: None,
            counts: None,
            waited: trace::Waited::default(),
            span: trace::OperationSpan::none(),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Executed>> {
        if let Step::Begin = self.step
            && let Err(error) = self.begin()
        {
            self.step.set(Step::Over);
            return Poll::Ready(Err(error));
        }
        let _entered = self.span.enter();
        let result = ready!(self.advance(cx));
        self.span.ended(self.shared, &result);
        Poll::Ready(result)
    }

    fn begin(&mut self) -> Result<()> {
        self.entered = self.shared.enter()?;
        if let Held::Explicit(session) = &self.held {
            session.check_owner(self.shared)?;
        }
        let id = self.operation.context().operation_id;
        self.span = trace::OperationSpan::new(self.operation.spec(), id);
        self.step.set(Step::Next);
        Ok(())
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Executed>> {
        let shared = self.shared;
        let mut tick = Tick::new(&*shared.clock);
        loop {
            let progress = match &mut self.step {
                Step::Next | Step::Begin => match self.operation.want() {
                    Want::Server { .. } => {
                        trace::attempt(&self.operation);
                        self.let_go(Ended::Failed);
                        self.server = None;
                        trace::selecting(shared, &self.operation);
                        ready!(self.poll_select(cx, &mut tick))
                    }
                    Want::Lease(_) => self.check_out(&mut tick),
                    Want::Exchange(_) => self.send(&mut tick),
                    Want::Pause { until } => self.pause(until, &mut tick),
                    Want::Nothing => {
                        Progress::Done(Err(Error::internal("operation wants nothing")))
                    }
                },
                Step::Selecting(_) => ready!(self.poll_select(cx, &mut tick)),
                Step::CheckingOut(checkout) => {
                    let result = ready!(Pin::new(checkout).poll(cx));
                    self.step.set(Step::Next);
                    // The client may have been closed between the grant and this poll.
                    let open = self.shared.check_since(self.entered);
                    let result = result.and_then(|lease| match open {
                        Ok(()) => Ok(lease),
                        Err(closed) => {
                            marks::reached(Mark::CancelDriverGrantedClosed);
                            Err(closed)
                        }
                    });
                    self.checked_out(result, &mut tick)
                }
                Step::Exchanging { silent } => {
                    let silent = *silent;
                    ready!(self.poll_exchange(cx, silent, &mut tick))
                }
                Step::Pausing(until) => {
                    ready!(until.poll(cx));
                    self.step.set(Step::Next);
                    self.operation.resumed(tick.renew());
                    Progress::Continue
                }
                Step::Over => return Poll::Pending,
            };
            if let Progress::Done(result) = progress {
                return Poll::Ready(self.end(result, &mut tick));
            }
        }
    }

    /// The operation is over: gives everything back.
    #[inline]
    fn end(&mut self, result: Result<Reply>, tick: &mut Tick<'_>) -> Result<Executed> {
        self.step.set(Step::Over);
        self.let_go(Ended::Failed);
        self.server = None;
        let now = tick.now();
        self.held.end(self.shared, || now);
        self.operation.reclaim(buffers::keep);
        let reply = result?;
        let selected = self.operation.take_server();
        let selected = selected.ok_or_else(|| Error::internal("a reply without a server"))?;
        Ok(Executed {
            reply,
            server: selected.server,
            address: selected.address,
            counts: self.counts,
        })
    }

    /// The server is overloaded: no connection and no load is held while waiting.
    fn pause(&mut self, until: Instant, tick: &mut Tick<'_>) -> Progress {
        self.let_go(Ended::Failed);
        self.server = None;
        trace::pause(&self.operation, until, tick.now());
        if let Err(error) = self.shared.ensure_alive() {
            return Progress::Done(Err(error));
        }
        self.step
            .set(Step::Pausing(Deadline::new(self.shared, until)));
        Progress::Continue
    }

    /// The request is over, or will not be sent: its connection goes back to the pool, or to the
    /// cursor that keeps it.
    #[inline]
    fn let_go(&mut self, ended: Ended) {
        match &mut self.pinned {
            None => self.lease = None,
            Some(pinned) => pinned.take_back(self.lease.take(), ended),
        }
    }

    fn failed(&mut self, error: Error, stage: Stage, tick: &mut Tick<'_>) -> Progress {
        let failure = Failure { error, stage };
        let now = tick.now();
        self.shared.rng.with("retry", |rng| {
            self.operation.failed(failure, self.held.state(), now, rng)
        })
    }

    /// Asks for a connection.
    #[inline]
    fn check_out(&mut self, tick: &mut Tick<'_>) -> Progress {
        let shared = self.shared;
        let Some(OpCount(server)) = &self.server else {
            return Progress::Done(Err(Error::internal("no server was selected")));
        };
        let now = tick.now();
        if let Some(pinned) = &mut self.pinned {
            match pinned.lend() {
                Pick::Any => {}
                Pick::This(lease) => return self.checked_out(Ok(lease), tick),
                Pick::Gone => return Progress::Done(Err(pin::gone())),
            }
        }
        match lease::start(server, now) {
            Started::Ended(result) => self.checked_out(result, tick),
            Started::Waits(ticket) => {
                let mut deadline = self.operation.deadline();
                if let Some(limit) = shared.settings.wait_queue_timeout {
                    let limit = now + limit;
                    deadline = Some(deadline.map_or(limit, |at| at.min(limit)));
                }
                let server = Arc::clone(server);
                let checkout = CheckoutFuture::new(shared, server, deadline, ticket);
                self.step.set(Step::CheckingOut(checkout));
                Progress::Continue
            }
        }
    }

    /// Builds the request of this attempt.
    fn checked_out(&mut self, checkout: Result<Lease>, tick: &mut Tick<'_>) -> Progress {
        let shared = self.shared;
        let lease = match checkout {
            Ok(lease) => self.lease.insert(lease),
            Err(error) => {
                // Pools are closed with the client; then it is not the pool's fault.
                return match shared.check_since(self.entered) {
                    Ok(()) => self.failed(error, Stage::Checkout, tick),
                    Err(closed) => Progress::Done(Err(closed)),
                };
            }
        };
        let Some(facts) = lease.link().facts() else {
            return Progress::Done(Err(Error::internal("a lease without a handshake")));
        };
        let now = tick.now();
        if self.operation.sends_session(facts) {
            // Sessions: an implicit session is taken only once a connection is had.
            match &mut self.held {
                held @ Held::None => {
                    let mut state = SessionState::implicit();
                    session::acquire(shared, &mut state, now);
                    *held = Held::Own(state);
                }
                Held::Kept(slot) if slot.is_none() => {
                    **slot = Some(ImplicitSession::new(shared, now));
                }
                Held::Explicit(session) => session.acquire(now),
                Held::Kept(_) | Held::Own(_) => {}
            }
        }
        let cluster_time = shared.cluster_time.load();
        self.operation.lend(buffers::take);
        let session = self.held.state();
        let built = self
            .operation
            .checked_out(facts, session, cluster_time.as_deref(), now);
        match built {
            Ok(()) => Progress::Continue,
            Err(error) => Progress::Done(Err(error)),
        }
    }

    /// Puts the request on its way.
    #[inline]
    fn send(&mut self, tick: &mut Tick<'_>) -> Progress {
        let shared = self.shared;
        let Some(lease) = self.lease.as_mut() else {
            return Progress::Done(Err(Error::internal("no connection was checked out")));
        };
        let Want::Exchange(request) = self.operation.want() else {
            return Progress::Continue;
        };
        let deadline = self.operation.deadline();
        let silent = request.more_to_come;
        let exchange = match lease.link().begin(request, deadline, tick.now()) {
            Ok(exchange) => exchange,
            Err(error) => {
                // On a retry the error of the earlier attempt may say more.
                self.let_go(Ended::Failed);
                return self.failed(error, Stage::Exchange { sent: false }, tick);
            }
        };
        lease.set_running(exchange);
        // From here on a drop leaves the session dirty; listeners may panic.
        self.step.set(Step::Exchanging { silent });
        let flight = self.flight.insert(Flight { monitor: None });
        if shared.outbox.wants_commands() {
            let operation = &self.operation;
            let monitor = CommandMonitor::started(shared, operation, request, lease, exchange);
            flight.monitor = Some(Box::new(monitor));
        }
        Progress::Continue
    }

    /// Waits for the reply.
    #[inline]
    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        silent: bool,
        tick: &mut Tick<'_>,
    ) -> Poll<Progress> {
        let Some(lease) = self.lease.as_mut() else {
            return Poll::Ready(Progress::Done(Err(Error::internal("the lease is gone"))));
        };
        let result = if silent {
            ready!(lease.link().poll_sent(cx)).map(|()| None)
        } else {
            ready!(lease.link().poll_reply_at(cx, tick)).map(|(reply, _)| Some(reply))
        };
        self.step.set(Step::Next);
        let monitor = self.flight.take().and_then(|flight| flight.monitor);
        lease.set_ended(tick.now());
        Poll::Ready(match result {
            Ok(None) => {
                if let Some(monitor) = monitor {
                    monitor.succeeded(self.shared, None, tick.now());
                }
                self.let_go(Ended::Failed);
                self.operation.replied_nothing(tick.now())
            }
            Ok(Some(reply)) => self.replied(reply, monitor, tick),
            Err(error) => self.broken(error, monitor, tick),
        })
    }

    /// A reply came: gossip, tell the topology of state changes, decide about a retry.
    #[inline]
    fn replied(
        &mut self,
        reply: Reply,
        monitor: Option<Box<CommandMonitor>>,
        tick: &mut Tick<'_>,
    ) -> Progress {
        let shared = self.shared;
        let now = tick.now();
        let checked = route::reply(&reply, self.held.state(), |time| {
            shared.cluster_time.advance(time);
        });
        if let Some(monitor) = monitor {
            match &checked {
                Err(error) if is_command(error) => monitor.failed(shared, error, now),
                _ => monitor.succeeded(shared, Some(&reply), now),
            }
        }
        let error = match checked {
            Ok(counts) => {
                self.let_go(Ended::Open);
                self.counts = counts;
                return self.operation.succeeded(reply);
            }
            Err(error) => error,
        };
        if let (Some(server), Some(lease)) = (&self.server, &mut self.lease) {
            let (generation, service_id) = (lease.generation(), lease.service_id());
            let app_error = route::reply_error(error, generation, service_id);
            shared.handle_app_error(server.0.id, &app_error);
        }
        self.let_go(Ended::Failed);
        shared.rng.with("retry", |rng| {
            self.operation.replied(reply, self.held.state(), now, rng)
        })
    }

    /// The connection failed while the request was under way.
    fn broken(
        &mut self,
        error: ConnError,
        monitor: Option<Box<CommandMonitor>>,
        tick: &mut Tick<'_>,
    ) -> Progress {
        let shared = self.shared;
        let now = tick.now();
        let mut app_error: Option<AppError> = None;
        // A connection whose runtime has died says nothing about its server.
        if let Some(lease) = self.lease.as_mut().filter(|lease| !lease.is_orphaned()) {
            let (generation, service_id) = (lease.generation(), lease.service_id());
            app_error = Some(route::app_error(&error, generation, service_id));
        }
        let orphaned = app_error.is_none();
        if let (Some(server), Some(app_error)) = (&self.server, app_error) {
            shared.handle_app_error(server.0.id, &app_error);
        }
        // Only now: the pool is cleared before it gets the connection back (SDAM: "Error handling").
        self.let_go(Ended::Failed);
        let error = error.error;
        if let Some(monitor) = monitor {
            monitor.failed(shared, &error, now);
        }
        let stage = Stage::Exchange { sent: true };
        if !orphaned {
            return self.failed(error, stage, tick);
        }
        let failure = Failure { error, stage };
        shared.rng.with("retry", |rng| {
            self.operation
                .orphaned(failure, self.held.state(), now, rng)
        })
    }
}

impl Drop for Run<'_> {
    /// Dropped with a request under way, the session is dirty (whether the server has used the
    /// transaction number is unknown then), and listeners hear of a failure. Everything goes back
    /// in the order in which it was taken last.
    fn drop(&mut self) {
        if let Step::Begin | Step::Over = self.step
            && self.flight.is_none()
        {
            return;
        }
        let _entered = self.span.enter();
        match self.step {
            Step::Selecting(_) => marks::reached(Mark::CancelDriverSelecting),
            Step::Pausing(_) => marks::reached(Mark::CancelDriverPausing),
            _ => {}
        }
        if let Some(flight) = self.flight.take() {
            marks::reached(match self.operation.spec().name {
                "getMore" => Mark::CancelDriverFetching,
                _ => Mark::CancelDriverExchanging,
            });
            if let Some(session) = self.held.state() {
                session.mark_dirty();
            }
            if let Some(monitor) = flight.monitor {
                monitor.failed(self.shared, &Error::dropped(), self.shared.clock.now());
            }
        }
        self.step.set(Step::Over);
        self.server = None;
        self.let_go(Ended::Failed);
        let shared = self.shared;
        self.held.end(shared, || shared.clock.now());
    }
}

fn is_command(error: &Error) -> bool {
    matches!(*error.kind, ErrorKind::Command(_))
}
