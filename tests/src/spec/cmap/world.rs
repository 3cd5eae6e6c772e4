//! A pool, the threads of a file, and connections that take a millisecond to open, or what a fail
//! point makes of that; all on virtual time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mongo_client_core::{
    error::{CommandError, Error, ErrorKind},
    event::cmap::PoolEventOptions,
    id::{ConnId, Generation, Ticket},
    net::ServerAddress,
    pool::{
        CancelReason, Checkout, Lease, Pool, PoolAction, PoolConfig, PoolDirective, PoolError,
        PoolState,
    },
    time::Instant,
};
use serde_json::Value;

use super::event;

const MS: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
const MAIN: &str = "main";

/// Why an operation of the main thread ended the case.
#[derive(Debug)]
pub(super) enum Failure {
    /// The pool refused, which the file may expect.
    Pool(Box<PoolError>),
    /// The file cannot go on.
    Test(String),
}

#[derive(Debug)]
enum Doing {
    Checkout {
        ticket: Ticket,
        label: Option<String>,
        deadline: Instant,
    },
    Nothing,
    Sleep(Instant),
}

#[derive(Debug)]
struct Thread {
    doing: Doing,
    todo: VecDeque<Value>,
    error: Option<PoolError>,
}

impl Thread {
    fn new() -> Self {
        Self {
            doing: Doing::Nothing,
            todo: VecDeque::new(),
            error: None,
        }
    }

    fn is_done(&self) -> bool {
        self.todo.is_empty() && matches!(self.doing, Doing::Nothing)
    }
}

pub(super) struct World {
    pub(super) pool: Pool<ConnId>,
    pub(super) events: Vec<Value>,
    now: Instant,
    epoch: u64,
    checkout_timeout: Duration,
    background: bool,
    /// How long a connection's hello takes, and with which code the server refuses it.
    hello: (Duration, Option<i32>),
    openings: VecDeque<(Instant, ConnId)>,
    threads: BTreeMap<String, Thread>,
    labelled: BTreeMap<String, Lease<ConnId>>,
    unlabelled: Vec<Lease<ConnId>>,
}

impl World {
    /// A pool with the options of a file and a server with its fail point, which is about hellos.
    pub(super) fn new(options: &Value, fail_point: &Value) -> Result<Self, String> {
        let number = |name: &str| options[name].as_u64();
        let size = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        let mut config = PoolConfig::new(ServerAddress::default());
        config.events = true;
        let mut told = PoolEventOptions::default();
        told.max_pool_size = size("maxPoolSize");
        told.min_pool_size = size("minPoolSize");
        told.max_connecting = size("maxConnecting");
        told.max_idle_time = number("maxIdleTimeMS").map(Duration::from_millis);
        told.wait_queue_timeout = number("waitQueueTimeoutMS").map(Duration::from_millis);
        config.max_pool_size = told.max_pool_size.unwrap_or(config.max_pool_size);
        config.min_pool_size = told.min_pool_size.unwrap_or(config.min_pool_size);
        config.max_connecting = told.max_connecting.unwrap_or(config.max_connecting);
        config.max_idle_time = told.max_idle_time;
        let checkout_timeout = told.wait_queue_timeout.unwrap_or(WAIT_MAX);
        config.options = told;
        let mut world = Self {
            pool: Pool::new(config, Instant::ZERO),
            events: Vec::new(),
            now: Instant::ZERO,
            epoch: 0,
            checkout_timeout,
            background: options["backgroundThreadIntervalMS"].as_i64() != Some(-1),
            hello: hello(fail_point)?,
            openings: VecDeque::new(),
            threads: BTreeMap::from([(MAIN.to_owned(), Thread::new())]),
            labelled: BTreeMap::new(),
            unlabelled: Vec::new(),
        };
        world.settle();
        Ok(world)
    }

    /// Runs an operation of the file's list: in its thread, or to its end in the main one.
    pub(super) fn run(&mut self, operation: &Value) -> Result<(), Failure> {
        let text = |field: &str| operation[field].as_str().map(str::to_owned);
        let test = |why: &str| Failure::Test(why.to_owned());
        match operation["name"].as_str().unwrap_or_default() {
            "start" => {
                let target = text("target").ok_or_else(|| test("no target"))?;
                self.threads.insert(target, Thread::new());
                Ok(())
            }
            "waitForEvent" => {
                let event = text("event").ok_or_else(|| test("no event"))?;
                let count = operation["count"].as_u64().unwrap_or(1) as usize;
                let timeout = operation["timeout"].as_u64().map(Duration::from_millis);
                self.until(timeout.unwrap_or(WAIT_MAX), |world| {
                    let seen = world.events.iter().filter(|e| e["type"] == event.as_str());
                    seen.count() >= count
                })
            }
            "waitForThread" => {
                let target = text("target").ok_or_else(|| test("no target"))?;
                self.join(&target)
            }
            _ => {
                let thread = text("thread").unwrap_or_else(|| MAIN.to_owned());
                let entry = self.threads.get_mut(&thread);
                let entry = entry.ok_or_else(|| test("no such thread"))?;
                entry.todo.push_back(operation.clone());
                self.run_threads().map_err(Failure::Test)?;
                if thread == MAIN {
                    self.join(MAIN)?;
                }
                Ok(())
            }
        }
    }

    fn join(&mut self, name: &str) -> Result<(), Failure> {
        self.until(WAIT_MAX, |world| {
            world.threads.get(name).is_none_or(Thread::is_done)
        })?;
        match self.threads.get_mut(name).and_then(|t| t.error.take()) {
            Some(error) => Err(Failure::Pool(Box::new(error))),
            None => Ok(()),
        }
    }

    /// Lets time pass until something is true.
    fn until(&mut self, timeout: Duration, done: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let deadline = self.now + timeout;
        while !done(self) {
            let next = self.next_instant().filter(|at| *at <= deadline);
            let Some(next) = next else {
                return Err(Failure::Test(format!(
                    "nothing more happens; events: {:#?}",
                    self.events
                )));
            };
            self.now = self.now.max(next);
            self.advance().map_err(Failure::Test)?;
        }
        Ok(())
    }

    fn next_instant(&self) -> Option<Instant> {
        let threads = self.threads.values().filter_map(|t| match t.doing {
            Doing::Checkout { deadline, .. } => Some(deadline),
            Doing::Nothing => None,
            Doing::Sleep(until) => Some(until),
        });
        let openings = self.openings.iter().map(|(at, _)| *at);
        let pool = self.pool.poll_timeout().filter(|_| self.background);
        let pool = pool.map(|(at, _)| at);
        threads.chain(openings).chain(pool).min()
    }

    /// Does what is due.
    fn advance(&mut self) -> Result<(), String> {
        while let Some((at, id)) = self.openings.front().copied()
            && at <= self.now
        {
            self.openings.pop_front();
            match self.hello.1 {
                None => self.pool.opened(id, id, None, self.now),
                Some(code) => self.refuse(id, code),
            }
            self.settle();
        }
        let due = self
            .pool
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now);
        if self.background && due {
            self.pool.handle_timeout(self.now);
            self.settle();
        }
        let mut expired = Vec::new();
        for thread in self.threads.values_mut() {
            match thread.doing {
                Doing::Checkout {
                    ticket, deadline, ..
                } if deadline <= self.now => expired.push(ticket),
                Doing::Sleep(until) if until <= self.now => thread.doing = Doing::Nothing,
                _ => {}
            }
        }
        for ticket in expired {
            self.pool.cancel(ticket, CancelReason::Timeout, self.now);
            self.settle();
        }
        self.run_threads()
    }

    /// A server that shuts down refuses a hello: the topology clears the pool first.
    fn refuse(&mut self, id: ConnId, code: i32) {
        let mut error = CommandError::default();
        error.code = code;
        let error = Error::new(ErrorKind::Command(error));
        let generation = Generation(self.pool.generation().0 + 1);
        self.direct(generation, PoolState::Paused, false);
        self.pool.open_failed(id, &error, self.now);
    }

    fn run_threads(&mut self) -> Result<(), String> {
        let names: Vec<_> = self.threads.keys().cloned().collect();
        for name in names {
            while let Some(operation) = self.next_operation(&name) {
                let doing = self.execute(&name, &operation)?;
                self.settle_thread(&name, doing);
            }
        }
        Ok(())
    }

    fn next_operation(&mut self, name: &str) -> Option<Value> {
        let thread = self.threads.get_mut(name)?;
        match thread.doing {
            Doing::Nothing => thread.todo.pop_front(),
            Doing::Checkout { .. } | Doing::Sleep(_) => None,
        }
    }

    fn settle_thread(&mut self, name: &str, doing: Doing) {
        if let Some(thread) = self.threads.get_mut(name) {
            thread.doing = doing;
        }
        self.settle();
    }

    /// Starts an operation; what the thread does then.
    fn execute(&mut self, thread: &str, operation: &Value) -> Result<Doing, String> {
        match operation["name"].as_str().unwrap_or_default() {
            "checkIn" => {
                let label = operation["connection"].as_str().unwrap_or_default();
                let lease = self.labelled.remove(label).ok_or("no such connection")?;
                self.pool
                    .checkin(lease.token, lease.conn, true, None, self.now);
            }
            "checkOut" => {
                let label = operation["label"].as_str().map(str::to_owned);
                match self.pool.checkout(self.now) {
                    Checkout::Ready(lease) => self.keep(lease, label),
                    Checkout::Refused(error) => self.fail(thread, error),
                    Checkout::Wait(ticket) => {
                        return Ok(Doing::Checkout {
                            ticket,
                            label,
                            deadline: self.now + self.checkout_timeout,
                        });
                    }
                }
            }
            "clear" => {
                let interrupt = operation["interruptInUseConnections"].as_bool();
                let generation = Generation(self.pool.generation().0 + 1);
                let interrupt = interrupt.unwrap_or(false);
                self.direct(generation, PoolState::Paused, interrupt);
            }
            "close" => self.pool.close(self.now),
            "ready" => self.direct(self.pool.generation(), PoolState::Ready, false),
            "wait" => {
                let ms = operation["ms"].as_u64().ok_or("no ms")?;
                return Ok(Doing::Sleep(self.now + Duration::from_millis(ms)));
            }
            other => return Err(format!("unknown operation {other}")),
        }
        Ok(Doing::Nothing)
    }

    fn direct(&mut self, generation: Generation, state: PoolState, interrupt_in_use: bool) {
        self.epoch += 1;
        let directive = PoolDirective {
            epoch: self.epoch,
            generation,
            state,
            interrupt_in_use,
            service_id: None,
            cause: None,
        };
        self.pool.apply(directive, self.now);
    }

    fn keep(&mut self, lease: Lease<ConnId>, label: Option<String>) {
        match label {
            Some(label) => drop(self.labelled.insert(label, lease)),
            None => self.unlabelled.push(lease),
        }
    }

    fn fail(&mut self, thread: &str, error: PoolError) {
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.error = Some(error);
        }
    }

    /// Carries the pool's actions out.
    fn settle(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                PoolAction::Close { id, conn, .. } => assert_eq!(conn, Some(id), "wrong payload"),
                PoolAction::Event(event) => self.events.push(event::to_json(&event)),
                PoolAction::Fail { ticket, error } => {
                    let (name, _) = self.wake(ticket);
                    self.fail(&name, error);
                }
                PoolAction::Grant { ticket, lease } => {
                    let (_, label) = self.wake(ticket);
                    self.keep(lease, label);
                }
                PoolAction::Interrupt { id } => self.openings.retain(|(_, o)| *o != id),
                PoolAction::Open { id, .. } => {
                    self.openings.push_back((self.now + self.hello.0, id))
                }
            }
        }
    }

    /// Ends the wait of the thread that holds a ticket.
    fn wake(&mut self, ticket: Ticket) -> (String, Option<String>) {
        for (name, thread) in &mut self.threads {
            if let Doing::Checkout {
                ticket: held,
                label,
                ..
            } = &mut thread.doing
                && *held == ticket
            {
                let label = label.take();
                thread.doing = Doing::Nothing;
                return (name.clone(), label);
            }
        }
        panic!("{ticket} is nobody's");
    }
}

/// What a file's fail point makes of hellos: how long they take, and the code of their failure.
fn hello(fail_point: &Value) -> Result<(Duration, Option<i32>), String> {
    let data = &fail_point["data"];
    let commands = data["failCommands"].as_array();
    if !commands
        .into_iter()
        .flatten()
        .all(|c| c == "isMaster" || c == "hello")
    {
        return Err(format!("a fail point for other commands: {fail_point}"));
    }
    let blocks = data["blockConnection"].as_bool().unwrap_or(false);
    let time = data["blockTimeMS"].as_u64().filter(|_| blocks);
    let code = data["errorCode"].as_i64().map(i32::try_from).transpose();
    let code = code.map_err(|e| format!("errorCode: {e}"))?;
    Ok((time.map_or(MS, Duration::from_millis), code))
}
