//! Who is primary: elections, and the ends of primaries.

use std::time::Duration;

use mongo_client_core::time::Instant;

use super::SimReplicaSet;
use crate::{server::State, store::Op};

impl SimReplicaSet {
    /// Ends stale primaries, tells everybody who leads, and holds an election that is due.
    pub(super) fn lead(&mut self, now: Instant) {
        self.end_lonely_primaries(now);
        let part = (0..self.members.len())
            .map(|i| self.reached(i))
            .find(|part| part.len() >= self.majority());
        let part = part.unwrap_or_default();
        let leader = part.iter().copied().filter(|i| self.is_primary(*i));
        let leader = leader.max_by_key(|i| self.term_of(*i));
        for member in 0..self.members.len() {
            if part.contains(&member) {
                self.follow(member, leader);
            } else if self.members[member].up && !self.is_primary(member) {
                let own = self.followed(member);
                self.follow(member, own);
            }
        }
        if leader.is_some() || part.is_empty() {
            self.election = None;
            return;
        }
        let due = match self.election {
            Some(due) => due,
            None => now + self.election_delay(),
        };
        self.election = Some(due);
        if now >= due {
            self.hold_election(&part, now);
        }
    }

    fn end_lonely_primaries(&mut self, now: Instant) {
        for member in 0..self.members.len() {
            let lonely = self.is_primary(member) && self.reached(member).len() < self.majority();
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
                Some(self.config.addresses[leader].clone()),
            ),
            None => (term, None),
        };
        let server = &mut self.members[member].server;
        server.set_state(State::Secondary, term, address);
    }

    /// Ends a member's time as primary; it may not be elected until `frozen`.
    pub(super) fn depose(&mut self, member: usize, frozen: Instant) {
        let term = self.term_of(member);
        self.members[member].frozen = frozen;
        let server = &mut self.members[member].server;
        server.set_state(State::Secondary, term, None);
    }

    /// The time until a member without a primary stands for election.
    pub(super) fn election_delay(&mut self) -> Duration {
        let timeout = self.config.election_timeout;
        let tenth = u64::try_from(timeout.as_millis() / 10).unwrap_or(0);
        timeout + Duration::from_millis(self.choices.draw("election delay", tenth.max(1)))
    }

    /// Elects one of those whose log a majority has no objection to, if there is one.
    fn hold_election(&mut self, part: &[usize], now: Instant) {
        let electable = |candidate: &usize| {
            let votes = part
                .iter()
                .filter(|v| self.last(*candidate) >= self.last(**v));
            self.members[*candidate].frozen <= now && votes.count() >= self.majority()
        };
        let candidates: Vec<usize> = part.iter().copied().filter(electable).collect();
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
        let address = self.config.addresses[member].clone();
        let server = &mut self.members[member].server;
        server.set_state(State::Primary, self.term, Some(address));
        server.write(Op::Noop, None, now);
    }
}
