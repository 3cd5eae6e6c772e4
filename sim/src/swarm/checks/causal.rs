//! Invariant 9.
//!
//! Reads with the read concern `majority` never see what is rolled back, and a causal session sees
//! its own writes.
//!
//! The array `ops` of a counter only grows, so what a majority has seen of it is the beginning of
//! what survives. Only lengths and digests are kept.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};

use bson::{RawDocument, RawDocumentBuf};
use mongo_client_core::time::Instant;

use super::{
    Part,
    documents::{counters, has_effect, is_unsure, number_of},
};
use crate::swarm::observe::{End, Observation, OpFacts, OpKind, Outcome};

#[derive(Debug, Default)]
pub(super) struct Causal {
    pending: BTreeMap<u64, OpFacts>,
    /// What was seen of each counter: its length, with the digest and the first who saw it.
    seen: BTreeMap<(i64, usize), (u64, u64)>,
}

impl Part for Causal {
    fn name(&self) -> &'static str {
        "majority-reads-survive"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Began(facts)
                if matches!(facts.kind, OpKind::Causal | OpKind::MajorityRead) =>
            {
                self.pending.insert(facts.op, (*facts).clone());
            }
            Observation::Dropped { op, .. } => {
                self.pending.remove(op);
            }
            Observation::Ended { op, outcome } => {
                if let (Some(facts), Outcome::Done { replies }) = (self.pending.remove(op), outcome)
                {
                    let causal = facts.kind == OpKind::Causal;
                    let lasts = |reply: &RawDocumentBuf| has_effect(reply) && !is_unsure(reply);
                    let wrote = !causal || replies.first().is_some_and(lasts);
                    let read = replies.get(usize::from(causal));
                    if let Some(reply) = read.filter(|_| wrote) {
                        return self.read(&facts, reply);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let mut survived: BTreeMap<(i64, usize), u64> = BTreeMap::new();
        for (id, ops) in counters(end) {
            let Some(id) = id else {
                continue;
            };
            let mut digest = DefaultHasher::new();
            survived.insert((id, 0), digest.finish());
            for (index, op) in ops.enumerate() {
                digest.write_i64(op);
                survived.insert((id, index + 1), digest.finish());
            }
        }
        for ((counter, len), (digest, op)) in &self.seen {
            if survived.get(&(*counter, *len)) != Some(digest) {
                return Err(format!(
                    "operation {op} has seen {len} changes of counter {counter} that a majority \
                     had, and they did not survive"
                ));
            }
        }
        Ok(())
    }
}

impl Causal {
    fn read(&mut self, facts: &OpFacts, reply: &RawDocument) -> Result<(), String> {
        let op = facts.op;
        let Some(ops) = first_of_batch(reply).and_then(|doc| doc.get_array("ops").ok()) else {
            return match facts.kind {
                OpKind::Causal => Err(format!("operation {op} does not see what it wrote")),
                _ => Ok(()),
            };
        };
        let (mut len, mut own) = (0, false);
        let mut digest = DefaultHasher::new();
        for number in ops.into_iter().flatten().filter_map(number_of) {
            own |= u64::try_from(number) == Ok(op);
            digest.write_i64(number);
            len += 1;
        }
        if facts.kind == OpKind::Causal && !own {
            return Err(format!("operation {op} does not see what it wrote"));
        }
        let digest = digest.finish();
        let (known, first) = *self
            .seen
            .entry((facts.document, len))
            .or_insert((digest, op));
        if known != digest {
            return Err(format!(
                "operations {first} and {op} see different changes of counter {}",
                facts.document
            ));
        }
        Ok(())
    }
}

fn first_of_batch(reply: &RawDocument) -> Option<&RawDocument> {
    let batch = reply.get_document("cursor").ok()?.get_array("firstBatch");
    batch.ok()?.into_iter().next()?.ok()?.as_document()
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;
    use crate::swarm::checks::tests::Run;

    fn batch(ops: &[i64]) -> RawDocumentBuf {
        let mut array = bson::RawArrayBuf::new();
        for op in ops {
            array.push(*op);
        }
        rawdoc! { "ok": 1, "cursor": { "firstBatch": [{ "_id": 0, "ops": array }] } }
    }

    fn run(kind: OpKind, ops: &[u64]) -> Run {
        let mut run = Run::of(Causal::default());
        for op in ops {
            run.begin(*op, |facts| facts.kind = kind).unwrap();
        }
        run
    }

    #[test]
    fn a_majority_read_of_what_is_rolled_back_is_found() {
        for (survived, good) in [(vec![4_i64, 5, 6], true), (vec![4, 6], false)] {
            let mut run = run(OpKind::MajorityRead, &[1]);
            run.end(1, vec![batch(&[4, 5])]).unwrap();
            let counter = doc! { "_id": 0, "ops": survived };
            run.documents.insert("counters", vec![counter]);
            assert_eq!(run.finish().is_ok(), good);
        }
    }

    #[test]
    fn two_reads_that_disagree_are_found() {
        let mut run = run(OpKind::MajorityRead, &[1, 2]);
        run.end(1, vec![batch(&[4, 5])]).unwrap();
        assert!(run.end(2, vec![batch(&[4, 6])]).is_err());
    }

    #[test]
    fn a_session_that_does_not_see_its_own_write_is_found() {
        for (ops, good) in [(vec![3, 7], true), (vec![3], false)] {
            let mut run = run(OpKind::Causal, &[7]);
            let replies = vec![rawdoc! { "ok": 1, "n": 1 }, batch(&ops)];
            assert_eq!(run.end(7, replies).is_ok(), good);
        }
    }
}
