//! Polling of SRV records (specification: "Polling SRV Records for mongos Discovery"): when to
//! resolve again, and which hosts to add and remove.

use std::{collections::BTreeSet, time::Duration};

use super::{SrvPolling, draft::Draft};
use crate::{net::ServerAddress, rng::Rng, time::Instant};

/// When the records are resolved next.
#[derive(Clone, Debug)]
pub(super) enum SrvClock {
    /// At this time.
    Due(Instant),
    /// A lookup is under way.
    Resolving,
}

impl SrvClock {
    pub(super) fn start(polling: &SrvPolling, now: Instant) -> Self {
        Self::after_success(polling, polling.rescan_interval, now)
    }

    pub(super) fn after_success(polling: &SrvPolling, ttl: Duration, now: Instant) -> Self {
        Self::Due(now + ttl.max(polling.rescan_interval_min))
    }

    pub(super) fn after_failure(heartbeat_frequency: Duration, now: Instant) -> Self {
        Self::Due(now + heartbeat_frequency)
    }
}

/// Makes the servers of the draft those of the records; unchanged ones stay as they are.
pub(super) fn apply(draft: &mut Draft, hosts: Vec<ServerAddress>, max_hosts: u32, rng: &mut Rng) {
    // A set: sorted, so that the choice below depends on the seed alone.
    let mut hosts: BTreeSet<_> = hosts
        .into_iter()
        .map(ServerAddress::with_default_port)
        .collect();
    draft.servers.retain(|_, s| hosts.remove(&s.address));
    let limit = match usize::try_from(max_hosts) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    let room = limit.saturating_sub(draft.servers.len());
    let mut new: Vec<_> = hosts.into_iter().collect();
    while new.len() > room {
        new.swap_remove(rng.below(new.len()));
    }
    draft.add(&new);
}
