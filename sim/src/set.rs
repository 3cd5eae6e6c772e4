//! A simulated replica set: terms, a log that reaches each member late, elections, step-down,
//! partitions, crashes, and the rollback of what was not majority-committed.
//!
//! The set carries entries between its members without bytes: what is simulated faithfully is what
//! a client can see. Rules: a member votes for a candidate whose log is not behind its own; a
//! primary commits what a majority has applied, if the last of it is of its own term; a member whose
//! log is not a beginning of its primary's rolls back to the last common entry; a primary that does
//! not reach a majority for an election timeout steps down, and until then takes writes that will be
//! rolled back.

mod election;

use std::{collections::BTreeMap, time::Duration};

use mongo_client_core::time::Instant;

use crate::{
    Choices, Output, ServerConfig, SimServer, User,
    deployment::Deployment,
    failure::{EXCEEDED_TIME_LIMIT, Failure},
    server::{Demand, Membership, OpTime, State},
};

/// What a replica set is told at its beginning.
#[derive(Clone, Debug)]
pub struct SetConfig {
    /// The set's name.
    pub name: String,
    /// The members' addresses, `host:port`.
    pub addresses: Vec<String>,
    /// How long a member waits for a primary before it stands for election.
    pub election_timeout: Duration,
    /// How long an entry takes to each secondary.
    pub lag: Duration,
    /// The wall clock, in milliseconds since 1970, at the zero of the machine's time.
    pub wall_epoch_ms: i64,
    /// Who may authenticate; without anybody, nobody has to.
    pub users: Vec<User>,
}

impl SetConfig {
    /// A set with the real server's election timeout of 10 seconds and a lag of 2 milliseconds.
    #[must_use]
    pub fn new(name: impl Into<String>, addresses: impl IntoIterator<Item = String>) -> Self {
        Self {
            name: name.into(),
            addresses: addresses.into_iter().collect(),
            election_timeout: Duration::from_secs(10),
            lag: Duration::from_millis(2),
            wall_epoch_ms: ServerConfig::new("").wall_epoch_ms,
            users: Vec::new(),
        }
    }
}

/// A simulated replica set.
pub struct SimReplicaSet {
    config: SetConfig,
    choices: Box<dyn Choices>,
    members: Vec<Member>,
    /// The member of each connection.
    owners: BTreeMap<u64, usize>,
    term: i64,
    /// When the next election is held.
    election: Option<Instant>,
    step_down: Option<StepDown>,
    /// When the next entry reaches a member.
    delivery: Option<Instant>,
    rolled_back: usize,
}

struct Member {
    server: SimServer,
    up: bool,
    lag: Duration,
    /// Members of the same part reach each other.
    part: usize,
    /// Until when it may not be elected.
    frozen: Instant,
    /// Since when, as primary, it does not reach a majority.
    alone: Option<Instant>,
}

/// A step-down that waits for a secondary to catch up.
struct StepDown {
    member: usize,
    connection: Option<u64>,
    period: Duration,
    until: Instant,
    force: bool,
}

impl SimReplicaSet {
    /// Starts a set; the first member is elected at once.
    #[must_use]
    pub fn new(config: SetConfig, mut choices: Box<dyn Choices>, now: Instant) -> Self {
        let mut members = Vec::new();
        for address in &config.addresses {
            let mut server_config = ServerConfig::new(address.clone());
            server_config.wall_epoch_ms = config.wall_epoch_ms;
            server_config.users.clone_from(&config.users);
            let seed = choices.draw("server seed", u64::MAX);
            let own = Box::new(crate::Seeded::new(seed));
            let mut server = SimServer::new(server_config, own);
            server.membership = Some(Membership {
                set: config.name.clone(),
                config_version: 1,
                hosts: config.addresses.clone(),
                state: State::Secondary,
                term: 0,
                primary: None,
                progress: Vec::new(),
            });
            members.push(Member {
                server,
                up: true,
                lag: config.lag,
                part: 0,
                frozen: Instant::ZERO,
                alone: None,
            });
        }
        let mut this = Self {
            config,
            choices,
            members,
            owners: BTreeMap::new(),
            term: 0,
            election: None,
            step_down: None,
            delivery: None,
            rolled_back: 0,
        };
        if !this.members.is_empty() {
            this.elect(0, now);
        }
        this.settle(now);
        this
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the set has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The primary of the highest term among the members that are up.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        let primaries = (0..self.members.len()).filter(|i| self.is_primary(*i));
        primaries.max_by_key(|i| self.term_of(*i))
    }

    /// The members that take themselves for primary: two, when one of them is stale.
    #[must_use]
    pub fn primaries(&self) -> Vec<usize> {
        let all = 0..self.members.len();
        all.filter(|i| self.is_primary(*i)).collect()
    }

    /// One member's server. Panics for a member that does not exist, like indexing.
    #[must_use]
    pub fn member(&self, member: usize) -> &SimServer {
        &self.members[member].server
    }

    /// One member's server, to give it a hook.
    pub fn member_mut(&mut self, member: usize) -> &mut SimServer {
        &mut self.members[member].server
    }

    /// How many entries were rolled back so far, over all members.
    #[must_use]
    pub fn rolled_back(&self) -> usize {
        self.rolled_back
    }

    /// Changes how long entries take to a member.
    pub fn set_lag(&mut self, member: usize, lag: Duration, now: Instant) {
        self.members[member].lag = lag;
        self.settle(now);
    }

    /// Ends a member's process: its connections are reset and nobody listens.
    pub fn kill(&mut self, member: usize, now: Instant) {
        let killed = &mut self.members[member];
        killed.up = false;
        killed.alone = None;
        killed.server.reset_connections();
        let term = self.term_of(member);
        self.members[member]
            .server
            .set_state(State::Secondary, term, None);
        self.settle(now);
    }

    /// Starts the process of a killed member again, over its data.
    pub fn restart(&mut self, member: usize, now: Instant) {
        let restarted = &mut self.members[member];
        restarted.server.reboot();
        restarted.up = true;
        self.settle(now);
    }

    /// Splits the set: members reach each other only within their part, those that are in none only
    /// themselves. Clients still reach all.
    pub fn partition(&mut self, parts: &[&[usize]], now: Instant) {
        for (index, member) in self.members.iter_mut().enumerate() {
            let part = parts.iter().position(|part| part.contains(&index));
            member.part = part.unwrap_or(parts.len() + index);
        }
        self.settle(now);
    }

    /// Lets all members reach each other.
    pub fn heal(&mut self, now: Instant) {
        for member in &mut self.members {
            member.part = 0;
        }
        self.settle(now);
    }

    /// Makes the primary step down, like `replSetStepDown` without `force`.
    pub fn step_down(&mut self, period: Duration, now: Instant) {
        if let Some(member) = self.primary() {
            self.step_down = Some(StepDown {
                member,
                connection: None,
                period,
                until: now + Duration::from_secs(10),
                force: false,
            });
        }
        self.settle(now);
    }

    fn is_primary(&self, member: usize) -> bool {
        let member = &self.members[member];
        let membership = member.server.membership.as_ref();
        member.up && membership.is_some_and(Membership::is_primary)
    }

    fn term_of(&self, member: usize) -> i64 {
        let membership = self.members[member].server.membership.as_ref();
        membership.map_or(0, |m| m.term)
    }

    fn last(&self, member: usize) -> OpTime {
        self.members[member].server.data.last()
    }

    fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The members that a member reaches, itself included.
    fn reached(&self, member: usize) -> Vec<usize> {
        let part = self.members[member].part;
        let together = |i: &usize| self.members[*i].up && self.members[*i].part == part;
        (0..self.members.len()).filter(together).collect()
    }

    /// Lets everything happen that can happen at this instant.
    fn settle(&mut self, now: Instant) {
        loop {
            let before = self.signature();
            self.take_demands(now);
            self.lead(now);
            self.carry_out_step_down(now);
            self.replicate(now);
            self.commit();
            for member in self.members.iter_mut().filter(|m| m.up) {
                member.server.settle(now);
            }
            let quiet = self.members.iter().all(|m| m.server.demands.is_empty());
            if quiet && self.signature() == before {
                return;
            }
        }
    }

    /// What must be the same before and after for the set to be at rest.
    fn signature(&self) -> Vec<(OpTime, OpTime, Option<State>, i64)> {
        let each = self.members.iter().map(|member| {
            let data = &member.server.data;
            let membership = member.server.membership.as_ref();
            let state = membership.map(|m| m.state);
            (
                data.last(),
                data.committed(),
                state,
                membership.map_or(0, |m| m.term),
            )
        });
        each.collect()
    }

    fn take_demands(&mut self, now: Instant) {
        for member in 0..self.members.len() {
            while let Some(demand) = self.members[member].server.demands.pop_front() {
                let Demand::StepDown {
                    connection,
                    period,
                    catch_up,
                    force,
                } = demand;
                if self.step_down.is_some() {
                    let busy = Failure::new(314, "a step-down is already in progress");
                    let server = &mut self.members[member].server;
                    server.finish_step_down(connection, Err(busy), now);
                    continue;
                }
                self.step_down = Some(StepDown {
                    member,
                    connection: Some(connection),
                    period,
                    until: now + catch_up,
                    force,
                });
            }
        }
    }

    fn carry_out_step_down(&mut self, now: Instant) {
        let Some(order) = self.step_down.take() else {
            return;
        };
        let member = order.member;
        let caught_up = self.reached(member).into_iter();
        let caught_up = caught_up.filter(|i| self.last(*i) == self.last(member));
        let result = if !self.is_primary(member) {
            Err(Failure::new(
                crate::failure::NOT_WRITABLE_PRIMARY,
                "not primary so can't step down",
            ))
        } else if caught_up.count() >= self.majority().max(2) || (order.force && now >= order.until)
        {
            self.depose(member, now + order.period);
            // A graceful step-down asks a secondary to stand for election at once.
            let handoff = 1 + self.choices.draw("election handoff", 20);
            let wait = if order.force {
                self.election_delay()
            } else {
                Duration::from_millis(handoff)
            };
            self.election = Some(now + wait);
            Ok(())
        } else if now >= order.until {
            Err(Failure::new(
                EXCEEDED_TIME_LIMIT,
                "No electable secondaries caught up, please use the replSetStepDown command with the \
                 argument {force: true} to force node to step down.",
            ))
        } else {
            self.step_down = Some(order);
            return;
        };
        if let Some(connection) = order.connection {
            let server = &mut self.members[member].server;
            server.finish_step_down(connection, result, now);
        }
    }

    /// Brings to each follower the entries that are due, after undoing what its primary lacks.
    fn replicate(&mut self, now: Instant) {
        self.delivery = None;
        for member in 0..self.members.len() {
            let Some(source) = self.followed(member) else {
                continue;
            };
            self.undo_what_differs(member, source);
            let lag = self.members[member].lag;
            let entries = self.members[source].server.data.after(self.last(member));
            let mut due = Vec::new();
            for entry in entries {
                let at = entry.written + lag;
                if at > now {
                    self.delivery = Some(self.delivery.map_or(at, |known| known.min(at)));
                    break;
                }
                due.push(entry.clone());
            }
            for entry in due {
                self.members[member].server.replicate(entry);
            }
        }
    }

    fn undo_what_differs(&mut self, member: usize, source: usize) {
        let theirs = &self.members[source].server.data;
        let ours = &self.members[member].server.data;
        if theirs.contains(ours.last()) {
            return;
        }
        let common = ours.uncommitted().find(|at| theirs.contains(*at));
        let common = common.unwrap_or(ours.committed());
        let server = &mut self.members[member].server;
        self.rolled_back += server.data.roll_back(common);
        // The real server closes its connections when it rolls back.
        server.reset_connections();
    }

    /// The primary that a member follows.
    fn followed(&self, member: usize) -> Option<usize> {
        if !self.members[member].up || self.is_primary(member) {
            return None;
        }
        let primaries = self.reached(member).into_iter();
        let primaries = primaries.filter(|i| self.is_primary(*i));
        primaries.max_by_key(|i| self.term_of(*i))
    }

    fn commit(&mut self) {
        for primary in self.primaries() {
            let reached = self.reached(primary);
            let mut progress: Vec<OpTime> = reached.iter().map(|i| self.last(*i)).collect();
            progress.sort_unstable();
            let index = progress.len().checked_sub(self.majority());
            let at = index.and_then(|index| progress.get(index)).copied();
            if let Some(membership) = &mut self.members[primary].server.membership {
                membership.progress = progress;
            }
            if let Some(at) = at.filter(|at| at.term == self.term_of(primary)) {
                for member in reached {
                    self.members[member].server.data.commit(at);
                }
            }
        }
        let all = self.members.iter().map(|m| m.server.data.committed());
        if let Some(everywhere) = all.min() {
            for member in &mut self.members {
                member.server.data.trim(everywhere);
            }
        }
    }
}

impl Deployment for SimReplicaSet {
    fn addresses(&self) -> Vec<String> {
        self.config.addresses.clone()
    }

    fn listens(&self, server: usize) -> bool {
        self.members.get(server).is_some_and(|member| member.up)
    }

    fn accept(&mut self, server: usize, connection: u64, _now: Instant) -> bool {
        let Some(member) = self.members.get_mut(server).filter(|m| m.up) else {
            return false;
        };
        member.server.accept(connection);
        self.owners.insert(connection, server);
        true
    }

    fn hang_up(&mut self, connection: u64, _now: Instant) {
        if let Some(member) = self.owners.remove(&connection) {
            self.members[member].server.hang_up(connection);
        }
    }

    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        if let Some(member) = self.owners.get(&connection) {
            self.members[*member].server.receive(connection, bytes, now);
            self.settle(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        let outputs = self.members.iter_mut();
        outputs.into_iter().find_map(|m| m.server.poll_output())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let servers = self.members.iter().filter(|m| m.up);
        let servers = servers.filter_map(|m| m.server.poll_timeout());
        let alone = self.members.iter().filter_map(|m| m.alone);
        let alone = alone.map(|since| since + self.config.election_timeout);
        let step_down = self.step_down.as_ref().map(|order| order.until);
        let own = [self.election, self.delivery, step_down];
        servers.chain(alone).chain(own.into_iter().flatten()).min()
    }

    fn part(&mut self, servers: &[usize], now: Instant) {
        let others: Vec<usize> = (0..self.len()).filter(|i| !servers.contains(i)).collect();
        self.partition(&[&others, servers], now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }
}

#[cfg(test)]
mod tests;
