//! Invariant 2.
//!
//! Each connection is in one place, and their numbers keep to their limits.

use std::collections::BTreeMap;

use mongo_client_core::{event::cmap::CmapEvent, net::ServerAddress, time::Instant};

use super::{ByPool, Part};
use crate::swarm::{
    observe::{ClientCounts, Observation},
    plan::Plan,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Opening,
    Available,
    Leased,
}

/// The connections of a pool, from its events.
#[derive(Debug, Default)]
struct Pool {
    connections: BTreeMap<u32, Place>,
    /// Those of closed pools of the same server, which come back one by one.
    former: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    max_connecting: usize,
    pools: ByPool<Pool>,
}

impl Places {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            max: plan.max_pool_size as usize,
            max_connecting: plan.max_connecting as usize,
            pools: ByPool::default(),
        }
    }

    fn moves(
        &mut self,
        client: usize,
        (address, id): (&ServerAddress, u32),
        from: &[Option<Place>],
        to: Option<Place>,
    ) -> Result<(), String> {
        let (max, max_connecting) = (self.max, self.max_connecting);
        let pool = self.pools.of(client, address);
        let place = pool.connections.get(&id).copied();
        if !from.contains(&place) {
            // Of a pool that was closed: it only comes back and is closed.
            if to != Some(Place::Leased)
                && let Some(index) = pool.former.iter().position(|f| *f == id)
            {
                if to.is_none() {
                    pool.former.swap_remove(index);
                }
                return Ok(());
            }
            return Err(format!(
                "client {client}, {address}: connection {id} goes from {place:?} to {to:?}"
            ));
        }
        match to {
            Some(to) => pool.connections.insert(id, to),
            None => pool.connections.remove(&id),
        };
        let opening = pool.connections.values().filter(|p| **p == Place::Opening);
        let (total, opening) = (pool.connections.len(), opening.count());
        if (max > 0 && total > max) || opening > max_connecting {
            return Err(format!(
                "client {client}, {address}: {total} of {max} connections, {opening} of \
                 {max_connecting} being opened"
            ));
        }
        Ok(())
    }

    fn counted(&self, counts: &ClientCounts) -> Result<(), String> {
        for (address, pool) in &counts.pools {
            let over = self.max > 0 && pool.total() > self.max;
            if over || pool.opening > self.max_connecting {
                let client = counts.client;
                return Err(format!("client {client}, {address}: {pool:?}"));
            }
        }
        Ok(())
    }
}

impl Part for Places {
    fn name(&self) -> &'static str {
        "connection-in-one-place"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        use Place::{Available, Leased, Opening};
        let (client, event) = match what {
            Observation::Cmap { client, event } => (*client, *event),
            Observation::Counts(counts) => return self.counted(counts),
            _ => return Ok(()),
        };
        match event {
            CmapEvent::PoolCreated(e) => {
                let pool = self.pools.of(client, &e.address);
                let left = std::mem::take(&mut pool.connections);
                pool.former.extend(left.into_keys());
                Ok(())
            }
            CmapEvent::ConnectionCreated(e) => {
                let this = (&e.address, e.connection_id);
                self.moves(client, this, &[None], Some(Opening))
            }
            CmapEvent::ConnectionReady(e) => {
                let this = (&e.address, e.connection_id);
                self.moves(client, this, &[Some(Opening)], Some(Available))
            }
            CmapEvent::ConnectionCheckedOut(e) => {
                let this = (&e.address, e.connection_id);
                self.moves(client, this, &[Some(Available)], Some(Leased))
            }
            CmapEvent::ConnectionCheckedIn(e) => {
                let this = (&e.address, e.connection_id);
                self.moves(client, this, &[Some(Leased)], Some(Available))
            }
            CmapEvent::ConnectionClosed(e) => {
                let this = (&e.address, e.connection_id);
                self.moves(client, this, &[Some(Opening), Some(Available)], None)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{
        Run, checked_in, checked_out, closed, created, plan, pool_created, ready,
    };

    fn run() -> Run {
        let mut plan = plan();
        plan.max_pool_size = 2;
        plan.max_connecting = 1;
        Run::of(Places::new(&plan))
    }

    #[test]
    fn the_life_of_a_connection_is_allowed() {
        let mut run = run();
        for event in [
            created(1),
            ready(1),
            checked_out(1, 0),
            checked_in(1),
            checked_out(1, 0),
            checked_in(1),
            closed(1),
            created(2),
            closed(2),
        ] {
            run.cmap(event).unwrap();
        }
    }

    #[test]
    fn a_connection_that_is_leased_twice_or_closed_in_use_is_found() {
        for bad in [checked_out(1, 0), closed(1), created(1), ready(1)] {
            let mut run = run();
            for event in [created(1), ready(1), checked_out(1, 0)] {
                run.cmap(event).unwrap();
            }
            assert!(run.cmap(bad).is_err());
        }
    }

    #[test]
    fn one_connection_too_many_is_found() {
        let mut many = run();
        for id in [1, 2] {
            many.cmap(created(id)).unwrap();
            many.cmap(ready(id)).unwrap();
        }
        assert!(many.cmap(created(3)).is_err());
        let mut opening = run();
        opening.cmap(created(1)).unwrap();
        assert!(opening.cmap(created(2)).is_err());
    }

    #[test]
    fn what_comes_back_to_a_closed_pool_is_not_of_the_new_one() {
        let mut run = run();
        for event in [
            created(1),
            ready(1),
            checked_out(1, 0),
            pool_created(),
            created(1),
            checked_in(1),
            closed(1),
        ] {
            run.cmap(event).unwrap();
        }
    }
}
