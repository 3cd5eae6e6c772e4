//! Measures round-trip times beside a streaming monitor (Server Monitoring: "Measuring RTT").
//!
//! It has a connection of its own, because the monitor's is busy streaming. Failures mean nothing
//! for the topology and cause no event: the connection is dropped and another one opened at the next
//! interval.

use std::{collections::VecDeque, time::Duration};

use bson::RawDocument;

use super::{MonitorConfig, Want, Watch, hello};
use crate::{error::Error, hello::HelloReply, time::Instant, wire::Request};

/// What a probe has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RttAction {
    /// A round-trip time, for [`Topology::handle_rtt`](crate::topology::Topology::handle_rtt).
    Sample(Duration),
}

/// Measures the round-trip times of one server while its monitor streams.
#[derive(Debug)]
pub struct RttProbe {
    config: MonitorConfig,
    state: State,
    connected: bool,
    hello_ok: bool,
    actions: VecDeque<RttAction>,
}

#[derive(Debug)]
enum State {
    Closing {
        until: Instant,
    },
    Opening,
    Pinging {
        request: Request,
        started: Instant,
        deadline: Option<Instant>,
    },
    Resting {
        until: Instant,
    },
    Stopped,
}

impl Watch for RttProbe {
    fn want(&self) -> Want<'_> {
        match &self.state {
            State::Closing { .. } => Want::Close,
            State::Opening => Want::Open,
            State::Pinging {
                request, deadline, ..
            } => Want::Exchange {
                request,
                deadline: *deadline,
            },
            State::Resting { until } => Want::Sleep { until: *until },
            State::Stopped => Want::Stopped,
        }
    }

    fn handle_established(&mut self, hello: Box<HelloReply>, rtt: Duration, now: Instant) {
        if !matches!(self.state, State::Opening) {
            return;
        }
        self.connected = true;
        self.sample(&hello, rtt, now);
    }

    fn handle_reply(&mut self, reply: &RawDocument, _more_to_come: bool, now: Instant) {
        let State::Pinging { started, .. } = self.state else {
            return;
        };
        match HelloReply::parse(reply) {
            Ok(hello) if hello.ok => self.sample(&hello, now - started, now),
            _ => self.fail(now),
        }
    }

    fn handle_failure(&mut self, _error: Error, now: Instant) {
        self.fail(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Resting { until } if until <= now => {
                self.state = if self.connected {
                    State::Pinging {
                        request: hello::request(&self.config, self.hello_ok, None),
                        started: now,
                        deadline: self.config.check_timeout().map(|limit| now + limit),
                    }
                } else {
                    State::Opening
                };
            }
            State::Pinging {
                deadline: Some(deadline),
                ..
            } if deadline <= now => self.fail(now),
            _ => {}
        }
    }

    fn closed(&mut self, _now: Instant) {
        if let State::Closing { until } = self.state {
            self.state = State::Resting { until };
        }
    }

    fn stop(&mut self, _now: Instant) {
        self.connected = false;
        self.state = State::Stopped;
    }
}

impl RttProbe {
    /// Starts a probe. The monitor's handshake was the first measurement: the next is due after a
    /// heartbeat, and until then the probe's connection does not compete with the application's
    /// first ones.
    #[must_use]
    pub fn new(config: MonitorConfig, now: Instant) -> Self {
        Self {
            hello_ok: config.server_api.is_some(),
            state: State::Resting {
                until: now + config.heartbeat_frequency,
            },
            config,
            connected: false,
            actions: VecDeque::new(),
        }
    }

    /// The next action; `None` when there is nothing to tell at present.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<RttAction> {
        self.actions.pop_front()
    }

    fn fail(&mut self, now: Instant) {
        match self.state {
            State::Opening | State::Pinging { .. } => {
                self.connected = false;
                self.state = State::Closing {
                    until: now + self.config.heartbeat_frequency,
                };
            }
            State::Resting { .. } => self.connected = false,
            State::Closing { .. } | State::Stopped => {}
        }
    }

    fn sample(&mut self, hello: &HelloReply, rtt: Duration, now: Instant) {
        self.hello_ok = hello.hello_ok || self.config.server_api.is_some();
        self.actions.push_back(RttAction::Sample(rtt));
        self.state = State::Resting {
            until: now + self.config.heartbeat_frequency,
        };
    }
}
