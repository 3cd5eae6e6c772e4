//! What a run needs of a world, whichever client lives in it.

use mongo_client_core::time::Instant;

use super::{
    observe::{ClientCounts, Phase},
    servers::Servers,
    workload::Work,
};
use crate::Fault;

/// What a world hands on as it is: to its executor or engines, and to its servers.
macro_rules! forward {
    (to $base:ident, servers to $servers:ident) => {
        fn now(&self) -> Instant {
            self.$base.now()
        }

        fn servers(&mut self, work: &mut dyn FnMut(&mut Servers, Instant)) {
            self.$servers.with(work);
        }

        fn inject(&mut self, fault: &Fault) {
            self.$base.inject(fault);
        }

        fn heal(&mut self) {
            self.$base.heal();
            // Faults of clocks are told when they are asked for.
            let _ = self.$base.faults();
        }

        fn events(&self) -> u64 {
            self.$base.events()
        }
    };
}

pub(super) use forward;

/// A world in which the clients under test live.
pub(super) trait World {
    /// The virtual time.
    fn now(&self) -> Instant;

    /// Lets everything happen that happens until an instant.
    fn run_until(&mut self, at: Instant);

    /// Begins an operation; it is heard of by observations only.
    fn begin(&mut self, work: Work);

    /// Works on the servers.
    fn servers(&mut self, work: &mut dyn FnMut(&mut Servers, Instant));

    /// Lets a fault of the network, of names or of a clock strike.
    fn inject(&mut self, fault: &Fault);

    /// Ends all faults of the network and of names.
    fn heal(&mut self);

    /// Ends the runtime of the clients with all their tasks, if they have one; the next one is there
    /// at once. Whether they have one.
    fn end_runtime(&mut self) -> bool;

    /// One read of a connection gives so many bytes at most.
    fn set_reads_max(&mut self, most: usize);

    /// What a client holds.
    fn counts(&self, client: usize, phase: Phase) -> ClientCounts;

    /// Begins to close a client.
    fn close(&mut self, client: usize);

    /// Whether a client is closed.
    fn is_closed(&self, client: usize) -> bool;

    /// Lets go of all clients.
    fn release(&mut self);

    /// What is left after that, by name; nothing should be.
    fn left(&self) -> Vec<String>;

    /// Events so far: queue pops that were delivered to a machine.
    fn events(&self) -> u64;
}
