//! What the peers of the end-to-end benchmarks share: the cases and their documents.
//!
//! Nothing here knows a driver, so that the official driver's peer, which lives in a workspace of
//! its own, runs exactly the same cases.

mod case;
mod data;

pub use case::Case;
pub use data::{DATABASE, NewSmall, Small, big, kib64, new_small, small, small_raw};
