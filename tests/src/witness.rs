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

#[derive(Debug)]
struct State {
    began: Instant,
    /// When the thread went to sleep, after `began`.
    asleep_micros: AtomicU64,
    worst_micros: AtomicU64,
    over: AtomicBool,
}

impl Witness {
    /// Begins to watch.
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    #[must_use]
    pub fn new() -> Self {
        let state = Arc::new(State::new());
        let noted = Arc::clone(&state);
        thread::spawn(move || {
            while !noted.over.load(Ordering::Relaxed) {
                noted.sleep(noted.began.elapsed());
                thread::sleep(NAP);
                noted.wake(noted.began.elapsed());
            }
        });
        Self { state }
    }

    /// The longest time for which the machine has stood still so far. After a stall others may run
    /// before the witness does, so what it sleeps too long just now counts.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.state.wake(self.state.began.elapsed());
        self.state.worst()
    }

    /// Whether that is more than a test of milliseconds can bear.
    #[must_use]
    pub fn saw_stall(&self) -> bool {
        self.longest() >= STALL
    }
}

impl State {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            asleep_micros: AtomicU64::new(0),
            worst_micros: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Falls asleep, so long after the beginning.
    fn sleep(&self, now: Duration) {
        self.asleep_micros.store(micros(now), Ordering::Relaxed);
    }

    /// Notes by how much the sleep was too long.
    fn wake(&self, now: Duration) {
        let asleep = Duration::from_micros(self.asleep_micros.load(Ordering::Relaxed));
        let late = now.saturating_sub(asleep + NAP);
        self.worst_micros.fetch_max(micros(late), Ordering::Relaxed);
    }

    fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
    fn the_longest_stall_is_kept() {
        let (state, ms) = (State::new(), Duration::from_millis(1));
        for (asleep, awake) in [(0, 3), (3, 10), (10, 12), (12, 13)] {
            state.sleep(asleep * ms);
            state.wake(awake * ms);
        }
        assert_eq!(state.worst(), 5 * ms);
    }

    #[test]
    fn a_stall_that_the_witness_sleeps_through_counts() {
        let mut state = State::new();
        state.began = state.began.checked_sub(Duration::from_secs(1)).unwrap();
        let witness = Witness {
            state: Arc::new(state),
        };
        assert!(witness.longest() >= Duration::from_secs(1) - NAP && witness.saw_stall());
    }
}
