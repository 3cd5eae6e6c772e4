//! How entries and configurations get from member to member.

use std::sync::Arc;

use mongo_client_core::time::Instant;

use super::{Config, SimReplicaSet};
use crate::server::{OpTime, State};

impl SimReplicaSet {
    /// Brings to each follower the entries that are due, after undoing what its primary lacks.
    pub(super) fn replicate(&mut self, now: Instant) {
        self.delivery = None;
        for member in 0..self.members.len() {
            let source = self.followed(member).filter(|_| self.holds_data(member));
            if self.members[member].sync.is_some() {
                self.synchronise(member, source, now);
                continue;
            }
            let Some(source) = source else {
                continue;
            };
            if !self.undo_what_differs(member, source, now) {
                continue;
            }
            let delay = self
                .entry(member)
                .map_or_else(Default::default, |entry| entry.delay);
            let lag = self.members[member].lag.max(delay);
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

    /// Ends the initial synchronisation of a member when its time has come and there is a source.
    fn synchronise(&mut self, member: usize, source: Option<usize>, now: Instant) {
        let Some(sync) = &mut self.members[member].sync else {
            return;
        };
        sync.due |= now >= sync.until;
        let Some(source) = source.filter(|_| sync.due) else {
            return;
        };
        let data = self.members[source].server.data.clone();
        let synced = &mut self.members[member];
        synced.sync = None;
        synced.server.observe(data.last());
        synced.server.data = data;
        let (term, primary) = (self.term_of(source), self.addresses[source].clone());
        let state = self.base_state(member);
        self.members[member]
            .server
            .set_state(state, term, Some(primary));
    }

    /// Rolls back what the source does not have; false when the member must begin anew, because
    /// the source has forgotten the entries that follow its last.
    fn undo_what_differs(&mut self, member: usize, source: usize, now: Instant) -> bool {
        let theirs = &self.members[source].server.data;
        let ours = &self.members[member].server.data;
        if theirs.contains(ours.last()) {
            return true;
        }
        let common = ours.uncommitted().find(|at| theirs.contains(*at));
        let common = common.unwrap_or(ours.committed());
        if !theirs.contains(common) {
            self.begin_sync(member, now + self.config.initial_sync);
            return false;
        }
        let server = &mut self.members[member].server;
        self.rolled_back += server.data.roll_back(common);
        // The real server closes its connections when it rolls back.
        server.reset_connections();
        true
    }

    pub(super) fn commit(&mut self) {
        for primary in self.primaries() {
            let Some(config) = self.config_of(primary).cloned() else {
                continue;
            };
            let reached = self.reached(primary);
            let is_there = |server: &usize| reached.contains(server) && self.holds_data(*server);
            let holders = config.servers.iter().copied().filter(is_there);
            let progress: Vec<OpTime> = holders.map(|i| self.last(i)).collect();
            let voters = config.voters().filter(is_there);
            let mut voting: Vec<OpTime> = voters.map(|i| self.last(i)).collect();
            voting.sort_unstable();
            let index = voting.len().checked_sub(config.write_majority());
            let at = index.and_then(|index| voting.get(index)).copied();
            if let Some(membership) = &mut self.members[primary].server.membership {
                membership.progress = progress;
            }
            if let Some(at) = at.filter(|at| at.term == self.term_of(primary)) {
                for member in reached {
                    self.members[member].server.data.commit(at);
                }
            }
        }
        let holders = (0..self.members.len()).filter(|i| self.holds_data(*i));
        let all = holders.map(|i| self.members[i].server.data.committed());
        if let Some(everywhere) = all.min() {
            for member in &mut self.members {
                member.server.data.trim(everywhere);
            }
        }
    }

    /// Tells every member that is up of the newest configuration among those it reaches that are
    /// members together with it.
    pub(super) fn spread_configs(&mut self, now: Instant) {
        if !self.configs_differ() {
            return;
        }
        for member in 0..self.members.len() {
            let peers = self.reached(member);
            let Some(newest) = self.newest_config(peers.iter().copied()) else {
                continue;
            };
            let own = self.config_of(member);
            let concerns_it = newest.place(member).is_some() || own.is_some();
            if concerns_it && own.is_none_or(|own| newest.is_newer_than(own)) {
                let newest = Arc::clone(newest);
                self.install(member, &newest, now);
            }
        }
    }

    fn configs_differ(&self) -> bool {
        let first = self.config_of(0);
        (1..self.members.len()).any(|member| match (first, self.config_of(member)) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
            (a, b) => a.is_some() || b.is_some(),
        })
    }

    /// A member takes over a configuration, in which it may be new, or gone.
    pub(super) fn install(&mut self, member: usize, config: &Arc<Config>, now: Instant) {
        let was_member = self.entry(member).is_some();
        let place = config.place(member);
        let installed = &mut self.members[member];
        installed.place = place;
        installed.server.set_config(Arc::clone(config), place);
        if !was_member && self.holds_data(member) {
            self.begin_sync(member, now + self.config.initial_sync);
        }
        let is_primary = self.is_primary(member);
        if is_primary && config.is_electable(member) {
            return;
        }
        if is_primary {
            self.election = Some(now + self.election_delay());
        }
        let (state, term) = (self.base_state(member), self.term_of(member));
        let server = &mut self.members[member].server;
        let gone = state == State::Removed;
        let primary = server.membership.as_ref().and_then(|m| m.primary.clone());
        server.set_state(state, term, primary.filter(|_| !gone && !is_primary));
    }
}
