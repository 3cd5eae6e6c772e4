//! Server discovery and monitoring (SDAM): what is known of the deployment, and the rules that
//! change it.
//!
//! [`Topology`] takes the outcomes of checks and the errors of applications and returns orders:
//! servers to add or remove, states for their pools, views to publish, events. It does no I/O and
//! runs no monitor.

mod action;
mod config;
mod description;
mod draft;
pub(crate) mod error_rules;
mod facts;
mod machine;
mod pools;
mod publish;
mod rtt;
mod rules;
mod srv;
#[cfg(test)]
mod tests;

pub(crate) use self::machine::refused;
pub use self::{
    action::{AppError, CheckOutcome, ErrorPhase, TopologyAction, TopologyTimer},
    config::{SRV_RESCAN_INTERVAL_MIN, SrvPolling, TopologyConfig},
    description::{ServerDescription, ServerType, TopologyDescription, TopologyType, TopologyView},
    facts::{MAX_WIRE_VERSION, MIN_WIRE_VERSION},
    machine::Topology,
    rtt::{RttStats, update_rtt},
};
