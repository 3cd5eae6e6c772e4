//! Where decisions come from: labelled draws, from a seed, from a record, or from raw bytes.
//!
//! A run forks one stream for each of its components ([`Streams::fork`]), so that one more draw in
//! one of them does not reshuffle the others. What a run drew can be recorded and given again; where
//! the record ends, because the code has changed since, the stream goes on from the seed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongo_client_core::rng::Rng;

/// A source of decisions. Each draw has a label, so that a record of them can be read.
pub trait Choices: Send {
    /// A number below `bound` (0 for the bound 0).
    fn draw(&mut self, label: &'static str, bound: u64) -> u64;
}

/// Draws that follow from a seed.
#[derive(Clone, Debug)]
pub struct Seeded(Rng);

impl Seeded {
    /// A source whose every draw is determined by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rng::from_seed(seed))
    }
}

impl Choices for Seeded {
    fn draw(&mut self, _label: &'static str, bound: u64) -> u64 {
        self.0.below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64
    }
}

/// Draws from a list, and 0 when it has ended.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    draws: VecDeque<u64>,
}

impl Listed {
    /// A source that gives these numbers, each modulo its bound.
    #[must_use]
    pub fn new(draws: impl IntoIterator<Item = u64>) -> Self {
        Self {
            draws: draws.into_iter().collect(),
        }
    }
}

impl Choices for Listed {
    fn draw(&mut self, _label: &'static str, bound: u64) -> u64 {
        let draw = self.draws.pop_front().unwrap_or(0);
        draw.checked_rem(bound).unwrap_or(0)
    }
}

/// What was drawn, by the name of the stream.
pub type Record = BTreeMap<String, Vec<u64>>;

/// The streams of one run. Cheap to clone; all clones are the same run.
#[derive(Clone, Debug)]
pub struct Streams {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    given: Record,
    raw: Option<VecDeque<u8>>,
    /// What was drawn, where that is recorded.
    record: Option<Record>,
}

impl Streams {
    /// Streams that follow from a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::new(seed, Record::new(), None)
    }

    /// Streams that give a record again; what it does not have follows from the seed.
    #[must_use]
    pub fn replayed(seed: u64, record: Record) -> Self {
        Self::new(seed, record, None)
    }

    /// Streams that share raw bytes (of a fuzzer) in the order in which they are asked; at the end
    /// of the bytes they follow from a seed.
    #[must_use]
    pub fn raw(bytes: &[u8]) -> Self {
        Self::new(0, Record::new(), Some(bytes.iter().copied().collect()))
    }

    fn new(seed: u64, given: Record, raw: Option<VecDeque<u8>>) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                seed,
                given,
                raw,
                record: None,
            })),
        }
    }

    /// Records every draw of streams that are forked from here on.
    #[must_use]
    pub fn recording(self) -> Self {
        self.lock().record = Some(Record::new());
        self
    }

    /// What was drawn so far; empty where it is not recorded.
    #[must_use]
    pub fn record(&self) -> Record {
        self.lock().record.clone().unwrap_or_default()
    }

    /// The stream of a component, by a name of its own (`net`, `server/2`).
    #[must_use]
    pub fn fork(&self, name: &str) -> Box<dyn Choices> {
        let mut shared = self.lock();
        let own = Rng::from_seed(shared.seed ^ hash(name));
        let given = shared.given.remove(name).unwrap_or_default();
        let watched = shared.record.is_some() || shared.raw.is_some();
        let stream = Stream {
            given: given.into(),
            rng: own,
        };
        if !watched {
            return Box::new(stream);
        }
        drop(shared);
        Box::new(Watched {
            name: name.to_owned(),
            stream,
            streams: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a: the same on every machine.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

struct Stream {
    given: VecDeque<u64>,
    rng: Rng,
}

impl Choices for Stream {
    fn draw(&mut self, _label: &'static str, bound: u64) -> u64 {
        match self.given.pop_front() {
            Some(draw) => draw.checked_rem(bound).unwrap_or(0),
            None => self.rng.below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64,
        }
    }
}

/// A stream whose draws are recorded, or that takes them from the bytes that all share.
struct Watched {
    name: String,
    stream: Stream,
    streams: Streams,
}

impl Choices for Watched {
    fn draw(&mut self, label: &'static str, bound: u64) -> u64 {
        let mut shared = self.streams.lock();
        let raw = shared.raw.as_mut().and_then(|raw| take(raw, bound));
        let draw = raw.unwrap_or_else(|| self.stream.draw(label, bound));
        if let Some(record) = &mut shared.record {
            match record.get_mut(&self.name) {
                Some(known) => known.push(draw),
                None => {
                    record.insert(self.name.clone(), vec![draw]);
                }
            }
        }
        draw
    }
}

/// A number of as many bytes as the bound needs; `None` when there are not so many.
fn take(raw: &mut VecDeque<u8>, bound: u64) -> Option<u64> {
    let bytes = (u64::BITS - bound.saturating_sub(1).leading_zeros()).div_ceil(8) as usize;
    if raw.len() < bytes {
        return None;
    }
    let number = raw.drain(..bytes);
    let number = number.fold(0, |n, byte| (n << 8) | u64::from(byte));
    Some(number.checked_rem(bound).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(choices: &mut dyn Choices, n: usize) -> Vec<u64> {
        (0..n).map(|_| choices.draw("test", 1_000)).collect()
    }

    #[test]
    fn a_draw_in_one_stream_leaves_the_others_alone() {
        let (a, b) = (Streams::seeded(7), Streams::seeded(7));
        let _ = draws(&mut *a.fork("net"), 3);
        let server = draws(&mut *a.fork("server/2"), 5);
        assert_eq!(server, draws(&mut *b.fork("server/2"), 5));
        assert_ne!(server, draws(&mut *b.fork("server/3"), 5));
    }

    #[test]
    fn a_record_is_given_again_and_continued_from_the_seed() {
        let first = Streams::seeded(7).recording();
        let drawn = draws(&mut *first.fork("net"), 5);
        let mut record = first.record();
        assert_eq!(record["net"], drawn);
        record.get_mut("net").unwrap().truncate(2);
        let again = draws(&mut *Streams::replayed(9, record).fork("net"), 5);
        assert_eq!(again[..2], drawn[..2]);
        let own = draws(&mut *Streams::seeded(9).fork("net"), 3);
        assert_eq!(again[2..], own);
    }

    #[test]
    fn raw_bytes_are_shared_in_the_order_of_the_draws() {
        let streams = Streams::raw(&[1, 2, 0, 3]);
        let (mut a, mut b) = (streams.fork("a"), streams.fork("b"));
        assert_eq!(a.draw("byte", 256), 1);
        assert_eq!(b.draw("two bytes", 1_000), 512);
        assert_eq!(a.draw("nothing to draw", 1), 0);
        assert_eq!(b.draw("byte", 256), 3);
        // The bytes are used up.
        assert!(a.draw("more", 10) < 10);
    }
}
