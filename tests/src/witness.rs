//! Whether the machine stood still while a test measured time.
//!
//! Some have little to spare: a server holds a command up for 125 ms and the client must have given
//! up after 100. On a machine that has too much to do, client or server get the processor later than
//! that, and the test says nothing about either. A thread that only sleeps for moments notices: it
//! wakes too late.

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
pub struct Witness {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    worst_micros: AtomicU64,
    over: AtomicBool,
}

impl Witness {
    /// Begins to watch.
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    #[must_use]
    pub fn new() -> Self {
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

    /// The longest time for which the machine has stood still so far.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.state.worst_micros.load(Ordering::Relaxed))
    }

    /// Whether that is more than a test of milliseconds can bear.
    #[must_use]
    pub fn saw_stall(&self) -> bool {
        self.longest() >= STALL
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
