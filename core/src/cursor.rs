//! Cursors: the documents of a reply, and the commands that fetch more.
//!
//! [`CursorMachine`] walks the batch that lies in the reply's own bytes; nothing is decoded or
//! copied until the caller asks for a document. It says when to fetch ([`CursorWant`]) and gives the
//! `getMore` and `killCursors` commands; where they go is the driver's decision.
//! Specification: "Find, getMore and killCursors commands".
//!
//! Invariants: 1. a document is given out once; 2. buffered documents are given out before anything
//! is fetched, and also after a failure; 3. after `id()` is 0 no command leaves.

mod batch;
mod machine;
pub mod pin;

#[cfg(test)]
mod tests;

pub use self::machine::{CursorMachine, CursorSpec, CursorWant};
