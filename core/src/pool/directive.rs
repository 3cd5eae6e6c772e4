//! The topology's orders to a pool: states, not deltas.

use bson::oid::ObjectId;

use crate::{error::Error, id::Generation};

/// Whether a pool may hand out connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// It may not: the server is unknown.
    Paused,
    /// It may.
    Ready,
}

/// What the topology wants a pool to be.
///
/// A directive describes a state, and `epoch` grows with every directive for a server, so one that
/// comes late or twice is harmless: a pool ignores an epoch that is not newer than its own.
#[derive(Clone, Debug)]
pub struct PoolDirective {
    /// Orders the directives of a server; starts at 1.
    pub epoch: u64,
    /// The generation that new connections get; connections of older ones are stale.
    pub generation: Generation,
    /// Whether the pool may hand out connections.
    pub state: PoolState,
    /// Whether connections of older generations are closed even while in use.
    pub interrupt_in_use: bool,
    /// Behind a load balancer: the only service that `generation` counts for. The pool stays ready.
    pub service_id: Option<ObjectId>,
    /// Why the pool was cleared.
    pub cause: Option<Error>,
}
