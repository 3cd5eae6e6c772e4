//! A DNS server on loopback whose zone, and whose manners, a test can change while it runs.

mod zone;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub use self::zone::{
    CNAME, DATAGRAM_BYTES_MAX, Data, NXDOMAIN, Question, REFUSED, Record, SERVFAIL, SRV, TXT, Zone,
};
use crate::rt;

/// How often a port for both ways is looked for.
const PORTS_MAX: usize = 50;

/// The way that a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a datagram (UDP).
    Datagram,
    /// On a stream (TCP).
    Stream,
}

/// A question that a name server got.
#[derive(Clone, Debug)]
pub struct Query {
    /// How it came.
    pub way: Way,
    /// What it asks for.
    pub question: Question,
    /// What the zone says to that, whatever its length.
    pub answer: Vec<u8>,
}

/// What a name server does with a question.
#[derive(Clone, Debug, Default)]
pub enum Reaction {
    /// Answers as its zone says; a datagram that would be too long is truncated.
    #[default]
    Zone,
    /// Says nothing.
    Silence,
    /// Answers with a response code and no records.
    Code(u8),
    /// Says that the answer does not fit into a datagram.
    Truncated,
    /// Sends these messages, one after the other, as they are.
    Messages(Vec<Vec<u8>>),
    /// Sends the same message without end.
    Flood(Vec<u8>),
    /// Writes the message to the stream in pieces of so many bytes, with a pause after each.
    Pieces(Vec<u8>, usize, Duration),
    /// Writes these bytes to the stream, without a length before them, and closes it.
    Bytes(Vec<u8>),
}

type Rule = dyn Fn(&Query) -> Reaction + Send + Sync;

struct State {
    zone: Zone,
    rule: Arc<Rule>,
    queries: Vec<Query>,
}

/// What the tasks of a name server share.
#[derive(Clone)]
struct Inner {
    state: Arc<Mutex<State>>,
    count: Arc<watch::Sender<usize>>,
}

/// A name server on a free loopback port, with the same number for datagrams and streams; ends,
/// with its streams, when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    inner: Inner,
    tasks: [JoinHandle<()>; 2],
}

impl fmt::Debug for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl NameServer {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(zone: Zone) -> io::Result<Self> {
        let (socket, listener) = rt::outside_run(bind("127.0.0.1:0")).await?;
        Self::run(zone, socket, listener)
    }

    /// Starts to answer at an address where a name server ended before.
    ///
    /// # Errors
    ///
    /// When the port is in use.
    pub async fn start_at(address: SocketAddr, zone: Zone) -> io::Result<Self> {
        let (socket, listener) = rt::outside_run(async move {
            let socket = UdpSocket::bind(address).await?;
            Ok((socket, TcpListener::bind(address).await?))
        })
        .await?;
        Self::run(zone, socket, listener)
    }

    fn run(zone: Zone, socket: UdpSocket, listener: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let inner = Inner {
            state: Arc::new(Mutex::new(State {
                zone,
                rule: Arc::new(|_| Reaction::Zone),
                queries: Vec::new(),
            })),
            count: Arc::new(watch::Sender::new(0)),
        };
        let tasks = [
            rt::outside().spawn(datagrams(socket, inner.clone())),
            rt::outside().spawn(streams(listener, inner.clone())),
        ];
        Ok(Self {
            address,
            inner,
            tasks,
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the zone.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.inner.lock().zone);
    }

    /// Sets what decides what is done with each question; at first all get [`Reaction::Zone`].
    pub fn set_rule(&self, rule: impl Fn(&Query) -> Reaction + Send + Sync + 'static) {
        self.inner.lock().rule = Arc::new(rule);
    }

    /// The questions so far.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        self.inner.lock().queries.clone()
    }

    /// How many questions there were of this type.
    #[must_use]
    pub fn count(&self, kind: u16) -> usize {
        let queries = &self.inner.lock().queries;
        queries.iter().filter(|q| q.question.kind == kind).count()
    }

    /// Waits until so many questions have come in all, counted from the start.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`PATIENCE`](crate::live::PATIENCE).
    pub async fn wait_for(&self, queries: usize) {
        let mut count = self.inner.count.subscribe();
        let come = count.wait_for(|n| *n >= queries);
        let come = rt::timeout(crate::live::PATIENCE, come).await;
        let got = self.queries().len();
        assert!(come.is_ok(), "{got} of {queries} questions have come");
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A port that is free for both.
async fn bind(address: &str) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS_MAX {
        let socket = UdpSocket::bind(address).await?;
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Takes a message in; the query and what to do with it.
    fn react(&self, way: Way, message: &[u8]) -> Option<(Query, Reaction)> {
        let question = Question::parse(message)?;
        let (query, rule, count) = {
            let mut state = self.lock();
            let query = Query {
                way,
                answer: state.zone.answer(&question),
                question,
            };
            state.queries.push(query.clone());
            (query, Arc::clone(&state.rule), state.queries.len())
        };
        let reaction = rule(&query);
        self.count.send_replace(count);
        Some((query, reaction))
    }
}

async fn datagrams(socket: UdpSocket, inner: Inner) {
    let socket = Arc::new(socket);
    let mut floods = JoinSet::new();
    let mut message = [0; 2048];
    loop {
        // An error tells of a client that is gone.
        let Ok((len, from)) = socket.recv_from(&mut message).await else {
            continue;
        };
        let Some((query, reaction)) = inner.react(Way::Datagram, &message[..len]) else {
            continue;
        };
        let question = &query.question;
        let messages = match reaction {
            Reaction::Zone if query.answer.len() > DATAGRAM_BYTES_MAX => vec![question.truncated()],
            Reaction::Zone => vec![query.answer],
            Reaction::Code(code) => vec![question.answer(code, &[])],
            Reaction::Truncated => vec![question.truncated()],
            Reaction::Messages(messages) => messages,
            Reaction::Flood(message) => {
                let socket = Arc::clone(&socket);
                floods.spawn(async move {
                    // Ends with the name server: nobody tells it that the client is gone.
                    while socket.send_to(&message, from).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                });
                continue;
            }
            Reaction::Silence | Reaction::Pieces(..) | Reaction::Bytes(_) => continue,
        };
        for message in messages {
            // A lost answer is asked for again.
            let _ = socket.send_to(&message, from).await;
        }
    }
}

async fn streams(listener: TcpListener, inner: Inner) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let inner = inner.clone();
        streams.spawn(async move {
            // The client may break the stream off.
            let _ = stream_of(stream, &inner).await;
        });
    }
}

async fn stream_of(mut stream: TcpStream, inner: &Inner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let len = stream.read_u16().await?;
        let mut message = vec![0; usize::from(len)];
        stream.read_exact(&mut message).await?;
        let Some((query, reaction)) = inner.react(Way::Stream, &message) else {
            return Ok(());
        };
        let question = &query.question;
        let messages = match reaction {
            Reaction::Zone => vec![query.answer],
            Reaction::Code(code) => vec![question.answer(code, &[])],
            Reaction::Truncated => vec![question.truncated()],
            Reaction::Messages(messages) => messages,
            Reaction::Silence => continue,
            Reaction::Flood(message) => loop {
                stream.write_all(&framed(&message)).await?;
            },
            Reaction::Pieces(message, len, pause) => {
                for piece in framed(&message).chunks(len.max(1)) {
                    stream.write_all(piece).await?;
                    tokio::time::sleep(pause).await;
                }
                continue;
            }
            Reaction::Bytes(bytes) => return stream.write_all(&bytes).await,
        };
        for message in messages {
            stream.write_all(&framed(&message)).await?;
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message has less than 65536 bytes");
    [&len.to_be_bytes(), message].concat()
}
