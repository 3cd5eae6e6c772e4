//! Engine mode: engines pumped directly. An operation is a small state machine here.

use std::{collections::BTreeMap, time::Duration};

use bson::{RawDocumentBuf, rawdoc};
use mongo_client_core::{
    engine::{Command, Engine, Executed, OpId, SessionId},
    error::{Error, Result},
    op::CommandSpec,
    options::SessionOptions,
    time::Instant,
};

use super::{
    judge::Judge,
    names,
    observe::{ClientCounts, Observation, OpKind, Outcome, Phase},
    plan::Plan,
    reading::Reading,
    servers::Servers,
    workload::{GiveUp, Work},
    world::{World, forward},
};
use crate::{EngineWorld, Fault, Happening, choices::Streams};

/// What a poll stands for in engine mode.
const POLL: Duration = Duration::from_micros(250);

/// Engines and their servers.
pub(super) struct EngineMode {
    world: EngineWorld<Servers>,
    judge: Judge,
    /// The operations that are under way, by the number that the workload gave them.
    running: BTreeMap<u64, Running>,
    /// Their numbers, by those of the engines.
    numbers: BTreeMap<(usize, OpId), u64>,
    /// Clients that are being closed, and those that are.
    closing: Vec<usize>,
    closed: Vec<usize>,
}

struct Running {
    work: Work,
    op: OpId,
    session: Option<SessionId>,
    cursor: Option<Reading>,
    replies: Vec<RawDocumentBuf>,
}

impl EngineMode {
    pub(super) fn new(plan: &Plan, streams: &Streams, judge: &Judge) -> Self {
        let servers = Servers::new(plan, streams, Instant::from_nanos(1_000_000_000));
        let names = servers.names().clone();
        let mut world = EngineWorld::new(servers, plan.network(), streams.fork("net"));
        world.set_observer(judge.observer());
        if plan.srv {
            world.answer_datagrams(names::LATENCY, move |question| names.answer(question));
        }
        for _ in 0..plan.clients {
            let added = world.add_client(plan.options());
            let client = added.expect("the options of a plan are valid");
            if plan.srv {
                // What is begun first waits for the records, and is given up at once.
                let early = world.submit(client, Command::new(ping()));
                world.cancel(client, early);
            }
        }
        Self {
            world,
            judge: judge.clone(),
            running: BTreeMap::new(),
            numbers: BTreeMap::new(),
            closing: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn observe(&self, what: &Observation<'_>) {
        self.judge.observe(self.world.now(), what);
    }

    fn happened(&mut self) {
        while let Some(happening) = self.world.poll_happening() {
            match happening {
                Happening::Alarm(op) => self.give_up(op),
                Happening::Completed { client, op, result } => {
                    if let Some(number) = self.numbers.remove(&(client, op)) {
                        self.completed(number, result);
                    }
                }
                Happening::Event { .. } => {}
            }
        }
        let world = &self.world;
        let ended = |client: &usize| world.engine(*client).is_closed();
        let (closed, closing) = std::mem::take(&mut self.closing)
            .into_iter()
            .partition(ended);
        self.closing = closing;
        let closed: Vec<usize> = closed;
        for client in closed {
            self.observe(&Observation::ClientClosed { client });
            self.closed.push(client);
        }
    }

    /// Sends the next command of an operation.
    fn submit(&mut self, running: Running, spec: CommandSpec) {
        let mut running = running;
        let facts = &running.work.facts;
        let (number, client) = (facts.op, facts.client);
        running.op = self.world.submit(client, running.command(spec));
        self.numbers.insert((client, running.op), number);
        self.running.insert(number, running);
    }

    fn completed(&mut self, number: u64, result: Result<Executed>) {
        let Some(mut running) = self.running.remove(&number) else {
            return;
        };
        match result.and_then(|executed| running.take(executed)) {
            Ok(Some(spec)) => self.submit(running, spec),
            Ok(None) => self.end(running, None),
            Err(error) => self.end(running, Some(error)),
        }
    }

    /// An operation is over; what it holds is given back.
    fn end(&mut self, mut running: Running, error: Option<Error>) {
        if let (Some(error), Some(cursor)) = (&error, &mut running.cursor) {
            cursor.failed(error);
        }
        let replies = std::mem::take(&mut running.replies);
        let outcome = match error {
            None => Outcome::Done { replies },
            Some(error) => Outcome::Failed(error),
        };
        let op = running.work.facts.op;
        self.release_of(running);
        let outcome = &outcome;
        self.observe(&Observation::Ended { op, outcome });
    }

    fn release_of(&mut self, running: Running) {
        let client = running.work.facts.client;
        let cursor = running.cursor.and_then(|mut cursor| cursor.kill());
        match (cursor, running.session) {
            (Some(spec), session) => {
                let mut command = Command::new(spec);
                command.session = session;
                self.world.kill_cursor(client, command);
            }
            (None, Some(session)) => self.world.end_session(client, session),
            (None, None) => {}
        }
    }

    fn give_up(&mut self, op: u64) {
        if let Some(running) = self.running.remove(&op) {
            let client = running.work.facts.client;
            self.numbers.remove(&(client, running.op));
            self.world.cancel(client, running.op);
            self.release_of(running);
            self.observe(&Observation::Dropped { op, polls: 0 });
        }
    }
}

fn ping() -> CommandSpec {
    CommandSpec::new("ping", "db", rawdoc! { "ping": 1 })
}

impl Running {
    fn command(&self, spec: CommandSpec) -> Command {
        let mut command = Command::new(spec);
        if let Some(session) = self.session {
            command = command.with_session(session);
        }
        if let Some(deadline) = self.work.limit {
            command = command.with_deadline(deadline);
        }
        command
    }

    /// Takes a reply; the next command, if there is one.
    fn take(&mut self, executed: Executed) -> Result<Option<CommandSpec>> {
        self.replies.push(executed.reply.document().to_owned());
        match self.work.facts.kind {
            OpKind::Causal if self.replies.len() == 1 => Ok(Some(self.work.second())),
            OpKind::FindMany => self.next_batch(executed),
            _ => Ok(None),
        }
    }

    fn next_batch(&mut self, executed: Executed) -> Result<Option<CommandSpec>> {
        let Executed { reply, server, .. } = executed;
        let cursor = match &mut self.cursor {
            Some(cursor) => {
                cursor.fetched(reply)?;
                cursor
            }
            none => none.insert(Reading::begin(&self.work, reply, server)?),
        };
        let next = cursor.next()?;
        let enough = self.replies.len() as u64 >= self.work.batches_max;
        Ok(next.filter(|_| !enough))
    }
}

impl World for EngineMode {
    forward!(to world, servers to world);

    fn run_until(&mut self, at: Instant) {
        loop {
            self.happened();
            if !self.world.step(at) {
                break;
            }
        }
        self.happened();
    }

    fn begin(&mut self, mut work: Work) {
        self.observe(&Observation::Began(&work.facts));
        let (op, client) = (work.facts.op, work.facts.client);
        if work.facts.kind == OpKind::Insert {
            let made = |engine: &mut Engine, _| engine.next_object_id();
            work.made = Some(self.world.with_engine(client, made));
        }
        let at_once = matches!(work.give_up, Some(GiveUp::AtPoll(1)));
        let after = match work.give_up {
            _ if at_once => None,
            Some(GiveUp::After(time)) => Some(time),
            Some(GiveUp::AtPoll(poll) | GiveUp::BeforePoll(poll)) => Some(POLL * (poll - 1)),
            None => None,
        };
        let session = match work.facts.kind {
            OpKind::Causal => {
                let options = SessionOptions::default();
                match self.world.start_session(client, &options) {
                    Ok(session) => Some(session),
                    Err(error) => {
                        let outcome = &Outcome::Failed(error);
                        return self.observe(&Observation::Ended { op, outcome });
                    }
                }
            }
            OpKind::FindMany => Some(self.world.implicit_session(client)),
            _ => None,
        };
        let spec = work.command();
        let running = Running {
            work,
            op: OpId(0),
            session,
            cursor: None,
            replies: Vec::new(),
        };
        if at_once {
            // Before the host has done anything for it.
            let command = running.command(spec);
            self.world.with_engine(client, |engine, now| {
                let op = engine.submit(command, now);
                engine.cancel(op, now);
            });
            self.release_of(running);
            self.observe(&Observation::Dropped { op, polls: 0 });
            return self.happened();
        }
        self.submit(running, spec);
        if let Some(after) = after {
            self.world.alarm(self.world.now() + after, op);
        }
        self.happened();
    }

    fn end_runtime(&mut self) -> bool {
        false
    }

    fn set_reads_max(&mut self, most: usize) {
        // An engine is given all that has come.
        let _ = most;
    }

    fn counts(&self, client: usize, phase: Phase) -> ClientCounts {
        let census = self.world.census(client);
        ClientCounts {
            client,
            phase,
            quiet: false,
            pending: self.judge.pending_of(client),
            pools: census.pools,
            operations: census.operations,
            waiting: census.tickets,
            sessions_idle: census.sessions_idle,
            sockets: self.world.sockets(client),
            tasks: 0,
            timers: census.timers,
        }
    }

    fn close(&mut self, client: usize) {
        self.closing.push(client);
        self.world.shutdown(client);
        // What is begun now is over at once, and given up before anybody has seen that.
        let late = Command::new(ping());
        self.world.with_engine(client, |engine, now| {
            let op = engine.submit(late, now);
            engine.cancel(op, now);
        });
        self.happened();
    }

    fn is_closed(&self, client: usize) -> bool {
        self.closed.contains(&client)
    }

    fn release(&mut self) {}

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for client in 0..self.world.clients() {
            let census = self.world.census(client);
            let sockets = self.world.sockets(client);
            let counts = [
                (census.ops, "operations"),
                (census.operations as usize, "operations with a server"),
                (census.sockets, "connections"),
                (sockets, "sockets"),
                (census.tickets, "tickets"),
                (census.sessions_open, "sessions in use"),
                (census.timers, "timers"),
                (census.lookups, "lookups"),
                (census.pools.len(), "pools"),
            ];
            for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
                left.push(format!("{count} {what} of client {client}"));
            }
        }
        left
    }
}
