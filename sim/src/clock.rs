//! Wall clocks that drift, jump and stand.
//!
//! Only the wall clock lies. The monotonic clock is the simulation's time: it never goes back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mongo_client_core::time::{Instant, UnixMillis};

use crate::net::fault::{Fault, FaultKind};

/// The wall clock at the zero of the virtual clock: 2026-01-01.
pub(crate) const WALL_EPOCH_MS: i64 = 1_767_225_600_000;

const MILLION: i128 = 1_000_000;

/// A wall clock: a straight line, until it is bent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Where the line begins.
    since: Instant,
    /// What the clock shows there, in microseconds since 1970.
    shows: i64,
    /// How much faster than time it runs, in parts per million; minus one million stands still.
    rate: i64,
    /// When the rate is that of time again.
    until: Instant,
}

impl WallClock {
    /// A clock that is right.
    #[must_use]
    pub fn new(epoch_ms: i64) -> Self {
        Self {
            since: Instant::ZERO,
            shows: epoch_ms.saturating_mul(1000),
            rate: 0,
            until: Instant::MAX,
        }
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self, now: Instant) -> UnixMillis {
        UnixMillis(self.micros(now) / 1000)
    }

    fn micros(&self, now: Instant) -> i64 {
        let micros = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX / 2);
        let passed = micros(now - self.since);
        let bent = micros(now.min(self.until) - self.since);
        let shown = i128::from(self.shows) + passed + bent * i128::from(self.rate) / MILLION;
        i64::try_from(shown).unwrap_or(i64::MAX)
    }

    /// Bends the line here, for a time.
    fn bend(&mut self, rate: i64, lasts: Duration, now: Instant) {
        *self = Self {
            since: now,
            shows: self.micros(now),
            rate,
            until: now + lasts,
        };
    }

    /// Sets the clock forward, or back.
    pub fn step(&mut self, by_ms: i64, now: Instant) {
        self.shows = self.micros(now).saturating_add(by_ms.saturating_mul(1000));
        self.rate = if now < self.until { self.rate } else { 0 };
        self.since = now;
    }

    /// Lets the clock run too fast, or too slow (negative), by parts per million.
    pub fn drift(&mut self, ppm: i64, lasts: Duration, now: Instant) {
        self.bend(ppm.max(-1_000_000), lasts, now);
    }

    /// Stops the clock for a time. It goes on from where it stood.
    pub fn freeze(&mut self, lasts: Duration, now: Instant) {
        self.bend(-1_000_000, lasts, now);
    }
}

/// A client's clocks, shared by the world and the client: time as it is, and as the wall shows it.
#[derive(Clone, Debug)]
pub(crate) struct Clocks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: AtomicU64,
    wall: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clock: WallClock,
    /// What has struck and not been seen by a reader yet.
    unseen: Vec<FaultKind>,
    seen: Vec<FaultKind>,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            now: AtomicU64::new(0),
            wall: Mutex::new(State {
                clock: WallClock::new(WALL_EPOCH_MS),
                unseen: Vec::new(),
                seen: Vec::new(),
            }),
        }))
    }

    /// Moves time; it does not go back.
    pub(crate) fn set(&self, now: Instant) {
        self.0.now.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now.load(Ordering::Relaxed))
    }

    /// Reads the wall clock.
    pub(crate) fn wall(&self) -> UnixMillis {
        let now = self.now();
        let mut state = self.0.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.seen.append(&mut state.unseen);
        state.clock.read(now)
    }

    /// Lets a fault of the clock strike; it takes effect when the clock is read next.
    pub(crate) fn strike(&self, fault: &Fault, now: Instant) {
        let size = i64::try_from(fault.size).unwrap_or(i64::MAX);
        let mut state = self.0.wall.lock().unwrap_or_else(PoisonError::into_inner);
        match fault.kind {
            FaultKind::ClockDrift => {
                let ppm = if size > 1_000_000 {
                    1_000_000 - size
                } else {
                    size
                };
                state.clock.drift(ppm, fault.lasts, now);
            }
            FaultKind::ClockFrozen => state.clock.freeze(fault.lasts, now),
            FaultKind::ClockStepBack => state.clock.step(-size, now),
            FaultKind::ClockStepForward => state.clock.step(size, now),
            _ => return,
        }
        state.unseen.push(fault.kind);
    }

    /// The faults that took effect since this was asked last.
    pub(crate) fn take_seen(&self) -> Vec<FaultKind> {
        let mut state = self.0.wall.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_clock_drifts_for_a_time_and_keeps_what_it_gained() {
        let mut clock = WallClock::new(1_000);
        clock.drift(500_000, Duration::from_millis(100), at(0));
        assert_eq!(clock.read(at(50)), UnixMillis(1_075));
        assert_eq!(clock.read(at(100)), UnixMillis(1_150));
        assert_eq!(clock.read(at(200)), UnixMillis(1_250));
    }

    #[test]
    fn a_clock_is_set_back_and_forward() {
        let mut clock = WallClock::new(10_000);
        clock.step(-5_000, at(100));
        assert_eq!(clock.read(at(100)), UnixMillis(5_100));
        clock.step(7_000, at(200));
        assert_eq!(clock.read(at(300)), UnixMillis(12_300));
    }

    #[test]
    fn a_frozen_clock_goes_on_from_where_it_stood() {
        let mut clock = WallClock::new(0);
        clock.freeze(Duration::from_millis(50), at(100));
        assert_eq!(clock.read(at(149)), UnixMillis(100));
        assert_eq!(clock.read(at(160)), UnixMillis(110));
    }

    #[test]
    fn a_step_within_a_drift_leaves_the_drift() {
        let mut clock = WallClock::new(0);
        clock.drift(-500_000, Duration::from_millis(100), at(0));
        clock.step(1_000, at(50));
        assert_eq!(clock.read(at(100)), UnixMillis(1_050));
        assert_eq!(clock.read(at(110)), UnixMillis(1_060));
    }

    #[test]
    fn a_fault_of_the_clock_takes_effect_when_somebody_looks() {
        let clocks = Clocks::new();
        clocks.set(at(1_000));
        let fault = Fault::new(FaultKind::ClockStepForward).sized(10_000);
        clocks.strike(&fault, at(1_000));
        assert_eq!(clocks.take_seen(), []);
        assert_eq!(clocks.wall(), UnixMillis(WALL_EPOCH_MS + 11_000));
        assert_eq!(clocks.take_seen(), [FaultKind::ClockStepForward]);
    }
}
