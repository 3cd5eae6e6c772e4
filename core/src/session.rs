//! Sessions: server sessions and their pool, session state, and gossip of the cluster time.
//!
//! Specifications: "Driver Sessions", "Causal Consistency", "Snapshot Reads".

mod cluster_time;
mod pool;
mod state;

pub use self::{
    cluster_time::ClusterTime,
    pool::{END_SESSIONS_MAX, ServerSession, ServerSessionPool, end_sessions},
    state::SessionState,
};
