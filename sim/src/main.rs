//! The command line of the simulation: see docs/SIMULATION.md.

use mongo_client_sim::swarm::{Mode, Profile, Settings, run};

fn main() {
    for seed in 0..20 {
        let run = run(seed, Profile::Swarm, Mode::Driver, &Settings::default());
        println!(
            "{seed} {:016x} {:?} {} {:?} {:?}",
            run.hash, run.elapsed, run.events, run.tally, run.violation
        );
    }
}
