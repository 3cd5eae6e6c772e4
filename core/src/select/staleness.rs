//! How far secondaries lag behind (specification: "Max Staleness").

use std::time::Duration;

use crate::{
    error::Error,
    read_preference::ReadPreference,
    topology::{ServerDescription, ServerType, TopologyDescription, TopologyType},
};

/// Max Staleness: "smallestMaxStalenessSeconds".
const MAX_STALENESS_LEAST: Duration = Duration::from_secs(90);
/// Max Staleness: "idleWritePeriodMS": how often an idle primary writes.
const IDLE_WRITE_PERIOD: Duration = Duration::from_secs(10);

/// Refuses a maximum that an estimate cannot meet; only replica sets use it.
pub(super) fn validate(
    topology: &TopologyDescription,
    preference: &ReadPreference,
) -> Result<(), Error> {
    let replica_set = matches!(
        topology.topology_type,
        TopologyType::ReplicaSetNoPrimary | TopologyType::ReplicaSetWithPrimary
    );
    let Some(max) = preference.max_staleness().filter(|_| replica_set) else {
        return Ok(());
    };
    let least = topology
        .heartbeat_frequency
        .saturating_add(IDLE_WRITE_PERIOD)
        .max(MAX_STALENESS_LEAST);
    if max < least {
        return Err(Error::invalid_argument(format!(
            "maxStalenessSeconds: {} s is less than {} s, the greater of 90 s and \
             heartbeatFrequencyMS plus 10 s",
            max.as_secs_f64(),
            least.as_secs_f64()
        )));
    }
    Ok(())
}

/// Whether a member lags at most `max` behind; a primary always does.
pub(super) fn is_fresh(
    topology: &TopologyDescription,
    server: &ServerDescription,
    max: Duration,
) -> bool {
    if server.server_type != ServerType::RsSecondary {
        return true;
    }
    let last_write = last_write_ms(server);
    let lag = match topology.primary() {
        Some(primary) => {
            let behind = last_write_ms(primary) - last_write;
            behind + last_update_ms(server) - last_update_ms(primary)
        }
        None => {
            let secondaries = topology.servers.values();
            let newest = secondaries
                .filter(|s| s.server_type == ServerType::RsSecondary)
                .map(|s| last_write_ms(s))
                .max();
            newest.unwrap_or(last_write) - last_write
        }
    };
    let heartbeat = i128::try_from(topology.heartbeat_frequency.as_millis()).unwrap_or(i128::MAX);
    let max = i128::try_from(max.as_millis()).unwrap_or(i128::MAX);
    lag.saturating_add(heartbeat) <= max
}

fn last_write_ms(server: &ServerDescription) -> i128 {
    let date = server.hello.as_ref().and_then(|h| h.last_write_date);
    date.unwrap_or(0).into()
}

fn last_update_ms(server: &ServerDescription) -> i128 {
    let at = server.last_update.unwrap_or_default();
    i128::from(at.as_nanos() / 1_000_000)
}
