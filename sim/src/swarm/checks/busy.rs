//! Invariant 15.
//!
//! No busy loop: what happens in a second, and at one instant, is bounded.

use mongo_client_core::time::Instant;

use super::Part;
use crate::swarm::{observe::Observation, plan::Plan};

const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Busy {
    second_max: u64,
    instant_max: u64,
    second: u64,
    instant: Instant,
    in_second: u64,
    in_instant: u64,
}

impl Busy {
    pub(super) fn new(plan: &Plan) -> Self {
        let monitors = plan.clients * plan.topology.servers() * 3;
        let actors = (plan.concurrency + monitors) as u64;
        Self {
            // A byte that trickles takes a millisecond.
            second_max: 50_000 + 2_000 * actors,
            instant_max: 5_000 + 500 * actors,
            second: 0,
            instant: Instant::from_nanos(0),
            in_second: 0,
            in_instant: 0,
        }
    }
}

impl Part for Busy {
    fn name(&self) -> &'static str {
        "no-busy-loop"
    }

    fn observe(&mut self, at: Instant, _: &Observation<'_>) -> Result<(), String> {
        let second = at.as_nanos() / SECOND;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        if at != self.instant {
            (self.instant, self.in_instant) = (at, 0);
        }
        self.in_second += 1;
        self.in_instant += 1;
        if self.in_second > self.second_max || self.in_instant > self.instant_max {
            return Err(format!(
                "{} observations in a second, {} at one instant",
                self.in_second, self.in_instant
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{Run, plan};

    #[test]
    fn a_loop_without_time_and_one_in_small_steps_are_found() {
        for (per_ms, good) in [(1_000, false), (10, true)] {
            let mut plan = plan();
            plan.concurrency = 1;
            let mut run = Run::of(Busy::new(&plan));
            let calm = (0..1_000).all(|ms| {
                run.at(ms);
                (0..per_ms).all(|_| run.drop_op(1).is_ok())
            });
            assert_eq!(calm, good);
        }
        let mut run = Run::of(Busy::new(&plan()));
        assert!((0..1_000_000).any(|_| run.drop_op(1).is_err()));
    }
}
