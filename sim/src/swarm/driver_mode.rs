//! Driver mode: the futures driver on the simulation's executor.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bson::RawDocumentBuf;
use mongo_client_core::{
    error::Result, event::EventHandler, options::SessionOptions, time::Instant,
};
use mongo_client_driver::{Ambient, Handle, ImplicitSession, Pinned, RuntimeSource, SessionArg};

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
use crate::{Fault, Hosted, Sim, choices::Streams};

/// The driver's clients and their servers.
pub(super) struct DriverMode {
    sim: Sim,
    hosted: Hosted<Servers>,
    clients: Vec<Client>,
    judge: Judge,
    plan: Plan,
}

struct Client {
    handle: Option<Handle>,
    closed: Arc<AtomicBool>,
}

impl DriverMode {
    pub(super) fn new(plan: &Plan, streams: &Streams, judge: &Judge) -> Self {
        let sim = Sim::with_choices(streams.fork("executor"));
        sim.set_yields(plan.yields);
        let servers = Servers::new(plan, streams, sim.now());
        if plan.srv {
            let names = servers.names().clone();
            sim.answer_datagrams(names::LATENCY, move |question| names.answer(question));
        }
        let config = plan.network();
        let hosted = sim.host_on(servers, config, streams.fork("net"));
        sim.set_observer(Some(judge.observer()));
        let mut this = Self {
            sim,
            hosted,
            clients: Vec::new(),
            judge: judge.clone(),
            plan: plan.clone(),
        };
        for client in 0..plan.clients {
            let handle = this.client(client);
            this.clients.push(Client {
                handle: Some(handle),
                closed: Arc::default(),
            });
        }
        this
    }

    fn client(&self, client: usize) -> Handle {
        let mut options = self.plan.options();
        options.cmap_event_handler = Some(self.handler(move |judge, at, event| {
            let event = &event;
            judge.observe(at, &Observation::Cmap { client, event });
        }));
        options.sdam_event_handler = Some(self.handler(move |judge, at, event| {
            let event = &event;
            judge.observe(at, &Observation::Sdam { client, event });
        }));
        options.command_event_handler = Some(self.handler(move |judge, at, event| {
            let event = &event;
            judge.observe(at, &Observation::Command { client, event });
        }));
        let runtime = self.sim.runtime_of(client);
        let ambient = Ambient::of(&runtime);
        let handle = Handle::new(options, RuntimeSource::given(runtime), ambient);
        handle.expect("the options of a plan are valid")
    }

    fn handler<T: 'static>(
        &self,
        hear: impl Fn(&Judge, Instant, T) + Send + Sync + 'static,
    ) -> EventHandler<T> {
        let (sim, judge) = (self.sim.clone(), self.judge.clone());
        EventHandler::callback(move |event| hear(&judge, sim.now(), event))
    }
}

impl World for DriverMode {
    forward!(to sim, servers to hosted);

    fn run_until(&mut self, at: Instant) {
        let time = at - self.sim.now();
        self.sim.block_on(self.sim.sleep(time));
    }

    fn begin(&mut self, mut work: Work) {
        let Some(handle) = self.clients[work.facts.client].handle.clone() else {
            return;
        };
        if work.facts.kind == OpKind::Insert {
            work.made = Some(handle.next_object_id());
        }
        let (sim, judge) = (self.sim.clone(), self.judge.clone());
        judge.observe(sim.now(), &Observation::Began(&work.facts));
        // Also what is dropped with the runtime tells its end, after all that it held.
        let ending = Ending {
            sim: sim.clone(),
            judge,
            op: work.facts.op,
            polls: 0,
            outcome: None,
        };
        self.sim.spawn(async move {
            let mut ending = ending;
            let polls = &mut ending.polls;
            let result = give_up(&sim, work.give_up, polls, run(handle, &work)).await;
            ending.outcome = result.map(|result| match result {
                Ok(replies) => Outcome::Done { replies },
                Err(error) => Outcome::Failed(error),
            });
        });
    }

    fn end_runtime(&mut self) -> bool {
        self.sim.drop_tasks();
        true
    }

    fn set_reads_max(&mut self, most: usize) {
        self.sim.set_reads_max(most);
    }

    fn counts(&self, client: usize, phase: Phase) -> ClientCounts {
        let census = self.clients[client].handle.as_ref().map(Handle::census);
        let census = census.unwrap_or_default();
        ClientCounts {
            client,
            phase,
            quiet: false,
            pending: self.judge.pending_of(client),
            waiting: census.view_waiters + census.wait_slots,
            pools: census.pools,
            operations: census.operations,
            sessions_idle: census.sessions,
            sockets: self.sim.sockets(client),
            tasks: self.sim.tasks_alive(),
            timers: 0,
        }
    }

    fn close(&mut self, client: usize) {
        let closed = Arc::clone(&self.clients[client].closed);
        if self.plan.let_go {
            // The last handle goes here, or with the last operation.
            self.clients[client].handle = None;
            closed.store(true, Ordering::Relaxed);
            return;
        }
        let Some(handle) = self.clients[client].handle.clone() else {
            return;
        };
        let (sim, judge) = (self.sim.clone(), self.judge.clone());
        self.sim.spawn(async move {
            handle.shutdown().await;
            drop(handle);
            judge.observe(sim.now(), &Observation::ClientClosed { client });
            closed.store(true, Ordering::Relaxed);
        });
    }

    fn is_closed(&self, client: usize) -> bool {
        self.clients[client].closed.load(Ordering::Relaxed)
    }

    fn release(&mut self) {
        for client in &mut self.clients {
            client.handle = None;
        }
        // Somebody comes, and goes at once.
        drop(self.client(self.plan.clients));
    }

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let tasks = self.sim.tasks_alive();
        if tasks > 0 {
            left.push(format!("{tasks} tasks"));
        }
        // The last one is the visitor of the end.
        for client in 0..=self.plan.clients {
            let open = self.sim.sockets(client);
            if open > 0 {
                left.push(format!("{open} connections of client {client}"));
            }
        }
        left
    }
}

/// Tells of the end of an operation when it is dropped.
struct Ending {
    sim: Sim,
    judge: Judge,
    op: u64,
    polls: u32,
    /// `None`: it was given up.
    outcome: Option<Outcome>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (op, polls) = (self.op, self.polls);
        let what = match &self.outcome {
            Some(outcome) => Observation::Ended { op, outcome },
            None => Observation::Dropped { op, polls },
        };
        self.judge.observe(self.sim.now(), &what);
    }
}

/// Runs a future to its end, or to where it is given up: then it is dropped, and `None`.
async fn give_up<F: Future>(
    sim: &Sim,
    when: Option<GiveUp>,
    polls: &mut u32,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let after = match when {
        Some(GiveUp::After(time)) => Some(time),
        _ => None,
    };
    let mut timer = pin!(sim.sleep(after.unwrap_or(Duration::ZERO)));
    poll_fn(|cx| {
        *polls += 1;
        if matches!(when, Some(GiveUp::BeforePoll(k)) if *polls >= k) {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if matches!(when, Some(GiveUp::AtPoll(k)) if *polls >= k) {
            return Poll::Ready(None);
        }
        if after.is_some() && timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// Runs an operation; its replies.
async fn run(handle: Handle, work: &Work) -> Result<Vec<RawDocumentBuf>> {
    match work.facts.kind {
        OpKind::Causal => causal(handle, work).await,
        OpKind::FindMany => many(handle, work).await,
        _ => {
            let executed = handle.execute(work.command(), SessionArg::Implicit).await?;
            let replies = vec![executed.reply.document().to_owned()];
            executed.recycle();
            Ok(replies)
        }
    }
}

/// Writes in a causal session, and reads what it has written.
async fn causal(handle: Handle, work: &Work) -> Result<Vec<RawDocumentBuf>> {
    let mut session = handle.start_session(SessionOptions::default()).await?;
    let mut replies = Vec::new();
    for spec in [work.command(), work.second()] {
        let explicit = SessionArg::Explicit(&mut session);
        let executed = handle.execute(spec, explicit).await?;
        replies.push(executed.reply.document().to_owned());
    }
    Ok(replies)
}

/// Reads by a cursor, to its end or until enough batches have come.
async fn many(handle: Handle, work: &Work) -> Result<Vec<RawDocumentBuf>> {
    let mut session = None;
    let keep = SessionArg::Keep(&mut session);
    let executed = handle.execute(work.command(), keep).await?;
    let mut replies = vec![executed.reply.document().to_owned()];
    let mut cursor = Cursor {
        reading: Reading::begin(work, executed.reply, executed.server)?,
        session,
        handle,
    };
    for _ in 1..work.batches_max {
        let Some(spec) = cursor.reading.next()? else {
            break;
        };
        let keep = SessionArg::Keep(&mut cursor.session);
        match cursor.handle.execute(spec, keep).await {
            Ok(executed) => {
                replies.push(executed.reply.document().to_owned());
                cursor.reading.fetched(executed.reply)?;
            }
            Err(error) => {
                cursor.reading.failed(&error);
                return Err(error);
            }
        }
    }
    Ok(replies)
}

/// A cursor that is killed when it is dropped before its end.
struct Cursor {
    reading: Reading,
    session: Option<ImplicitSession>,
    handle: Handle,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(spec) = self.reading.kill() {
            let (session, pinned) = (self.session.take(), Pinned::default());
            self.handle.kill_cursor(spec, session, pinned);
        }
    }
}
