//! The states and generations that the topology has ordered of the pools. Generations are decided
//! here and nowhere else, so whether an error is stale is known without asking a pool.

use std::collections::BTreeMap;

use bson::oid::ObjectId;

use crate::{
    error::Error,
    id::Generation,
    pool::{PoolDirective, PoolState},
};

/// The orders for the pool of one server.
#[derive(Clone, Debug)]
pub(super) struct PoolOrders {
    epoch: u64,
    generation: Generation,
    state: PoolState,
    /// Behind a load balancer: the generations of the services that were cleared.
    services: BTreeMap<ObjectId, Generation>,
}

impl PoolOrders {
    /// A pool that was just created: paused, generation 0.
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            generation: Generation(0),
            state: PoolState::Paused,
            services: BTreeMap::new(),
        }
    }

    pub(super) fn generation(&self, service_id: Option<ObjectId>) -> Generation {
        match service_id {
            Some(service) => self.services.get(&service).copied().unwrap_or_default(),
            None => self.generation,
        }
    }

    /// Orders the pool to hand out connections; `None` when it does already.
    pub(super) fn ready(&mut self) -> Option<PoolDirective> {
        if self.state == PoolState::Ready {
            return None;
        }
        self.state = PoolState::Ready;
        Some(self.directive(self.generation, None))
    }

    /// Orders the pool to drop its connections and wait for a successful check.
    pub(super) fn clear(&mut self, interrupt_in_use: bool, cause: Error) -> PoolDirective {
        self.state = PoolState::Paused;
        self.generation = Generation(self.generation.0.wrapping_add(1));
        PoolDirective {
            interrupt_in_use,
            cause: Some(cause),
            ..self.directive(self.generation, None)
        }
    }

    /// Orders the pool to drop the connections of one service.
    pub(super) fn clear_service(&mut self, service: ObjectId, cause: Error) -> PoolDirective {
        let generation = self.services.entry(service).or_default();
        *generation = Generation(generation.0.wrapping_add(1));
        let generation = *generation;
        PoolDirective {
            cause: Some(cause),
            ..self.directive(generation, Some(service))
        }
    }

    fn directive(&mut self, generation: Generation, service_id: Option<ObjectId>) -> PoolDirective {
        self.epoch += 1;
        PoolDirective {
            epoch: self.epoch,
            generation,
            state: self.state,
            interrupt_in_use: false,
            service_id,
            cause: None,
        }
    }
}
