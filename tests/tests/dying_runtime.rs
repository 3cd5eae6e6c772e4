//! A runtime that ends while it polls a task of the client: timers are ready early, and nothing can
//! be dialled, but the task is not dropped before it has returned.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use mongo_client::{
    Client,
    options::{ClientOptions, ServerAddress},
    runtime::{
        BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer,
        TokioRuntime,
    },
};
use mongo_client_core::time::{Instant, UnixMillis};
use mongo_client_tests::rt;

/// tokio, and a switch that lets it answer as it does when its end has begun.
#[derive(Clone)]
struct Dying {
    inner: Arc<TokioRuntime>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ends: AtomicBool,
    /// Told of the first timer that is ready too early.
    early: Mutex<Option<mpsc::Sender<()>>>,
    sleepers: Mutex<Vec<Waker>>,
}

impl Dying {
    fn ends(&self) -> bool {
        self.state.ends.load(Ordering::SeqCst)
    }

    /// From now on timers are ready, those too that somebody waits for; returns once a task has
    /// been told so.
    fn begin_to_end(&self) {
        let (early, told) = mpsc::channel();
        *self.state.early.lock().unwrap() = Some(early);
        self.state.ends.store(true, Ordering::SeqCst);
        for sleeper in self.state.sleepers.lock().unwrap().drain(..) {
            sleeper.wake();
        }
        told.recv().unwrap();
    }
}

struct DyingTimer {
    inner: Box<dyn Timer>,
    runtime: Dying,
}

impl Timer for DyingTimer {
    fn reset(&mut self, deadline: Instant) {
        self.inner.reset(deadline);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.runtime.state.sleepers.lock().unwrap();
        if self.runtime.ends() {
            if let Some(early) = self.runtime.state.early.lock().unwrap().take() {
                early.send(()).unwrap();
            }
            return Poll::Ready(());
        }
        sleepers.push(cx.waker().clone());
        self.inner.poll(cx)
    }
}

impl Runtime for Dying {
    fn name(&self) -> &'static str {
        "dying"
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn unix_time(&self) -> UnixMillis {
        self.inner.unix_time()
    }

    fn entropy(&self, out: &mut [u8]) {
        self.inner.entropy(out);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        self.inner.spawn(task)
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        self.inner.offload(job)
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(DyingTimer {
            inner: self.inner.timer(),
            runtime: self.clone(),
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.inner.lookup(host)
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        if self.ends() {
            return Box::pin(async { Err(io::Error::other("the runtime is shut down")) });
        }
        self.inner.connect(target)
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        self.inner.datagram(peer)
    }
}

/// Ends a runtime while a client works on it, against this server; the client is dropped later.
fn ends_in_time(address: SocketAddr, wait_for_server: impl FnOnce()) {
    let (done, ended) = mpsc::channel();
    let tokio = rt::tokio_runtime();
    let runtime = Dying {
        inner: Arc::new(TokioRuntime::new(tokio.handle().clone())),
        state: Arc::default(),
    };
    let mut options = ClientOptions::default();
    options.hosts = vec![ServerAddress::tcp(
        &address.ip().to_string(),
        address.port(),
    )];
    let client = Client::builder()
        .options(options)
        .runtime(Arc::new(runtime.clone()))
        .build()
        .unwrap();
    tokio.block_on(async { client.topology_description().await.unwrap() });
    wait_for_server();
    thread::spawn(move || {
        runtime.begin_to_end();
        // Waits for the polls under way.
        drop(tokio);
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(Duration::from_secs(20))
        .expect("a task of the client never returns");
    drop(client);
}

#[test]
fn a_runtime_ends_while_the_client_waits_for_a_silent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut accepted = None;
    ends_in_time(listener.local_addr().unwrap(), || {
        accepted = Some(listener.accept().unwrap());
    });
}

#[test]
fn a_runtime_ends_while_the_client_waits_for_the_next_check() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ends_in_time(listener.local_addr().unwrap(), || {
        drop(listener.accept().unwrap());
    });
}
