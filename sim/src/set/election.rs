//! Who is primary: elections, and the ends of primaries.

use std::{sync::Arc, time::Duration};

use mongo_client_core::time::Instant;

use super::{Config, SimReplicaSet};
use crate::{server::State, store::Op};

impl SimReplicaSet {
    /// Ends stale primaries, tells everybody who leads, and holds an election that is due.
    pub(super) fn lead(&mut self, now: Instant) {
        self.end_lonely_primaries(now);
        let (part, config) = match self.quorum() {
            Some((part, config)) => (part, Some(config)),
            None => (Vec::new(), None),
        };
        // Who hears of a later term is primary no more, also where that one's primary is gone.
        let newest = part.iter().map(|i| self.term_of(*i)).max();
        let mut leader = part.iter().copied();
        let leader = leader.find(|i| self.is_primary(*i) && Some(self.term_of(*i)) == newest);
        for member in 0..self.members.len() {
            if part.contains(&member) {
                self.follow(member, leader);
            } else if self.members[member].up && !self.is_primary(member) {
                let own = self.followed(member);
                self.follow(member, own);
            }
        }
        let Some(config) = config else {
            self.election = None;
            self.takeover = None;
            return;
        };
        if let Some(leader) = leader {
            self.election = None;
            self.prefer(leader, &part, &config, now);
            return;
        }
        self.takeover = None;
        let due = match self.election {
            Some(due) => due,
            None => now + self.election_delay(),
        };
        self.election = Some(due);
        if now >= due {
            self.hold_election(&part, &config, now);
        }
    }

    /// The members that reach each other and are enough to elect, by the newest configuration that
    /// one of them has.
    fn quorum(&self) -> Option<(Vec<usize>, Arc<Config>)> {
        let mut best: Option<(Vec<usize>, &Arc<Config>)> = None;
        for first in 0..self.members.len() {
            let part = self.reached(first);
            // Each part is looked at once.
            if part.first() != Some(&first) {
                continue;
            }
            let Some(config) = self.newest_config(part.iter().copied()) else {
                continue;
            };
            let voters = config.voters().filter(|voter| part.contains(voter));
            if voters.count() < config.majority() {
                continue;
            }
            if best
                .as_ref()
                .is_none_or(|(_, known)| config.is_newer_than(known))
            {
                let is_member = |i: &usize| config.place(*i).is_some();
                best = Some((part.into_iter().filter(is_member).collect(), config));
            }
        }
        best.map(|(part, config)| (part, Arc::clone(config)))
    }

    fn end_lonely_primaries(&mut self, now: Instant) {
        for member in 0..self.members.len() {
            let lonely = self.is_primary(member)
                && !self.members[member].stubborn
                && self.config_of(member).is_some_and(|config| {
                    let reached = self.reached(member);
                    let voters = config.voters().filter(|voter| reached.contains(voter));
                    voters.count() < config.majority()
                });
            let timeout = self.config.election_timeout;
            let state = &mut self.members[member];
            if !lonely {
                state.alone = None;
                continue;
            }
            let since = *state.alone.get_or_insert(now);
            if now >= since + timeout {
                state.alone = None;
                self.depose(member, now);
            }
        }
    }

    /// A member learns who leads it.
    fn follow(&mut self, member: usize, leader: Option<usize>) {
        if leader == Some(member) {
            return;
        }
        let term = self.term_of(member);
        let (term, address) = match leader {
            Some(leader) => (
                self.term_of(leader).max(term),
                Some(self.addresses[leader].clone()),
            ),
            None => (term, None),
        };
        let state = self.base_state(member);
        let address = address.filter(|_| state != State::Removed);
        let server = &mut self.members[member].server;
        server.set_state(state, term, address);
    }

    /// Ends a member's time as primary; it may not be elected until `frozen`.
    pub(super) fn depose(&mut self, member: usize, frozen: Instant) {
        let (state, term) = (self.base_state(member), self.term_of(member));
        self.members[member].frozen = frozen;
        let server = &mut self.members[member].server;
        server.set_state(state, term, None);
    }

    /// The time until a member without a primary stands for election.
    pub(super) fn election_delay(&mut self) -> Duration {
        let timeout = self.config.election_timeout;
        let tenth = u64::try_from(timeout.as_millis() / 10).unwrap_or(0);
        timeout + Duration::from_millis(self.choices.draw("election delay", tenth.max(1)))
    }

    /// Whether a server is of a kind and in a state to be elected.
    pub(super) fn may_be_primary(&self, member: usize) -> bool {
        let entry = self.entry(member);
        entry.is_some_and(|entry| !entry.arbiter && entry.priority > 0.0)
            && matches!(self.base_state(member), State::Secondary)
    }

    fn priority(&self, member: usize) -> f64 {
        self.entry(member).map_or(0.0, |entry| entry.priority)
    }

    /// Those whose log a majority has no objection to.
    fn candidates(&self, part: &[usize], config: &Config, now: Instant) -> Vec<usize> {
        let electable = |candidate: &usize| {
            let voters = config.voters().filter(|voter| part.contains(voter));
            let votes = voters.filter(|v| self.last(*candidate) >= self.last(*v));
            self.may_be_primary(*candidate)
                && self.members[*candidate].frozen <= now
                && votes.count() >= config.majority()
        };
        part.iter().copied().filter(electable).collect()
    }

    /// Lets a candidate of higher priority than the primary take over after an election timeout.
    fn prefer(&mut self, leader: usize, part: &[usize], config: &Config, now: Instant) {
        let best = self.priority(leader);
        // In most sets all are equal.
        if !part.iter().any(|i| self.priority(*i) > best) {
            self.takeover = None;
            return;
        }
        let mut better = self.candidates(part, config, now);
        better.retain(|i| self.priority(*i) > best);
        let due = match self.takeover {
            Some(due) => due,
            None => now + self.config.election_timeout,
        };
        self.takeover = Some(due);
        if now < due {
            return;
        }
        self.takeover = None;
        if !better.is_empty() {
            self.depose(leader, now);
            self.hold_election(part, config, now);
        } else {
            self.takeover = Some(now + self.config.election_timeout);
        }
    }

    /// Elects one of the candidates with the highest priority, if there is one.
    fn hold_election(&mut self, part: &[usize], config: &Config, now: Instant) {
        let mut candidates = self.candidates(part, config, now);
        let highest = candidates.iter().map(|i| self.priority(*i));
        let highest = highest.fold(0.0, f64::max);
        candidates.retain(|i| self.priority(*i) >= highest);
        if candidates.is_empty() {
            self.election = Some(now + self.election_delay());
            return;
        }
        let count = candidates.len() as u64;
        let winner = self.choices.draw("election winner", count);
        let winner = candidates[usize::try_from(winner).unwrap_or(0)];
        self.elect(winner, now);
        for member in part {
            self.follow(*member, Some(winner));
        }
    }

    /// Makes a member the primary of a new term, which it begins with an entry of its own.
    pub(super) fn elect(&mut self, member: usize, now: Instant) {
        self.term += 1;
        self.election = None;
        let address = self.addresses[member].clone();
        let server = &mut self.members[member].server;
        server.set_state(State::Primary, self.term, Some(address));
        server.write(Op::Noop, None, now);
    }
}
