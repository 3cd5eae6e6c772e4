//! The swarm: clients under test in worlds that fail on purpose, one world for each seed.
//!
//! A seed draws a [`Plan`] (topology, options, workload, faults), the plan is run through its
//! [`Phase`]s, and everything that happens is told as an [`Observation`] to the [`Check`]s, which say
//! whether an invariant is violated. docs/SIMULATION.md has the invariants and the profiles.

pub mod checks;
pub mod observe;
pub mod plan;
pub mod profile;

pub use self::{
    observe::{
        Check, ClientCounts, End, Observation, Observer, OpFacts, OpKind, Outcome, Phase, Violation,
    },
    plan::{Mode, Plan, Profile, Topology},
};
