//! A mutex with one way in: a named, short, non-async section.
//!
//! Lock rules (docs/ARCHITECTURE.md): order topology → pool → leaf; a section makes machine calls
//! only and never wakes, drops user values, calls back or does I/O.

use std::sync::{Mutex, PoisonError};

/// A value behind a mutex.
pub(crate) struct Guarded<T> {
    value: Mutex<T>,
}

impl<T> Guarded<T> {
    /// Guards a value.
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
        }
    }

    /// Runs a section; `purpose` names it for readers and for lock tracing.
    ///
    /// A section that panicked leaves a machine in a defined state (they change state in one
    /// place), so poisoning is ignored.
    pub(crate) fn with<R>(&self, _purpose: &'static str, section: impl FnOnce(&mut T) -> R) -> R {
        let mut guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        section(&mut guard)
    }
}

impl<T> std::fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guarded")
    }
}
