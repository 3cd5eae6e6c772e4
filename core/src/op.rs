//! Operations: from a command and its options to a result, through retries.

mod spec;

pub use self::spec::{CommandSpec, DocumentSequence, Retryability, Target};
