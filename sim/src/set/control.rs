//! What a test can do to a replica set.

use std::{sync::Arc, time::Duration};

use mongo_client_core::time::Instant;

use super::{Config, MemberConfig, SimReplicaSet, StepDown, Sync};

impl SimReplicaSet {
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
        let (state, term) = (self.base_state(member), self.term_of(member));
        self.members[member].server.set_state(state, term, None);
        self.settle(now);
    }

    /// Starts the process of a killed member again, over its data.
    pub fn restart(&mut self, member: usize, now: Instant) {
        let restarted = &mut self.members[member];
        restarted.server.reboot();
        restarted.up = true;
        self.settle(now);
    }

    /// Starts the process of a member again without its data: it is in the state `STARTUP2`, where
    /// it serves nothing, until it has fetched all data from a primary, which takes this time.
    pub fn resync(&mut self, member: usize, time: Duration, now: Instant) {
        let restarted = &mut self.members[member];
        restarted.server.reboot();
        restarted.up = true;
        self.begin_sync(member, now + time);
        let (state, term) = (self.base_state(member), self.term_of(member));
        self.members[member].server.set_state(state, term, None);
        self.settle(now);
    }

    /// Puts a secondary into the state `RECOVERING`, where it serves nothing, or lets it come back.
    pub fn set_maintenance(&mut self, member: usize, on: bool, now: Instant) {
        self.members[member].maintenance = on;
        self.settle(now);
    }

    /// A member that is stubborn stays primary while it does not reach a majority: it takes writes
    /// that will be rolled back, for as long as it is left alone.
    pub fn set_stubborn(&mut self, member: usize, stubborn: bool, now: Instant) {
        self.members[member].stubborn = stubborn;
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

    /// Makes the primary step down at once, whether or not somebody has caught up; with
    /// `closes`, its connections are reset, as servers before version 4.2 do.
    pub fn force_step_down(&mut self, period: Duration, closes: bool, now: Instant) {
        if let Some(member) = self.primary() {
            self.depose(member, now + period);
            self.election = Some(now + self.election_delay());
            if closes {
                self.members[member].server.reset_connections();
            }
        }
        self.settle(now);
    }

    /// The members of the newest configuration that a process has.
    #[must_use]
    pub fn config(&self) -> Vec<MemberConfig> {
        let newest = self.newest_config(0..self.members.len());
        newest.map_or_else(Vec::new, |config| config.members.clone())
    }

    /// Changes the set's members at once, to any of its servers: what the real server refuses
    /// without `force` is done too. Panics for an address that is none of theirs, like indexing.
    pub fn reconfigure(&mut self, members: Vec<MemberConfig>, now: Instant) {
        let known = self.newest_config(0..self.members.len());
        let version = known.map_or(1, |config| config.version + 1);
        let term = known.map_or(self.term, |config| config.term).max(self.term);
        let config = Config::new(version, term, members, &self.addresses);
        let config = Arc::new(config.expect("a member's address is a server's"));
        // Whoever is up installs it, or hears of it from the primary.
        let first = self.primary().or_else(|| {
            let mut up = config.servers.iter().copied();
            up.find(|server| self.members[*server].up)
        });
        if let Some(first) = first {
            self.install(first, &config, now);
        }
        self.settle(now);
    }

    pub(super) fn begin_sync(&mut self, member: usize, until: Instant) {
        let member = &mut self.members[member];
        member.server.data = Default::default();
        member.sync = Some(Sync { until, due: false });
    }
}
