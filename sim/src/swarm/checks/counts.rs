//! Invariant 5.
//!
//! What is counted is what is held: nothing once all is quiet, and in between the leases that the
//! pool's events tell of.

use mongo_client_core::{event::cmap::CmapEvent, time::Instant};

use super::{ByPool, Part};
use crate::swarm::observe::{ClientCounts, Observation};

/// Connections of a pool that are handed out.
#[derive(Debug, Default)]
struct Out {
    present: usize,
    /// Those of a closed pool of the same server.
    former: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pools: ByPool<Out>,
}

impl Part for Counts {
    fn name(&self) -> &'static str {
        "counts-equal-guards"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Cmap { client, event } => match event {
                CmapEvent::PoolCreated(e) => {
                    let out = self.pools.of(*client, &e.address);
                    out.former += std::mem::take(&mut out.present);
                }
                CmapEvent::ConnectionCheckedOut(e) => {
                    self.pools.of(*client, &e.address).present += 1;
                }
                CmapEvent::ConnectionCheckedIn(e) => {
                    let out = self.pools.of(*client, &e.address);
                    match out.former.checked_sub(1) {
                        Some(left) => out.former = left,
                        None => out.present = out.present.saturating_sub(1),
                    }
                }
                _ => {}
            },
            Observation::Counts(counts) => return self.counted(counts),
            _ => {}
        }
        Ok(())
    }
}

impl Counts {
    fn counted(&mut self, counts: &ClientCounts) -> Result<(), String> {
        let client = counts.client;
        for (address, pool) in &counts.pools {
            let out = self.pools.of(client, address);
            let held = pool.leased + pool.draining;
            if out.former == 0 && held != out.present {
                return Err(format!(
                    "client {client}, {address}: {held} connections are handed out, events tell \
                     of {}",
                    out.present
                ));
            }
            if counts.quiet && held + pool.waiting > 0 {
                return Err(format!(
                    "client {client}, {address}: nothing is under way, and still {pool:?}"
                ));
            }
        }
        let held = counts.operations as usize + counts.waiting;
        if counts.quiet && held > 0 {
            return Err(format!(
                "client {client}: nothing is under way, and still {} operations have a server, \
                 {} wait",
                counts.operations, counts.waiting
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{Run, address, checked_in, checked_out};
    use mongo_client_core::pool::PoolCounts;

    fn leased(leased: usize) -> impl Fn(&mut ClientCounts) {
        move |counts| {
            let pool = PoolCounts {
                leased,
                ..PoolCounts::default()
            };
            counts.pools = vec![(address(), pool)];
        }
    }

    #[test]
    fn a_lease_that_nobody_knows_of_is_found() {
        let mut run = Run::of(Counts::default());
        run.cmap(checked_out(1, 0)).unwrap();
        run.counts(leased(1)).unwrap();
        run.cmap(checked_in(1)).unwrap();
        run.counts(leased(0)).unwrap();
        assert!(run.counts(leased(1)).is_err());
    }

    #[test]
    fn what_is_held_when_all_is_quiet_is_found() {
        let mut run = Run::of(Counts::default());
        run.counts(|c| c.operations = 1).unwrap();
        assert!(
            run.counts(|c| {
                c.operations = 1;
                c.quiet = true;
            })
            .is_err()
        );
        assert!(
            run.counts(|c| {
                c.waiting = 1;
                c.quiet = true;
            })
            .is_err()
        );
    }
}
