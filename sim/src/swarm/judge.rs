//! Who hears all observations of a run: checks, trace, and the counts of the report.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongo_client_core::time::Instant;

use super::{
    checks,
    describe::line,
    observe::{Check, End, Observation, Observer, Outcome, Violation},
    plan::Plan,
    trace::Trace,
};

/// How many of the last observations are kept as text.
const LAST_MAX: usize = 20;

/// Hears all observations of a run. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Judge {
    state: Arc<Mutex<State>>,
}

struct State {
    checks: Vec<Box<dyn Check>>,
    trace: Trace,
    violation: Option<Violation>,
    tally: Tally,
    /// The operations that are under way, and whose they are.
    pending: BTreeMap<u64, usize>,
    /// When each client last had an operation under way.
    busy_until: BTreeMap<usize, Instant>,
    /// The last observations as text, where somebody wants to read them.
    last: Option<VecDeque<String>>,
    verbose: bool,
    /// How operations ended since this was last asked for.
    endings: Vec<(u64, Ending)>,
}

/// How an operation went, in short.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Dropped,
    Failed(mongo_client_core::error::Error),
    Well,
}

/// What is counted over a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations that began.
    pub began: u64,
    /// Operations that ended well.
    pub well: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations that were given up.
    pub dropped: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Observations.
    pub observations: u64,
}

impl Tally {
    /// Adds the counts of another run.
    pub(super) fn add(&mut self, other: &Self) {
        self.began += other.began;
        self.well += other.well;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.observations += other.observations;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                checks: checks::all(plan),
                trace: Trace::default(),
                violation: None,
                tally: Tally::default(),
                pending: BTreeMap::new(),
                busy_until: BTreeMap::new(),
                last: None,
                verbose: false,
                endings: Vec::new(),
            })),
        }
    }

    /// Keeps the last observations as text; `verbose` also prints all of them.
    pub(super) fn keep_last(self, verbose: bool) -> Self {
        let mut state = self.lock();
        state.last = Some(VecDeque::new());
        state.verbose = verbose;
        drop(state);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self, at: Instant, what: &Observation<'_>) {
        self.lock().observe(at, what);
    }

    /// A closure that hears for this judge.
    pub(super) fn observer(&self) -> Observer {
        let own = self.clone();
        Box::new(move |at, what| own.observe(at, what))
    }

    /// Asks the checks for what shows at the end only.
    pub(super) fn finish(&self, at: Instant, end: &End<'_>) {
        let mut state = self.lock();
        let mut checks = std::mem::take(&mut state.checks);
        for check in &mut checks {
            if let Err(what) = check.finish(end) {
                state.violated(check.name(), at, what);
            }
        }
    }

    /// Something that the run itself found to be wrong.
    pub(super) fn violated(&self, invariant: &'static str, at: Instant, what: String) {
        self.lock().violated(invariant, at, what);
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    pub(super) fn is_violated(&self) -> bool {
        self.lock().violation.is_some()
    }

    pub(super) fn hash(&self) -> u64 {
        self.lock().trace.hash()
    }

    pub(super) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    pub(super) fn last(&self) -> Vec<String> {
        self.lock().last.iter().flatten().cloned().collect()
    }

    /// How many operations are under way, over all clients.
    pub(super) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// The operations that are under way.
    pub(super) fn pending_ops(&self) -> Vec<u64> {
        self.lock().pending.keys().copied().collect()
    }

    pub(super) fn pending_of(&self, client: usize) -> usize {
        let state = self.lock();
        state.pending.values().filter(|c| **c == client).count()
    }

    /// Since when a client has no operation under way.
    pub(super) fn idle_since(&self, client: usize) -> Instant {
        let state = self.lock();
        let at = state.busy_until.get(&client).copied();
        at.unwrap_or(Instant::ZERO)
    }

    /// How operations ended since this was last asked for.
    pub(super) fn take_endings(&self) -> Vec<(u64, Ending)> {
        std::mem::take(&mut self.lock().endings)
    }
}

impl State {
    fn observe(&mut self, at: Instant, what: &Observation<'_>) {
        self.tally.observations += 1;
        self.trace.note(at, what);
        self.count(at, what);
        if let Some(last) = &mut self.last {
            let line = line(at, what);
            if self.verbose {
                println!("{line}");
            }
            if self.violation.is_none() {
                if last.len() == LAST_MAX {
                    last.pop_front();
                }
                last.push_back(line);
            }
        }
        if self.violation.is_some() {
            return;
        }
        for check in &mut self.checks {
            if let Err(what) = check.observe(at, what) {
                self.violation = Some(Violation {
                    invariant: check.name(),
                    at,
                    what,
                });
                return;
            }
        }
    }

    fn count(&mut self, at: Instant, what: &Observation<'_>) {
        match what {
            Observation::Began(facts) => {
                self.tally.began += 1;
                self.pending.insert(facts.op, facts.client);
            }
            Observation::Ended { op, outcome } => {
                let ending = match outcome {
                    Outcome::Done { .. } => {
                        self.tally.well += 1;
                        Ending::Well
                    }
                    Outcome::Failed(error) => {
                        self.tally.failed += 1;
                        Ending::Failed(error.clone())
                    }
                };
                self.over(*op, ending, at);
            }
            Observation::Dropped { op, .. } => {
                self.tally.dropped += 1;
                self.over(*op, Ending::Dropped, at);
            }
            Observation::Fault { kind } => *self.tally.faults.entry(kind).or_default() += 1,
            _ => {}
        }
    }

    fn over(&mut self, op: u64, ending: Ending, at: Instant) {
        if let Some(client) = self.pending.remove(&op) {
            self.busy_until.insert(client, at);
        }
        self.endings.push((op, ending));
    }

    fn violated(&mut self, invariant: &'static str, at: Instant, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                at,
                what,
            });
        }
    }
}
