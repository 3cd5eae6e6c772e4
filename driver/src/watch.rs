//! The parts of a server's task that watch it: its monitor and its round-trip time probe, each on a
//! connection of its own (specification: "Server Monitoring").

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use mongo_client_core::{
    conn::Purpose,
    error::Error,
    event::sdam::SdamEvent,
    id::ConnId,
    monitor::{Monitor, MonitorConfig, RttProbe, Want, Watch},
    route::{self, MonitorRoutes},
    time::Instant,
    topology::CheckOutcome,
};

use crate::{
    incarnation::Incarnation,
    link::{Link, Opened},
    server::{CANCEL, CHECK, PROBE, STOP, Server},
    shared::Shared,
    signal::Signal,
    tasks::raised,
    wait::{Either, give_way, race, sleep_until},
};

/// How often a monitor gives way to those who have waited for it. An executor with one queue comes
/// back to its task first because of the pool, which is ready; then behind those who waited; and then
/// behind the tasks that dial for them.
const WAYS: usize = 3;

/// A machine that watches a server, and what reaches it.
trait Watcher: Watch {
    /// What its connection is for.
    const PURPOSE: Purpose;

    /// What tells it to stop, and more.
    fn signal(server: &Server) -> &Signal;

    /// Hands on what it has told. `None` when the client is gone.
    fn hand_on(&mut self, server: &Server) -> Option<HandedOn>;

    /// Tells it of raised bits; false when its connection is of no more use.
    fn handle_bits(&mut self, bits: u32, now: Instant) -> bool;
}

/// What came of what a watcher has told.
#[derive(Default)]
struct HandedOn {
    /// The server streams its state, so that it is to be probed.
    streaming: bool,
    /// Operations have waited for it.
    awaited: bool,
}

/// Runs a server's monitor until it ends.
pub(crate) async fn monitor(server: Arc<Server>, life: Arc<Incarnation>) {
    let Some((config, keep_alive)) = settings(&server) else {
        return;
    };
    let machine = Monitor::new(config, life.runtime().now());
    watch(&server, &life, machine, keep_alive).await;
}

/// Runs a server's round-trip time probe, once its monitor streams, until it ends.
pub(crate) async fn probe(server: Arc<Server>, life: Arc<Incarnation>) {
    loop {
        match raised(&server.probe_signal, &life).await {
            bits if bits & STOP != 0 => return,
            bits if bits & PROBE != 0 => break,
            _ => {}
        }
    }
    let Some((config, keep_alive)) = settings(&server) else {
        return;
    };
    let machine = RttProbe::new(config, life.runtime().now());
    watch(&server, &life, machine, keep_alive).await;
}

/// How a server is monitored, and whether its sockets are kept alive. `None` when the client is gone.
fn settings(server: &Server) -> Option<(MonitorConfig, bool)> {
    let shared = server.shared.upgrade()?;
    let settings = &shared.settings;
    let config = MonitorConfig {
        events: shared.outbox.wants_sdam(),
        ..settings.monitor_config(&server.address)
    };
    Some((config, settings.keep_alive))
}

/// A machine that is stopped when it is dropped, as it is with its runtime: a check that is under way
/// has an end that is told.
struct Stopping<'a, M: Watcher> {
    machine: M,
    server: &'a Server,
    life: &'a Incarnation,
}

impl<M: Watcher> Drop for Stopping<'_, M> {
    fn drop(&mut self) {
        // A handler of events that has panicked is not called again.
        if !std::thread::panicking() {
            self.machine.stop(self.life.runtime().now());
            self.machine.hand_on(self.server);
        }
    }
}

/// Does what a machine wants, until it has ended.
async fn watch<M: Watcher>(server: &Server, life: &Arc<Incarnation>, machine: M, keep_alive: bool) {
    let runtime = life.runtime();
    let mut stopping = Stopping {
        machine,
        server,
        life,
    };
    let machine = &mut stopping.machine;
    let mut link: Option<Box<Link>> = None;
    let mut probing = false;
    while let Some(told) = machine.hand_on(server) {
        if told.streaming && !probing {
            probing = true;
            server.probe_signal.raise(PROBE);
        }
        if told.awaited {
            // Those who have waited go first: the next check can wait for their connections.
            for _ in 0..WAYS {
                give_way().await;
            }
        }
        let bits = match machine.want() {
            Want::Stopped => return,
            Want::Close => {
                link = None;
                machine.closed(runtime.now());
                continue;
            }
            Want::Open => {
                let opening = Link::open(
                    life,
                    &server.monitor_config,
                    keep_alive,
                    ConnId(0),
                    M::PURPOSE,
                    Arc::default(),
                );
                match unless_raised(server, machine, life, opening).await {
                    Either::First(bits) => bits,
                    Either::Second(Ok(Opened {
                        link: opened,
                        hello,
                        rtt,
                    })) => {
                        link = Some(opened);
                        machine.handle_established(hello, rtt, runtime.now());
                        continue;
                    }
                    Either::Second(Err(error)) => {
                        machine.handle_failure(route::check_error(error), runtime.now());
                        continue;
                    }
                }
            }
            Want::Sleep { until } => {
                let sleep = sleep_until(&**runtime, until);
                match race(raised(M::signal(server), life), sleep).await {
                    Either::First(bits) => bits,
                    Either::Second(()) => {
                        machine.handle_timeout(runtime.now());
                        continue;
                    }
                }
            }
            want @ (Want::Exchange { .. } | Want::AwaitReply { .. }) => {
                let Some(link) = link.as_mut() else {
                    machine.handle_failure(Error::internal("a watcher has no link"), runtime.now());
                    continue;
                };
                if let Want::Exchange { request, deadline } = want
                    && let Err(error) = link.begin(request, deadline, runtime.now())
                {
                    machine.handle_failure(error, runtime.now());
                    continue;
                }
                if let Want::AwaitReply { deadline } = want {
                    link.set_deadline(deadline);
                }
                let reply = poll_fn(|cx| link.poll_reply(cx));
                match unless_raised(server, machine, life, reply).await {
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
        if !machine.handle_bits(bits, runtime.now()) {
            link = None;
        }
    }
}

/// Runs a part of a check until it is ready or a signal ends it. A mere check request does not: the
/// check under way will answer it.
async fn unless_raised<M: Watcher, F: Future>(
    server: &Server,
    machine: &mut M,
    life: &Incarnation,
    part: F,
) -> Either<u32, F::Output> {
    let mut part = pin!(part);
    loop {
        match race(raised(M::signal(server), life), part.as_mut()).await {
            Either::First(CHECK) => {
                machine.handle_bits(CHECK, life.runtime().now());
            }
            either => return either,
        }
    }
}

impl Watcher for Monitor {
    const PURPOSE: Purpose = Purpose::Monitor;

    fn signal(server: &Server) -> &Signal {
        &server.monitor_signal
    }

    fn hand_on(&mut self, server: &Server) -> Option<HandedOn> {
        let mut routing = Routing {
            server,
            shared: server.shared.upgrade()?,
            told: HandedOn::default(),
        };
        route::monitor(self, &mut routing);
        routing.shared.outbox.flush();
        Some(routing.told)
    }

    fn handle_bits(&mut self, bits: u32, now: Instant) -> bool {
        if bits & STOP != 0 {
            self.stop(now);
        }
        if bits & CANCEL != 0 {
            self.cancel_check(now);
        }
        if bits & CHECK != 0 {
            self.request_check(now);
        }
        bits & (STOP | CANCEL) == 0
    }
}

impl Watcher for RttProbe {
    const PURPOSE: Purpose = Purpose::RttProbe;

    fn signal(server: &Server) -> &Signal {
        &server.probe_signal
    }

    fn hand_on(&mut self, server: &Server) -> Option<HandedOn> {
        let shared = server.shared.upgrade()?;
        route::probe(self, |sample| {
            shared.with_topology("rtt", |t, now| t.handle_rtt(server.id, sample, now));
        });
        Some(HandedOn::default())
    }

    fn handle_bits(&mut self, bits: u32, now: Instant) -> bool {
        if bits & STOP != 0 {
            self.stop(now);
        }
        bits & STOP == 0
    }
}

/// Where a monitor's actions go.
struct Routing<'a> {
    server: &'a Server,
    shared: Arc<Shared>,
    told: HandedOn,
}

impl MonitorRoutes for Routing<'_> {
    fn heartbeat(&mut self, event: SdamEvent) {
        self.shared.heartbeat(self.server, event);
    }

    fn outcome(&mut self, outcome: CheckOutcome) {
        self.shared.outbox.flush();
        self.told.awaited |= self.shared.views.waiting() > 0;
        self.shared.handle_check(self.server.id, outcome);
    }

    fn probe(&mut self) {
        self.told.streaming = true;
    }
}
