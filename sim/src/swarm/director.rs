//! The faults of servers: when they begin, what they are, and when they are repaired.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, doc};
use mongo_client_core::time::Instant;

use super::{
    judge::Judge,
    observe::Observation,
    odd::Odd,
    plan::{Plan, Rate},
    workload::exponential,
    world::World,
};
use crate::{Fault, FaultKind, SimReplicaSet, choices::Choices};

/// The commands of the workload.
const COMMANDS: [&str; 6] = [
    "delete",
    "find",
    "findAndModify",
    "getMore",
    "insert",
    "update",
];

/// Codes that the retry rules, the SDAM error rules and nobody know.
const CODES: [i32; 14] = [
    6, 7, 11, 43, 50, 89, 91, 189, 262, 9001, 10_107, 11_600, 11_602, 13_435,
];

/// Draws and carries out the faults of servers.
pub(super) struct Director {
    choices: Box<dyn Choices>,
    /// How many servers clients reach, and how many members the set has.
    servers: usize,
    members: usize,
    clients: u64,
    /// The clients ask for SRV records.
    srv: bool,
    /// When each fault happens next.
    next: BTreeMap<&'static str, (Instant, Duration)>,
    rates: Vec<Rate>,
    repairs: Vec<(Instant, Repair)>,
    /// Faults of the network that follow from one that has begun.
    strikes: Vec<(Instant, Fault)>,
}

#[derive(Clone, Copy, Debug)]
enum Repair {
    Join,
    Names,
    Reads,
    Restart(usize),
    RestartRouter(usize),
    Speed(usize),
}

impl Director {
    pub(super) fn new(plan: &Plan, choices: Box<dyn Choices>) -> Self {
        Self {
            choices,
            servers: plan.topology.servers(),
            members: plan.topology.members(),
            clients: plan.clients as u64,
            srv: plan.srv,
            next: BTreeMap::new(),
            rates: plan.faults.clone(),
            repairs: Vec::new(),
            strikes: Vec::new(),
        }
    }

    /// From now on there are faults.
    pub(super) fn begin(&mut self, now: Instant) {
        for rate in &self.rates {
            let first = exponential(&mut *self.choices, "first fault", rate.every);
            self.next.insert(rate.kind, (now + first, rate.every));
        }
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let faults = self.next.values().map(|(at, _)| *at);
        let strikes = self.strikes.iter().map(|(at, _)| *at);
        let repairs = self.repairs.iter().map(|(at, _)| *at);
        faults.chain(strikes).chain(repairs).min()
    }

    /// Does what is due.
    pub(super) fn act(&mut self, world: &mut dyn World, judge: &Judge) {
        let now = world.now();
        while let Some(at) = self.repairs.iter().position(|(at, _)| *at <= now) {
            let (_, repair) = self.repairs.swap_remove(at);
            repair.carry_out(world);
        }
        while let Some(at) = self.strikes.iter().position(|(at, _)| *at <= now) {
            let (_, fault) = self.strikes.swap_remove(at);
            world.inject(&fault);
        }
        self.tell_of_names(world, judge);
        let due: Vec<_> = self.next.iter().filter(|(_, (at, _))| *at <= now).collect();
        let due: Vec<_> = due.into_iter().map(|(kind, (_, e))| (*kind, *e)).collect();
        for (kind, every) in due {
            let pause = exponential(&mut *self.choices, "next fault", every);
            self.next.insert(kind, (now + pause, every));
            if self.inject(kind, world, now) {
                judge.observe(now, &Observation::Fault { kind });
            }
        }
    }

    /// What clients have felt of the name server's faults.
    fn tell_of_names(&self, world: &mut dyn World, judge: &Judge) {
        if self.srv {
            let mut felt = std::collections::BTreeSet::new();
            world.servers(&mut |all, _| felt = all.names().take_felt());
            for kind in felt {
                judge.observe(world.now(), &Observation::Fault { kind });
            }
        }
    }

    /// Ends all faults for ever.
    pub(super) fn heal(&mut self, world: &mut dyn World, judge: &Judge) {
        self.tell_of_names(world, judge);
        self.next.clear();
        self.strikes.clear();
        for (_, repair) in std::mem::take(&mut self.repairs) {
            repair.carry_out(world);
        }
        world.heal();
        let servers = self.servers;
        world.servers(&mut |all, now| {
            all.no_failures(servers);
            all.names().heal();
            if let Some(set) = all.set(now) {
                set.heal(now);
            }
        });
    }

    /// Lets a fault happen; whether it had an effect.
    fn inject(&mut self, kind: &'static str, world: &mut dyn World, now: Instant) -> bool {
        match kind {
            "fail-command" | "close-on-command" | "slow-command" => {
                self.fail_point(kind, world);
                true
            }
            "odd-reply" => {
                let server = self.draw("odd server", self.servers as u64) as usize;
                let odd = Odd::draw(&mut *self.choices);
                world.servers(&mut |all, _| all.speak_oddly(server, odd.clone()));
                true
            }
            "step-down" => {
                let period = Duration::from_millis(500 + self.draw("step-down", 10_000));
                self.on_set(world, |set, now| {
                    let primary = set.primary().is_some();
                    set.step_down(period, now);
                    primary
                })
            }
            "kill-primary" | "kill-secondary" => self.kill(kind == "kill-primary", world, now),
            "isolate-primary" | "split-set" => self.split(kind == "isolate-primary", world, now),
            "long-replies" => {
                let server = self.draw("long replies", self.servers as u64) as usize;
                world.servers(&mut |all, _| all.speak_oddly(server, Odd::long()));
                // Slow enough for somebody to be dropped while they come.
                let rate = 1 << self.draw("long replies rate", 8);
                let fault = Fault::new(FaultKind::SlowLink).on([server]);
                world.inject(&fault.sized(rate * 1_024));
                true
            }
            "kill-router" => self.kill_router(world, now),
            "runtime-death" => world.end_runtime(),
            "short-reads" => {
                let until = now + self.time("short reads time", 11);
                self.repairs.push((until, Repair::Reads));
                world.set_reads_max(1);
                let servers = self.servers;
                world.servers(&mut |all, _| {
                    (0..servers).for_each(|server| all.speak_oddly(server, Odd::round()));
                });
                true
            }
            "srv-changed" | "srv-refused" | "srv-silent" | "srv-ttl" => {
                let until = now + self.time("names time", 15);
                self.repairs.push((until, Repair::Names));
                let choices = &mut self.choices;
                world.servers(&mut |all, _| all.names().strike(kind, &mut **choices));
                // It counts when a client has asked.
                false
            }
            "swizzle-clog" => {
                self.swizzle(world, now);
                true
            }
            "slow-secondary" => {
                let member = self.draw("slow member", self.members.max(1) as u64) as usize;
                let lag = Duration::from_millis(1 << self.draw("lag", 12));
                let until = now + self.time("slow time", 16);
                self.repairs.push((until, Repair::Speed(member)));
                self.on_set(world, |set, now| {
                    set.set_lag(member, lag, now);
                    true
                })
            }
            other => {
                self.network_fault(other, world);
                // The network tells when it takes effect.
                false
            }
        }
    }

    fn network_fault(&mut self, kind: &str, world: &mut dyn World) {
        let Some(kind) = FaultKind::from_name(kind) else {
            return;
        };
        let mut fault = Fault::draw(kind, &mut *self.choices);
        fault.client = self.draw("clock of", self.clients) as usize;
        // Some servers, or none: that means all of them.
        if self.draw("all servers?", 3) > 0 {
            let first = self.draw("struck", self.servers as u64) as usize;
            let count = 1 + self.draw("struck too", self.servers as u64) as usize / 2;
            let servers = self.servers;
            fault = fault.on((0..count).map(|n| (first + n) % servers));
        }
        world.inject(&fault);
    }

    fn kill(&mut self, primary: bool, world: &mut dyn World, now: Instant) -> bool {
        // A second member is not killed while one is down: of three, a majority stays.
        let down = self.repairs.iter();
        if self.members == 0
            || down
                .into_iter()
                .any(|(_, r)| matches!(r, Repair::Restart(_)))
        {
            return false;
        }
        let draw = self.draw("killed", self.members as u64) as usize;
        let mut killed = None;
        self.on_set(world, |set, now| {
            let leader = set.primary();
            let member = if primary { leader } else { Some(draw) };
            killed = member.filter(|m| primary || Some(*m) != leader);
            if let Some(member) = killed {
                set.kill(member, now);
            }
            killed.is_some()
        });
        if let Some(member) = killed {
            let until = now + self.time("down time", 15);
            self.repairs.push((until, Repair::Restart(member)));
        }
        killed.is_some()
    }

    fn kill_router(&mut self, world: &mut dyn World, now: Instant) -> bool {
        let router = self.draw("killed router", self.servers as u64) as usize;
        let is_down = |(_, repair): &(Instant, Repair)| matches!(repair, Repair::RestartRouter(r) if *r == router);
        if self.repairs.iter().any(is_down) {
            return false;
        }
        let mut killed = false;
        world.servers(&mut |all, now| {
            killed = all.cluster().is_some_and(|cluster| {
                cluster.kill_router(router, now);
                true
            });
        });
        let until = now + self.time("router down time", 13);
        self.repairs.push((until, Repair::RestartRouter(router)));
        killed
    }

    /// The ways to some servers are held up one after the other, and free again in another order.
    fn swizzle(&mut self, world: &mut dyn World, now: Instant) {
        let servers = self.servers;
        let first = self.draw("swizzled", servers as u64) as usize;
        let count = 1 + self.draw("swizzled too", servers as u64) as usize;
        let mut at = now;
        let mut begins = Vec::new();
        for n in 0..count.min(servers) {
            begins.push((at, (first + n) % servers));
            at = at + Duration::from_millis(self.draw("swizzle step", 1_000));
        }
        // All are clogged at `at`; who is free first is drawn.
        while !begins.is_empty() {
            let next = self.draw("swizzle end", begins.len() as u64) as usize;
            let (begin, server) = begins.swap_remove(next);
            at = at + Duration::from_millis(1 + self.draw("swizzle step", 2_000));
            let fault = Fault::new(FaultKind::Clog).on([server]);
            self.strikes.push((begin, fault.lasting(at - begin)));
        }
        while let Some(at) = self.strikes.iter().position(|(at, _)| *at <= now) {
            let (_, fault) = self.strikes.swap_remove(at);
            world.inject(&fault);
        }
    }

    fn split(&mut self, isolate: bool, world: &mut dyn World, now: Instant) -> bool {
        let apart = self.repairs.iter().any(|(_, r)| matches!(r, Repair::Join));
        if self.members < 3 || apart {
            return false;
        }
        let at = 1 + self.draw("split", self.members as u64 - 1) as usize;
        let first = self.draw("split from", self.members as u64) as usize;
        let until = now + self.time("split time", 15);
        self.repairs.push((until, Repair::Join));
        let members = self.members;
        self.on_set(world, |set, now| {
            let from = if isolate { set.primary() } else { Some(first) };
            let from = from.unwrap_or(first);
            let cut = if isolate { 1 } else { at };
            let all: Vec<usize> = (0..members).map(|n| (from + n) % members).collect();
            let (one, other) = all.split_at(cut);
            // A stale primary beside a new one, for as long as the set is split.
            set.set_stubborn(from, isolate, now);
            set.partition(&[one, other], now);
            true
        })
    }

    /// The server's own fail point: an error, a closed connection, or a pause.
    fn fail_point(&mut self, kind: &str, world: &mut dyn World) {
        let server = self.draw("failing server", self.servers as u64) as usize;
        let first = self.draw("failing command", COMMANDS.len() as u64) as usize;
        let count = 1 + self.draw("failing commands", COMMANDS.len() as u64) as usize;
        let names = (first..first + count).map(|at| Bson::from(COMMANDS[at % COMMANDS.len()]));
        let mut data = doc! { "failCommands": names.collect::<Vec<_>>() };
        match kind {
            "close-on-command" => {
                data.insert("closeConnection", true);
            }
            "slow-command" => {
                data.insert("blockConnection", true);
                data.insert("blockTimeMS", 1_i64 << self.draw("block", 14));
            }
            _ => self.error(&mut data),
        }
        let mode = doc! { "times": 1 + self.draw("times", 4) as i32 };
        world.servers(&mut |all, _| all.fail(server, mode.clone(), data.clone()));
    }

    fn error(&mut self, data: &mut Document) {
        let code = CODES[self.draw("code", CODES.len() as u64) as usize];
        match self.draw("error shape", 4) {
            0 => {
                let error = doc! { "code": code, "errmsg": "of the swarm" };
                data.insert("writeConcernError", error);
                if self.draw("label", 2) == 0 {
                    data.insert("errorLabels", vec!["RetryableWriteError"]);
                }
            }
            1 => {
                data.insert("errorCode", 462);
                let labels = vec!["SystemOverloadedError", "RetryableError"];
                data.insert("errorLabels", labels);
            }
            _ => {
                data.insert("errorCode", code);
            }
        }
    }

    fn on_set(
        &self,
        world: &mut dyn World,
        mut work: impl FnMut(&mut SimReplicaSet, Instant) -> bool,
    ) -> bool {
        let mut done = false;
        world.servers(&mut |all, now| {
            done = all.set(now).is_some_and(|set| work(set, now));
        });
        done
    }

    fn draw(&mut self, label: &'static str, bound: u64) -> u64 {
        self.choices.draw(label, bound)
    }

    /// A time of up to two to the power of `doublings` milliseconds.
    fn time(&mut self, label: &'static str, doublings: u64) -> Duration {
        Duration::from_millis(100 << self.draw(label, doublings - 6))
    }
}

impl Repair {
    fn carry_out(self, world: &mut dyn World) {
        if matches!(self, Self::Reads) {
            return world.set_reads_max(usize::MAX);
        }
        world.servers(&mut |all, now| {
            match self {
                Self::Names => all.names().heal(),
                Self::RestartRouter(router) => {
                    if let Some(cluster) = all.cluster() {
                        cluster.restart_router(router, now);
                    }
                }
                Self::Join | Self::Reads | Self::Restart(_) | Self::Speed(_) => {}
            }
            let Some(set) = all.set(now) else { return };
            match self {
                Self::Names | Self::Reads | Self::RestartRouter(_) => {}
                Self::Join => {
                    for member in 0..set.len() {
                        set.set_stubborn(member, false, now);
                    }
                    set.heal(now);
                }
                Self::Restart(member) => set.restart(member, now),
                Self::Speed(member) => set.set_lag(member, Duration::from_millis(2), now),
            }
        });
    }
}
