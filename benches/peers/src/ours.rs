//! This client as a peer under load, on a runtime that it is given.

use std::{marker::PhantomData, sync::Arc};

use mongo_client::{
    Client,
    runtime::{AsyncStdRuntime, Runtime, SmolRuntime, TokioRuntime},
};
use mongo_client_bench_harness::{Case, Peer, Result, with_pool};

use crate::cases::{Caller, callers};

/// A client on a runtime of this kind.
pub(crate) fn client<R: Given>(uri: &str) -> Result<Client> {
    let builder = Client::builder().uri(uri)?;
    Ok(builder.runtime(R::runtime()?).build()?)
}

/// A runtime that the client is given.
pub(crate) trait Given: Send + Sync + 'static {
    /// Makes it.
    fn runtime() -> Result<Arc<dyn Runtime>>;
}

impl Given for TokioRuntime {
    fn runtime() -> Result<Arc<dyn Runtime>> {
        let current = Self::current().ok_or("outside of a tokio runtime")?;
        Ok(Arc::new(current))
    }
}

impl Given for SmolRuntime {
    fn runtime() -> Result<Arc<dyn Runtime>> {
        Ok(Arc::new(Self::new()))
    }
}

impl Given for AsyncStdRuntime {
    fn runtime() -> Result<Arc<dyn Runtime>> {
        Ok(Arc::new(Self::new()))
    }
}

/// This client on a runtime.
pub(crate) struct Ours<R>(Client, PhantomData<R>);

impl<R: Given> Peer for Ours<R> {
    type Worker = Caller;

    async fn connect(uri: &str, pool: usize) -> Result<Self> {
        Ok(Self(client::<R>(&with_pool(uri, pool))?, PhantomData))
    }

    async fn workers(&self, case: Case, concurrency: usize) -> Result<Vec<Caller>> {
        Ok(callers(&self.0, case, concurrency))
    }
}
