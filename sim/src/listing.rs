//! What the simulated servers can do, by name: the lists of docs/SIMULATION.md.

use crate::{
    server::{DATA_FIELDS, SPECS},
    store::{aggregate, query, update},
};

/// The names of all that is simulated; anything else answers "not simulated: NAME", or the error
/// that the real server has for a name that it does not know either.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Accumulators of `$group`.
    pub accumulators: Vec<&'static str>,
    /// Commands, with the fields of their own.
    pub commands: Vec<(&'static str, &'static [&'static str])>,
    /// The fields of the fail point `failCommand`'s data.
    pub fail_command: Vec<&'static str>,
    /// Operators of filters.
    pub query_operators: Vec<&'static str>,
    /// Stages of aggregation pipelines.
    pub stages: Vec<&'static str>,
    /// Operators of updates.
    pub update_operators: Vec<&'static str>,
}

impl Listing {
    /// The lists as the code has them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            accumulators: aggregate::ACCUMULATORS.to_vec(),
            commands: SPECS.iter().map(|spec| (spec.name, spec.fields)).collect(),
            fail_command: DATA_FIELDS.to_vec(),
            query_operators: query::OPERATORS.to_vec(),
            stages: aggregate::STAGES.to_vec(),
            update_operators: update::OPERATORS.to_vec(),
        }
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self::new()
    }
}
