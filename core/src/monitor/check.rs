//! The monitor of one server: when to check, how, and what an outcome is.
//!
//! ```text
//! Opening ── established ──> Resting (polling) | Checking (streaming)
//! Checking ─ reply ────────> Resting | Checking (awaitable again) | Streaming (moreToCome)
//! Streaming ─ reply ───────> the same
//! Opening, Checking, Streaming ── failure, cancel ──> Closing ── closed ──> Opening | Resting
//! Resting ── time ─────────> Opening | Checking
//! any ── stop ─────────────> Stopped
//! ```
//!
//! Invariants:
//! 1. Every heartbeat-started event is followed by exactly one succeeded or failed event.
//! 2. A check begins at once only at the start, while streaming, and after the first network error
//!    of a server that answered before; otherwise at least 500 ms after the last one ended.
//! 3. Calls that do not fit the state (a reply that comes after a cancellation) change nothing.

use std::{collections::VecDeque, io, time::Duration};

use bson::RawDocument;

use super::{MonitorConfig, Want, Watch, hello};
use crate::{
    error::{Error, ErrorKind},
    event::sdam::{
        SdamEvent, ServerHeartbeatFailedEvent, ServerHeartbeatStartedEvent,
        ServerHeartbeatSucceededEvent,
    },
    hello::{HelloReply, TopologyVersion},
    options::MIN_HEARTBEAT_FREQUENCY,
    time::Instant,
    topology::{CheckOutcome, refused},
    wire::Request,
};

/// What a monitor has to tell.
#[derive(Clone, Debug)]
pub enum MonitorAction {
    /// A heartbeat event for the application.
    Event(SdamEvent),
    /// The outcome of a check, for the topology.
    Outcome(CheckOutcome),
}

/// Checks one server, for as long as it is part of the topology.
#[derive(Debug)]
pub struct Monitor {
    config: MonitorConfig,
    state: State,
    link: Option<Link>,
    /// The connections so far: the number of the last one, in use or being opened.
    connections: u32,
    /// Whether the server knows `hello`.
    hello_ok: bool,
    /// Whether the last check that ran to its end succeeded.
    known: bool,
    /// What the last successful check said, if the server can stream.
    version: Option<TopologyVersion>,
    /// When the last check ended.
    ended: Instant,
    actions: VecDeque<MonitorAction>,
}

/// The monitor's connection, as events name it.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    server_id: Option<i64>,
}

#[derive(Debug)]
enum State {
    Checking {
        request: Request,
        awaited: bool,
        started: Instant,
        deadline: Option<Instant>,
    },
    Closing {
        then: Then,
    },
    Opening {
        started: Instant,
    },
    Resting {
        until: Instant,
    },
    Stopped,
    Streaming {
        started: Instant,
        deadline: Option<Instant>,
    },
}

/// What comes after the connection is closed.
#[derive(Clone, Copy, Debug)]
enum Then {
    Open,
    Rest { until: Instant },
}

impl Watch for Monitor {
    fn want(&self) -> Want<'_> {
        match &self.state {
            State::Checking {
                request, deadline, ..
            } => Want::Exchange {
                request,
                deadline: *deadline,
            },
            State::Closing { .. } => Want::Close,
            State::Opening { .. } => Want::Open,
            State::Resting { until } => Want::Sleep { until: *until },
            State::Stopped => Want::Stopped,
            State::Streaming { deadline, .. } => Want::AwaitReply {
                deadline: *deadline,
            },
        }
    }

    /// The reply to the hello is the outcome of the check.
    fn handle_established(&mut self, hello: Box<HelloReply>, rtt: Duration, now: Instant) {
        if !matches!(self.state, State::Opening { .. }) {
            return;
        }
        self.link = Some(Link {
            server_id: hello.connection_id,
        });
        if !hello.ok {
            self.fail(refused(&hello), now);
            return;
        }
        // The handshake's time limit began with the dialling, the event's duration with the hello.
        self.succeed(hello, rtt, Some(rtt), now);
        self.next_check(false, now);
    }

    fn handle_reply(&mut self, reply: &RawDocument, more_to_come: bool, now: Instant) {
        let (started, awaited) = match &self.state {
            State::Checking {
                started, awaited, ..
            } => (*started, *awaited),
            State::Streaming { started, .. } => (*started, true),
            _ => return,
        };
        let hello = match HelloReply::parse(reply) {
            Ok(hello) if hello.ok => Box::new(hello),
            Ok(hello) => return self.fail(refused(&hello), now),
            Err(error) => return self.fail(error, now),
        };
        let duration = now - started;
        let rtt = (!awaited).then_some(duration);
        self.succeed(hello, duration, rtt, now);
        self.next_check(more_to_come, now);
    }

    fn handle_failure(&mut self, error: Error, now: Instant) {
        match self.state {
            State::Checking { .. } | State::Opening { .. } | State::Streaming { .. } => {
                self.fail(error, now);
            }
            // The connection broke between checks: the next one opens another.
            State::Resting { .. } => self.link = None,
            State::Closing { .. } | State::Stopped => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Resting { until } if until <= now => {
                if self.link.is_some() {
                    self.exchange(now);
                } else {
                    self.open(now);
                }
            }
            State::Checking {
                deadline: Some(deadline),
                ..
            }
            | State::Streaming {
                deadline: Some(deadline),
                ..
            } if deadline <= now => self.fail(Error::from(io::ErrorKind::TimedOut), now),
            _ => {}
        }
    }

    fn closed(&mut self, now: Instant) {
        if let State::Closing { then } = self.state {
            match then {
                Then::Open => self.open(now),
                Then::Rest { until } => self.state = State::Resting { until },
            }
        }
    }

    fn stop(&mut self, now: Instant) {
        if self.started().is_some() {
            self.report_failed(cancelled(), now);
        }
        self.link = None;
        self.state = State::Stopped;
    }
}

impl Monitor {
    /// Starts a monitor; its first check begins at once.
    #[must_use]
    pub fn new(config: MonitorConfig, now: Instant) -> Self {
        let mut monitor = Self {
            hello_ok: config.server_api.is_some(),
            config,
            state: State::Stopped,
            link: None,
            connections: 0,
            known: false,
            version: None,
            ended: now,
            actions: VecDeque::new(),
        };
        monitor.open(now);
        monitor
    }

    /// Whether the server streams its state, so that a [`RttProbe`](super::RttProbe) is to run.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.config.streaming && self.version.is_some()
    }

    /// Someone needs to know the server's state soon. A running check is answer enough.
    pub fn request_check(&mut self, now: Instant) {
        let earliest = now.max(self.ended + MIN_HEARTBEAT_FREQUENCY);
        if let State::Resting { until }
        | State::Closing {
            then: Then::Rest { until },
        } = &mut self.state
        {
            *until = earliest.min(*until);
        }
    }

    /// An application's connection found the server unreachable: the running check is abandoned and
    /// the connection closed.
    pub fn cancel_check(&mut self, now: Instant) {
        match self.state {
            State::Checking { .. } | State::Opening { .. } | State::Streaming { .. } => {
                self.report_failed(cancelled(), now);
                self.close(self.rest(now));
            }
            State::Resting { until } if self.link.is_some() => self.close(Then::Rest { until }),
            State::Closing { .. } | State::Resting { .. } | State::Stopped => {}
        }
    }

    /// The next action; `None` when there is nothing to tell at present.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<MonitorAction> {
        self.actions.pop_front()
    }

    fn open(&mut self, now: Instant) {
        self.link = None;
        self.connections = self.connections.wrapping_add(1);
        self.state = State::Opening { started: now };
        self.report_started(false);
    }

    /// Begins a check on the open connection.
    fn exchange(&mut self, now: Instant) {
        let version = self.version.filter(|_| self.config.streaming);
        let timeout = match version {
            Some(_) => self.config.stream_timeout(),
            None => self.config.check_timeout(),
        };
        self.state = State::Checking {
            request: hello::request(&self.config, self.hello_ok, version),
            awaited: version.is_some(),
            started: now,
            deadline: timeout.map(|limit| now + limit),
        };
        self.report_started(version.is_some());
    }

    /// After a successful check: read on, ask to be told of changes, or rest.
    fn next_check(&mut self, more_to_come: bool, now: Instant) {
        if more_to_come {
            self.state = State::Streaming {
                started: now,
                deadline: self.config.stream_timeout().map(|limit| now + limit),
            };
            self.report_started(true);
        } else if self.is_streaming() {
            self.exchange(now);
        } else {
            self.state = State::Resting {
                until: now + self.config.heartbeat_frequency,
            };
        }
    }

    fn succeed(
        &mut self,
        hello: Box<HelloReply>,
        duration: Duration,
        rtt: Option<Duration>,
        now: Instant,
    ) {
        self.hello_ok = hello.hello_ok || self.config.server_api.is_some();
        self.known = true;
        self.version = hello.topology_version;
        self.ended = now;
        if self.config.events {
            self.report_succeeded(&hello, duration);
        }
        let outcome = CheckOutcome::Success { hello, rtt };
        self.actions.push_back(MonitorAction::Outcome(outcome));
    }

    /// Server Monitoring: "Network or command error during server check".
    fn fail(&mut self, error: Error, now: Instant) {
        let retry = self.known && matches!(&*error.kind, ErrorKind::Io(_));
        self.report_failed(error.clone(), now);
        self.known = false;
        self.version = None;
        let outcome = CheckOutcome::Failure { error };
        self.actions.push_back(MonitorAction::Outcome(outcome));
        let then = if retry { Then::Open } else { self.rest(now) };
        self.close(then);
    }

    fn rest(&self, now: Instant) -> Then {
        Then::Rest {
            until: now + self.config.heartbeat_frequency,
        }
    }

    fn close(&mut self, then: Then) {
        self.link = None;
        self.state = State::Closing { then };
    }

    fn started(&self) -> Option<Instant> {
        match self.state {
            State::Checking { started, .. }
            | State::Opening { started }
            | State::Streaming { started, .. } => Some(started),
            State::Closing { .. } | State::Resting { .. } | State::Stopped => None,
        }
    }

    fn awaited(&self) -> bool {
        match self.state {
            State::Checking { awaited, .. } => awaited,
            State::Streaming { .. } => true,
            _ => false,
        }
    }

    fn report_succeeded(&mut self, hello: &HelloReply, duration: Duration) {
        let link = self.link.unwrap_or_default();
        self.emit(SdamEvent::ServerHeartbeatSucceeded(
            ServerHeartbeatSucceededEvent {
                duration,
                reply: hello.raw.clone(),
                server_address: self.config.address.clone(),
                awaited: self.awaited(),
                driver_connection_id: self.connections,
                server_connection_id: link.server_id,
            },
        ));
    }

    fn report_started(&mut self, awaited: bool) {
        if !self.config.events {
            return;
        }
        let link = self.link.unwrap_or_default();
        self.emit(SdamEvent::ServerHeartbeatStarted(
            ServerHeartbeatStartedEvent {
                server_address: self.config.address.clone(),
                awaited,
                driver_connection_id: self.connections,
                server_connection_id: link.server_id,
            },
        ));
    }

    /// Emits the end of the running check.
    fn report_failed(&mut self, failure: Error, now: Instant) {
        self.ended = now;
        if !self.config.events {
            return;
        }
        let link = self.link.unwrap_or_default();
        let duration = self
            .started()
            .map_or(Duration::ZERO, |started| now - started);
        self.emit(SdamEvent::ServerHeartbeatFailed(
            ServerHeartbeatFailedEvent {
                duration,
                failure,
                server_address: self.config.address.clone(),
                awaited: self.awaited(),
                driver_connection_id: self.connections,
                server_connection_id: link.server_id,
            },
        ));
    }

    fn emit(&mut self, event: SdamEvent) {
        self.actions.push_back(MonitorAction::Event(event));
    }
}

/// Why an abandoned check failed.
fn cancelled() -> Error {
    Error::from(io::Error::new(
        io::ErrorKind::Interrupted,
        "the check was cancelled",
    ))
}
