//! Invariant 4.
//!
//! Nobody is given a connection that was made before the pool was cleared, nor any by a pool that
//! is paused.

use std::collections::BTreeMap;

use mongo_client_core::{event::cmap::CmapEvent, time::Instant};

use super::{ByPool, Part};
use crate::swarm::observe::Observation;

#[derive(Debug, Default)]
struct Pool {
    ready: bool,
    generation: u32,
    born: BTreeMap<u32, u32>,
}

#[derive(Debug, Default)]
pub(super) struct Generations {
    pools: ByPool<Pool>,
}

impl Part for Generations {
    fn name(&self) -> &'static str {
        "no-stale-lease"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Cmap { client, event } = what else {
            return Ok(());
        };
        let client = *client;
        match event {
            CmapEvent::PoolCreated(e) => *self.pools.of(client, &e.address) = Pool::default(),
            CmapEvent::PoolReady(e) => self.pools.of(client, &e.address).ready = true,
            CmapEvent::PoolCleared(e) if e.service_id.is_none() => {
                let pool = self.pools.of(client, &e.address);
                pool.ready = false;
                pool.generation += 1;
            }
            CmapEvent::PoolClosed(e) => self.pools.of(client, &e.address).ready = false,
            CmapEvent::ConnectionCreated(e) => {
                let pool = self.pools.of(client, &e.address);
                pool.born.insert(e.connection_id, pool.generation);
            }
            CmapEvent::ConnectionClosed(e) => {
                self.pools
                    .of(client, &e.address)
                    .born
                    .remove(&e.connection_id);
            }
            CmapEvent::ConnectionCheckedOut(e) => {
                let pool = self.pools.of(client, &e.address);
                let born = pool.born.get(&e.connection_id).copied();
                if !pool.ready || born != Some(pool.generation) {
                    return Err(format!(
                        "client {client}, {}: connection {} of generation {born:?} is handed out \
                         by a pool of generation {} (ready: {})",
                        e.address, e.connection_id, pool.generation, pool.ready
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{
        Run, checked_in, checked_out, cleared, created, pool_ready, ready,
    };

    #[test]
    fn a_stale_connection_and_one_of_a_paused_pool_are_found() {
        let mut run = Run::of(Generations::default());
        for event in [
            pool_ready(),
            created(1),
            ready(1),
            checked_out(1, 0),
            checked_in(1),
            cleared(),
        ] {
            run.cmap(event).unwrap();
        }
        assert!(run.cmap(checked_out(1, 0)).is_err(), "paused and stale");
        run.cmap(pool_ready()).unwrap();
        assert!(run.cmap(checked_out(1, 0)).is_err(), "stale");
        run.cmap(created(2)).unwrap();
        run.cmap(checked_out(2, 0)).unwrap();
    }
}
