//! Whether the machine stood still while a case measured time.
//!
//! Such cases have little to spare: a server holds a command up for 125 ms and the client must have
//! given up after 100. On a machine that has too much to do, client or server get the processor
//! later than that, and the case says nothing about either. A thread that only sleeps for moments
//! notices: it wakes too late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long the thread sleeps.
const NAP: Duration = Duration::from_millis(2);
/// What a case cannot be asked to bear: several things in a row are late by so much then.
const STALL: Duration = Duration::from_millis(5);

/// A thread that notes the longest stall; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Witness {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    worst_micros: AtomicU64,
    over: AtomicBool,
}

impl Witness {
    /// Begins to watch.
    pub(super) fn new() -> Self {
        let state = Arc::<State>::default();
        let noted = Arc::clone(&state);
        thread::spawn(move || {
            while !noted.over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(NAP);
                noted.note(begin.elapsed().saturating_sub(NAP));
            }
        });
        Self { state }
    }

    /// Whether the machine has stood still for too long so far.
    pub(super) fn saw_stall(&self) -> bool {
        let worst = self.state.worst_micros.load(Ordering::Relaxed);
        Duration::from_micros(worst) >= STALL
    }
}

impl State {
    fn note(&self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.worst_micros.fetch_max(micros, Ordering::Relaxed);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_stall_counts() {
        let witness = Witness {
            state: Arc::default(),
        };
        witness.state.note(Duration::from_millis(1));
        assert!(!witness.saw_stall());
        witness.state.note(Duration::from_millis(5));
        witness.state.note(Duration::ZERO);
        assert!(witness.saw_stall());
    }
}
