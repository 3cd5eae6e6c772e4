//! Happy eyeballs, which the driver builds of an adapter's single dials: through a client.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mongo_client::{
    Client,
    runtime::{BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer},
};
use mongo_client_driver::UnixMillis;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// An address that neither accepts nor refuses: the queue of its listener is full.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// Listens, and fills the queue.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    ///
    /// # Panics
    ///
    /// When the address answers nevertheless.
    pub fn new(address: &str) -> io::Result<Self> {
        let address: SocketAddr = address.parse().unwrap();
        let listener = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )?;
        listener.bind(&address.into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().unwrap();
        let mut queue = Vec::new();
        // The system rounds the length of the queue up; a few connections fill it.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            queue.push(stream);
            assert!(queue.len() < 32, "the queue of {address} does not fill");
        }
        Ok(Self {
            address,
            _listener: listener,
            _queue: queue,
        })
    }

    /// Where to dial in vain.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A runtime whose resolver knows one answer.
#[derive(Debug)]
pub struct Resolves {
    inner: Arc<dyn Runtime>,
    addresses: Vec<IpAddr>,
}

impl Resolves {
    /// Every name has these addresses.
    #[must_use]
    pub fn to(inner: Arc<dyn Runtime>, addresses: Vec<IpAddr>) -> Arc<dyn Runtime> {
        Arc::new(Self { inner, addresses })
    }
}

impl Runtime for Resolves {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn now(&self) -> mongo_client_driver::Instant {
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
        self.inner.timer()
    }

    fn lookup(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Ok(self.addresses.clone())))
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.inner.connect(target)
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        self.inner.datagram(peer)
    }
}

/// Starts a client for a name with `addresses` and waits until `listener` has heard its first
/// message; says how long that took.
fn reached(runtime: Arc<dyn Runtime>, addresses: Vec<IpAddr>, listener: TcpListener) -> Duration {
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut header = [0; 16];
        stream.read_exact(&mut header).unwrap();
        let opcode = i32::from_le_bytes(header[12..].try_into().unwrap());
        assert!([2004, 2013].contains(&opcode), "no hello: {opcode}");
    });
    let start = Instant::now();
    let uri = format!("mongodb://dual.test:{port}/?directConnection=true");
    let builder = Client::builder().uri(&uri).unwrap();
    let runtime = Resolves::to(runtime, addresses);
    let client = builder.runtime(runtime).build().unwrap();
    heard.join().unwrap();
    let time = start.elapsed();
    drop(client);
    time
}

/// The first family refuses: the second is tried at once.
pub async fn refusing_family_is_passed_over(runtime: Arc<dyn Runtime>) {
    let Some(good) = free_on_both(|port| TcpListener::bind((V4, port)).ok()) else {
        return;
    };
    offloaded(&runtime, |runtime| {
        let time = reached(runtime, vec![V6, V4], good);
        assert!(time < Duration::from_secs(5), "{time:?}");
    })
    .await;
}

/// The first family swallows everything: the second is tried after a short while, long before the
/// connection would time out.
pub async fn silent_family_is_overtaken(runtime: Arc<dyn Runtime>) {
    let found = free_on_both(|port| {
        let hole = BlackHole::new(&format!("[::1]:{port}")).ok()?;
        Some((hole, TcpListener::bind((V4, port)).ok()?))
    });
    let Some((hole, good)) = found else {
        return;
    };
    offloaded(&runtime, |runtime| {
        let time = reached(runtime, vec![V6, V4], good);
        assert!(time >= Duration::from_millis(200), "{time:?}");
        assert!(time < Duration::from_secs(5), "{time:?}");
    })
    .await;
    drop(hole);
}

/// The other way round: the name's IPv4 address is silent, IPv6 answers.
pub async fn silent_v4_is_overtaken_by_v6(runtime: Arc<dyn Runtime>) {
    let found = free_on_both(|port| {
        let hole = BlackHole::new(&format!("127.0.0.1:{port}")).ok()?;
        Some((hole, TcpListener::bind((V6, port)).ok()?))
    });
    let Some((hole, good)) = found else {
        return;
    };
    offloaded(&runtime, |runtime| {
        let time = reached(runtime, vec![V4, V6], good);
        assert!(time >= Duration::from_millis(200), "{time:?}");
        assert!(time < Duration::from_secs(5), "{time:?}");
    })
    .await;
    drop(hole);
}

/// Opens what a test needs on a port that is free in both families; `None` (with a word about it)
/// without IPv6.
fn free_on_both<T>(open: impl Fn(u16) -> Option<T>) -> Option<T> {
    for _ in 0..20 {
        let Ok(probe) = TcpListener::bind((V6, 0)) else {
            eprintln!("skipped: there is no IPv6");
            return None;
        };
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        if let Some(found) = open(port) {
            return Some(found);
        }
    }
    panic!("no port is free in both families");
}

/// Runs a blocking step without holding up the executor whose runtime is tested.
async fn offloaded(
    runtime: &Arc<dyn Runtime>,
    step: impl FnOnce(Arc<dyn Runtime>) + Send + 'static,
) {
    let inner = Arc::clone(runtime);
    let (send, receive) = tokio::sync::oneshot::channel();
    let thread = thread::spawn(move || {
        step(inner);
        // The thread is joined in any case.
        let _ = send.send(());
    });
    // An error means that the step panicked.
    let _ = receive.await;
    thread.join().unwrap();
}
