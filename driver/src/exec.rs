//! Runs one operation: select → lease → exchange → retry.
//!
//! The sequence itself is core's [`Operation`]; this file only does what it wants next, with
//! guards for everything that must be given back when the future is dropped.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use mongo_client_core::{
    error::{Error, ErrorKind, Result},
    id::{OperationId, ServerId},
    net::ServerAddress,
    op::{
        CommandSpec, ConnFacts, Failure, Operation, OperationContext, Progress, Selected, Stage,
        Want,
    },
    route,
    select::{Criteria, Selection, describe_failure, select},
    session::SessionState,
    time::Instant,
    topology::AppError,
    wire::Reply,
};

use crate::{
    command_events::CommandMonitor,
    lease::{CheckoutFuture, Lease},
    server::Server,
    session::{ImplicitSession, Session},
    shared::Shared,
    trace,
    view_cell::Snapshot,
    wait::Deadline,
};

/// Which session an execution uses.
pub enum SessionArg<'a> {
    /// One of its own, returned when the operation ends.
    Implicit,
    /// The caller's.
    Explicit(&'a mut Session),
    /// One that outlives the operation (cursors): taken from the option, or put there.
    Keep(&'a mut Option<ImplicitSession>),
}

/// What an execution gives back.
#[derive(Debug)]
pub struct Executed {
    /// The reply, checked for `ok: 1`.
    pub reply: Reply,
    /// The server that answered.
    pub server: ServerId,
    /// Its address.
    pub address: ServerAddress,
}

/// Counts an operation on its server from selection to its end (selection: "operationCount").
struct OpCount(Arc<Server>);

impl OpCount {
    fn new(server: Arc<Server>) -> Self {
        server.operations.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for OpCount {
    fn drop(&mut self) {
        self.0.operations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The session of a running operation, wherever it lives.
enum Held<'a> {
    None,
    Own(ImplicitSession),
    Explicit(&'a mut Session),
    Kept(&'a mut Option<ImplicitSession>),
}

impl Held<'_> {
    fn state(&mut self) -> Option<&mut SessionState> {
        match self {
            Self::None => None,
            Self::Own(session) => Some(session.state()),
            Self::Explicit(session) => Some(session.state()),
            Self::Kept(session) => session.as_mut().map(ImplicitSession::state),
        }
    }
}

/// Executes a command.
///
/// # Cancel safety
///
/// Dropping the future gives everything back: it leaves the queues, and a connection with a reply
/// under way is drained or closed. Whether a write that was sent is applied is unknown.
pub(crate) async fn execute(
    shared: &Arc<Shared>,
    spec: CommandSpec,
    session: SessionArg<'_>,
    deadline: Option<Instant>,
) -> Result<Executed> {
    shared.check_open()?;
    shared.ensure_alive()?;
    let id = shared.next_operation();
    let span = trace::OperationSpan::new(shared, &spec, id);
    span.around(run(shared, spec, session, deadline, id)).await
}

async fn run(
    shared: &Arc<Shared>,
    spec: CommandSpec,
    session: SessionArg<'_>,
    deadline: Option<Instant>,
    id: OperationId,
) -> Result<Executed> {
    let context = OperationContext {
        operation_id: id,
        retry_reads: shared.settings.retry_reads,
        retry_writes: shared.settings.retry_writes,
        max_adaptive_retries: shared.settings.max_adaptive_retries,
        enable_overload_retargeting: shared.settings.enable_overload_retargeting,
        server_api: shared.options.server_api.clone(),
        deadline,
    };
    let mut held = match session {
        SessionArg::Implicit => Held::None,
        SessionArg::Explicit(session) => {
            session.check_owner(shared)?;
            Held::Explicit(session)
        }
        SessionArg::Keep(slot) => Held::Kept(slot),
    };
    let mut run = Run {
        shared,
        operation: Operation::new(spec, context, shared.clock.now()),
        server: None,
        lease: None,
        waited: trace::Waited::default(),
    };
    loop {
        let progress = match run.operation.want() {
            Want::Server { .. } => {
                trace::attempt(&run.operation);
                run.select().await
            }
            Want::Lease(_) => run.check_out(&mut held).await,
            Want::Exchange(_) => run.exchange(&mut held).await,
            Want::Pause { until } => {
                // Back-pressure: no connection and no load is held while waiting.
                run.lease = None;
                run.server = None;
                trace::pause(&run.operation, until, shared.clock.now());
                shared.ensure_alive()?;
                Deadline::new(shared, until).sleep().await;
                run.operation.resumed(shared.clock.now());
                Progress::Continue
            }
            Want::Nothing => Progress::Done(Err(Error::internal("operation wants nothing"))),
        };
        if let Progress::Done(result) = progress {
            let reply = result?;
            let selected = run.operation.take_server();
            let selected = selected.ok_or_else(|| Error::internal("a reply without a server"))?;
            return Ok(Executed {
                reply,
                server: selected.server,
                address: selected.address,
            });
        }
    }
}

/// A request under way. When the future is dropped meanwhile, the session is marked dirty (whether
/// the server has used the transaction number is unknown then), and listeners hear of a failure.
struct Flight<'f, 'a> {
    shared: &'f Shared,
    held: &'f mut Held<'a>,
    monitor: Option<CommandMonitor>,
    landed: bool,
}

impl Drop for Flight<'_, '_> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        if let Some(session) = self.held.state() {
            session.mark_dirty();
        }
        if let Some(monitor) = self.monitor.take() {
            monitor.failed(self.shared, &Error::dropped(), self.shared.clock.now());
        }
    }
}

struct Run<'a> {
    shared: &'a Arc<Shared>,
    operation: Operation,
    server: Option<OpCount>,
    lease: Option<Lease>,
    waited: trace::Waited,
}

impl Run<'_> {
    /// Finds a server, waiting for the topology to change where there is none.
    async fn select(&mut self) -> Progress {
        self.lease = None;
        self.server = None;
        let shared = self.shared;
        let now = shared.clock.now();
        let Want::Server {
            target,
            deprioritized,
        } = self.operation.want()
        else {
            return Progress::Continue;
        };
        let mut deadline = now + shared.settings.server_selection_timeout;
        if let Some(at) = self.operation.deadline() {
            deadline = deadline.min(at);
        }
        let mut criteria = Criteria::new(target.clone());
        criteria.deprioritized.extend_from_slice(deprioritized);
        let mut log = trace::Selecting::start(shared, &self.operation, &criteria, &mut self.waited);
        let mut waiter = shared.views.waiter();
        let mut asked: Option<Arc<Snapshot>> = None;
        let mut timer = Deadline::new(shared, deadline);
        let found = poll_fn(|cx| {
            loop {
                if let Err(error) = shared.check_open() {
                    return Poll::Ready(Err(error));
                }
                let snapshot = shared.views.load();
                let load = |id| snapshot.servers.get(&id).map_or(0, |s| s.load());
                let selection = shared
                    .rng
                    .with("select", |rng| select(&snapshot.view, &criteria, load, rng));
                match selection {
                    Selection::Server {
                        id,
                        server: description,
                        server_type,
                        topology_type,
                    } => {
                        let Some(server) = snapshot.servers.get(&id) else {
                            return Poll::Ready(Err(Error::internal("a view without its server")));
                        };
                        return Poll::Ready(Ok((
                            Arc::clone(server),
                            server_type,
                            topology_type,
                            description.min_round_trip_time,
                        )));
                    }
                    Selection::Incompatible(error) | Selection::Invalid(error) => {
                        return Poll::Ready(Err(error));
                    }
                    Selection::None => {}
                }
                log.waiting(deadline);
                // Once per view: a future that is polled often asks no more often.
                if asked
                    .as_ref()
                    .is_none_or(|view| !Arc::ptr_eq(view, &snapshot))
                {
                    shared.request_check();
                    asked = Some(Arc::clone(&snapshot));
                }
                if timer.poll(cx).is_ready() {
                    let message = describe_failure(&snapshot.view, &criteria);
                    let error = Error::new(ErrorKind::ServerSelection { message }).with_timeout();
                    return Poll::Ready(Err(error));
                }
                if !waiter.park(&snapshot, cx) {
                    continue;
                }
                // Only then, so that a death is either seen here or wakes the waiter.
                return match shared.ensure_alive() {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
        })
        .await;
        drop(waiter);
        log.ended(found.as_ref().map(|(server, ..)| server));
        let now = shared.clock.now();
        match found {
            Ok((server, server_type, topology_type, min_rtt)) => {
                let selected = Selected {
                    server: server.id,
                    address: server.address.clone(),
                    server_type,
                    topology_type,
                    min_rtt,
                };
                self.server = Some(OpCount::new(server));
                self.operation.selected(selected, now);
                Progress::Continue
            }
            Err(error) => self.failed(error, Stage::Selection, &mut Held::None, now),
        }
    }

    fn failed(
        &mut self,
        error: Error,
        stage: Stage,
        held: &mut Held<'_>,
        now: Instant,
    ) -> Progress {
        let failure = Failure { error, stage };
        self.shared.rng.with("retry", |rng| {
            self.operation.failed(failure, held.state(), now, rng)
        })
    }

    /// Gets a connection and builds the request of this attempt.
    async fn check_out(&mut self, held: &mut Held<'_>) -> Progress {
        let shared = self.shared;
        let Some(server) = self.server.as_ref().map(|count| Arc::clone(&count.0)) else {
            return Progress::Done(Err(Error::internal("no server was selected")));
        };
        let now = shared.clock.now();
        let mut deadline = self.operation.deadline();
        if let Some(limit) = shared.settings.wait_queue_timeout {
            let limit = now + limit;
            deadline = Some(deadline.map_or(limit, |at| at.min(limit)));
        }
        let checkout = CheckoutFuture::new(shared, Arc::clone(&server), deadline).await;
        let now = shared.clock.now();
        let mut lease = match checkout {
            Ok(lease) => lease,
            Err(error) => {
                // Pools are closed with the client; then it is not the pool's fault.
                return match shared.check_open() {
                    Ok(()) => self.failed(error, Stage::Checkout, held, now),
                    Err(closed) => Progress::Done(Err(closed)),
                };
            }
        };
        let Some(hello) = lease.link().hello() else {
            return Progress::Done(Err(Error::internal("a lease without a handshake")));
        };
        let facts = ConnFacts::from(hello);
        self.lease = Some(lease);
        if self.operation.sends_session(&facts) {
            // Sessions: an implicit session is taken only once a connection is had.
            match held {
                Held::None => *held = Held::Own(ImplicitSession::new(shared)),
                Held::Kept(slot) if slot.is_none() => **slot = Some(ImplicitSession::new(shared)),
                Held::Explicit(session) => session.acquire(),
                Held::Kept(_) | Held::Own(_) => {}
            }
        }
        let cluster_time = shared.cluster_time.load();
        let built = self
            .operation
            .checked_out(&facts, held.state(), cluster_time.as_deref(), now);
        match built {
            Ok(()) => Progress::Continue,
            Err(error) => Progress::Done(Err(error)),
        }
    }

    /// Sends the request and waits for its reply.
    async fn exchange(&mut self, held: &mut Held<'_>) -> Progress {
        let shared = self.shared;
        let Some(lease) = self.lease.as_mut() else {
            return Progress::Done(Err(Error::internal("no connection was checked out")));
        };
        let Want::Exchange(request) = self.operation.want() else {
            return Progress::Continue;
        };
        let deadline = self.operation.deadline();
        let unacknowledged = request.more_to_come;
        let begun = lease.link().begin(request, deadline);
        let exchange = match begun {
            Ok(exchange) => exchange,
            Err(error) => {
                // On a retry the error of the earlier attempt may say more.
                self.lease = None;
                let now = shared.clock.now();
                return self.failed(error, Stage::Exchange { sent: false }, held, now);
            }
        };
        lease.set_running(Some(exchange));
        let mut flight = Flight {
            shared,
            held,
            monitor: None,
            landed: false,
        };
        flight.monitor = shared
            .outbox
            .wants_commands()
            .then(|| CommandMonitor::started(shared, &self.operation, request, lease, exchange));
        let result = if unacknowledged {
            poll_fn(|cx| lease.link().poll_sent(cx))
                .await
                .map(|()| None)
        } else {
            poll_fn(|cx| lease.link().poll_reply(cx))
                .await
                .map(|(reply, _)| Some(reply))
        };
        flight.landed = true;
        let monitor = flight.monitor.take();
        let held = &mut *flight.held;
        lease.set_running(None);
        let now = shared.clock.now();
        match result {
            Ok(reply) => self.replied(reply, monitor, held, now),
            Err(error) => {
                let (generation, service_id) = (lease.generation(), lease.service_id());
                // A connection whose runtime has died says nothing about its server.
                let tells = !lease.is_orphaned();
                self.lease = None;
                let app_error = tells.then(|| route::app_error(&error, generation, service_id));
                self.broken(error.error, app_error, monitor, held, now)
            }
        }
    }

    /// A reply came: gossip, tell the topology of state changes, decide about a retry.
    fn replied(
        &mut self,
        reply: Option<Reply>,
        monitor: Option<CommandMonitor>,
        held: &mut Held<'_>,
        now: Instant,
    ) -> Progress {
        let shared = self.shared;
        let Some(reply) = reply else {
            if let Some(monitor) = monitor {
                monitor.succeeded(shared, None, now);
            }
            self.lease = None;
            return self.operation.replied_nothing(now);
        };
        let checked = route::reply(&reply, |time| shared.cluster_time.advance(time));
        if let Some(monitor) = monitor {
            match &checked {
                Ok(()) => monitor.succeeded(shared, Some(&reply), now),
                Err(error) if is_command(error) => monitor.failed(shared, error, now),
                Err(_) => monitor.succeeded(shared, Some(&reply), now),
            }
        }
        if let Err(error) = checked
            && let (Some(server), Some(lease)) = (&self.server, &mut self.lease)
        {
            let (generation, service_id) = (lease.generation(), lease.service_id());
            let app_error = route::reply_error(error, generation, service_id);
            shared.handle_app_error(server.0.id, &app_error);
        }
        self.lease = None;
        shared.rng.with("retry", |rng| {
            self.operation.replied(reply, held.state(), now, rng)
        })
    }

    /// The connection failed while the request was under way; without an `app_error` because its
    /// runtime had died.
    fn broken(
        &mut self,
        error: Error,
        app_error: Option<AppError>,
        monitor: Option<CommandMonitor>,
        held: &mut Held<'_>,
        now: Instant,
    ) -> Progress {
        let shared = self.shared;
        let orphaned = app_error.is_none();
        if let (Some(server), Some(app_error)) = (&self.server, app_error) {
            shared.handle_app_error(server.0.id, &app_error);
        }
        if let Some(monitor) = monitor {
            monitor.failed(shared, &error, now);
        }
        let stage = Stage::Exchange { sent: true };
        if !orphaned {
            return self.failed(error, stage, held, now);
        }
        let failure = Failure { error, stage };
        shared.rng.with("retry", |rng| {
            self.operation.orphaned(failure, held.state(), now, rng)
        })
    }
}

fn is_command(error: &Error) -> bool {
    matches!(*error.kind, ErrorKind::Command(_))
}
