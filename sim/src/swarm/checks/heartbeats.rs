//! Invariant 14.
//!
//! A check begins at the earliest half a second after the end of the last one, except the one
//! that follows at once when a server that was known fails.
//!
//! Checks that wait at the server follow each other as the server answers; they are not counted.

use std::time::Duration;

use mongo_client_core::{event::sdam::SdamEvent, time::Instant};

use super::{ByPool, Part, was_cancelled};
use crate::swarm::observe::Observation;

const MIN: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Monitor {
    ended: Option<Instant>,
    /// Whether the last check failed, after one that succeeded.
    lost: bool,
    known: bool,
}

#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    monitors: ByPool<Monitor>,
}

impl Part for Heartbeats {
    fn name(&self) -> &'static str {
        "checks-keep-their-distance"
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        // The monitors of the next runtime begin at once.
        if let Observation::Fault {
            kind: "runtime-death",
        } = what
        {
            self.monitors = ByPool::default();
        }
        let Observation::Sdam { client, event } = what else {
            return Ok(());
        };
        let client = *client;
        match event {
            SdamEvent::ServerOpening(e) => {
                *self.monitors.of(client, &e.address) = Monitor::default();
            }
            SdamEvent::ServerHeartbeatStarted(e) if !e.awaited => {
                let monitor = self.monitors.of(client, &e.server_address);
                let early = monitor.ended.filter(|ended| at < *ended + MIN);
                if let Some(ended) = early.filter(|_| !monitor.lost) {
                    return Err(format!(
                        "client {client} checks {} at {at}; the last check ended at {ended}",
                        e.server_address
                    ));
                }
            }
            SdamEvent::ServerHeartbeatSucceeded(e) => {
                let monitor = self.monitors.of(client, &e.server_address);
                monitor.ended = Some(at);
                monitor.lost = false;
                monitor.known = true;
            }
            SdamEvent::ServerHeartbeatFailed(e) => {
                let monitor = self.monitors.of(client, &e.server_address);
                monitor.ended = Some(at);
                // A check that was given up says nothing of its server.
                monitor.lost = !was_cancelled(&e.failure) && std::mem::take(&mut monitor.known);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::swarm::checks::tests::{Run, failed, started, succeeded};

    #[test]
    fn checks_in_haste_are_found() {
        let mut run = Run::of(Heartbeats::default());
        run.at(0);
        run.sdam(started(false)).unwrap();
        run.at(10);
        run.sdam(succeeded(false, doc! { "ok": 1 })).unwrap();
        run.at(510);
        run.sdam(started(false)).unwrap();
        run.sdam(failed()).unwrap();
        run.sdam(started(false)).unwrap();
        run.sdam(failed()).unwrap();
        run.at(1_009);
        assert!(run.sdam(started(false)).is_err());
        run.sdam(started(true)).unwrap();
        run.at(1_010);
        run.sdam(started(false)).unwrap();
    }
}
