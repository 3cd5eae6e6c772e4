//! Operations: from a command and its options to a result, through retries.
//!
//! [`Operation`] is the step machine of one call; [`retry`] decides about failures; [`reply`] reads
//! replies; [`bulk`] and [`object_id`] prepare the documents of inserts.

mod body;
pub mod bulk;
pub mod concern;
mod facts;
mod machine;
mod name;
pub mod object_id;
pub(crate) mod pieces;
pub(crate) mod raw;
pub mod reply;
mod request;
pub mod results;
pub mod retry;
mod sequences;
mod spec;
mod step;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

pub use self::{
    body::Body,
    bulk::{BatchLimits, split_batches},
    facts::ConnFacts,
    machine::Operation,
    name::Name,
    object_id::ObjectIdGenerator,
    pieces::Pieces,
    results::{
        FindAndModifyReply, Upserted, WriteReply, parse_count, parse_delete, parse_distinct,
        parse_find_and_modify, parse_first_document, parse_insert, parse_update,
    },
    sequences::Sequences,
    spec::{CommandSpec, DocumentSequence, Requirement, Retryability, Target},
    step::{Failure, OperationContext, Progress, Selected, Stage, Want},
};
