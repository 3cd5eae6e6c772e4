//! The operation log of a server, and the data that it adds up to.
//!
//! Invariants: the store is the sum of all entries; entries that are not majority-committed keep
//! what undoes them, so that they can be rolled back; what a retryable write did is logged with it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bson::{Document, Timestamp};
use mongo_client_core::time::Instant;

use crate::{
    failure::{Failure, Result, SNAPSHOT_UNAVAILABLE},
    store::{Before, Namespace, Op, Store, Undo},
};

/// A place in the log: terms order before times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpTime {
    /// The term of the primary that wrote the entry.
    pub term: i64,
    /// Seconds since 1970.
    pub time: u32,
    /// The number of the entry within its second.
    pub increment: u32,
}

impl OpTime {
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp {
            time: self.time,
            increment: self.increment,
        }
    }
}

/// The id of a session.
pub(crate) type SessionId = Arc<[u8]>;

/// One change, as it is sent to the other members.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: OpTime,
    /// When the primary wrote it.
    pub(crate) written: Instant,
    pub(crate) op: Op,
    pub(crate) retry: Option<Retry>,
}

/// The statement of a retryable write that made a change.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    pub(crate) session: SessionId,
    pub(crate) number: i64,
    pub(crate) statement: i32,
    /// The statement's part of the reply.
    pub(crate) outcome: Arc<Document>,
}

/// The latest retryable write of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionWrites {
    pub(crate) number: i64,
    /// What its statements did, and where that is in the log.
    pub(crate) done: BTreeMap<i32, (Arc<Document>, OpTime)>,
}

/// A session, and its latest retryable write before an entry.
type SessionBefore = (SessionId, Option<SessionWrites>);

/// How many committed entries can be undone for reads from a snapshot.
const HISTORY_MAX: usize = 2_000;

fn show_time(time: Timestamp) -> String {
    format!("Timestamp({}, {})", time.time, time.increment)
}

/// Store, log and the record of retryable writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) store: Store,
    pub(crate) sessions: BTreeMap<SessionId, SessionWrites>,
    log: VecDeque<Arc<Entry>>,
    /// For the last entries of the log, which are not committed.
    undos: VecDeque<(Undo, Option<SessionBefore>)>,
    /// What undoes the last entries that are committed, for reads from a snapshot.
    history: VecDeque<(OpTime, Undo)>,
    /// The last entry that the history has forgotten.
    history_base: OpTime,
    last: OpTime,
    committed: OpTime,
    /// The last entry that was forgotten; every member has committed it.
    base: OpTime,
}

impl Data {
    /// The last entry that is applied.
    pub(crate) fn last(&self) -> OpTime {
        self.last
    }

    /// The last entry that is majority-committed, as far as the member knows.
    pub(crate) fn committed(&self) -> OpTime {
        self.committed
    }

    pub(crate) fn append(&mut self, entry: Arc<Entry>) {
        let undo = self.store.apply(&entry.op);
        let session = entry.retry.as_ref().map(|retry| {
            let done = (Arc::clone(&retry.outcome), entry.at);
            let session = retry.session.clone();
            let before = match self.sessions.get_mut(&retry.session) {
                Some(writes) if writes.number == retry.number => {
                    let before = writes.clone();
                    writes.done.insert(retry.statement, done);
                    Some(before)
                }
                _ => {
                    let writes = SessionWrites {
                        number: retry.number,
                        done: [(retry.statement, done)].into(),
                    };
                    self.sessions.insert(session.clone(), writes)
                }
            };
            (session, before)
        });
        self.undos.push_back((undo, session));
        self.last = entry.at;
        self.log.push_back(entry);
    }

    /// Takes all entries up to `at` for majority-committed: they cannot be undone any more.
    pub(crate) fn commit(&mut self, at: OpTime) {
        let at = at.min(self.last);
        if at <= self.committed {
            return;
        }
        self.committed = at;
        let open = self.log.iter().rev().take_while(|e| e.at > at).count();
        let closed = self.undos.len().saturating_sub(open);
        let first = self.log.len().saturating_sub(self.undos.len());
        for (entry, (undo, _)) in self.log.range(first..).zip(self.undos.drain(..closed)) {
            self.history.push_back((entry.at, undo));
        }
        while self.history.len() > HISTORY_MAX {
            if let Some((at, _)) = self.history.pop_front() {
                self.history_base = at;
            }
        }
    }

    /// Forgets the entries up to `at`, which every member has committed.
    pub(crate) fn trim(&mut self, at: OpTime) {
        let at = at.min(self.committed);
        while let Some(entry) = self.log.front().filter(|entry| entry.at <= at) {
            self.base = entry.at;
            self.log.pop_front();
        }
    }

    /// The entries after `at`, which this log contains.
    pub(crate) fn after(&self, at: OpTime) -> impl Iterator<Item = &Arc<Entry>> {
        let start = self.log.partition_point(|entry| entry.at <= at);
        self.log.iter().skip(start)
    }

    /// Whether an entry at this place is in the log, or was the last that it forgot.
    pub(crate) fn contains(&self, at: OpTime) -> bool {
        at == self.base || self.log.iter().rev().any(|entry| entry.at == at)
    }

    /// The entries that are not committed, the last first.
    pub(crate) fn uncommitted(&self) -> impl Iterator<Item = OpTime> {
        let open = self.undos.len();
        self.log.iter().rev().take(open).map(|entry| entry.at)
    }

    /// Undoes all entries after `at`; returns how many.
    pub(crate) fn roll_back(&mut self, at: OpTime) -> usize {
        let mut undone = 0;
        while self.log.back().is_some_and(|entry| entry.at > at) {
            let Some((undo, session)) = self.undos.pop_back() else {
                break;
            };
            self.log.pop_back();
            self.store.undo(undo);
            if let Some((session, before)) = session {
                match before {
                    Some(before) => self.sessions.insert(session, before),
                    None => self.sessions.remove(&session),
                };
            }
            undone += 1;
        }
        self.last = self.log.back().map_or(self.committed, |entry| entry.at);
        undone
    }

    /// A collection as of a time that is committed.
    pub(crate) fn store_at(&self, ns: &Namespace, time: Timestamp) -> Result<Store> {
        if time < self.history_base.timestamp() {
            return Err(Failure::not_simulated("snapshot as old as this"));
        }
        let mut view = self.committed_store(ns);
        let later = self.history.iter().rev();
        for (at, undo) in later.take_while(|(at, _)| at.timestamp() > time) {
            if undo.namespace() != Some(ns) {
                continue;
            }
            if !matches!(undo, Undo::Put(..)) {
                let (shown, least) = (show_time(time), show_time(at.timestamp()));
                let message = format!(
                    "Unable to read from a snapshot due to pending collection catalog changes; \
                     please retry the operation. Snapshot timestamp is {shown}. Collection minimum \
                     is {least}"
                );
                return Err(Failure::new(SNAPSHOT_UNAVAILABLE, message));
            }
            view.undo(undo.clone());
        }
        Ok(view)
    }

    /// The documents of a collection that were changed after the commit point, as they were there;
    /// `None` when the collection itself was changed.
    pub(crate) fn committed_documents(&self, ns: &Namespace) -> Option<Before<'_>> {
        let mut before = Before::new();
        for (undo, _) in self.undos.iter().rev() {
            match undo {
                Undo::Put(of, record, document) if of == ns => {
                    before.insert(*record, document.as_ref());
                }
                other if other.namespace() == Some(ns) => return None,
                _ => {}
            }
        }
        Some(before)
    }

    /// A collection's database as of the commit point.
    pub(crate) fn committed_store(&self, ns: &Namespace) -> Store {
        let mut view = self.store.only(ns);
        for (undo, _) in self.undos.iter().rev() {
            if undo.namespace() == Some(ns) {
                view.undo(undo.clone());
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn at(increment: u32) -> OpTime {
        OpTime {
            term: 1,
            time: 1,
            increment,
        }
    }

    fn entry(increment: u32, op: Op, retry: Option<Retry>) -> Arc<Entry> {
        Arc::new(Entry {
            at: at(increment),
            written: Instant::ZERO,
            op,
            retry,
        })
    }

    fn put(ns: &Namespace, id: u32, retry: Option<Retry>) -> Arc<Entry> {
        let document = doc! { "_id": i64::from(id) };
        entry(
            id,
            Op::Put(ns.clone(), id.into(), Some(document.into())),
            retry,
        )
    }

    #[test]
    fn what_is_not_committed_can_be_rolled_back_with_its_retry_record() {
        let ns = Namespace::new("db", "c");
        let mut data = Data::default();
        let retry = Retry {
            session: [1].into(),
            number: 5,
            statement: 0,
            outcome: doc! { "n": 1 }.into(),
        };
        data.append(entry(1, Op::Create(ns.clone(), [0; 16], doc! {}), None));
        data.append(put(&ns, 2, None));
        data.append(put(&ns, 3, Some(retry)));
        data.commit(at(2));
        assert!(data.sessions.contains_key(&[1][..]));
        let committed = data.committed_store(&ns);
        assert_eq!(committed.collection(&ns).map(|c| c.len()), Some(1));
        assert_eq!(data.roll_back(at(0)), 1, "committed entries stay");
        assert_eq!(data.last(), at(2));
        assert!(data.sessions.is_empty());
        assert_eq!(data.store.collection(&ns).map(|c| c.len()), Some(1));
    }

    #[test]
    fn a_trimmed_log_still_knows_where_it_begins() {
        let ns = Namespace::new("db", "c");
        let mut data = Data::default();
        for id in 1..=4 {
            data.append(put(&ns, id, None));
        }
        data.commit(at(3));
        data.trim(at(9));
        assert_eq!(data.after(at(3)).count(), 1);
        assert!(data.contains(at(3)) && data.contains(at(4)) && !data.contains(at(5)));
    }

    #[test]
    fn a_snapshot_shows_the_committed_state_of_its_time() {
        let ns = Namespace::new("db", "c");
        let mut data = Data::default();
        data.append(entry(1, Op::Create(ns.clone(), [0; 16], doc! {}), None));
        for id in 2..=5 {
            data.append(put(&ns, id, None));
        }
        data.commit(at(4));
        let count = |time: u32| {
            let view = data.store_at(&ns, at(time).timestamp());
            view.map(|view| view.collection(&ns).map(|c| c.len()))
        };
        assert_eq!(count(2), Ok(Some(1)));
        assert_eq!(count(4), Ok(Some(3)));
        assert_eq!(count(9), Ok(Some(3)), "the last entry is not committed");
        let failure = count(0).unwrap_err();
        assert_eq!(failure.code, SNAPSHOT_UNAVAILABLE);
    }
}
