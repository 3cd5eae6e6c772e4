//! The scripted network: listeners, byte pipes, and peers that answer.

mod conditions;
pub(crate) mod fabric;
pub(crate) mod fault;
mod lane;
pub(crate) mod network;
pub(crate) mod road;
pub(crate) mod stream;
pub(crate) mod strike;
#[cfg(test)]
mod tests;

use std::{
    collections::{VecDeque, vec_deque::Drain},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_driver::{Instant, runtime::Stream};

use crate::{
    executor::{Event, Sim, lock},
    machinery::Machinery,
};

/// The other end of a connection: gets the client's bytes, and says what to send back.
pub trait Peer: Send {
    /// The client has written bytes; they may be part of a message or several.
    fn receive(&mut self, bytes: &[u8], out: &mut PeerOutput<'_>);

    /// The connection is made; over the wire the peer can send at any time.
    fn opened(&mut self, wire: Wire) {
        let _ = wire;
    }

    /// The client has closed the connection.
    fn closed(&mut self) {}
}

impl<F: FnMut(&[u8], &mut PeerOutput<'_>) + Send> Peer for F {
    fn receive(&mut self, bytes: &[u8], out: &mut PeerOutput<'_>) {
        self(bytes, out);
    }
}

/// What a peer does in answer to bytes.
pub struct PeerOutput<'a> {
    pub(crate) buffer: &'a mut VecDeque<u8>,
    pub(crate) sent: Vec<(usize, Duration)>,
    pub(crate) close: Option<(io::ErrorKind, Duration)>,
    latency: Duration,
}

impl PeerOutput<'_> {
    /// Sends bytes, which arrive together after the listener's latency.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send_after(bytes, self.latency);
    }

    /// Sends bytes that arrive together after a delay.
    pub fn send_after(&mut self, bytes: &[u8], delay: Duration) {
        self.buffer.extend(bytes);
        self.sent.push((bytes.len(), delay));
    }

    /// Closes the connection in order (end of file) after all bytes sent so far.
    pub fn close(&mut self) {
        self.close = Some((io::ErrorKind::UnexpectedEof, self.latency));
    }

    /// Resets the connection after all bytes sent so far.
    pub fn reset(&mut self) {
        self.reset_after(self.latency);
    }

    /// Resets the connection after a delay, and after all bytes sent so far.
    pub fn reset_after(&mut self, delay: Duration) {
        self.close = Some((io::ErrorKind::ConnectionReset, delay));
    }
}

/// A peer's way to send without being asked.
#[derive(Clone)]
pub struct Wire {
    pub(crate) sim: Sim,
    pub(crate) pipe: SharedPipe,
    pub(crate) latency: Duration,
    pub(crate) flow: Flow,
}

impl Wire {
    /// Sends bytes, which arrive together after the listener's latency.
    pub fn send(&self, bytes: &[u8]) {
        self.pipe.lock().bytes.extend(bytes);
        self.schedule(vec![(bytes.len(), self.latency)], None);
    }

    /// Closes the connection in order after all bytes sent so far.
    pub fn close(&self) {
        let close = (io::ErrorKind::UnexpectedEof, self.latency);
        self.schedule(Vec::new(), Some(close));
    }

    /// Resets the connection after all bytes sent so far.
    pub fn reset(&self) {
        let close = (io::ErrorKind::ConnectionReset, self.latency);
        self.schedule(Vec::new(), Some(close));
    }

    /// Schedules what the peer has sent; with a pause it arrives chunk by chunk.
    fn schedule(&self, sent: Vec<(usize, Duration)>, close: Option<(io::ErrorKind, Duration)>) {
        let mut world = lock(&self.sim.world);
        let now = world.now;
        let mut last = now;
        for (mut len, delay) in sent {
            last = last.max(now + delay);
            while !self.flow.pause.is_zero() && len > self.flow.chunk {
                world.at(last, Event::Deliver(self.pipe.clone(), self.flow.chunk));
                len -= self.flow.chunk;
                last = last + self.flow.pause;
            }
            world.at(last, Event::Deliver(self.pipe.clone(), len));
        }
        if let Some((why, delay)) = close {
            let at = last.max(now + delay);
            world.at(at, Event::Close(self.pipe.clone(), why));
        }
    }
}

/// What a listener does with a dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// The connection is made, and its peer answers.
    #[default]
    Accept,
    /// The dial never ends.
    Hang,
    /// The dial fails at once.
    Refuse,
}

/// How fast bytes move over a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// The most bytes that one read or write moves.
    pub(crate) chunk: usize,
    /// The time between two chunks.
    pub(crate) pause: Duration,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            chunk: usize::MAX,
            pause: Duration::ZERO,
        }
    }
}

pub(crate) struct Listener {
    pub(crate) behaviour: Behaviour,
    pub(crate) latency: Duration,
    pub(crate) flow: Flow,
    pub(crate) accept: Arc<dyn Fn(u64) -> Box<dyn Peer> + Send + Sync>,
    pub(crate) pipes: Vec<SharedPipe>,
}

impl Sim {
    /// Listens on an address (`host:port` or a socket path); `accept` makes the peer of the n-th
    /// connection of the simulation, counted from 1.
    pub fn listen(
        &self,
        address: &str,
        accept: impl Fn(u64) -> Box<dyn Peer> + Send + Sync + 'static,
    ) {
        let listener = Listener {
            behaviour: Behaviour::Accept,
            latency: Duration::from_millis(1),
            flow: Flow::default(),
            accept: Arc::new(accept),
            pipes: Vec::new(),
        };
        lock(&self.world)
            .listeners
            .insert(address.to_owned(), listener);
    }

    /// Changes what a listener does with dials.
    pub fn set_behaviour(&self, address: &str, behaviour: Behaviour) {
        if let Some(listener) = lock(&self.world).listeners.get_mut(address) {
            listener.behaviour = behaviour;
        }
    }

    /// The most bytes that one read or write of a listener's new connections moves.
    pub fn set_chunk(&self, address: &str, bytes: usize) {
        if let Some(listener) = lock(&self.world).listeners.get_mut(address) {
            listener.flow.chunk = bytes;
        }
    }

    /// The time between two chunks of a listener's connections, in either direction: until then a
    /// write is `Pending`. Connections that exist keep theirs.
    pub fn set_pause(&self, address: &str, pause: Duration) {
        if let Some(listener) = lock(&self.world).listeners.get_mut(address) {
            listener.flow.pause = pause;
        }
    }

    /// How long the bytes of a listener's new connections are under way.
    pub fn set_latency(&self, address: &str, latency: Duration) {
        if let Some(listener) = lock(&self.world).listeners.get_mut(address) {
            listener.latency = latency;
        }
    }

    /// Resets every connection of a listener at once.
    pub fn reset_all(&self, address: &str) {
        let pipes = lock(&self.world)
            .listeners
            .get_mut(address)
            .map(|l| std::mem::take(&mut l.pipes))
            .unwrap_or_default();
        for pipe in pipes {
            pipe.close(io::ErrorKind::ConnectionReset);
        }
    }

    /// How many connections to a listener the client holds open.
    #[must_use]
    pub fn open_connections(&self, address: &str) -> usize {
        if let Some(open) = self.fabric().and_then(|fabric| fabric.open_to(address)) {
            return open;
        }
        let world = lock(&self.world);
        world
            .listeners
            .get(address)
            .map_or(0, |l| l.pipes.iter().filter(|p| p.is_open()).count())
    }
}

/// The bytes on their way to the client.
#[derive(Clone)]
pub(crate) struct SharedPipe(Arc<Mutex<Pipe>>);

struct Pipe {
    bytes: VecDeque<u8>,
    /// How many of `bytes` have arrived.
    arrived: usize,
    closed: Option<io::ErrorKind>,
    reader: Option<Waker>,
    client_open: bool,
}

impl SharedPipe {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Pipe {
            bytes: VecDeque::with_capacity(4096),
            arrived: 0,
            closed: None,
            reader: None,
            client_open: true,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        let pipe = self.lock();
        pipe.client_open && pipe.closed.is_none()
    }

    pub(crate) fn deliver(&self, bytes: usize) {
        let waker = {
            let mut pipe = self.lock();
            pipe.arrived += bytes;
            pipe.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn close(&self, why: io::ErrorKind) {
        let waker = {
            let mut pipe = self.lock();
            pipe.closed = Some(why);
            pipe.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The client's end of a connection.
pub(crate) struct SimStream {
    pub(crate) wire: Wire,
    pub(crate) peer: Box<dyn Peer>,
    /// When the next chunk may be written.
    pub(crate) writable: Instant,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.wire.pipe.lock().client_open = false;
        let _own = Machinery::enter();
        self.peer.closed();
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = out.len();
        self.read(cx, most, |bytes| {
            for (slot, byte) in out.iter_mut().zip(bytes) {
                *slot = byte;
            }
        })
    }
}

impl Stream for SimStream {
    fn poll_read_append(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        Some(self.read(cx, most, |bytes| out.extend(bytes)))
    }
}

impl SimStream {
    /// Gives `take` what has arrived, up to a chunk and `most`.
    fn read(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        take: impl FnOnce(Drain<'_, u8>),
    ) -> Poll<io::Result<usize>> {
        let _own = Machinery::enter();
        lock(&self.wire.sim.world).stats.reads += 1;
        let mut pipe = self.wire.pipe.lock();
        let n = pipe.arrived.min(most).min(self.wire.flow.chunk);
        if n > 0 {
            take(pipe.bytes.drain(..n));
            pipe.arrived -= n;
            return Poll::Ready(Ok(n));
        }
        match pipe.closed {
            Some(io::ErrorKind::UnexpectedEof) => Poll::Ready(Ok(0)),
            Some(why) => Poll::Ready(Err(why.into())),
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Moves at most a chunk of the slices to the peer, and schedules what it answers.
    fn write(&mut self, cx: &Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let _own = Machinery::enter();
        let now = {
            let mut world = lock(&self.wire.sim.world);
            world.stats.writes += 1;
            if world.now < self.writable {
                world.at(self.writable, Event::Wake(cx.waker().clone()));
                return Poll::Pending;
            }
            world.now
        };
        self.writable = now + self.wire.flow.pause;
        let mut pipe = self.wire.pipe.lock();
        if let Some(why) = pipe.closed {
            return Poll::Ready(Err(why.into()));
        }
        let mut out = PeerOutput {
            buffer: &mut pipe.bytes,
            sent: Vec::new(),
            close: None,
            latency: self.wire.latency,
        };
        let mut left = self.wire.flow.chunk;
        for slice in slices {
            let n = slice.len().min(left);
            self.peer.receive(&slice[..n], &mut out);
            left -= n;
        }
        let (sent, close) = (out.sent, out.close);
        drop(pipe);
        self.wire.schedule(sent, close);
        Poll::Ready(Ok(self.wire.flow.chunk - left))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.pipe.lock().client_open = false;
        Poll::Ready(Ok(()))
    }
}
