//! The runner of the unified test format: files whose cases are operations on a real deployment.
//!
//! A file is checked against the format's schema, then each of its cases runs on the first
//! deployment that meets its requirements. The runner uses the public API, as users do; what it
//! prepares and looks up beside the test goes through a client of its own.
//! Specification: "Unified Test Format", up to version 1.29.

mod arguments;
mod case;
mod client;
mod deployment;
mod entities;
mod errors;
mod events;
mod expectations;
pub mod format;
mod logs;
pub mod matching;
mod must_fail;
mod operations;
mod plan;
mod postponed;
mod requirements;
pub mod schema;
mod version;

pub use self::{
    case::run_case,
    deployment::{Deployment, Kind},
    plan::{Filter, SIMULATED, is_unified, row, run},
    requirements::{Facts, Requirement, TopologyKind, Unmet},
    version::Version,
};

/// Why a case ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An expectation was not met, or the file makes no sense.
    Failed(String),
    /// The case needs what the client does not offer.
    Skipped(String),
}

/// What a step of a case gives.
pub type Checked<T = ()> = Result<T, Stop>;

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

impl Stop {
    /// Adds to a failure what else is known.
    #[must_use]
    pub fn with(self, more: &str) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(why + more),
            skipped @ Self::Skipped(_) => skipped,
        }
    }

    /// Says where it happened.
    #[must_use]
    pub fn at(self, place: impl std::fmt::Display) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{place}: {why}")),
            skipped @ Self::Skipped(_) => skipped,
        }
    }
}
