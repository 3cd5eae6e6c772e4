//! The highest `$clusterTime` seen (specification: "Gossipping the cluster time").

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use bson::RawDocument;
use mongo_client_core::{
    mutants::{self, Mutant},
    session::ClusterTime,
};

/// The client's cluster time; the lock is taken for writing only when the time advances.
#[derive(Debug, Default)]
pub(crate) struct ClusterTimeCell {
    packed: AtomicU64,
    latest: RwLock<Option<Arc<ClusterTime>>>,
}

impl ClusterTimeCell {
    /// The latest cluster time.
    pub(crate) fn load(&self) -> Option<Arc<ClusterTime>> {
        if self.packed.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.latest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a time is later than the latest.
    fn is_news(&self, time: bson::Timestamp) -> bool {
        pack(time) > self.packed.load(Ordering::Acquire) || mutants::active(Mutant::ClusterTimeBack)
    }

    /// Keeps a `$clusterTime` document if it is later than the latest.
    pub(crate) fn advance(&self, document: &RawDocument) {
        let news = ClusterTime::timestamp_of(document).filter(|t| self.is_news(*t));
        let Some(time) = news.and_then(|_| ClusterTime::new(document.to_owned()).ok()) else {
            return;
        };
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_news(time.timestamp()) {
            self.packed.store(pack(time.timestamp()), Ordering::Release);
            *latest = Some(Arc::new(time));
        }
    }
}

fn pack(time: bson::Timestamp) -> u64 {
    u64::from(time.time) << 32 | u64::from(time.increment)
}
