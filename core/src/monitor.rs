//! Server monitors and round-trip time probes (specification: "Server Monitoring").
//!
//! A [`Monitor`] and a [`RttProbe`] each belong to a task that owns a connection of its own. They
//! say what they want (open a connection, exchange, wait, sleep); the task does it and reports back,
//! through [`Watch`], which is the same for both. They hold no lock, do no I/O and never touch the
//! topology: their outcomes are actions.

mod check;
mod hello;
mod rtt;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

pub use self::{
    check::{Monitor, MonitorAction},
    rtt::{RttAction, RttProbe},
    watch::{Want, Watch},
};
use crate::{net::ServerAddress, options::ServerApi};

/// What a monitor and a probe are told when they start.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// The server.
    pub address: ServerAddress,
    /// The interval between checks, at least 500 ms.
    pub heartbeat_frequency: Duration,
    /// The time limit of a check; `None` or zero for none.
    pub connect_timeout: Option<Duration>,
    /// Whether servers that can stream their state may do so (`serverMonitoringMode`).
    pub streaming: bool,
    /// The server API version to declare; implies `hello` instead of the legacy command.
    pub server_api: Option<ServerApi>,
    /// Whether anybody listens to heartbeat events.
    pub events: bool,
}

impl MonitorConfig {
    /// The time limit of a check, unless there is none.
    fn check_timeout(&self) -> Option<Duration> {
        self.connect_timeout.filter(|limit| !limit.is_zero())
    }

    /// The time limit of a streamed reply: the server may hold it back for one heartbeat.
    fn stream_timeout(&self) -> Option<Duration> {
        self.check_timeout()
            .map(|limit| limit.saturating_add(self.heartbeat_frequency))
    }
}
