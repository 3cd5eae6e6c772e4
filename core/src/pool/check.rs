//! The invariants of a pool, for tests and simulations.

use super::{Place, Pool, State};

impl<C> Pool<C> {
    /// Panics unless every invariant holds.
    ///
    /// # Panics
    ///
    /// When the pool has a bug.
    pub fn check_invariants(&self) {
        self.queue.check_invariants();
        self.slots.check_invariants();
        let max = self.config.max_pool_size as usize;
        assert!(max == 0 || self.total() <= max, "more than maxPoolSize");
        assert!(
            self.openings.len() <= self.config.max_connecting.max(1) as usize,
            "more than maxConnecting"
        );
        assert_eq!(
            self.available.len(),
            self.slots.count(Place::Available),
            "available connections and their records differ"
        );
        for item in &self.available {
            let record = self
                .slots
                .at(item.slot)
                .expect("a record for each connection");
            assert_eq!(record.place, Place::Available, "{} is elsewhere", record.id);
            assert!(
                !self.is_stale(record),
                "{} is available but stale",
                record.id
            );
        }
        let since: Vec<_> = self.available.iter().map(|a| a.since).collect();
        assert!(since.is_sorted(), "available connections are out of order");
        let stale = self
            .openings
            .values()
            .filter(|o| o.generation != self.generation)
            .count();
        assert_eq!(stale, self.openings_stale, "stale openings miscounted");
        for (id, opening) in &self.openings {
            let owned = self.queue.iter().find(|w| w.opening == Some(*id));
            assert_eq!(
                owned.map(|w| w.ticket),
                opening.ticket,
                "{id} is bound wrongly"
            );
        }
        for waiter in self.queue.iter() {
            if let Some(id) = waiter.opening {
                assert!(self.openings.contains_key(&id), "{id} is not being opened");
            }
        }
        for (service_id, service) in &self.services {
            let counted = self
                .slots
                .iter()
                .filter(|r| r.service_id == Some(*service_id))
                .count();
            assert_eq!(counted, service.connections, "a service is counted wrongly");
        }
        self.check_state();
    }

    fn check_state(&self) {
        let counts = self.counts();
        match self.state {
            State::Closed => {
                assert_eq!(counts.available, 0, "available in a closed pool");
                assert_eq!(counts.opening, 0, "opening in a closed pool");
                assert_eq!(counts.waiting, 0, "waiting for a closed pool");
            }
            State::Paused => {
                let unbound = self.queue.iter().filter(|w| w.opening.is_none()).count();
                assert_eq!(unbound, 0, "waiting for a paused pool");
            }
            State::Ready => {
                assert!(
                    counts.waiting == 0 || counts.available == 0,
                    "somebody waits beside an available connection"
                );
                assert!(
                    counts.waiting <= counts.opening || !self.has_room(),
                    "somebody waits though a connection could be opened"
                );
                let delayed = self.populate_at.is_some();
                assert!(
                    delayed || !self.is_below_min() || !self.has_room(),
                    "the pool stays below its minimum size"
                );
            }
        }
    }
}
