//! Derived SCRAM keys, shared by the connections of a client.
//!
//! Deriving costs thousands of hash rounds, and servers use one salt for one user, so the second
//! connection finds the keys here. Connections that log in while the first still derives share its
//! work. The password itself is not kept: it enters the key as a hash.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use super::scram::{DeriveJob, DerivedKey, KeyId};

/// How many keys are kept; a client has one credential, so servers with different salts fill it.
const CACHE_LEN_MAX: usize = 64;

/// A bounded cache of derived SCRAM keys. Clones share their content.
///
/// `Debug` shows how many keys there are, and none of them.
#[derive(Clone, Default)]
pub struct AuthCache(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    keys: Vec<DerivedKey>,
    /// Where the jobs that exist leave their results; as many as there are jobs at the most.
    running: Vec<(KeyId, Weak<OnceLock<DerivedKey>>)>,
}

impl AuthCache {
    /// The keys that were derived from the same input, and marks them as used last.
    pub(super) fn find(&self, id: &KeyId) -> Option<DerivedKey> {
        self.with(|Content { keys, .. }| {
            let at = keys.iter().position(|key| key.id() == id)?;
            let key = keys.remove(at);
            keys.push(key.clone());
            Some(key)
        })
    }

    /// Adds keys; the ones that were not used for the longest time go when there are too many.
    pub(super) fn insert(&self, key: DerivedKey) {
        self.with(|Content { keys, .. }| {
            keys.retain(|other| other.id() != key.id());
            if keys.len() == CACHE_LEN_MAX {
                keys.remove(0);
            }
            keys.push(key);
        });
    }

    /// Lets a job share the result of one that derives from the same input, if there is one.
    pub(super) fn join(&self, job: DeriveJob) -> DeriveJob {
        self.with(|Content { running, .. }| {
            running.retain(|(_, result)| result.strong_count() > 0);
            let same = running.iter().find(|(id, _)| id == job.id());
            match same.and_then(|(_, result)| result.upgrade()) {
                Some(result) => job.sharing(result),
                None => {
                    running.push((job.id().clone(), job.result()));
                    job
                }
            }
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Content) -> T) -> T {
        // A poisoned list is still a list of whole keys: they enter and leave in one step.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for AuthCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthCache({})", self.with(|content| content.keys.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::AuthMechanism;

    fn job(salt: u8) -> DeriveJob {
        DeriveJob::new(
            AuthMechanism::ScramSha1,
            Arc::from(&b"pw"[..]),
            vec![salt],
            1,
        )
    }

    fn key(salt: u8) -> DerivedKey {
        job(salt).run()
    }

    #[test]
    fn jobs_of_one_input_derive_once() {
        let cache = AuthCache::default();
        let jobs: Vec<DeriveJob> = (0..8).map(|_| cache.join(job(1))).collect();
        let other = cache.join(job(2));
        let first = jobs[0].result();
        assert!(jobs.iter().all(|job| job.result().ptr_eq(&first)));
        assert!(!other.result().ptr_eq(&first));

        let signed = |key: &DerivedKey| key.sign(b"message");
        for job in jobs {
            assert_eq!(signed(&job.run()), signed(&key(1)));
        }

        // Nothing of finished jobs stays.
        assert_eq!(first.strong_count(), 0);
        drop(cache.join(job(1)));
        drop(other);
        drop(cache.join(job(3)));
        cache.with(|content| assert_eq!(content.running.len(), 1));
    }

    #[test]
    fn full_cache_drops_the_key_used_least_recently() {
        let cache = AuthCache::default();
        let max = u8::try_from(CACHE_LEN_MAX).unwrap();
        for salt in 0..max {
            cache.insert(key(salt));
        }
        assert!(cache.find(key(0).id()).is_some());
        cache.insert(key(max));
        assert!(cache.find(key(0).id()).is_some());
        assert!(cache.find(key(1).id()).is_none());
        assert_eq!(format!("{cache:?}"), format!("AuthCache({CACHE_LEN_MAX})"));
    }

    #[test]
    fn clones_share_their_keys() {
        let cache = AuthCache::default();
        cache.clone().insert(key(7));
        assert!(cache.find(key(7).id()).is_some());
        assert!(cache.find(key(8).id()).is_none());
    }
}
