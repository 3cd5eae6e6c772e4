//! A link: one connection machine, its stream and its timer. The only byte loop of the driver.
//!
//! The loop runs in the task of whoever holds the link; an idle link is polled by nobody. Nothing
//! here decides: bytes and deadlines go into the machine, events come out.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_core::{
    conn::{
        Abandoned, BeginError, ConnError, ConnEvent, Connection, ConnectionConfig, Health, IoFault,
        Phase, Purpose,
    },
    error::{Error, Result},
    hello::HelloReply,
    id::{ConnId, ExchangeId},
    net::ServerAddress,
    op::ConnFacts,
    time::Instant,
    wire::{Reply, Request},
};

use crate::{
    buffers,
    dial::{DialError, dial},
    incarnation::Incarnation,
    runtime::{BoxStream, Timer},
    signal::Signal,
    wait::Tick,
};

/// Raised on a link's signal: close at once (SDAM: interruptInUseConnections).
pub(crate) const INTERRUPT: u32 = 1;
/// The most slices handed to one vectored write.
const SLICES_MAX: usize = 16;
/// Loop turns in one poll before the task yields to the executor.
const TURNS_MAX: u32 = 1_000;

/// An established or opening connection with everything that drives it.
pub(crate) struct Link {
    conn: Connection,
    /// Of the hello, once the connection is established.
    facts: Option<ConnFacts>,
    stream: BoxStream,
    timer: Option<Box<dyn Timer>>,
    armed: Option<Instant>,
    signal: Arc<Signal>,
    life: Arc<Incarnation>,
    closed: Option<ConnError>,
}

/// What opening a link gave.
pub(crate) struct Opened {
    pub(crate) link: Box<Link>,
    pub(crate) hello: Box<HelloReply>,
    /// The round-trip time of the hello.
    pub(crate) rtt: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.conn.id())
    }
}

impl Link {
    /// Dials, and runs the handshake to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub(crate) async fn open(
        life: &Arc<Incarnation>,
        config: &Arc<ConnectionConfig>,
        keep_alive: bool,
        id: ConnId,
        purpose: Purpose,
        signal: Arc<Signal>,
    ) -> std::result::Result<Opened, ConnError> {
        let runtime = life.runtime();
        let deadline = config.connect_timeout.map(|t| runtime.now() + t);
        let stream = dial(&**runtime, &config.address, keep_alive, deadline)
            .await
            .map_err(|error| dial_error(error, &config.address))?;
        let mut entropy = |out: &mut [u8]| runtime.entropy(out);
        let conn = Connection::new(Arc::clone(config), id, purpose, &mut entropy, runtime.now())?;
        let mut link = Box::new(Self {
            conn,
            facts: None,
            stream,
            timer: None,
            armed: None,
            signal,
            life: Arc::clone(life),
            closed: None,
        });
        loop {
            match poll_fn(|cx| link.poll_event(cx)).await {
                ConnEvent::Established { hello, rtt } => {
                    link.facts = Some(ConnFacts::from(&*hello));
                    return Ok(Opened { link, hello, rtt });
                }
                ConnEvent::Derive(job) => {
                    let slot = Arc::new(Mutex::new(None));
                    let result = Arc::clone(&slot);
                    let run = move || {
                        let key = job.run();
                        if let Ok(mut slot) = result.lock() {
                            *slot = Some(key);
                        }
                    };
                    runtime.offload(Box::new(run)).await;
                    let key = slot.lock().ok().and_then(|mut slot| slot.take());
                    match key {
                        Some(key) => link.conn.handle_derived(key, runtime.now()),
                        None => link.conn.handle_fault(IoFault::Interrupted, runtime.now()),
                    }
                }
                ConnEvent::Closed(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// The incarnation of the runtime that the stream and the timer belong to.
    #[inline]
    pub(crate) fn life(&self) -> &Incarnation {
        &self.life
    }

    pub(crate) fn health(&self) -> Health {
        self.conn.health()
    }

    pub(crate) fn hello(&self) -> Option<&HelloReply> {
        self.conn.hello()
    }

    /// What operations need to know of the connection, once it is established.
    #[inline]
    pub(crate) fn facts(&self) -> Option<&ConnFacts> {
        self.facts.as_ref()
    }

    /// Why the connection closed, if it did.
    pub(crate) fn error(&self) -> Option<Error> {
        self.closed.as_ref().map(|closed| closed.error.clone())
    }

    pub(crate) fn id(&self) -> ConnId {
        self.conn.id()
    }

    /// Puts a request into the machine; the bytes leave with the next poll.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        request: &Request,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<ExchangeId> {
        let mut scratch = buffers::scratch();
        self.conn.lend(&mut scratch);
        let begun = self.conn.begin(request, deadline, now);
        // Otherwise it is polled next, or abandoned: then it gives up what it has.
        if begun.is_err() {
            self.conn.reclaim(&mut scratch);
        }
        buffers::keep_scratch(scratch);
        begun.map_err(|error| match error {
            // The connection failed, not the command.
            BeginError::Tls(error) => error,
            error => Error::invalid_argument(format!("command {}: {error}", request.name)),
        })
    }

    /// Sets the deadline of the reply that is awaited.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.conn.set_deadline(deadline, self.life.runtime().now());
    }

    /// Gives up on a running exchange.
    pub(crate) fn abandon(&mut self, exchange: ExchangeId) -> Abandoned {
        let abandoned = self.conn.abandon(exchange, self.life.runtime().now());
        let mut scratch = buffers::scratch();
        self.conn.reclaim(&mut scratch);
        buffers::keep_scratch(scratch);
        abandoned
    }

    /// Polls until the next reply: the first of an exchange, or the next of a stream.
    pub(crate) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(Reply, bool), ConnError>> {
        let life = Arc::clone(&self.life);
        self.poll_reply_at(cx, &mut Tick::new(&**life.runtime()))
    }

    /// As [`Self::poll_reply`], for those who tell the time.
    #[inline]
    pub(crate) fn poll_reply_at(
        &mut self,
        cx: &mut Context<'_>,
        tick: &mut Tick<'_>,
    ) -> Poll<std::result::Result<(Reply, bool), ConnError>> {
        loop {
            match ready!(self.poll_event_at(cx, tick)) {
                ConnEvent::Reply {
                    reply,
                    more_to_come,
                    ..
                } => {
                    return Poll::Ready(Ok((reply, more_to_come)));
                }
                ConnEvent::Closed(error) => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
    }

    /// Polls until every byte of an unacknowledged request is written.
    pub(crate) fn poll_sent(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(), ConnError>> {
        loop {
            if self.conn.health() == Health::Idle {
                return Poll::Ready(Ok(()));
            }
            match self.poll_event(cx) {
                Poll::Ready(ConnEvent::Closed(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(_) => {}
                Poll::Pending if self.conn.health() == Health::Idle => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Polls until a draining connection is idle (`true`) or perished (`false`).
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.conn.health() {
                Health::Draining | Health::Busy | Health::Streaming | Health::Opening => {}
                Health::Idle => return Poll::Ready(true),
                Health::Perished => return Poll::Ready(false),
            }
            if self.poll_event(cx).is_pending() {
                match self.conn.health() {
                    Health::Idle | Health::Perished => {}
                    _ => return Poll::Pending,
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ConnEvent> {
        let life = Arc::clone(&self.life);
        self.poll_event_at(cx, &mut Tick::new(&**life.runtime()))
    }

    /// Runs the machine until it has an event, with buffers that it need not keep.
    fn poll_event_at(&mut self, cx: &mut Context<'_>, tick: &mut Tick<'_>) -> Poll<ConnEvent> {
        let mut scratch = buffers::scratch();
        self.conn.lend(&mut scratch);
        let event = self.turn(cx, tick);
        self.conn.reclaim(&mut scratch);
        buffers::keep_scratch(scratch);
        event
    }

    /// The byte loop: runs the machine until it has an event.
    fn turn(&mut self, cx: &mut Context<'_>, tick: &mut Tick<'_>) -> Poll<ConnEvent> {
        let mut written = false;
        for _ in 0..TURNS_MAX {
            if let Some(event) = self.conn.poll_event() {
                if let ConnEvent::Closed(error) = &event {
                    self.closed = Some(error.clone());
                }
                return Poll::Ready(event);
            }
            let health = self.conn.health();
            if health == Health::Perished {
                // The one Closed event was taken before; say the same again.
                let error = self.closed.clone().unwrap_or_else(perished);
                return Poll::Ready(ConnEvent::Closed(error));
            }
            if self.signal.is_raised(INTERRUPT) {
                self.conn.handle_fault(IoFault::Interrupted, tick.now());
                continue;
            }
            if self.conn.has_output() && self.write(cx, tick) {
                written = true;
                if !self.conn.awaits_reply() {
                    continue;
                }
            }
            if health == Health::Idle {
                return Poll::Pending;
            }
            if self.read(cx, tick, written) || self.time(cx, tick) {
                continue;
            }
            self.signal.watch(cx);
            if self.signal.is_raised(INTERRUPT) {
                continue;
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the machine has; whether anything happened.
    #[inline]
    fn write(&mut self, cx: &mut Context<'_>, tick: &mut Tick<'_>) -> bool {
        let mut first: [&[u8]; 2] = [&[]; 2];
        let written = match self.conn.poll_write(&mut first) {
            0 => return false,
            1 => Pin::new(&mut self.stream).poll_write(cx, first[0]),
            _ => {
                let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
                let count = self.conn.poll_write(&mut slices);
                let slices = slices.map(IoSlice::new);
                Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count])
            }
        };
        match written {
            Poll::Ready(Ok(0)) => self.conn.handle_fault(IoFault::Reset, tick.now()),
            Poll::Ready(Ok(n)) => self.conn.handle_written(n, tick.now()),
            Poll::Ready(Err(error)) => self.conn.handle_fault(fault(&error), tick.now()),
            Poll::Pending => return false,
        }
        true
    }

    /// Reads into the machine's space; whether anything happened. What answers a request of the same
    /// poll (`written`) has taken some time, however short: the clock is read again.
    #[inline]
    fn read(&mut self, cx: &mut Context<'_>, tick: &mut Tick<'_>, written: bool) -> bool {
        let appended = match self.conn.read_tail() {
            Some((out, most)) => self.stream.poll_read_append(cx, out, most),
            None => None,
        };
        let read = appended
            .unwrap_or_else(|| Pin::new(&mut self.stream).poll_read(cx, self.conn.read_space()));
        match read {
            Poll::Ready(Ok(n)) => {
                let now = if written { tick.renew() } else { tick.now() };
                self.conn.handle_read(n, now);
            }
            Poll::Ready(Err(error)) => self.conn.handle_fault(fault(&error), tick.now()),
            Poll::Pending => return false,
        }
        true
    }

    /// Arms or fires the timer; whether a deadline has passed.
    #[inline]
    fn time(&mut self, cx: &mut Context<'_>, tick: &mut Tick<'_>) -> bool {
        let Some((deadline, _)) = self.conn.poll_timeout() else {
            return false;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| self.life.runtime().timer());
        if self.armed != Some(deadline) {
            timer.reset(deadline);
            self.armed = Some(deadline);
        }
        if timer.poll(cx).is_pending() {
            return false;
        }
        self.armed = None;
        // Time has passed since the poll began, or the timer would not be ready.
        let now = tick.renew();
        if now < deadline && self.life.is_dead() {
            // The timer has died with its runtime, and the link's other deadlines with it.
            self.conn.handle_fault(IoFault::Interrupted, now);
        } else {
            self.conn.handle_timeout(now);
        }
        true
    }
}

/// What a failed read or write means to the machine.
fn fault(error: &io::Error) -> IoFault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => IoFault::Reset,
        io::ErrorKind::TimedOut => IoFault::TimedOut,
        io::ErrorKind::ConnectionRefused => IoFault::Refused,
        kind => IoFault::Other(kind),
    }
}

fn dial_error(error: DialError, address: &ServerAddress) -> ConnError {
    let error = match error {
        DialError::Lookup(error) => {
            let error = Error::io(error).with_server(address.clone());
            return ConnError {
                error,
                phase: Phase::Connect,
            };
        }
        DialError::Connect(error) => Error::io(error).with_server(address.clone()),
    };
    ConnError::new(error, Phase::Connect)
}

fn perished() -> ConnError {
    let error = Error::internal("the connection perished without an error");
    ConnError {
        error,
        phase: Phase::Established,
    }
}
