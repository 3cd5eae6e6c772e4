//! Invariant 8.
//!
//! A retryable write is applied at most once, and one that a majority has acknowledged exactly
//! once, in the history that survives. All attempts of a write have one transaction number, which no
//! other write has.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use bson::RawDocumentBuf;
use mongo_client_core::time::Instant;

use super::{
    Part,
    documents::{counters, has_effect, is_unsure, number},
    traffic::Told,
    wire::Lsid,
};
use crate::swarm::observe::{End, Observation, OpFacts, OpKind, Outcome};

#[derive(Debug, Default)]
pub(super) struct Writes {
    /// The writes that are under way.
    pending: BTreeMap<u64, OpFacts>,
    /// Those that a majority has acknowledged, with the document that they were about.
    pushed: Vec<u64>,
    inserted: BTreeSet<i64>,
    /// Documents that were deleted for certain, and those that may have been.
    deleted: BTreeSet<i64>,
    maybe_deleted: BTreeSet<i64>,
    /// The transaction number of each operation, and the operation of each number.
    numbers: BTreeMap<u64, (Lsid, i64)>,
    owners: BTreeMap<(Lsid, i64), u64>,
}

impl Part for Writes {
    fn name(&self) -> &'static str {
        "applied-exactly-once"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Began(facts) if facts.kind.writes() => {
                if facts.kind == OpKind::Delete {
                    self.maybe_deleted.insert(facts.document);
                }
                self.pending.insert(facts.op, (*facts).clone());
            }
            Observation::Dropped { op, .. } => {
                self.pending.remove(op);
                self.numbers.remove(op);
            }
            Observation::Ended { op, outcome } => {
                self.numbers.remove(op);
                if let (Some(facts), Outcome::Done { replies }) = (self.pending.remove(op), outcome)
                {
                    return self.done(&facts, replies);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        let Told::Request { command, .. } = what else {
            return Ok(());
        };
        let (Some(op), Some(lsid), Some(txn)) = (command.op, command.lsid, command.txn) else {
            return Ok(());
        };
        let known = *self.numbers.entry(op).or_insert((lsid, txn));
        if known != (lsid, txn) {
            let first = known.1;
            return Err(format!(
                "operation {op}: sent with the transaction number {first}, and again with {txn}"
            ));
        }
        match self.owners.entry((lsid, txn)) {
            Entry::Occupied(owner) if *owner.get() != op => Err(format!(
                "operation {op} has the transaction number {txn} of operation {}",
                owner.get()
            )),
            entry => {
                entry.or_insert(op);
                Ok(())
            }
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let mut applied: BTreeMap<i64, u32> = BTreeMap::new();
        for op in counters(end).flat_map(|(_, ops)| ops) {
            *applied.entry(op).or_default() += 1;
        }
        if let Some((op, times)) = applied.iter().find(|(_, times)| **times > 1) {
            return Err(format!("operation {op} was applied {times} times"));
        }
        let lost = |op: &&u64| !applied.contains_key(&i64::try_from(**op).unwrap_or(-1));
        if let Some(op) = self.pushed.iter().find(lost) {
            return Err(format!(
                "operation {op} was acknowledged by a majority, and is lost"
            ));
        }
        let Some(things) = end.documents.get("things") else {
            return Ok(());
        };
        let ids = things.iter().filter_map(|thing| number(thing.get("_id")?));
        let things: BTreeSet<i64> = ids.collect();
        let kept = self.inserted.difference(&self.maybe_deleted);
        if let Some(id) = kept.copied().find(|id| !things.contains(id)) {
            return Err(format!(
                "the insert of {id} was acknowledged by a majority, and is lost"
            ));
        }
        if let Some(id) = self.deleted.intersection(&things).next() {
            return Err(format!(
                "the delete of {id} was acknowledged by a majority, and is lost"
            ));
        }
        Ok(())
    }
}

impl Writes {
    fn done(&mut self, facts: &OpFacts, replies: &[RawDocumentBuf]) -> Result<(), String> {
        let Some(reply) = replies.first().filter(|_| facts.acknowledged) else {
            return Ok(());
        };
        if let Ok(errors) = reply.get_array("writeErrors") {
            let errors = errors.into_iter().flatten();
            let mut codes = errors.filter_map(|e| e.as_document()?.get_i32("code").ok());
            // Ids are unique, so it is the operation itself that was there before.
            if facts.kind == OpKind::Insert && codes.any(|code| code == 11_000) {
                return Err(format!("operation {} was applied before", facts.op));
            }
            return Ok(());
        }
        let applied = match facts.kind {
            OpKind::FindAndModify => reply.get_document("value").is_ok(),
            _ => has_effect(reply),
        };
        if !applied || !facts.majority || is_unsure(reply) {
            return Ok(());
        }
        match facts.kind {
            OpKind::Insert => drop(self.inserted.insert(facts.document)),
            OpKind::Delete => drop(self.deleted.insert(facts.document)),
            kind if kind.pushes() => self.pushed.push(facts.op),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;
    use crate::swarm::checks::tests::Run;

    fn run(kind: OpKind) -> Run {
        let mut run = Run::of(Writes::default());
        run.begin(1, |facts| {
            facts.kind = kind;
            facts.document = 1;
        })
        .unwrap();
        run
    }

    #[test]
    fn a_write_that_was_applied_twice_or_is_lost_is_found() {
        for (ops, good) in [(vec![1_i64], true), (vec![1, 1], false), (vec![], false)] {
            let mut run = run(OpKind::Increment);
            run.end(1, vec![rawdoc! { "ok": 1, "n": 1 }]).unwrap();
            run.documents.insert("counters", vec![doc! { "ops": ops }]);
            assert_eq!(run.finish().is_ok(), good);
        }
    }

    #[test]
    fn a_write_without_effect_may_be_absent() {
        let mut run = run(OpKind::Increment);
        run.end(1, vec![rawdoc! { "ok": 1, "n": 0 }]).unwrap();
        run.finish().unwrap();
    }

    #[test]
    fn a_lost_insert_and_an_insert_that_meets_itself_are_found() {
        let mut lost = run(OpKind::Insert);
        lost.end(1, vec![rawdoc! { "ok": 1, "n": 1 }]).unwrap();
        lost.documents.insert("things", Vec::new());
        assert!(lost.finish().is_err());
        let mut twice = run(OpKind::Insert);
        let reply = rawdoc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 11_000 }] };
        assert!(twice.end(1, vec![reply]).is_err());
    }

    #[test]
    fn a_delete_that_is_undone_is_found() {
        let mut run = run(OpKind::Delete);
        run.end(1, vec![rawdoc! { "ok": 1, "n": 1 }]).unwrap();
        run.documents.insert("things", vec![doc! { "_id": 1_i64 }]);
        assert!(run.finish().is_err());
    }

    #[test]
    fn another_transaction_number_on_a_retry_is_found() {
        let mut run = run(OpKind::Increment);
        run.dial(1);
        run.ask_in(1, 10, Some(1), 7, Some(3)).unwrap();
        run.dial(2);
        run.ask_in(2, 20, Some(1), 7, Some(3)).unwrap();
        run.dial(3);
        assert!(run.ask_in(3, 30, Some(1), 7, Some(4)).is_err());
        run.dial(4);
        assert!(run.ask_in(4, 40, Some(2), 7, Some(3)).is_err(), "another's");
    }
}
