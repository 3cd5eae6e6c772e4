//! The wire protocol: OP_MSG and OP_COMPRESSED.

mod message;

pub use self::message::{Reply, Request};
