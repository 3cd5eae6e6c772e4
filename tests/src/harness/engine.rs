//! The engine, hosted by one task on the simulation's runtime: it serves as an event loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bson::Document;
use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_core::{
    conn::IoFault,
    engine::{Command, Engine, Executed, Input, OpId, OpenError, Output, SocketId},
    error::Result,
    net::ServerAddress,
    op::CommandSpec,
    options::{ClientOptions, SessionOptions},
    pool::PoolCounts,
    settings::Environment,
};
use mongo_client_driver::runtime::{BoxFuture, BoxStream, DialTarget, Runtime, Timer};

use super::{Harness, Ran};
use crate::sim::Servers;

/// The engine with a host.
#[derive(Clone)]
pub struct EngineHarness {
    host: Arc<Mutex<Host>>,
}

type Dial = BoxFuture<'static, std::result::Result<BoxStream, OpenError>>;

struct Host {
    engine: Engine,
    runtime: Arc<dyn Runtime>,
    dials: BTreeMap<SocketId, Dial>,
    streams: BTreeMap<SocketId, BoxStream>,
    writing: BTreeSet<SocketId>,
    timer: Box<dyn Timer>,
    results: BTreeMap<OpId, Result<Executed>>,
    waiting: BTreeMap<OpId, Waker>,
    /// The loop's own waker: raised when something was told from outside.
    waker: Option<Waker>,
    closing: Option<Waker>,
}

impl Host {
    /// One turn of the loop. It serves until the simulation drops it: also a closed engine answers.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker = Some(cx.waker().clone());
        loop {
            self.outputs();
            if self.dial(cx) || self.write(cx) || self.read(cx) || self.time(cx) {
                continue;
            }
            if self.engine.is_closed() {
                self.closing.take().into_iter().for_each(Waker::wake);
            }
            return Poll::Pending;
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Close { conn } => {
                    self.dials.remove(&conn);
                    self.streams.remove(&conn);
                    self.writing.remove(&conn);
                }
                Output::Completed { op, result } => {
                    self.results.insert(op, result);
                    self.waiting.remove(&op).into_iter().for_each(Waker::wake);
                }
                Output::Derive { conn, job } => {
                    let (key, now) = (job.run(), self.runtime.now());
                    self.engine.handle(Input::Derived { conn, key }, now);
                }
                Output::Open { conn, address, .. } => {
                    let runtime = Arc::clone(&self.runtime);
                    self.dials.insert(conn, Box::pin(dial(runtime, address)));
                }
                Output::Write { conn } => {
                    self.writing.insert(conn);
                }
                Output::Event(event) => event.deliver(self.engine.options()),
                other => panic!("not expected of scripted servers: {other:?}"),
            }
        }
    }

    fn dial(&mut self, cx: &mut Context<'_>) -> bool {
        let mut done = Vec::new();
        for (conn, dial) in &mut self.dials {
            if let Poll::Ready(result) = dial.as_mut().poll(cx) {
                done.push((*conn, result));
            }
        }
        let any = !done.is_empty();
        for (conn, result) in done {
            self.dials.remove(&conn);
            let input = match result {
                Ok(stream) => {
                    self.streams.insert(conn, stream);
                    Input::Opened { conn }
                }
                Err(error) => Input::OpenFailed { conn, error },
            };
            self.engine.handle(input, self.runtime.now());
        }
        any
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        for conn in self.writing.clone() {
            let mut slices = [&[][..]; 1];
            let count = self.engine.poll_write(conn, &mut slices);
            let Some(stream) = self.streams.get_mut(&conn).filter(|_| count > 0) else {
                self.writing.remove(&conn);
                continue;
            };
            let input = match Pin::new(stream).poll_write(cx, slices[0]) {
                Poll::Pending => continue,
                Poll::Ready(Ok(n)) => Input::Written { conn, n },
                Poll::Ready(Err(error)) => Input::Fault {
                    conn,
                    fault: fault(&error),
                },
            };
            self.engine.handle(input, self.runtime.now());
            return true;
        }
        false
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        for (conn, stream) in &mut self.streams {
            let conn = *conn;
            let Some(space) = self.engine.read_space(conn) else {
                continue;
            };
            match Pin::new(stream).poll_read(cx, space) {
                Poll::Pending => {}
                Poll::Ready(Ok(n)) => {
                    self.engine.handle_read(conn, n, self.runtime.now());
                    return true;
                }
                Poll::Ready(Err(error)) => {
                    let fault = fault(&error);
                    let input = Input::Fault { conn, fault };
                    self.engine.handle(input, self.runtime.now());
                    return true;
                }
            }
        }
        false
    }

    fn time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((at, _)) = self.engine.poll_timeout() else {
            return false;
        };
        self.timer.reset(at);
        if self.timer.poll(cx).is_pending() {
            return false;
        }
        self.engine.handle(Input::Timeout, self.runtime.now());
        true
    }

    fn wake(&mut self) {
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

fn fault(error: &io::Error) -> IoFault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => IoFault::Reset,
        kind => IoFault::Other(kind),
    }
}

async fn dial(
    runtime: Arc<dyn Runtime>,
    address: ServerAddress,
) -> std::result::Result<BoxStream, OpenError> {
    let host = address.host().into_owned();
    let addresses = runtime.lookup(&host).await.map_err(OpenError::Lookup)?;
    let ip: IpAddr = addresses[0];
    let address = SocketAddr::new(ip, address.port().expect("scripted servers have ports"));
    let target = DialTarget::Tcp {
        address,
        keep_alive: false,
    };
    runtime.connect(target).await.map_err(OpenError::Connect)
}

fn lock(host: &Mutex<Host>) -> MutexGuard<'_, Host> {
    host.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operation that is under way; dropped, it is cancelled.
struct Running {
    host: Arc<Mutex<Host>>,
    op: Option<OpId>,
}

impl Running {
    fn submit(host: &Arc<Mutex<Host>>, command: Command) -> Self {
        let op = {
            let mut host = lock(host);
            let now = host.runtime.now();
            let op = host.engine.submit(command, now);
            host.wake();
            op
        };
        Self {
            host: Arc::clone(host),
            op: Some(op),
        }
    }
}

impl Future for Running {
    type Output = Result<Ran>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Ran>> {
        let op = self.op.expect("polled after its end");
        let result = {
            let mut host = lock(&self.host);
            let Some(result) = host.results.remove(&op) else {
                host.waiting.insert(op, cx.waker().clone());
                return Poll::Pending;
            };
            result
        };
        self.op = None;
        Poll::Ready(result.map(|executed| Ran {
            reply: Document::try_from(executed.reply.document()).expect("a scripted reply"),
            server: executed.server,
            address: executed.address,
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(op) = self.op {
            let mut host = lock(&self.host);
            let now = host.runtime.now();
            host.results.remove(&op);
            host.waiting.remove(&op);
            host.engine.cancel(op, now);
            host.wake();
        }
    }
}

impl Harness for EngineHarness {
    const NAME: &'static str = "engine";

    fn start(servers: &Servers, options: ClientOptions) -> Self {
        let runtime = servers.sim.runtime();
        let (clock, random) = (Arc::clone(&runtime), Arc::clone(&runtime));
        let engine = Engine::new(
            options,
            Environment::default(),
            Box::new(move |out: &mut [u8]| random.entropy(out)),
            Arc::new(move || clock.unix_time()),
            runtime.now(),
        );
        let host = Arc::new(Mutex::new(Host {
            engine: engine.expect("a test's options are valid"),
            timer: runtime.timer(),
            runtime,
            dials: BTreeMap::new(),
            streams: BTreeMap::new(),
            writing: BTreeSet::new(),
            results: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waker: None,
            closing: None,
        }));
        let looped = Arc::clone(&host);
        servers.sim.spawn(poll_fn(move |cx| lock(&looped).turn(cx)));
        Self { host }
    }

    fn execute(&self, spec: CommandSpec) -> BoxFuture<'static, Result<Ran>> {
        let host = Arc::clone(&self.host);
        // As a future of the driver, it begins when it is polled.
        Box::pin(async move { Running::submit(&host, Command::new(spec)).await })
    }

    fn in_session(&self, specs: Vec<CommandSpec>) -> BoxFuture<'static, Result<Vec<Ran>>> {
        let host = Arc::clone(&self.host);
        Box::pin(async move {
            let session = {
                let mut host = lock(&host);
                let now = host.runtime.now();
                host.engine.start_session(&SessionOptions::default(), now)?
            };
            let mut all = Vec::new();
            for spec in specs {
                let command = Command::new(spec).with_session(session);
                all.push(Running::submit(&host, command).await?);
            }
            let mut host = lock(&host);
            let now = host.runtime.now();
            host.engine.end_session(session, now);
            Ok(all)
        })
    }

    fn kill_cursor(&self, spec: CommandSpec) {
        let mut host = lock(&self.host);
        let now = host.runtime.now();
        host.engine.kill_cursor(Command::new(spec), now);
        host.wake();
    }

    fn pools(&self) -> Vec<(ServerAddress, PoolCounts)> {
        lock(&self.host).engine.census().pools
    }

    fn operations(&self) -> u32 {
        lock(&self.host).engine.census().operations
    }

    fn sessions(&self) -> usize {
        lock(&self.host).engine.census().sessions_idle
    }

    fn shutdown(&self) -> BoxFuture<'static, ()> {
        let host = Arc::clone(&self.host);
        Box::pin(async move {
            {
                let mut host = lock(&host);
                let now = host.runtime.now();
                host.engine.shutdown(now);
                host.wake();
            }
            poll_fn(|cx| {
                let mut host = lock(&host);
                if host.engine.is_closed() {
                    return Poll::Ready(());
                }
                host.closing = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        })
    }
}
