//! The official driver as a peer under load.

use mongo_client_bench_harness::{Case, Peer, Result, with_pool};
use mongodb::Client;

use crate::cases::{Caller, callers};

/// The official driver's client.
pub(crate) struct Official(Client);

impl Peer for Official {
    type Worker = Caller;

    async fn connect(uri: &str, pool: usize) -> Result<Self> {
        Ok(Self(Client::with_uri_str(with_pool(uri, pool)).await?))
    }

    async fn workers(&self, case: Case, concurrency: usize) -> Result<Vec<Caller>> {
        Ok(callers(&self.0, case, concurrency))
    }
}
