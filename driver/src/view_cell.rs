//! The published snapshot of the topology, and who waits for the next.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use mongo_client_core::{id::ServerId, topology::TopologyView};

use crate::{guarded::Guarded, server::Server};

/// A view and the servers that go with it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) view: Arc<TopologyView>,
    pub(crate) servers: BTreeMap<ServerId, Arc<Server>>,
}

/// Holds the latest snapshot; readers take an `Arc` and no mutex.
#[derive(Debug)]
pub(crate) struct ViewCell {
    latest: RwLock<Arc<Snapshot>>,
    /// The session timeout of the latest, in nanoseconds.
    session_timeout: AtomicU64,
    waiters: Guarded<Waiters>,
}

/// The deployment does not say how long it keeps sessions.
const UNKNOWN: u64 = u64::MAX;

#[inline]
fn session_timeout(snapshot: &Snapshot) -> u64 {
    let timeout = snapshot.view.description.logical_session_timeout;
    timeout.map_or(UNKNOWN, |timeout| {
        u64::try_from(timeout.as_nanos()).map_or(UNKNOWN - 1, |nanos| nanos.min(UNKNOWN - 1))
    })
}

#[derive(Default)]
struct Waiters {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl ViewCell {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self {
            session_timeout: AtomicU64::new(session_timeout(&snapshot)),
            latest: RwLock::new(Arc::new(snapshot)),
            waiters: Guarded::new(Waiters::default()),
        }
    }

    #[inline]
    pub(crate) fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long the deployment keeps sessions, if it says so.
    pub(crate) fn session_timeout(&self) -> Option<Duration> {
        let nanos = self.session_timeout.load(Ordering::Relaxed);
        (nanos != UNKNOWN).then(|| Duration::from_nanos(nanos))
    }

    /// Replaces the snapshot; wake with [`Self::wake_all`] after unlocking the topology.
    pub(crate) fn store(&self, snapshot: Arc<Snapshot>) {
        self.session_timeout
            .store(session_timeout(&snapshot), Ordering::Relaxed);
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Wakes everyone who waits for another snapshot.
    pub(crate) fn wake_all(&self) {
        let wakers = self
            .waiters
            .with("publish", |w| std::mem::take(&mut w.wakers));
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.with("count", |w| w.wakers.len())
    }

    /// A place among those who wait.
    pub(crate) fn waiter(&self) -> ViewWaiter<'_> {
        ViewWaiter {
            cell: self,
            key: None,
        }
    }
}

/// A place among those who wait for a snapshot; unlinked on drop.
pub(crate) struct ViewWaiter<'a> {
    cell: &'a ViewCell,
    key: Option<u64>,
}

impl ViewWaiter<'_> {
    /// Keeps the waker unless the snapshot has changed since `seen`; whether it was kept.
    pub(crate) fn park(&mut self, seen: &Arc<Snapshot>, cx: &Context<'_>) -> bool {
        let cell = self.cell;
        cell.waiters.with("park", |w| {
            let key = *self.key.get_or_insert_with(|| {
                w.next += 1;
                w.next
            });
            w.wakers.insert(key, cx.waker().clone());
        });
        // A publisher stores first and takes the wakers afterwards, so either it sees the waker
        // or this load sees its snapshot.
        Arc::ptr_eq(&cell.load(), seen)
    }
}

impl Drop for ViewWaiter<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.cell.waiters.with("unpark", |w| w.wakers.remove(&key));
        }
    }
}
