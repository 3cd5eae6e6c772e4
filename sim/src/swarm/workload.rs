//! What the clients do: operations whose effects can be found again.
//!
//! Every insert has an `_id` of its own, and every change of a counter leaves its number in the
//! counter's array `ops`; see [`OpKind`]. Which operation comes next is drawn when it begins.

use std::{collections::VecDeque, time::Duration};

use bson::{RawDocumentBuf, oid::ObjectId, raw::cstr, rawdoc};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    cursor::CursorSpec,
    op::{CommandSpec, DocumentSequence, Retryability, Target},
    read_preference::ReadPreference,
    time::Instant,
};

use super::{
    observe::{OpFacts, OpKind},
    plan::{Mode, Plan, SMALL_MESSAGE, Topology},
};
use crate::choices::Choices;

/// The database of all operations.
pub(super) const DATABASE: &str = "db";
/// Where inserts go.
pub(super) const THINGS: &str = "things";
/// Where the numbers of operations are pushed.
pub(super) const COUNTERS: &str = "counters";

/// Counters that are in use at one time.
const COUNTERS_AT_ONCE: u64 = 4;
/// After so many operations others are used, so that none becomes long.
const COUNTER_TURN: u64 = 128;
/// How many inserted documents are remembered for deletes and updates.
const KNOWN_MAX: usize = 64;

/// An operation to run.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) facts: OpFacts,
    pub(super) give_up: Option<GiveUp>,
    /// The deadline that the caller sets for each command (engine mode).
    pub(super) limit: Option<Instant>,
    write_concern: Option<WriteConcern>,
    preference: ReadPreference,
    /// After how many batches a cursor is dropped.
    pub(super) batches_max: u64,
    /// An id that the client has made, which shows its wall clock (inserts).
    pub(super) made: Option<ObjectId>,
    /// The document has so many bytes more (inserts).
    pad: usize,
}

/// When an operation is given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum GiveUp {
    /// At its k-th poll (driver mode; a quarter of a millisecond each in engine mode).
    AtPoll(u32),
    /// Instead of its k-th poll: what has woken it is not seen by it (driver mode; as above).
    BeforePoll(u32),
    /// After a time.
    After(Duration),
}

/// Draws operations.
pub(super) struct Workload {
    choices: Box<dyn Choices>,
    plan: Plan,
    weights: u64,
    next: u64,
    /// Documents that are known to be there, and that nobody deletes yet.
    known: VecDeque<i64>,
}

impl Workload {
    pub(super) fn new(plan: &Plan, choices: Box<dyn Choices>) -> Self {
        Self {
            choices,
            plan: plan.clone(),
            weights: plan.mix.iter().map(|(_, weight)| weight).sum(),
            next: 1,
            known: VecDeque::new(),
        }
    }

    /// An insert was acknowledged by a majority: its document can be deleted.
    pub(super) fn inserted(&mut self, op: u64) {
        if self.known.len() < KNOWN_MAX {
            self.known.push_back(op.cast_signed());
        }
    }

    /// The pause before the next operation.
    pub(super) fn pause(&mut self) -> Duration {
        exponential(&mut *self.choices, "pace", self.plan.pace)
    }

    /// How many operations begin together.
    pub(super) fn burst(&mut self) -> u64 {
        if self.choices.draw("burst?", 64) == 0 {
            1 + self
                .choices
                .draw("burst", self.plan.concurrency.min(64) as u64)
        } else {
            1
        }
    }

    /// The next operation.
    pub(super) fn next(&mut self, now: Instant) -> Work {
        let client = self.choices.draw("client", self.plan.clients as u64) as usize;
        let kind = self.kind();
        let mut work = self.work(client, kind);
        if self.plan.small_messages && kind == OpKind::Insert && self.choices.draw("pad?", 16) == 0
        {
            // Some servers take no message that holds it.
            work.pad = SMALL_MESSAGE as usize;
        }
        if self.plan.drops > 0 && self.choices.draw("give up?", self.plan.drops) == 0 {
            work.give_up = Some(self.give_up());
        }
        if self.plan.mode == Mode::Engine
            && self.plan.deadlines > 0
            && self.choices.draw("deadline?", self.plan.deadlines) == 0
        {
            let limit = 1 << self.choices.draw("deadline", 14);
            work.limit = Some(now + Duration::from_millis(limit));
            work.facts.deadline = work.limit;
        } else if !matches!(work.facts.kind, OpKind::Causal | OpKind::FindMany) {
            work.facts.deadline = self.plan.command_bound().map(|bound| now + bound);
        }
        work
    }

    /// An operation that is to succeed: none of it is given up.
    pub(super) fn calm(&mut self, client: usize) -> Work {
        let kind = self.kind();
        let mut work = self.work(client, kind);
        work.batches_max = u64::MAX;
        work
    }

    fn kind(&mut self) -> OpKind {
        let mut at = self.choices.draw("kind", self.weights);
        let mut drawn = OpKind::Ping;
        for (kind, weight) in &self.plan.mix {
            if at < *weight {
                drawn = *kind;
                break;
            }
            at -= weight;
        }
        match drawn {
            // What it needs does not exist yet.
            OpKind::Delete | OpKind::Update if self.known.is_empty() => OpKind::Insert,
            OpKind::Causal if self.plan.topology == Topology::Standalone => OpKind::Increment,
            other => other,
        }
    }

    fn work(&mut self, client: usize, kind: OpKind) -> Work {
        let op = self.next;
        self.next += 1;
        let set = self.plan.topology.members() > 0;
        let document = match kind {
            OpKind::Insert => op.cast_signed(),
            OpKind::Delete => self.known.pop_front().unwrap_or_default(),
            OpKind::Update => {
                let at = self.choices.draw("document", self.known.len() as u64);
                self.known.get(at as usize).copied().unwrap_or_default()
            }
            _ => {
                let turn = op / COUNTER_TURN * COUNTERS_AT_ONCE;
                (turn + self.choices.draw("counter", COUNTERS_AT_ONCE)).cast_signed()
            }
        };
        let acknowledged = kind != OpKind::Unacknowledged;
        let majority = acknowledged
            && kind.writes()
            && (kind == OpKind::Causal || self.choices.draw("majority?", 4) > 0);
        let mut write_concern = match (kind.writes(), acknowledged, majority) {
            (false, ..) => None,
            (_, false, _) => Some(WriteConcern::nodes(0)),
            (_, _, true) => Some(WriteConcern::majority()),
            (_, _, false) => None,
        };
        if majority && let Some(concern) = &mut write_concern {
            let limit = self.choices.draw("wtimeout", 4);
            concern.w_timeout = (limit > 0).then(|| Duration::from_millis(limit * 1_000));
        }
        let preference = match self.choices.draw("preference", 4) {
            _ if !set => ReadPreference::Primary,
            0 | 1 => ReadPreference::Primary,
            2 => ReadPreference::nearest(None),
            _ => ReadPreference::secondary_preferred(None),
        };
        Work {
            facts: OpFacts {
                op,
                client,
                kind,
                document,
                acknowledged,
                majority,
                retryable: acknowledged && kind.writes() && set && self.plan.retry_writes,
                deadline: None,
            },
            give_up: None,
            limit: None,
            write_concern,
            preference,
            batches_max: 1 << self.choices.draw("batches", 5),
            made: None,
            pad: 0,
        }
    }

    fn give_up(&mut self) -> GiveUp {
        match self.choices.draw("give up by", 5) {
            0 | 2 => GiveUp::AtPoll(1 + self.choices.draw("poll", 12) as u32),
            4 => GiveUp::BeforePoll(2 + self.choices.draw("poll", 11) as u32),
            _ => {
                let doublings = self.choices.draw("give up", 22);
                GiveUp::After(Duration::from_micros(1 << doublings))
            }
        }
    }
}

impl Work {
    /// The first command.
    pub(super) fn command(&self) -> CommandSpec {
        let facts = &self.facts;
        let (op, id) = (facts.op.cast_signed(), facts.document);
        let comment = self.comment();
        match facts.kind {
            OpKind::Insert => {
                let body = rawdoc! { "insert": THINGS, "comment": comment };
                let mut spec = self.write("insert", body);
                let mut document = rawdoc! { "_id": id, "client": facts.client as i64 };
                if let Some(made) = self.made {
                    document.append(cstr!("made"), made);
                }
                if self.pad > 0 {
                    document.append(cstr!("pad"), "x".repeat(self.pad));
                }
                spec.sequences.push(DocumentSequence {
                    identifier: "documents",
                    documents: document.into_bytes().into(),
                });
                spec
            }
            OpKind::Causal | OpKind::Increment | OpKind::Unacknowledged => {
                let update = rawdoc! { "$push": { "ops": op }, "$inc": { "n": 1_i64 } };
                let update = rawdoc! { "q": { "_id": id }, "u": update, "upsert": true };
                let body = rawdoc! {
                    "update": COUNTERS, "updates": [update], "comment": comment,
                };
                self.write("update", body)
            }
            OpKind::Update => {
                let update = rawdoc! { "q": { "_id": id }, "u": { "$set": { "touched": op } } };
                let body = rawdoc! { "update": THINGS, "updates": [update], "comment": comment };
                self.write("update", body)
            }
            OpKind::Delete => {
                let delete = rawdoc! { "q": { "_id": id }, "limit": 1 };
                let body = rawdoc! { "delete": THINGS, "deletes": [delete], "comment": comment };
                self.write("delete", body)
            }
            OpKind::FindAndModify => {
                let body = rawdoc! {
                    "findAndModify": COUNTERS, "query": { "_id": id },
                    "update": { "$push": { "ops": op } }, "upsert": true, "new": true,
                    "comment": comment,
                };
                self.write("findAndModify", body)
            }
            OpKind::Find => self.read(ReadPreference::Primary, None),
            OpKind::MajorityRead => {
                self.read(self.preference.clone(), Some(ReadConcern::majority()))
            }
            OpKind::FindMany => {
                let from = op - 40;
                let body = rawdoc! {
                    "find": THINGS, "filter": { "_id": { "$gte": from } }, "batchSize": 2,
                    "comment": comment,
                };
                reading("find", body, self.preference.clone(), None)
            }
            OpKind::Ping => {
                let body = rawdoc! { "ping": 1, "comment": comment };
                let mut spec = CommandSpec::new("ping", DATABASE, body);
                spec.target = Target::Read(ReadPreference::Primary);
                spec.user_command = true;
                spec
            }
        }
    }

    /// The read of a causal operation.
    pub(super) fn second(&self) -> CommandSpec {
        self.read(self.preference.clone(), Some(ReadConcern::majority()))
    }

    pub(super) fn cursor(&self) -> CursorSpec {
        CursorSpec {
            db: DATABASE.to_owned(),
            batch_size: Some(2),
            comment: Some(self.comment().into()),
            ..CursorSpec::default()
        }
    }

    fn comment(&self) -> String {
        format!("op-{}", self.facts.op)
    }

    fn write(&self, name: &'static str, body: RawDocumentBuf) -> CommandSpec {
        let mut spec = CommandSpec::new(name, DATABASE, body);
        if self.facts.acknowledged {
            spec.retryability = Retryability::Write;
        }
        spec.write_concern.clone_from(&self.write_concern);
        spec.check_write_concern_error = true;
        spec
    }

    fn read(&self, preference: ReadPreference, concern: Option<ReadConcern>) -> CommandSpec {
        let body = rawdoc! {
            "find": COUNTERS, "filter": { "_id": self.facts.document }, "limit": 1,
            "singleBatch": true, "comment": self.comment(),
        };
        reading("find", body, preference, concern)
    }
}

fn reading(
    name: &'static str,
    body: RawDocumentBuf,
    preference: ReadPreference,
    concern: Option<ReadConcern>,
) -> CommandSpec {
    let mut spec = CommandSpec::new(name, DATABASE, body);
    spec.target = Target::Read(preference);
    spec.retryability = Retryability::Read;
    spec.read_concern = concern;
    spec
}

/// A pause between events that happen at random.
pub(super) fn exponential(
    choices: &mut dyn Choices,
    label: &'static str,
    mean: Duration,
) -> Duration {
    let unit = (choices.draw(label, 1 << 16) + 1) as f64 / 65_537.0;
    mean.mul_f64(-unit.ln())
}
