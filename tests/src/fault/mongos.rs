//! Something like a mongos, or like a load balancer before some: a proxy of a mongod that rewrites
//! the replies to hellos.
//!
//! It says `msg: "isdbgrid"` and hides that the mongod belongs to a replica set. Everything else
//! passes as it is, so the target should be a primary. Compression is hidden too: the proxy reads
//! what passes.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bson::{Bson, Document, oid::ObjectId};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::proxy::{command, read_frame};
use crate::rt;

const OP_REPLY: i32 = 1;
const OP_MSG: i32 = 2013;
/// Where the document begins: after the header and, for `OP_MSG`, flags and the section's kind.
const OP_REPLY_BODY: usize = 36;
const OP_MSG_BODY: usize = 21;
/// What a mongos would not say of itself.
const HIDDEN: &[&str] = &[
    "arbiters",
    "compression",
    "electionId",
    "hidden",
    "hosts",
    "lastWrite",
    "me",
    "passives",
    "primary",
    "secondary",
    "setName",
    "setVersion",
    "tags",
];

#[derive(Debug, Default)]
struct State {
    latency: Duration,
    commands: BTreeMap<String, usize>,
    /// The services behind a load balancer, which connections are given in turn.
    services: Vec<ObjectId>,
    connected: usize,
}

/// What the tasks of a mongos share.
#[derive(Clone, Debug)]
struct Inner {
    state: Arc<Mutex<State>>,
    open: Arc<watch::Sender<usize>>,
}

/// A mongos of a sort, on a free loopback port; ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Mongos {
    address: SocketAddr,
    inner: Inner,
    task: JoinHandle<()>,
}

impl Mongos {
    /// Starts one in front of the mongod at `target`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        Self::start_at("127.0.0.1:0", target).await
    }

    /// Starts one at an address of choice.
    ///
    /// # Errors
    ///
    /// When the port is in use.
    pub async fn start_at(
        address: impl Into<String>,
        target: impl Into<String>,
    ) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind(address.into())).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let inner = Inner {
            state: Arc::default(),
            open: Arc::new(watch::Sender::new(0)),
        };
        let shared = inner.clone();
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, shared) = (target.clone(), shared.clone());
                connections.spawn(async move {
                    let _open = Open::new(&shared);
                    // Either side may break the connection.
                    let _ = relay(client, &target, &shared).await;
                });
            }
        });
        Ok(Self {
            address,
            inner,
            task,
        })
    }

    /// Starts a load balancer before so many services, which are all the mongod at `target`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start_balancer(target: impl Into<String>, services: usize) -> io::Result<Self> {
        let this = Self::start(target).await?;
        this.inner.lock().services = (0..services).map(|_| ObjectId::new()).collect();
        Ok(this)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays all replies from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.lock().latency = latency;
    }

    /// How many commands of this name it has got.
    #[must_use]
    pub fn count(&self, command: &str) -> usize {
        let state = self.inner.lock();
        state.commands.get(command).copied().unwrap_or(0)
    }

    /// How many connections it has.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.inner.open.borrow()
    }

    /// Waits until clients have closed all connections.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`PATIENCE`](crate::live::PATIENCE).
    pub async fn wait_until_left(&self) {
        let mut open = self.inner.open.subscribe();
        let none = open.wait_for(|n| *n == 0);
        let none = rt::timeout(crate::live::PATIENCE, none).await;
        assert!(none.is_ok(), "{} connections are left", self.connections());
    }
}

impl Drop for Mongos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// The service of the next connection.
    fn service(&self) -> Option<ObjectId> {
        let mut state = self.lock();
        state.connected += 1;
        let turn = state.connected.checked_rem(state.services.len())?;
        state.services.get(turn).copied()
    }
}

/// Counts a connection while it lives.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn new(inner: &Inner) -> Self {
        inner.open.send_modify(|n| *n += 1);
        Self(Arc::clone(&inner.open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

async fn relay(client: TcpStream, target: &str, inner: &Inner) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        end = requests(from_client, to_server, inner) => end,
        end = replies(from_server, to_client, inner) => end,
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    inner: &Inner,
) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut from).await? {
        let name = command(&frame).and_then(|c| c.keys().next().cloned());
        if let Some(name) = name {
            *inner.lock().commands.entry(name).or_insert(0) += 1;
        }
        to.write_all(&frame).await?;
    }
    Ok(())
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, inner: &Inner) -> io::Result<()> {
    let service = inner.service();
    while let Some(frame) = read_frame(&mut from).await? {
        let latency = inner.lock().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        to.write_all(&rewritten(&frame, service).unwrap_or(frame))
            .await?;
    }
    Ok(())
}

/// The reply to a hello as a mongos would give it; `None` for other messages.
fn rewritten(frame: &[u8], service: Option<ObjectId>) -> Option<Vec<u8>> {
    let code = i32::from_le_bytes(frame.get(12..16)?.try_into().ok()?);
    let at = match code {
        OP_MSG if *frame.get(20)? == 0 => OP_MSG_BODY,
        OP_REPLY => OP_REPLY_BODY,
        _ => return None,
    };
    let len = i32::from_le_bytes(frame.get(at..at + 4)?.try_into().ok()?);
    let body = frame.get(at..at + usize::try_from(len).ok()?)?;
    let mut hello: Document = bson::deserialize_from_slice(body).ok()?;
    if !hello.contains_key("maxWireVersion") {
        return None;
    }
    for field in HIDDEN {
        hello.remove(field);
    }
    for field in ["ismaster", "isWritablePrimary"] {
        if let Some(writable) = hello.get_mut(field) {
            *writable = Bson::Boolean(true);
        }
    }
    hello.insert("msg", "isdbgrid");
    if let Some(service) = service {
        hello.insert("serviceId", service);
    }
    let mut out = frame[..at].to_vec();
    if code == OP_MSG {
        // Without the checksum, which would be another.
        out[16] &= !1;
    }
    out.extend(bson::serialize_to_vec(&hello).ok()?);
    let len = i32::try_from(out.len()).ok()?;
    out[..4].copy_from_slice(&len.to_le_bytes());
    Some(out)
}
