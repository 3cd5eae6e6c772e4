//! The faults of servers: when they begin, what they are, and when they are repaired.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, doc};
use mongo_client_core::time::Instant;

use super::{
    judge::Judge,
    observe::Observation,
    odd::Odd,
    plan::{Plan, Rate, Topology},
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
    servers: usize,
    clients: u64,
    is_set: bool,
    /// When each fault happens next.
    next: BTreeMap<&'static str, (Instant, Duration)>,
    rates: Vec<Rate>,
    repairs: Vec<(Instant, Repair)>,
}

#[derive(Clone, Copy, Debug)]
enum Repair {
    Join,
    Restart(usize),
    Speed(usize),
}

impl Director {
    pub(super) fn new(plan: &Plan, choices: Box<dyn Choices>) -> Self {
        Self {
            choices,
            servers: plan.topology.servers(),
            clients: plan.clients as u64,
            is_set: matches!(plan.topology, Topology::Set(_)),
            next: BTreeMap::new(),
            rates: plan.faults.clone(),
            repairs: Vec::new(),
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
        faults.chain(self.repairs.iter().map(|(at, _)| *at)).min()
    }

    /// Does what is due.
    pub(super) fn act(&mut self, world: &mut dyn World, judge: &Judge) {
        let now = world.now();
        while let Some(at) = self.repairs.iter().position(|(at, _)| *at <= now) {
            let (_, repair) = self.repairs.swap_remove(at);
            repair.carry_out(world);
        }
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

    /// Ends all faults for ever.
    pub(super) fn heal(&mut self, world: &mut dyn World) {
        self.next.clear();
        for (_, repair) in std::mem::take(&mut self.repairs) {
            repair.carry_out(world);
        }
        world.heal();
        let servers = self.servers;
        world.servers(&mut |all, now| {
            all.no_failures(servers);
            if let Some(set) = all.set() {
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
            "slow-secondary" => {
                let member = self.draw("slow member", self.servers as u64) as usize;
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
        if !self.is_set
            || down
                .into_iter()
                .any(|(_, r)| matches!(r, Repair::Restart(_)))
        {
            return false;
        }
        let draw = self.draw("killed", self.servers as u64) as usize;
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

    fn split(&mut self, isolate: bool, world: &mut dyn World, now: Instant) -> bool {
        let apart = self.repairs.iter().any(|(_, r)| matches!(r, Repair::Join));
        if self.servers < 3 || apart {
            return false;
        }
        let at = 1 + self.draw("split", self.servers as u64 - 1) as usize;
        let first = self.draw("split from", self.servers as u64) as usize;
        let until = now + self.time("split time", 15);
        self.repairs.push((until, Repair::Join));
        let servers = self.servers;
        self.on_set(world, |set, now| {
            let from = if isolate { set.primary() } else { Some(first) };
            let from = from.unwrap_or(first);
            let cut = if isolate { 1 } else { at };
            let all: Vec<usize> = (0..servers).map(|n| (from + n) % servers).collect();
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
            done = all.set().is_some_and(|set| work(set, now));
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
        world.servers(&mut |all, now| {
            let Some(set) = all.set() else { return };
            match self {
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
