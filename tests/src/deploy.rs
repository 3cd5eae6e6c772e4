//! Real servers for live tests.
//!
//! Tests that leave a deployment as they found it share those that `cargo xtask test` starts
//! ([`uri`]); tests that break servers start their own ([`OwnCluster`]).
//!
//! Naming of live tests (see `.config/nextest.toml`): binaries begin with `live_`. A test that sets
//! fail points has `serial_standalone` or `serial_replica_set` in its path, one with its own
//! cluster has `destructive`.

pub use xtask::{
    cluster::{Cluster as OwnCluster, PASSWORD, Plan, SET_NAME},
    fixtures::certificates,
};

/// The connection string of a shared deployment: `STANDALONE`, `REPLICA_SET`, `AUTH`, `TLS`,
/// `X509` or `COMPRESSED`. `None` means that the test has to return at once, because
/// `MONGO_CLIENT_SKIP_LIVE=1` asks for that.
///
/// # Panics
///
/// When the deployment is not there and nobody asked to skip.
#[must_use]
pub fn uri(name: &str) -> Option<String> {
    let variable = format!("MONGO_CLIENT_TEST_{name}_URI");
    match std::env::var(&variable) {
        Ok(uri) => Some(uri),
        Err(_) if skips_live() => None,
        Err(_) => panic!(
            "{variable} is not set: run `cargo xtask test` (or set MONGO_CLIENT_SKIP_LIVE=1)"
        ),
    }
}

/// Whether live tests are switched off by `MONGO_CLIENT_SKIP_LIVE=1`.
#[must_use]
pub fn skips_live() -> bool {
    std::env::var("MONGO_CLIENT_SKIP_LIVE").is_ok_and(|value| value == "1")
}

/// Starts a private cluster for a test that breaks it; `None` when live tests are switched off.
/// It dies with the value, and with the test's process.
///
/// # Panics
///
/// When it does not come up.
#[must_use]
pub fn own_cluster(name: &str, plan: Plan) -> Option<OwnCluster> {
    if skips_live() {
        return None;
    }
    Some(OwnCluster::start(name, plan).unwrap_or_else(|why| panic!("{name}: {why}")))
}
