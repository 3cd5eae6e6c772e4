//! Invariant 3.
//!
//! Who waits for a connection is served in the order of asking.

use std::time::Duration;

use mongo_client_core::{event::cmap::CmapEvent, time::Instant};

use super::{ByPool, Part};
use crate::swarm::observe::Observation;

/// The highest instant of asking among those that were served.
#[derive(Debug, Default)]
struct Last(Option<Instant>);

#[derive(Debug, Default)]
pub(super) struct Fifo {
    pools: ByPool<Last>,
}

impl Part for Fifo {
    fn name(&self) -> &'static str {
        "first-come-first-served"
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Cmap { client, event } = what else {
            return Ok(());
        };
        match event {
            CmapEvent::PoolCreated(e) => *self.pools.of(*client, &e.address) = Last::default(),
            CmapEvent::ConnectionCheckedOut(e) => {
                let asked = ago(at, e.duration);
                let last = self.pools.of(*client, &e.address);
                if last.0.is_some_and(|last| asked < last) {
                    return Err(format!(
                        "client {client}, {}: connection {} goes to who asked at {asked}, after \
                         one who asked at {}",
                        e.address,
                        e.connection_id,
                        last.0.unwrap_or_default()
                    ));
                }
                last.0 = Some(asked);
            }
            _ => {}
        }
        Ok(())
    }
}

fn ago(at: Instant, duration: Duration) -> Instant {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(at.as_nanos().saturating_sub(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{Run, checked_out};

    #[test]
    fn a_late_comer_who_is_served_first_is_found() {
        let mut run = Run::of(Fifo::default());
        run.at(1_000);
        run.cmap(checked_out(1, 500)).unwrap();
        run.at(1_100);
        run.cmap(checked_out(2, 600)).unwrap();
        run.cmap(checked_out(3, 100)).unwrap();
        assert!(run.cmap(checked_out(4, 101)).is_err());
    }
}
