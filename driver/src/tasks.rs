//! The background tasks of a client: opening connections, pools' chores, monitors, SRV polling.
//!
//! Every task belongs to a server or to the client, ends when its owner's signal says so, and
//! holds the client weakly wherever it waits.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use mongo_client_core::{
    conn::Purpose,
    error::Error,
    event::sdam::SdamEvent,
    id::{ConnId, Generation},
    monitor::{Monitor, MonitorConfig, MonitorWant, RttProbe, RttWant},
    route::{self, MonitorRoutes},
    time::Instant,
    topology::CheckOutcome,
};

use crate::{
    link::{INTERRUPT, Link, Opened},
    runtime::{Runtime, RuntimeGone},
    server::{CANCEL, CHECK, Chore, STOP, Server},
    shared::Shared,
    signal::Signal,
    wait::{Either, race, sleep_until},
};

/// Spawns a task of the client. A runtime that is gone drops it: nothing runs there any more.
pub(crate) fn spawn(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    let _ = shared.runtime.spawn(Box::pin(task));
}

/// Starts the tasks of a new server.
pub(crate) fn start_server(shared: &Arc<Shared>, server: &Arc<Server>) {
    spawn(
        shared,
        chores(Arc::clone(server), Arc::clone(&shared.runtime)),
    );
    if shared.settings.topology.load_balanced {
        return;
    }
    spawn(
        shared,
        monitor(Arc::clone(server), Arc::clone(&shared.runtime)),
    );
}

/// A connection that is being opened. Dropped before its end, it fails: its runtime is gone.
struct Opening {
    server: Arc<Server>,
    runtime: Arc<dyn Runtime>,
    id: ConnId,
    ended: bool,
}

impl Opening {
    fn failed(&mut self, error: &Error) {
        self.ended = true;
        let (id, now) = (self.id, self.runtime.now());
        self.server
            .with_pool("open failed", |cell| cell.open_failed(id, error, now));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.ended {
            self.failed(&Error::internal(RuntimeGone.to_string()));
        }
    }
}

/// Opens one connection for a pool (CMAP: "Establishing a Connection").
pub(crate) fn open(
    server: Arc<Server>,
    shared: &Shared,
    id: ConnId,
    generation: Generation,
    signal: Arc<Signal>,
) -> impl Future<Output = ()> + Send + 'static {
    let keep_alive = shared.settings.keep_alive;
    let mut opening = Opening {
        server,
        runtime: Arc::clone(&shared.runtime),
        id,
        ended: false,
    };
    async move {
        let server = Arc::clone(&opening.server);
        let link = Link::open(
            &opening.runtime,
            &server.config,
            keep_alive,
            id,
            Purpose::Application,
            Arc::clone(&signal),
        );
        let result = match race(interrupted(&signal), link).await {
            // The pool has forgotten the connection.
            Either::First(()) => return opening.failed(&Error::internal("interrupted")),
            Either::Second(result) => result,
        };
        match result {
            Ok(Opened { link, hello, .. }) => {
                opening.ended = true;
                let (service_id, now) = (hello.service_id, opening.runtime.now());
                server.with_pool("opened", |cell| cell.pool.opened(id, link, service_id, now));
            }
            Err(error) => {
                // CMAP: the pool is cleared before the connection is reported closed.
                if let Some(shared) = server.shared.upgrade() {
                    let app_error = route::app_error(&error, generation, None);
                    shared.handle_app_error(server.id, &app_error);
                }
                opening.failed(&error.error);
            }
        }
    }
}

/// Resolves once a link is told to close at once: also while it is dialled.
async fn interrupted(signal: &Signal) {
    poll_fn(|cx| {
        signal.watch(cx);
        if signal.is_raised(INTERRUPT) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Ends a server's chores when their task ends or is dropped.
struct ChoresEnd(Arc<Server>);

impl Drop for ChoresEnd {
    fn drop(&mut self) {
        self.0.end_chores();
    }
}

/// A pool's background work: idle connections, minPoolSize, drains, killCursors.
fn chores(
    server: Arc<Server>,
    runtime: Arc<dyn Runtime>,
) -> impl Future<Output = ()> + Send + 'static {
    let end = ChoresEnd(server);
    async move {
        let server = &end.0;
        loop {
            let now = runtime.now();
            let next = server.with_pool("maintain", |cell| cell.maintain(now));
            while let Some(chore) = server.pop_chore() {
                let task = match chore {
                    Chore::Drain(draining) => Box::pin(draining.run()),
                    Chore::Run(task) => task,
                };
                if runtime.spawn(task).is_err() {
                    return;
                }
            }
            let sleep = sleep_until(&*runtime, next.max(now + MAINTENANCE_MIN));
            if let Either::First(bits) = race(raised(&server.chore_signal), sleep).await
                && bits & STOP != 0
            {
                return;
            }
        }
    }
}

/// The shortest time between two rounds of a pool's maintenance.
const MAINTENANCE_MIN: Duration = Duration::from_millis(10);

/// Resolves to the raised bits of a signal.
async fn raised(signal: &Signal) -> u32 {
    poll_fn(|cx| match signal.poll_take(cx) {
        0 => Poll::Pending,
        bits => Poll::Ready(bits),
    })
    .await
}

/// A server's monitor (SDAM: "Server Monitoring").
async fn monitor(server: Arc<Server>, runtime: Arc<dyn Runtime>) {
    let Some((config, keep_alive)) = server.shared.upgrade().map(|s| {
        (
            s.settings.monitor_config(&server.address),
            s.settings.keep_alive,
        )
    }) else {
        return;
    };
    let mut machine = Monitor::new(config.clone(), runtime.now());
    let mut link: Option<Box<Link>> = None;
    let mut probing = false;
    loop {
        let Some(streaming) = dispatch(&server, &mut machine) else {
            return;
        };
        if streaming && !probing {
            probing = true;
            let task = probe(Arc::clone(&server), Arc::clone(&runtime), config.clone());
            if runtime.spawn(Box::pin(task)).is_err() {
                return;
            }
        }
        let bits = match machine.want() {
            MonitorWant::Stopped => return,
            MonitorWant::Close => {
                link = None;
                machine.closed(runtime.now());
                continue;
            }
            MonitorWant::Open => {
                let opening = Link::open(
                    &runtime,
                    &server.monitor_config,
                    keep_alive,
                    ConnId(0),
                    Purpose::Monitor,
                    Arc::default(),
                );
                match unless_raised(&server, &mut machine, &*runtime, opening).await {
                    Either::First(bits) => bits,
                    Either::Second(Ok(Opened {
                        link: opened,
                        hello,
                        rtt,
                    })) => {
                        link = Some(opened);
                        machine.handle_established(hello, rtt, 0, runtime.now());
                        continue;
                    }
                    Either::Second(Err(error)) => {
                        machine.handle_failure(route::check_error(error), runtime.now());
                        continue;
                    }
                }
            }
            MonitorWant::Sleep { until } => {
                let sleep = sleep_until(&*runtime, until);
                match race(raised(&server.monitor_signal), sleep).await {
                    Either::First(bits) => bits,
                    Either::Second(()) => {
                        machine.handle_timeout(runtime.now());
                        continue;
                    }
                }
            }
            want @ (MonitorWant::Exchange { .. } | MonitorWant::AwaitReply { .. }) => {
                let Some(link) = link.as_mut() else {
                    machine.handle_failure(Error::internal("monitor has no link"), runtime.now());
                    continue;
                };
                if let MonitorWant::Exchange { request, deadline } = want
                    && let Err(error) = link.begin(request, deadline)
                {
                    machine.handle_failure(error, runtime.now());
                    continue;
                }
                if let MonitorWant::AwaitReply { deadline } = want {
                    link.set_deadline(deadline);
                }
                let reply = poll_fn(|cx| link.poll_reply(cx));
                match unless_raised(&server, &mut machine, &*runtime, reply).await {
                    Either::First(bits) => bits,
                    Either::Second(Ok((reply, more))) => {
                        machine.handle_reply(reply.document(), more, runtime.now());
                        continue;
                    }
                    Either::Second(Err(error)) => {
                        machine.handle_failure(route::check_error(error), runtime.now());
                        continue;
                    }
                }
            }
        };
        if !handle_bits(&mut machine, bits, runtime.now()) {
            link = None;
        }
    }
}

/// Runs a part of a check until it is ready or a signal ends it. A mere check request does not: the
/// check under way will answer it.
async fn unless_raised<F: Future>(
    server: &Server,
    machine: &mut Monitor,
    runtime: &dyn Runtime,
    part: F,
) -> Either<u32, F::Output> {
    let mut part = pin!(part);
    loop {
        match race(raised(&server.monitor_signal), part.as_mut()).await {
            Either::First(CHECK) => machine.request_check(runtime.now()),
            either => return either,
        }
    }
}

/// Tells a monitor of raised bits; false when its running check was abandoned.
fn handle_bits(machine: &mut Monitor, bits: u32, now: Instant) -> bool {
    if bits & STOP != 0 {
        machine.stop(now);
    }
    if bits & CANCEL != 0 {
        machine.cancel_check(now);
    }
    if bits & CHECK != 0 {
        machine.request_check(now);
    }
    bits & (STOP | CANCEL) == 0
}

/// Where a monitor's actions go.
struct Routing<'a> {
    server: &'a Server,
    shared: Arc<Shared>,
    streaming: bool,
}

impl MonitorRoutes for Routing<'_> {
    fn heartbeat(&mut self, event: SdamEvent) {
        self.shared.heartbeat(event);
    }

    fn outcome(&mut self, outcome: CheckOutcome) {
        self.shared.outbox.flush();
        self.shared.handle_check(self.server.id, outcome);
    }

    fn probe(&mut self) {
        self.streaming = true;
    }
}

/// Hands a monitor's outcomes on; whether the server streams. `None` when the client is gone.
fn dispatch(server: &Server, machine: &mut Monitor) -> Option<bool> {
    let mut routing = Routing {
        server,
        shared: server.shared.upgrade()?,
        streaming: false,
    };
    route::monitor(machine, &mut routing);
    routing.shared.outbox.flush();
    Some(routing.streaming)
}

/// A server's round-trip time probe (server-monitoring.md: "Measuring RTT").
async fn probe(server: Arc<Server>, runtime: Arc<dyn Runtime>, config: MonitorConfig) {
    let mut machine = RttProbe::new(config, runtime.now());
    let mut link: Option<Box<Link>> = None;
    loop {
        let Some(shared) = server.shared.upgrade() else {
            return;
        };
        route::probe(&mut machine, |sample| {
            shared.with_topology("rtt", |t, now| t.handle_rtt(server.id, sample, now));
        });
        drop(shared);
        let bits = match machine.want() {
            RttWant::Stopped => return,
            RttWant::Close => {
                link = None;
                machine.closed(runtime.now());
                continue;
            }
            RttWant::Open => {
                let opening = Link::open(
                    &runtime,
                    &server.monitor_config,
                    false,
                    ConnId(0),
                    Purpose::RttProbe,
                    Arc::default(),
                );
                match race(raised(&server.probe_signal), opening).await {
                    Either::First(bits) => bits,
                    Either::Second(Ok(Opened {
                        link: opened,
                        hello,
                        rtt,
                    })) => {
                        link = Some(opened);
                        machine.handle_established(&hello, rtt, runtime.now());
                        continue;
                    }
                    Either::Second(Err(_)) => {
                        machine.handle_failure(runtime.now());
                        continue;
                    }
                }
            }
            RttWant::Sleep { until } => {
                let sleep = sleep_until(&*runtime, until);
                match race(raised(&server.probe_signal), sleep).await {
                    Either::First(bits) => bits,
                    Either::Second(()) => {
                        machine.handle_timeout(runtime.now());
                        continue;
                    }
                }
            }
            RttWant::Exchange { request, deadline } => {
                let begun = match link.as_mut() {
                    Some(link) => link.begin(request, deadline).is_ok(),
                    None => false,
                };
                let Some(open) = link.as_mut().filter(|_| begun) else {
                    link = None;
                    machine.handle_failure(runtime.now());
                    continue;
                };
                let reply = poll_fn(|cx| open.poll_reply(cx));
                match race(raised(&server.probe_signal), reply).await {
                    Either::First(bits) => bits,
                    Either::Second(Ok((reply, _))) => {
                        machine.handle_reply(reply.document(), runtime.now());
                        continue;
                    }
                    Either::Second(Err(_)) => {
                        link = None;
                        machine.handle_failure(runtime.now());
                        continue;
                    }
                }
            }
        };
        if bits & STOP != 0 {
            machine.stop(runtime.now());
        }
    }
}

/// Looks SRV records up again when the topology asks (specification: "Polling SRV Records").
pub(crate) async fn srv_polling(shared: Weak<Shared>, stop: Arc<Signal>) {
    loop {
        let Some((runtime, next)) = shared.upgrade().filter(|s| !s.is_closed()).map(|s| {
            let next = s.with_topology("srv timer", |t, _| t.poll_timeout());
            (Arc::clone(&s.runtime), next)
        }) else {
            return;
        };
        let Some((at, _)) = next else { return };
        if let Either::First(_) = race(raised(&stop), sleep_until(&*runtime, at)).await {
            return;
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.with_topology("srv due", |t, now| t.handle_timeout(now));
    }
}

/// Resolves the SRV records once and tells the topology.
pub(crate) async fn resolve_srv(shared: Weak<Shared>) {
    let Some((runtime, polling, options)) = shared.upgrade().and_then(|s| {
        let polling = s.settings.topology.srv.clone()?;
        Some((Arc::clone(&s.runtime), polling, Arc::clone(&s.options)))
    }) else {
        return;
    };
    let records = crate::srv::poll(&runtime, &polling, &options).await;
    if let Some(shared) = shared.upgrade() {
        shared.with_topology("srv", |t, now| t.handle_srv(records, now));
    }
}
