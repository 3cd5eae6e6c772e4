//! Events for monitoring: commands, connection pools (CMAP), topology and heartbeats (SDAM).
//!
//! The machines return events as values; the driver hands them to the caller's handlers after all
//! locks are released.

pub mod cmap;
pub mod command;
mod exchange;
pub mod sdam;

use std::{fmt, sync::Arc};

pub use self::exchange::{
    CommandFacts, CommandMonitor, ExchangeSite, command_name, is_secret, redacted,
};

/// A caller's function that receives events of type `T`.
///
/// It runs on the task that caused the event, outside all locks; it should return quickly.
#[derive(Clone)]
#[non_exhaustive]
pub enum EventHandler<T> {
    /// A function.
    Callback(Arc<dyn Fn(T) + Send + Sync>),
}

impl<T> EventHandler<T> {
    /// Wraps a function.
    pub fn callback(f: impl Fn(T) + Send + Sync + 'static) -> Self {
        Self::Callback(Arc::new(f))
    }

    /// Hands an event to the handler.
    pub fn handle(&self, event: T) {
        match self {
            Self::Callback(f) => f(event),
        }
    }
}

impl<T> fmt::Debug for EventHandler<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventHandler")
    }
}
