//! A simulated replica set: terms, a log that reaches each member late, elections, step-down,
//! partitions, crashes, and the rollback of what was not majority-committed.
//!
//! The set carries entries between its members without bytes: what is simulated faithfully is what
//! a client can see. Rules: a member votes for a candidate whose log is not behind its own; a
//! primary commits what a majority has applied, if the last of it is of its own term; a member whose
//! log is not a beginning of its primary's rolls back to the last common entry; a primary that does
//! not reach a majority for an election timeout steps down, and until then takes writes that will be
//! rolled back.

mod config;
mod control;
mod election;
mod replication;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::Document;
use mongo_client_core::time::Instant;

pub use self::config::MemberConfig;
pub(crate) use self::config::{Config, Visible, Wanted};
use crate::{
    Choices, Output, ServerConfig, SimServer, User,
    deployment::Deployment,
    failure::{EXCEEDED_TIME_LIMIT, Failure, Result},
    server::{Demand, Membership, OpTime, State},
};

/// What a replica set is told at its beginning.
#[derive(Clone, Debug)]
pub struct SetConfig {
    /// The set's name.
    pub name: String,
    /// The members of the first configuration.
    pub members: Vec<MemberConfig>,
    /// The addresses of servers that are in no configuration yet; they can be added.
    pub spares: Vec<String>,
    /// How long a member waits for a primary before it stands for election.
    pub election_timeout: Duration,
    /// How long a new member takes to fetch all data.
    pub initial_sync: Duration,
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
            members: addresses.into_iter().map(MemberConfig::new).collect(),
            spares: Vec::new(),
            election_timeout: Duration::from_secs(10),
            initial_sync: Duration::from_millis(500),
            lag: Duration::from_millis(2),
            wall_epoch_ms: ServerConfig::new("").wall_epoch_ms,
            users: Vec::new(),
        }
    }
}

/// How far a member is, and what it takes itself for.
type Signature = (OpTime, OpTime, Option<State>, i64);

/// A simulated replica set.
pub struct SimReplicaSet {
    config: SetConfig,
    choices: Box<dyn Choices>,
    /// The servers: the members of the first configuration, and the spare ones.
    members: Vec<Member>,
    addresses: Vec<String>,
    /// The member of each connection.
    owners: BTreeMap<u64, usize>,
    term: i64,
    /// When the next election is held.
    election: Option<Instant>,
    step_down: Option<StepDown>,
    /// When a member that is preferred takes over from the primary.
    takeover: Option<Instant>,
    /// When the next entry reaches a member.
    delivery: Option<Instant>,
    rolled_back: usize,
    /// The room of a signature.
    scratch: Vec<Signature>,
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
    /// Its place in the configuration that it has.
    place: Option<usize>,
    /// It is fetching all data.
    sync: Option<Sync>,
    maintenance: bool,
    /// It stays primary alone.
    stubborn: bool,
}

/// An initial synchronisation.
struct Sync {
    until: Instant,
    /// The time is over, and the next primary in reach is the source.
    due: bool,
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
    /// Starts a set; the first member that may be primary is elected at once.
    #[must_use]
    pub fn new(config: SetConfig, mut choices: Box<dyn Choices>, now: Instant) -> Self {
        let addresses = config.members.iter().map(|member| &member.address);
        let addresses: Vec<String> = addresses.chain(&config.spares).cloned().collect();
        let mut members = Vec::new();
        for address in &addresses {
            let mut server_config = ServerConfig::new(address.clone());
            server_config.wall_epoch_ms = config.wall_epoch_ms;
            server_config.users.clone_from(&config.users);
            let seed = choices.draw("server seed", u64::MAX);
            let own = Box::new(crate::Seeded::new(seed));
            let mut server = SimServer::new(server_config, own);
            server.membership = Some(Membership::new(&config.name));
            members.push(Member {
                server,
                up: true,
                lag: config.lag,
                part: 0,
                frozen: Instant::ZERO,
                alone: None,
                place: None,
                sync: None,
                maintenance: false,
                stubborn: false,
            });
        }
        let first = Config::new(1, 1, config.members.clone(), &addresses).map(Arc::new);
        let mut this = Self {
            config,
            choices,
            members,
            addresses,
            owners: BTreeMap::new(),
            term: 0,
            election: None,
            step_down: None,
            takeover: None,
            delivery: None,
            rolled_back: 0,
            scratch: Vec::new(),
        };
        if let Some(first) = first {
            for member in 0..first.members.len() {
                this.install(member, &first, now);
                this.members[member].sync = None;
            }
            if let Some(leader) = first.servers.iter().find(|s| first.is_electable(**s)) {
                this.elect(*leader, now);
            }
        }
        this.settle(now);
        this
    }

    /// The number of servers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the set has no servers.
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

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// A router opens a connection to a member.
    pub(crate) fn accept_internal(
        &mut self,
        server: usize,
        connection: u64,
        _now: Instant,
    ) -> bool {
        let Some(member) = self.members.get_mut(server).filter(|m| m.up) else {
            return false;
        };
        member.server.accept_internal(connection);
        self.owners.insert(connection, server);
        true
    }

    /// The secondaries that clients are told of and that have these tags.
    pub(crate) fn secondaries(&self, tags: &Document) -> Vec<usize> {
        let fits = |member: &usize| {
            let server = &self.members[*member].server;
            let state = server.membership.as_ref().map(|m| m.state);
            let entry = self.entry(*member).filter(|entry| !entry.hidden);
            self.members[*member].up
                && state == Some(State::Secondary)
                && entry.is_some_and(|entry| {
                    let has = |(key, value): (&String, &bson::Bson)| {
                        entry.tags.get(key).map(String::as_str) == value.as_str()
                    };
                    tags.iter().all(has)
                })
        };
        (0..self.members.len()).filter(fits).collect()
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

    /// The configuration that a server has.
    fn config_of(&self, member: usize) -> Option<&Arc<Config>> {
        let membership = self.members[member].server.membership.as_ref();
        membership.and_then(|m| m.config.as_ref())
    }

    /// What a server's configuration says of it; `None` when it is in none.
    fn entry(&self, member: usize) -> Option<&MemberConfig> {
        let place = self.members[member].place?;
        self.config_of(member)?.members.get(place)
    }

    fn holds_data(&self, member: usize) -> bool {
        self.entry(member).is_some_and(|entry| !entry.arbiter)
    }

    fn newest_config(&self, servers: impl Iterator<Item = usize>) -> Option<&Arc<Config>> {
        let configs = servers.filter_map(|server| self.config_of(server));
        configs.reduce(|a, b| if b.is_newer_than(a) { b } else { a })
    }

    /// What a server is while it is not primary.
    fn base_state(&self, member: usize) -> State {
        let server = &self.members[member];
        match self.entry(member) {
            None => State::Removed,
            Some(entry) if entry.arbiter => State::Arbiter,
            Some(_) if server.sync.is_some() => State::Startup,
            Some(_) if server.maintenance => State::Recovering,
            Some(_) => State::Secondary,
        }
    }

    /// The members that a member reaches, itself included.
    fn reached(&self, member: usize) -> Vec<usize> {
        let part = self.members[member].part;
        let together = |i: &usize| self.members[*i].up && self.members[*i].part == part;
        (0..self.members.len()).filter(together).collect()
    }

    /// Lets everything happen that can happen at this instant.
    fn settle(&mut self, now: Instant) {
        let mut before = std::mem::take(&mut self.scratch);
        loop {
            before.clear();
            before.extend(self.signature());
            self.take_demands(now);
            self.spread_configs(now);
            self.lead(now);
            self.carry_out_step_down(now);
            self.replicate(now);
            self.commit();
            for member in self.members.iter_mut().filter(|m| m.up) {
                member.server.settle(now);
            }
            let quiet = self.members.iter().all(|m| m.server.demands.is_empty());
            if quiet && self.signature().eq(before.iter().copied()) {
                self.scratch = before;
                return;
            }
        }
    }

    /// What must be the same before and after for the set to be at rest.
    fn signature(&self) -> impl Iterator<Item = Signature> {
        (0..self.members.len()).map(|member| self.signature_of(member))
    }

    fn signature_of(&self, member: usize) -> Signature {
        let server = &self.members[member].server;
        let membership = server.membership.as_ref();
        let state = membership.map(|m| m.state);
        let term = membership.map_or(0, |m| m.term);
        (server.data.last(), server.data.committed(), state, term)
    }

    fn take_demands(&mut self, now: Instant) {
        for member in 0..self.members.len() {
            while let Some(demand) = self.members[member].server.demands.pop_front() {
                match demand {
                    // Members are no routers.
                    Demand::Forward { .. } => {}
                    Demand::Reconfigure {
                        connection,
                        config,
                        force,
                    } => {
                        let result = self.change(member, &config, force, now);
                        let server = &mut self.members[member].server;
                        server.finish_demand(connection, result, now);
                    }
                    Demand::StepDown {
                        connection,
                        period,
                        catch_up,
                        force,
                    } => {
                        if self.step_down.is_some() {
                            let busy = Failure::new(314, "a step-down is already in progress");
                            let server = &mut self.members[member].server;
                            server.finish_demand(connection, Err(busy), now);
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
        }
    }

    /// Carries out a client's change of the configuration.
    fn change(&mut self, member: usize, wanted: &Wanted, force: bool, now: Instant) -> Result<()> {
        let Some(old) = self.config_of(member) else {
            return Err(Failure::not_simulated("replSetReconfig of a server alone"));
        };
        wanted.check(old, &self.config.name, &self.addresses[member], force)?;
        let term = if force {
            old.term
        } else {
            self.term_of(member)
        };
        let version = wanted.version(old);
        let config = Config::new(version, term, wanted.members.clone(), &self.addresses);
        let Some(config) = config else {
            return Err(Failure::not_simulated(
                "a member that is no server of the set",
            ));
        };
        self.install(member, &Arc::new(config), now);
        Ok(())
    }

    fn carry_out_step_down(&mut self, now: Instant) {
        let Some(order) = self.step_down.take() else {
            return;
        };
        let member = order.member;
        let reached = self.reached(member);
        let is_behind = |i: &usize| !self.holds_data(*i) || self.last(*i) != self.last(member);
        let config = self.config_of(member).cloned();
        let caught_up = config.as_ref().is_some_and(|config| {
            let voters = config.voters().filter(|i| reached.contains(i));
            let ready = voters.filter(|i| !is_behind(i)).count();
            let mut others = reached.iter().filter(|i| **i != member && !is_behind(i));
            ready >= config.write_majority() && others.any(|i| self.may_be_primary(*i))
        });
        let result = if !self.is_primary(member) {
            Err(Failure::new(
                crate::failure::NOT_WRITABLE_PRIMARY,
                "not primary so can't step down",
            ))
        } else if caught_up || (order.force && now >= order.until) {
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
            server.finish_demand(connection, result, now);
        }
    }

    /// The primary that a member follows.
    fn followed(&self, member: usize) -> Option<usize> {
        if !self.members[member].up || self.is_primary(member) || self.entry(member).is_none() {
            return None;
        }
        let primaries = self.reached(member).into_iter();
        let primaries = primaries.filter(|i| self.is_primary(*i));
        primaries.max_by_key(|i| self.term_of(*i))
    }
}

impl Deployment for SimReplicaSet {
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
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
        let Some(member) = self.owners.get(&connection).copied() else {
            return;
        };
        let before = self.signature_of(member);
        let server = &mut self.members[member].server;
        server.receive(connection, bytes, now);
        // A set at rest stays at rest when a command changed nothing: most are reads.
        let quiet = server.demands.is_empty();
        let due = self.poll_timeout().is_some_and(|due| due <= now);
        if due || !quiet || self.signature_of(member) != before {
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
        let syncs = self.members.iter().filter_map(|m| m.sync.as_ref());
        let syncs = syncs.filter(|sync| !sync.due).map(|sync| sync.until);
        let own = [self.election, self.delivery, self.takeover, step_down];
        let alone = alone.chain(syncs);
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
