//! The swarm: clients under test in worlds that fail on purpose, one world for each seed.
//!
//! A seed draws a [`Plan`] (topology, options, workload, faults), the plan is run through its
//! [`Phase`]s, and everything that happens is told as an [`Observation`] to the [`Check`]s, which say
//! whether an invariant is violated. docs/SIMULATION.md has the invariants and the profiles.

mod batch;
pub mod checks;
mod describe;
mod director;
mod driver_mode;
mod engine_mode;
mod failure_file;
mod judge;
mod names;
pub mod observe;
mod odd;
pub mod plan;
pub mod profile;
mod reading;
mod run;
mod servers;
mod trace;
mod workload;
mod world;

pub use self::{
    batch::{Batch, Report},
    failure_file::FailureFile,
    judge::Tally,
    observe::{
        Check, ClientCounts, End, Observation, Observer, OpFacts, OpKind, Outcome, Phase, Violation,
    },
    plan::{Mode, Plan, Profile, Topology},
    profile::all_faults,
    run::{Run, Settings, run},
};
