//! Server sessions, and the pool that reuses them: last in, first out.
//!
//! The pool decides which server session an operation gets and when one is worn out. It does not
//! talk to servers: [`end_sessions`] gives the commands for that.
//! Specification: "Driver Sessions" ("Server Session Pool").
//!
//! Invariants: 1. a dirty session never enters the pool; 2. `txn_number` travels with its session.

use std::{collections::VecDeque, time::Duration};

use bson::RawDocumentBuf;

use crate::{
    op::{CommandSpec, Target, raw},
    read_preference::ReadPreference,
    rng::Entropy,
    time::Instant,
};

/// The most sessions that one `endSessions` command may name.
pub const END_SESSIONS_MAX: usize = 10_000;

/// A session with less time left than this is not used any more.
const MARGIN: Duration = Duration::from_secs(60);

/// How long servers keep sessions unless configured otherwise; used while the topology does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A session as servers know it.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerSession {
    /// Its id: a random UUID.
    pub id: [u8; 16],
    /// When it was last sent.
    pub last_use: Instant,
    /// The last transaction number that was used with it.
    pub txn_number: i64,
    /// Whether a network error occurred while it was in use: what the server knows of it is unknown.
    pub dirty: bool,
}

impl ServerSession {
    /// Starts a session with a new id.
    pub fn new(entropy: &mut dyn Entropy, now: Instant) -> Self {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        // RFC 9562: version 4, variant 10.
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        Self {
            id,
            last_use: now,
            txn_number: 0,
            dirty: false,
        }
    }

    /// The `lsid` document.
    #[must_use]
    pub fn lsid(&self) -> RawDocumentBuf {
        let mut bytes = Vec::with_capacity(30);
        let start = raw::open(&mut bytes);
        raw::uuid(&mut bytes, "id", &self.id);
        raw::close(&mut bytes, start);
        RawDocumentBuf::from_bytes(bytes).expect("a document with one element")
    }

    /// Takes the next transaction number.
    #[inline]
    pub fn next_txn_number(&mut self) -> i64 {
        self.txn_number += 1;
        self.txn_number
    }

    #[inline]
    fn is_worn_out(&self, timeout: Option<Duration>, load_balanced: bool, now: Instant) -> bool {
        // A load balancer's services may differ in their timeouts, so none is assumed.
        if load_balanced {
            return false;
        }
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        now.saturating_since(self.last_use) + MARGIN > timeout
    }
}

/// Server sessions that are not in use.
#[derive(Debug, Default)]
pub struct ServerSessionPool {
    /// The front was used last.
    sessions: VecDeque<ServerSession>,
}

impl ServerSessionPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The session that was used last, or a new one.
    ///
    /// `timeout` is the topology's logical session timeout.
    #[inline]
    pub fn acquire(
        &mut self,
        timeout: Option<Duration>,
        load_balanced: bool,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> ServerSession {
        // The others were used even earlier, so one worn-out session at the front empties the pool.
        while let Some(session) = self.sessions.pop_front() {
            if !session.is_worn_out(timeout, load_balanced, now) {
                return session;
            }
        }
        ServerSession::new(entropy, now)
    }

    /// Takes a session back, and drops the ones that are worn out.
    #[inline]
    pub fn release(
        &mut self,
        session: ServerSession,
        timeout: Option<Duration>,
        load_balanced: bool,
        now: Instant,
    ) {
        while let Some(oldest) = self.sessions.back()
            && oldest.is_worn_out(timeout, load_balanced, now)
        {
            self.sessions.pop_back();
        }
        if !session.dirty && !session.is_worn_out(timeout, load_balanced, now) {
            self.sessions.push_front(session);
        }
    }

    /// How many sessions are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Empties the pool; returns the ids in groups for [`end_sessions`].
    pub fn drain_ids(&mut self) -> Vec<Vec<[u8; 16]>> {
        let ids: Vec<_> = self.sessions.drain(..).map(|s| s.id).collect();
        ids.chunks(END_SESSIONS_MAX).map(<[_]>::to_vec).collect()
    }
}

/// The command that tells a server that sessions are over; its errors are ignored.
#[must_use]
pub fn end_sessions(ids: &[[u8; 16]]) -> CommandSpec {
    let mut bytes = Vec::with_capacity(32 + 40 * ids.len());
    let start = raw::open(&mut bytes);
    let list = raw::open_array(&mut bytes, "endSessions");
    for (index, id) in ids.iter().enumerate() {
        let entry = raw::open_document(&mut bytes, &index.to_string());
        raw::uuid(&mut bytes, "id", id);
        raw::close(&mut bytes, entry);
    }
    raw::close(&mut bytes, list);
    raw::close(&mut bytes, start);
    let body = RawDocumentBuf::from_bytes(bytes).expect("a document with one array");
    let mut spec = CommandSpec::new("endSessions", "admin", body);
    spec.target = Target::Read(ReadPreference::PrimaryPreferred {
        options: Default::default(),
    });
    spec.supports_session = false;
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1800));

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn counting() -> impl FnMut(&mut [u8]) + Send {
        let mut next = 0;
        move |out: &mut [u8]| {
            out.fill(next);
            next += 1;
        }
    }

    #[test]
    fn ids_are_version_4_uuids() {
        let session = ServerSession::new(&mut |out: &mut [u8]| out.fill(0xff), at(0));
        assert_eq!(session.id[6], 0x4f);
        assert_eq!(session.id[8], 0xbf);
        let lsid = session.lsid();
        let id = lsid.get_binary("id").unwrap();
        assert_eq!((id.bytes, u8::from(id.subtype)), (&session.id[..], 4));
    }

    #[test]
    fn the_last_session_returned_is_the_first_to_go() {
        let (mut pool, mut entropy) = (ServerSessionPool::new(), counting());
        let mut a = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        let b = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        let (id_a, id_b) = (a.id, b.id);
        assert_ne!(id_a, id_b);
        a.next_txn_number();
        pool.release(b, TIMEOUT, false, at(1));
        pool.release(a, TIMEOUT, false, at(2));
        let again = pool.acquire(TIMEOUT, false, &mut entropy, at(3));
        assert_eq!((again.id, again.txn_number), (id_a, 1));
        assert_eq!(pool.acquire(TIMEOUT, false, &mut entropy, at(3)).id, id_b);
    }

    #[test]
    fn a_session_with_less_than_a_minute_left_is_not_used() {
        for (elapsed, reused) in [(1739, true), (1740, true), (1741, false)] {
            let (mut pool, mut entropy) = (ServerSessionPool::new(), counting());
            let session = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
            let id = session.id;
            pool.release(session, TIMEOUT, false, at(0));
            let next = pool.acquire(TIMEOUT, false, &mut entropy, at(elapsed));
            assert_eq!(next.id == id, reused, "after {elapsed} s");
        }
    }

    #[test]
    fn returning_a_session_prunes_the_back_and_drops_worn_out_ones() {
        let (mut pool, mut entropy) = (ServerSessionPool::new(), counting());
        let old = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        let worn = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        let mut fresh = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        pool.release(old, TIMEOUT, false, at(1));
        fresh.last_use = at(1750);
        pool.release(fresh, TIMEOUT, false, at(1750));
        assert_eq!(pool.len(), 1, "the old one was pruned");
        pool.release(worn, TIMEOUT, false, at(1750));
        assert_eq!(pool.len(), 1, "the worn-out one was not taken");
    }

    #[test]
    fn dirty_sessions_are_dropped() {
        let (mut pool, mut entropy) = (ServerSessionPool::new(), counting());
        let mut session = pool.acquire(TIMEOUT, false, &mut entropy, at(0));
        session.dirty = true;
        pool.release(session, TIMEOUT, false, at(0));
        assert!(pool.is_empty());
    }

    #[test]
    fn behind_a_load_balancer_sessions_do_not_wear_out() {
        let (mut pool, mut entropy) = (ServerSessionPool::new(), counting());
        let session = pool.acquire(None, true, &mut entropy, at(0));
        let id = session.id;
        pool.release(session, None, true, at(1_000_000));
        let next = pool.acquire(None, true, &mut entropy, at(2_000_000));
        assert_eq!(next.id, id);
    }

    #[test]
    fn ids_are_drained_in_groups_of_ten_thousand() {
        let mut pool = ServerSessionPool::new();
        for n in 0..20_001u32 {
            let mut entropy = |out: &mut [u8]| {
                out.fill(0);
                out[..4].copy_from_slice(&n.to_le_bytes());
            };
            let session = ServerSession::new(&mut entropy, at(0));
            pool.release(session, TIMEOUT, false, at(0));
        }
        let groups = pool.drain_ids();
        let sizes: Vec<_> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [10_000, 10_000, 1]);
        assert!(pool.is_empty());
        let spec = end_sessions(&groups[2]);
        let list = spec.body.get_array("endSessions").unwrap();
        let id = list.get_document(0).unwrap().get_binary("id").unwrap();
        assert_eq!(id.bytes, groups[2][0]);
        assert!(!spec.supports_session);
    }
}
