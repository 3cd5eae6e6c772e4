//! The wire protocol: OP_MSG and OP_COMPRESSED.
//!
//! Decides how bytes become messages and back, and which bytes are refused. It knows nothing of
//! exchanges, handshakes or time; the connection machine checks that a reply answers its request.
//!
//! Invariants:
//! 1. A length is checked before anything is allocated for it.
//! 2. No input panics; every refusal is a [`FrameError`] that names the field.
//! 3. A reply's document lies in the buffer that the frame was read (or inflated) into.
//!
//! Specification: "OP_MSG", "OP_COMPRESSED".

mod compress;
mod error;
mod frame;
mod message;
mod msg;
mod queue;

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;

pub use self::{
    compress::is_compiled_in,
    error::FrameError,
    frame::{Frame, Framer, HEADER_LEN, Header, MESSAGE_LEN_DEFAULT, MESSAGE_LEN_MAX},
    message::{Chunk, Reply, Request},
    msg::{Incoming, command_document, decode, encode},
    queue::WriteQueue,
};
