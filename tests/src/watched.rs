//! A runtime that answers name lookups from a table and counts what it is asked for; everything
//! real is done by the runtime of the test.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mongo_client::runtime::{
    BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer, TokioRuntime,
};
use mongo_client_core::time::{Instant, UnixMillis};

use crate::rt;

/// The runtime; cheap to clone, clones count together.
#[derive(Clone)]
pub struct Watched {
    inner: Arc<dyn Runtime>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    names: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    dialled: Mutex<Vec<DialTarget>>,
    jobs: AtomicUsize,
}

impl Watched {
    /// Wraps the runtime of the test.
    ///
    /// # Panics
    ///
    /// Outside of [`rt::block_on`].
    #[must_use]
    pub fn new() -> Self {
        let current = || Arc::new(TokioRuntime::current().expect("inside of rt::block_on")) as _;
        Self {
            inner: rt::adapter().unwrap_or_else(current),
            state: Arc::default(),
        }
    }

    /// Lets a name have these addresses, in this order.
    #[must_use]
    pub fn with_name(self, name: &str, addresses: &[IpAddr]) -> Self {
        let mut names = lock(&self.state.names);
        names.insert(name.to_owned(), addresses.to_vec());
        drop(names);
        self
    }

    /// What was dialled so far, in this order.
    #[must_use]
    pub fn dialled(&self) -> Vec<DialTarget> {
        lock(&self.state.dialled).clone()
    }

    /// How many computations were offloaded so far: derivations of keys.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.state.jobs.load(Ordering::SeqCst)
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn unix_time(&self) -> UnixMillis {
        self.inner.unix_time()
    }

    fn entropy(&self, out: &mut [u8]) {
        self.inner.entropy(out);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        self.inner.spawn(task)
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        self.state.jobs.fetch_add(1, Ordering::SeqCst);
        self.inner.offload(job)
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.inner.timer()
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        match lock(&self.state.names).get(host) {
            Some(addresses) => Box::pin(std::future::ready(Ok(addresses.clone()))),
            None => self.inner.lookup(host),
        }
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        lock(&self.state.dialled).push(target.clone());
        self.inner.connect(target)
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        self.inner.datagram(peer)
    }
}
