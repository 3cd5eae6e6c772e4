//! One run: a plan through its phases.
//!
//! Warm-up ends with the first success. Safety has faults and load. Heal ends all faults, and goes on
//! with load until everything has had time to settle. Liveness: every new operation must succeed, and
//! no old one may be left. Shutdown: the clients are closed and dropped, and nothing may be left.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use mongo_client_core::{error::Error, time::Instant};

use super::{
    director::Director,
    driver_mode::DriverMode,
    engine_mode::EngineMode,
    judge::{Ending, Judge, Tally},
    observe::{ClientCounts, End, Observation, Phase, Violation},
    plan::{Mode, Plan, Profile},
    servers::Servers,
    workload::Workload,
    world::World,
};
use crate::choices::{Record, Streams};

/// How often what the clients hold is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Steps of waiting for an end.
const STEP: Duration = Duration::from_millis(50);
/// Operations of each client that must succeed.
const LIVENESS_OPS: usize = 12;
/// Where time limits are tight, an operation may need several tries.
const TRIES_MAX: usize = 50;
/// Operations that begin right before the clients close.
const LAST_OPS: usize = 4;
/// How long a client has to close: it tells the servers which sessions have ended, for 2 s at most.
const CLOSE_MAX: Duration = Duration::from_secs(4);

/// How to run a seed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Records the choices and the last observations.
    pub record: bool,
    /// Prints every observation.
    pub verbose: bool,
    /// The safety phase takes no longer than this; `None`: as long as the plan says.
    pub safety_max: Option<Duration>,
    /// Choices that were recorded; without them all follow from the seed.
    pub replay: Option<Record>,
}

/// What a run was like.
#[derive(Clone, Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The profile.
    pub profile: Profile,
    /// The mode.
    pub mode: Mode,
    /// The longest safety phase that was set.
    pub safety_max: Option<Duration>,
    /// The hash of all that happened.
    pub hash: u64,
    /// What was violated first.
    pub violation: Option<Violation>,
    /// What is counted.
    pub tally: Tally,
    /// The simulated time.
    pub elapsed: Duration,
    /// Events: queue pops that were delivered to a machine.
    pub events: u64,
    /// The last observations, where they are recorded.
    pub last: Vec<String>,
    /// The choices, where they are recorded.
    pub choices: Record,
}

/// Runs a seed. A panic of the code under test is a violation like others.
#[must_use]
pub fn run(seed: u64, profile: Profile, mode: Mode, settings: &Settings) -> Run {
    let streams = match &settings.replay {
        Some(record) => Streams::replayed(seed, record.clone()),
        None => Streams::seeded(seed),
    };
    let streams = if settings.record {
        streams.recording()
    } else {
        streams
    };
    let mut plan = Plan::draw(seed, profile, mode, &mut *streams.fork("plan"));
    if let Some(most) = settings.safety_max {
        plan.safety = plan.safety.min(most);
    }
    let judge = Judge::new(&plan);
    let judge = if settings.record || settings.verbose {
        judge.keep_last(settings.verbose)
    } else {
        judge
    };
    if settings.verbose {
        println!("{plan}");
    }
    let mut world: Option<Box<dyn World>> = None;
    let work = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(make(&plan, &streams, &judge));
        Running::new(&plan, &streams, &judge).all(&mut **world);
    }));
    let now = world.as_ref().map_or(Instant::ZERO, |world| world.now());
    if let Err(panic) = work {
        judge.violated("no-panic", now, text(&*panic));
    }
    let events = world.as_ref().map_or(0, |world| world.events());
    // A world in which something panicked may panic again when it is dropped.
    if catch_unwind(AssertUnwindSafe(|| drop(world))).is_err() {
        judge.violated("no-panic", now, String::from("when all was dropped"));
    }
    Run {
        seed,
        profile,
        mode,
        safety_max: settings.safety_max,
        hash: judge.hash(),
        violation: judge.violation(),
        tally: judge.tally(),
        elapsed: now.saturating_since(Instant::from_nanos(1_000_000_000)),
        events,
        last: judge.last(),
        choices: streams.record(),
    }
}

fn make(plan: &Plan, streams: &Streams, judge: &Judge) -> Box<dyn World> {
    match plan.mode {
        Mode::Driver => Box::new(DriverMode::new(plan, streams, judge)),
        Mode::Engine => Box::new(EngineMode::new(plan, streams, judge)),
    }
}

/// What a panic says.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
    text.unwrap_or_else(|| String::from("a panic without a text"))
}

struct Running<'a> {
    plan: &'a Plan,
    judge: &'a Judge,
    workload: Workload,
    director: Director,
    phase: Phase,
    counted: Instant,
    /// Inserts that a majority keeps once they have succeeded.
    inserts: std::collections::BTreeSet<u64>,
}

impl<'a> Running<'a> {
    fn new(plan: &'a Plan, streams: &Streams, judge: &'a Judge) -> Self {
        Self {
            plan,
            judge,
            workload: Workload::new(plan, streams.fork("workload")),
            director: Director::new(plan, streams.fork("faults")),
            phase: Phase::WarmUp,
            counted: Instant::ZERO,
            inserts: std::collections::BTreeSet::new(),
        }
    }

    fn all(&mut self, world: &mut dyn World) {
        let phases = [
            Self::warm_up,
            Self::safety,
            Self::heal,
            Self::liveness,
            Self::shutdown,
        ];
        for phase in phases {
            phase(self, world);
            if self.judge.is_violated() {
                return;
            }
        }
    }

    fn enter(&mut self, phase: Phase, world: &dyn World) {
        self.phase = phase;
        self.judge.observe(world.now(), &Observation::Phase(phase));
    }

    fn violated(&self, invariant: &'static str, what: String, world: &dyn World) {
        self.judge.violated(invariant, world.now(), what);
    }

    fn warm_up(&mut self, world: &mut dyn World) {
        self.enter(Phase::WarmUp, world);
        let end = world.now() + self.plan.settling();
        for client in 0..self.plan.clients {
            if let Err(what) = self.succeed(client, end, world) {
                self.violated("warm-up", what, world);
                return;
            }
        }
    }

    fn safety(&mut self, world: &mut dyn World) {
        self.enter(Phase::Safety, world);
        self.director.begin(world.now());
        let end = world.now() + self.plan.safety;
        self.load(end, world);
    }

    fn heal(&mut self, world: &mut dyn World) {
        self.enter(Phase::Heal, world);
        self.director.heal(world, self.judge);
        let end = world.now() + self.plan.settling();
        self.load(end, world);
    }

    /// Operations at random, and faults if there are any, until an instant.
    fn load(&mut self, end: Instant, world: &mut dyn World) {
        let mut next = world.now() + self.workload.pause();
        while world.now() < end && !self.judge.is_violated() {
            let fault = self.director.due().unwrap_or(Instant::MAX);
            let count = self.counted + COUNT_EVERY;
            self.run_until(next.min(fault).min(count).min(end), world);
            let now = world.now();
            if now >= fault {
                self.director.act(world, self.judge);
            }
            if now >= count {
                self.count(world);
            }
            if now >= next {
                for _ in 0..self.workload.burst() {
                    self.begin(world);
                }
                next = now + self.workload.pause();
            }
        }
    }

    fn begin(&mut self, world: &mut dyn World) {
        if self.judge.pending() >= self.plan.concurrency {
            return;
        }
        let work = self.workload.next(world.now());
        self.note(&work);
        world.begin(work);
    }

    fn note(&mut self, work: &super::workload::Work) {
        let facts = &work.facts;
        if facts.kind == super::observe::OpKind::Insert && facts.majority {
            self.inserts.insert(facts.op);
        }
    }

    fn run_until(&mut self, at: Instant, world: &mut dyn World) {
        world.run_until(at);
        for (op, ending) in self.judge.take_endings() {
            if self.inserts.remove(&op) && matches!(ending, Ending::Well) {
                self.workload.inserted(op);
            }
        }
    }

    fn liveness(&mut self, world: &mut dyn World) {
        self.enter(Phase::Liveness, world);
        let certain = !self.plan.is_hostile();
        let end = world.now() + self.old_ends_within();
        self.wait(end, world, |this, _| this.judge.pending() == 0);
        let left = self.judge.pending_ops();
        if !left.is_empty() {
            let what = format!("operations {left:?} of before do not end");
            return self.violated("liveness", what, world);
        }
        for _ in 0..LIVENESS_OPS {
            for client in 0..self.plan.clients {
                let end = world.now() + self.plan.settling();
                match self.succeed(client, end, world) {
                    Err(what) if certain => return self.violated("liveness", what, world),
                    _ => {}
                }
            }
        }
        self.wait(world.now() + self.plan.quiet(), world, |_, _| false);
        self.count(world);
    }

    /// How long what began under faults may take once they are over.
    fn old_ends_within(&self) -> Duration {
        let plan = self.plan;
        let limits = plan.wait_queue_timeout.unwrap_or_default();
        let limits = limits + plan.socket_timeout.unwrap_or_default();
        plan.settling() + (plan.selection_timeout + plan.connect_timeout + limits) * 3
    }

    /// Runs one operation of a client, which must succeed.
    fn succeed(
        &mut self,
        client: usize,
        end: Instant,
        world: &mut dyn World,
    ) -> Result<(), String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let work = self.workload.calm(client);
            self.note(&work);
            let (op, kind) = (work.facts.op, work.facts.kind);
            world.begin(work);
            let ending = loop {
                let now = world.now();
                world.run_until(now + STEP);
                let mut ends = self.judge.take_endings().into_iter();
                if let Some((_, ending)) = ends.find(|(ended, _)| *ended == op) {
                    break ending;
                }
                if world.now() >= end {
                    return Err(format!("operation {op} ({kind:?}) does not end"));
                }
            };
            match ending {
                Ending::Well => {
                    if self.inserts.remove(&op) {
                        self.workload.inserted(op);
                    }
                    return Ok(());
                }
                Ending::Failed(error) if tries < TRIES_MAX && self.is_tight(&error) => {}
                Ending::Failed(error) => {
                    return Err(format!("operation {op} ({kind:?}) failed: {error}"));
                }
                Ending::Dropped => return Err(format!("operation {op} was dropped")),
            }
        }
    }

    /// Whether an error only says that the options leave less time than the network needs.
    fn is_tight(&self, error: &Error) -> bool {
        let round_trip = (self.plan.latency_min + self.plan.latency_mean * 3) * 2;
        let tight = |limit: Duration| limit < round_trip * 8;
        let queue = self.plan.wait_queue_timeout.is_some_and(tight);
        // Connections that the servers have closed meanwhile are met only when they are used.
        let stale = self.phase != Phase::WarmUp
            && error.is_network()
            && !(self.plan.retry_reads && self.plan.retry_writes);
        (queue && error.is_timeout()) || stale
    }

    /// Lets time pass until a condition holds.
    fn wait(
        &mut self,
        end: Instant,
        world: &mut dyn World,
        done: impl Fn(&Self, &dyn World) -> bool,
    ) {
        while world.now() < end && !done(self, world) && !self.judge.is_violated() {
            let step = (world.now() + STEP * 4).min(end);
            self.run_until(step, world);
        }
    }

    fn count(&mut self, world: &dyn World) {
        self.counted = world.now();
        for client in 0..self.plan.clients {
            let counts = self.counts(client, world);
            self.judge
                .observe(world.now(), &Observation::Counts(&counts));
        }
    }

    fn counts(&self, client: usize, world: &dyn World) -> ClientCounts {
        let mut counts = world.counts(client, self.phase);
        let idle = world.now() - self.judge.idle_since(client);
        counts.quiet = counts.pending == 0 && idle >= self.plan.quiet();
        counts
    }

    fn shutdown(&mut self, world: &mut dyn World) {
        self.enter(Phase::Shutdown, world);
        // Some operations are under way when the clients close.
        for _ in 0..LAST_OPS {
            self.begin(world);
        }
        let soon = world.now() + self.plan.latency_min;
        self.run_until(soon, world);
        for client in 0..self.plan.clients {
            world.close(client);
        }
        let clients = 0..self.plan.clients;
        let end = world.now() + CLOSE_MAX;
        self.wait(end, world, |_, world| {
            clients.clone().all(|client| world.is_closed(client))
        });
        if let Some(open) = clients.clone().find(|client| !world.is_closed(*client)) {
            let what = format!("client {open} does not close within {CLOSE_MAX:?}");
            return self.violated("nothing-left", what, world);
        }
        self.count(world);
        world.release();
        let mut until = world.now() + Duration::from_secs(5);
        if self.plan.is_hostile() {
            // A client that was let go may have operations that look for a server which corrupt
            // bytes have told it of.
            until = until + self.plan.selection_timeout * 2;
        }
        self.run_until(until, world);
        let left = world.left();
        if !left.is_empty() {
            return self.violated("nothing-left", left.join(", "), world);
        }
        let old = self.judge.pending_ops();
        if !old.is_empty() {
            let what = format!("operations {old:?} do not end");
            return self.violated("nothing-left", what, world);
        }
        let mut documents = None;
        world.servers(&mut |servers: &mut Servers, _| documents = servers.documents());
        let Some(documents) = documents else {
            return self.violated("liveness", String::from("there is no primary"), world);
        };
        let end = End {
            plan: self.plan,
            documents: &documents,
            elapsed: world.now().saturating_since(Instant::ZERO),
            events: world.events(),
        };
        self.judge.finish(world.now(), &end);
    }
}
