//! What the example does with its loop, and whether it got what it was promised.
//!
//! Written as an application would be: it submits commands, lets the loop turn, and takes results.
//! It never sees a socket. Several operations can be under way at once, as `Story::write_through`
//! shows; where one after the other is enough, [`EventLoop::execute`] reads like a blocking call.

use std::{collections::BTreeSet, fmt};

use bson::{RawDocumentBuf, rawdoc};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    cursor::{CursorMachine, CursorSpec, CursorWant},
    engine::{Census, Command, OpId},
    error::{Error, Result},
    op::{CommandSpec, Retryability, Target, results::parse_insert},
    read_preference::ReadPreference,
    topology::ServerType,
};

use crate::event_loop::{EventLoop, Host};

const COLLECTION: &str = "numbers";

/// Servers that keep the connection answer a find with what it asked for.
const FIRST: i32 = 0;

/// How long the story is.
#[derive(Clone, Debug)]
pub struct Story {
    /// The database to use; it is dropped at the beginning and at the end.
    pub database: &'static str,
    /// How many documents are written while the primary steps down.
    pub writes: i32,
    /// How many inserts are under way at once.
    pub at_once: usize,
    /// How many finds are cancelled.
    pub cancels: i32,
    /// How many documents come in one batch.
    pub batch: i32,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            database: "event_loop",
            writes: 300,
            at_once: 8,
            cancels: 50,
            batch: 40,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The primary before the step-down, and after it.
    pub primaries: (String, String),
    /// Writes that a majority of the set acknowledged.
    pub acknowledged: BTreeSet<i32>,
    /// What a cursor then found.
    pub found: Vec<i32>,
    /// In how many batches.
    pub batches: usize,
    /// Finds that were given up while their reply was under way.
    pub cancelled: i32,
    /// Finds after them that got a document which they did not ask for.
    pub mixed_up: i32,
    /// What the engine held before the shutdown, and after it.
    pub held: (Census, Census),
}

impl Verdict {
    /// What is wrong, if something is.
    #[must_use]
    pub fn complaints(&self) -> Vec<&'static str> {
        let acknowledged: Vec<i32> = self.acknowledged.iter().copied().collect();
        let busy = |census: &Census| {
            census.ops + census.tickets != 0
                || census.pools.iter().any(|(_, n)| n.leased + n.waiting != 0)
        };
        let (before, after) = &self.held;
        let rules = [
            (
                self.found != acknowledged,
                "found is not what was acknowledged",
            ),
            (self.batches < 2, "the cursor was not asked for more"),
            (
                self.primaries.0 == self.primaries.1,
                "the primary is the same",
            ),
            (self.cancelled == 0, "nothing was cancelled"),
            (self.mixed_up != 0, "a find got another's reply"),
            (busy(before), "operations hold something after their end"),
            (
                *after != Census::default(),
                "something is left after the shutdown",
            ),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        broken.map(|(_, what)| what).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "primary:  {}, then {}",
            self.primaries.0, self.primaries.1
        )?;
        writeln!(
            f,
            "writes:   {} acknowledged, {} found in {} batches",
            self.acknowledged.len(),
            self.found.len(),
            self.batches
        )?;
        writeln!(
            f,
            "cancels:  {}, and {} finds after them got another's reply",
            self.cancelled, self.mixed_up
        )?;
        let complaints = self.complaints();
        if complaints.is_empty() {
            return write!(f, "verdict:  clean");
        }
        write!(f, "verdict:  {}", complaints.join("; "))
    }
}

impl Story {
    /// Plays the story to its end. The loop cannot be used afterwards.
    ///
    /// # Errors
    ///
    /// The first error of an operation: none is expected, because the set has a primary again
    /// before an operation gives up.
    pub fn play<H: Host>(&self, events: &mut EventLoop<H>) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        events.execute(Command::new(self.drop_database()))?;
        events.execute(self.insert(FIRST))?;
        verdict.acknowledged.insert(FIRST);
        verdict.primaries.0 = primary(events);

        self.cancel(events, &mut verdict)?;
        self.write_through(events, &mut verdict)?;
        verdict.primaries.1 = primary(events);
        self.read(events, &mut verdict)?;

        events.execute(Command::new(self.drop_database()))?;
        verdict.held.0 = events.engine().census();
        events.shut_down().map_err(Error::io)?;
        verdict.held.1 = events.engine().census();
        Ok(verdict)
    }

    /// Gives finds up at once. Their requests have left, so their replies come, on connections that
    /// later finds use: those must get their own.
    fn cancel<H: Host>(&self, events: &mut EventLoop<H>, verdict: &mut Verdict) -> Result<()> {
        for _ in 0..self.cancels {
            let given_up = events.submit(Command::new(self.find_one(FIRST)));
            events.cancel(given_up);
            verdict.cancelled += 1;
            // Nobody has this number, so a document can only be the other find's.
            let executed = events.execute(Command::new(self.find_one(-1)))?;
            let cursor = CursorMachine::from_reply(executed.reply, CursorSpec::default())?;
            verdict.mixed_up += i32::from(cursor.want() != CursorWant::Exhausted);
        }
        Ok(())
    }

    /// Writes with several inserts at once, and tells the primary to step down when half are done.
    /// Inserts that meet the step-down are sent again, to whoever is primary then, and are done
    /// once: the engine does that.
    fn write_through<H: Host>(
        &self,
        events: &mut EventLoop<H>,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let mut under_way: Vec<(OpId, i32)> = Vec::new();
        let mut step_down = None;
        let mut next = FIRST + 1;
        while next <= self.writes || !under_way.is_empty() {
            while under_way.len() < self.at_once && next <= self.writes {
                under_way.push((events.submit(self.insert(next)), next));
                next += 1;
            }
            if next > self.writes / 2 && step_down.is_none() {
                step_down = Some(events.submit(Command::new(replace_primary())));
            }
            events.turn().map_err(Error::io)?;
            let mut i = 0;
            while i < under_way.len() {
                let (op, number) = under_way[i];
                let Some(result) = events.take(op) else {
                    i += 1;
                    continue;
                };
                under_way.swap_remove(i);
                // An insert that was refused for its content has an `ok` reply.
                if parse_insert(result?.reply.document())?.n == 1 {
                    verdict.acknowledged.insert(number);
                }
            }
        }
        if let Some(op) = step_down {
            events.complete(op)?;
        }
        Ok(())
    }

    /// Reads everything with a cursor. Its commands belong to one session and go to one server.
    fn read<H: Host>(&self, events: &mut EventLoop<H>, verdict: &mut Verdict) -> Result<()> {
        let session = events.engine().implicit_session();
        let find = Command::new(self.find_all()).with_session(session);
        let executed = events.execute(find)?;
        let spec = CursorSpec {
            batch_size: u32::try_from(self.batch).ok(),
            ..CursorSpec::default()
        };
        let mut cursor = CursorMachine::from_reply(executed.reply, spec)?;
        verdict.batches = 1;
        loop {
            match cursor.want() {
                CursorWant::Document => {
                    cursor.advance()?;
                    let number = cursor.current().get_i32("_id");
                    verdict
                        .found
                        .push(number.map_err(|e| Error::invalid_response(e.to_string()))?);
                }
                CursorWant::GetMore => {
                    let mut more = cursor.get_more();
                    more.target = Target::Server(executed.server);
                    let more = Command::new(more).with_session(session);
                    let executed = events.execute(more)?;
                    cursor.handle_batch(executed.reply)?;
                    verdict.batches += 1;
                }
                CursorWant::Exhausted => break,
            }
        }
        let now = events.host().now();
        events.engine().end_session(session, now);
        Ok(())
    }

    fn drop_database(&self) -> CommandSpec {
        let mut spec =
            CommandSpec::new("dropDatabase", self.database, rawdoc! { "dropDatabase": 1 });
        spec.write_concern = Some(WriteConcern::majority());
        spec.check_write_concern_error = true;
        spec
    }

    fn insert(&self, number: i32) -> Command {
        let body = rawdoc! { "insert": COLLECTION, "documents": [{ "_id": number }] };
        let mut spec = CommandSpec::new("insert", self.database, body);
        spec.retryability = Retryability::Write;
        spec.write_concern = Some(WriteConcern::majority());
        spec.check_write_concern_error = true;
        Command::new(spec)
    }

    fn find_one(&self, number: i32) -> CommandSpec {
        self.find(rawdoc! { "find": COLLECTION, "filter": { "_id": number }, "limit": 1 })
    }

    fn find_all(&self) -> CommandSpec {
        self.find(rawdoc! { "find": COLLECTION, "sort": { "_id": 1 }, "batchSize": self.batch })
    }

    fn find(&self, body: RawDocumentBuf) -> CommandSpec {
        let mut spec = CommandSpec::new("find", self.database, body);
        spec.target = Target::Read(ReadPreference::Primary);
        spec.retryability = Retryability::Read;
        spec.read_concern = Some(ReadConcern::majority());
        spec
    }
}

/// For how many seconds the primary does not stand for election; 10 s for others to catch up.
fn replace_primary() -> CommandSpec {
    let body = rawdoc! { "replSetStepDown": 20, "secondaryCatchUpPeriodSecs": 10 };
    CommandSpec::new("replSetStepDown", "admin", body)
}

fn primary<H: Host>(events: &mut EventLoop<H>) -> String {
    let topology = events.engine().topology();
    let mut servers = topology.into_iter().flat_map(|t| t.servers.values());
    let primary = servers.find(|server| server.server_type == ServerType::RsPrimary);
    primary.map_or_else(|| "none".to_owned(), |server| server.address.to_string())
}
