//! Invariant 1.
//!
//! A checkout settles exactly once, and so does an operation.

use std::collections::BTreeSet;

use mongo_client_core::{event::cmap::CmapEvent, time::Instant};

use super::{ByPool, Part};
use crate::swarm::observe::{End, Observation};

/// Checkouts of a pool, from its events.
#[derive(Debug, Default)]
struct Tally {
    started: u64,
    settled: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tickets {
    pools: ByPool<Tally>,
    pending: BTreeSet<u64>,
}

impl Part for Tickets {
    fn name(&self) -> &'static str {
        "ticket-settles-once"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Cmap { client, event } => self.pool_event(*client, event),
            Observation::Began(facts) if !self.pending.insert(facts.op) => {
                Err(format!("operation {} begins twice", facts.op))
            }
            Observation::Ended { op, .. } | Observation::Dropped { op, .. }
                if !self.pending.remove(op) =>
            {
                Err(format!(
                    "operation {op} ends twice, or after it was dropped"
                ))
            }
            Observation::Counts(counts) if counts.quiet => {
                let of_client = self.pools.0.iter().filter(|p| p.0 == counts.client);
                for (_, address, tally) in of_client {
                    if tally.started != tally.settled {
                        return Err(format!(
                            "client {}, {address}: {} checkouts, {} of them settled, and nobody \
                             waits any more",
                            counts.client, tally.started, tally.settled
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        match self.pending.first() {
            Some(op) => Err(format!("operation {op} has neither ended nor been dropped")),
            None => Ok(()),
        }
    }
}

impl Tickets {
    fn pool_event(&mut self, client: usize, event: &CmapEvent) -> Result<(), String> {
        let address = match event {
            CmapEvent::ConnectionCheckoutStarted(e) => {
                self.pools.of(client, &e.address).started += 1;
                return Ok(());
            }
            CmapEvent::ConnectionCheckedOut(e) => &e.address,
            CmapEvent::ConnectionCheckoutFailed(e) => &e.address,
            _ => return Ok(()),
        };
        let tally = self.pools.of(client, address);
        tally.settled += 1;
        if tally.settled > tally.started {
            return Err(format!(
                "client {client}, {address}: the checkouts settled are more than those started"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{Run, checked_out, checkout_failed, checkout_started};

    #[test]
    fn a_checkout_that_settles_twice_is_found() {
        let mut run = Run::of(Tickets::default());
        run.cmap(checkout_started()).unwrap();
        run.cmap(checked_out(1, 0)).unwrap();
        assert!(run.cmap(checkout_failed()).is_err());
    }

    #[test]
    fn a_checkout_that_never_settles_is_found_when_all_is_quiet() {
        let mut run = Run::of(Tickets::default());
        run.cmap(checkout_started()).unwrap();
        run.counts(|c| c.quiet = false).unwrap();
        assert!(run.counts(|c| c.quiet = true).is_err());
        run.cmap(checkout_failed()).unwrap();
        run.counts(|c| c.quiet = true).unwrap();
    }

    #[test]
    fn an_operation_ends_once() {
        let mut run = Run::of(Tickets::default());
        run.begin(1, |_| {}).unwrap();
        run.drop_op(1).unwrap();
        assert!(run.fail_op(1).is_err());
        let mut run = Run::of(Tickets::default());
        run.begin(1, |_| {}).unwrap();
        assert!(run.finish().is_err());
    }
}
