//! The states of a connection and all transitions between them.
//!
//! | state     | input                               | next                                    |
//! |-----------|-------------------------------------|-----------------------------------------|
//! | Opening   | TLS established                     | Opening, hello is queued                |
//! | Opening   | reply, more to do                   | Opening, next command or `Derive`       |
//! | Opening   | reply, done                         | Idle, `Established`                     |
//! | Idle      | `begin`                             | Busy                                    |
//! | Idle      | any message                         | Perished                                |
//! | Busy      | all written, no reply expected      | Idle                                    |
//! | Busy      | last reply                          | Idle, `Reply`                           |
//! | Busy      | exhaust reply, more to come         | Streaming, `Reply`                      |
//! | Busy      | `abandon`, nothing written, no TLS  | Idle                                    |
//! | Busy      | `abandon`, partly written           | Perished                                |
//! | Busy      | `abandon`, all written              | Draining                                |
//! | Busy      | `abandon` of an exhaust exchange    | Perished                                |
//! | Streaming | reply, more to come                 | Streaming, `Reply`                      |
//! | Streaming | last reply                          | Idle, `Reply`                           |
//! | Streaming | `abandon`                           | Perished                                |
//! | Draining  | the reply                           | Idle                                    |
//! | Draining  | a reply of more than 1 MiB          | Perished                                |
//! | Opening   | TLS fails                           | Opening, its alert is queued            |
//! | Opening   | the alert is written                | Perished, `Closed`                      |
//! | any       | deadline, fault, EOF, broken message| Perished, `Closed`                      |

mod ending;
mod incoming;

use std::{collections::VecDeque, fmt, io, sync::Arc, time::Duration};

use super::{
    Abandoned, BeginError, ConnError, ConnEvent, ConnTimer, ConnectionConfig, Health, IoFault,
    Phase, Purpose,
    channel::{Channel, Scratch, SendError},
    handshake::Handshake,
};
use crate::{
    auth::DerivedKey,
    error::Error,
    hello::HelloReply,
    id::{ConnId, ExchangeId},
    marks::{self, Mark},
    mutants::{self, Mutant},
    options::Compressor,
    rng::Entropy,
    time::Instant,
    wire::{MESSAGE_LEN_DEFAULT, Request},
};

/// How long the reply of an abandoned exchange is awaited.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How long that reply may be.
const DRAIN_LEN_MAX: usize = 1024 * 1024;

/// A request whose reply is awaited.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    id: ExchangeId,
    /// The `responseTo` that the next message must have.
    answers: i32,
    deadline: Option<Instant>,
    /// Whether the deadline is that of `socketTimeoutMS` and not the caller's.
    by_socket_timeout: bool,
    /// False for an unacknowledged write.
    expects_reply: bool,
    exhaust: bool,
    written: bool,
}

/// A connection that is being established.
struct Opening {
    handshake: Handshake,
    deadline: Option<Instant>,
    /// Whether the connection has shown life: TLS is up, or bytes could be written.
    connected: bool,
    /// The request that awaits its reply; `None` during the TLS handshake or key derivation.
    answers: Option<i32>,
    hello_sent: Instant,
    rtt: Duration,
    /// Why the connection ends as soon as the alert that tells the server so is written.
    parting: Option<Error>,
}

enum State {
    Opening(Box<Opening>),
    Idle,
    Busy(Exchange),
    Streaming(Exchange),
    Draining { answers: i32, until: Instant },
    Perished,
}

/// The protocol of one socket. See the [module](super) for what it decides.
///
/// Drive it so: write what [`poll_write`](Self::poll_write) offers, read into
/// [`read_space`](Self::read_space), keep the timer of [`poll_timeout`](Self::poll_timeout), and
/// after each of these take events with [`poll_event`](Self::poll_event) until there are none.
pub struct Connection {
    config: Arc<ConnectionConfig>,
    id: ConnId,
    purpose: Purpose,
    channel: Channel,
    state: State,
    hello: Option<Box<HelloReply>>,
    compressor: Option<Compressor>,
    events: VecDeque<ConnEvent>,
    next_request: i32,
    last_used: Instant,
}

impl Connection {
    /// Starts a connection; the connect timeout counts from here. The hello (or the first message
    /// of TLS) is ready to be written.
    ///
    /// # Errors
    ///
    /// Faults of the configuration: a host name that TLS cannot check, or an authentication
    /// mechanism that cannot be used.
    pub fn new(
        config: Arc<ConnectionConfig>,
        id: ConnId,
        purpose: Purpose,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Result<Self, ConnError> {
        let fail = |phase| {
            let address = config.address.clone();
            move |error: Error| ConnError {
                error: error.with_server(address),
                phase,
            }
        };
        let mut seed = [0; 4];
        entropy.fill(&mut seed);
        let channel = Channel::new(config.tls.as_ref(), &config.address.host())
            .map_err(fail(Phase::Connect))?;
        let handshake = Handshake::new(&config, purpose, entropy).map_err(fail(Phase::Auth))?;
        let opening = Opening {
            handshake,
            deadline: limit(config.connect_timeout, now),
            connected: false,
            answers: None,
            hello_sent: now,
            rtt: Duration::ZERO,
            parting: None,
        };
        let fail = fail(Phase::Connect);
        let mut conn = Self {
            config,
            id,
            purpose,
            channel,
            state: State::Opening(Box::new(opening)),
            hello: None,
            compressor: None,
            events: VecDeque::new(),
            // Not from 1: readers of command events then rarely see the same id twice.
            next_request: i32::from_le_bytes(seed) & 0x3fff_ffff,
            last_used: now,
        };
        conn.send_hello(now).map_err(fail)?;
        Ok(conn)
    }

    /// The connection's id in its pool.
    #[inline]
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// What the connection is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// What the server's reply to hello says of the connection, once established. The whole reply
    /// is in [`ConnEvent::Established`].
    #[inline]
    #[must_use]
    pub fn hello(&self) -> Option<&HelloReply> {
        self.hello.as_deref()
    }

    /// When the last exchange ended, or the connection was made.
    #[must_use]
    pub fn last_used(&self) -> Instant {
        self.last_used
    }

    /// What the connection is doing.
    #[inline]
    #[must_use]
    pub fn health(&self) -> Health {
        match self.state {
            State::Opening(_) => Health::Opening,
            State::Idle => Health::Idle,
            State::Busy(_) => Health::Busy,
            State::Streaming(_) => Health::Streaming,
            State::Draining { .. } => Health::Draining,
            State::Perished => Health::Perished,
        }
    }

    /// Where the next bytes of the socket go: never empty.
    #[inline]
    pub fn read_space(&mut self) -> &mut [u8] {
        self.channel.read_space()
    }

    /// Instead of [`read_space`](Self::read_space), for readers that can append to a vector: where
    /// the rest of a long reply goes, and how many bytes are missing. `None` at other times.
    #[inline]
    pub fn read_tail(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        self.channel.read_tail()
    }

    /// `n` bytes were read into [`read_space`](Self::read_space), or appended to
    /// [`read_tail`](Self::read_tail); 0 is the end of the stream.
    #[inline]
    pub fn handle_read(&mut self, n: usize, now: Instant) {
        if matches!(self.state, State::Perished) {
            return;
        }
        if n == 0 {
            self.mark_broken_drain();
            let error = self.channel.eof();
            return self.perish(error);
        }
        // Nothing that the server says can mend a failed handshake.
        if self.is_parting() {
            return;
        }
        if let Err(error) = self.receive(n, now) {
            if let State::Draining { .. } = self.state {
                marks::reached(Mark::DrainTooLong);
            }
            self.part(error);
        }
    }

    /// The socket failed.
    pub fn handle_fault(&mut self, fault: IoFault, _now: Instant) {
        if fault != IoFault::Interrupted {
            self.mark_broken_drain();
        }
        self.perish(fault.kind().into());
    }

    /// Whether there are bytes to write.
    #[inline]
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.channel.queue().is_empty()
    }

    /// Whether everything is written, and the next thing is a reply.
    #[inline]
    #[must_use]
    pub fn awaits_reply(&self) -> bool {
        let waits = match &self.state {
            State::Busy(exchange) => exchange.written && exchange.expects_reply,
            State::Streaming(_) => true,
            _ => false,
        };
        waits && !self.has_output()
    }

    /// Puts the bytes to write next into `out`; returns the number of slices, 0 for nothing.
    #[inline]
    #[must_use]
    pub fn poll_write<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        self.channel.queue().slices(out)
    }

    /// `n` of the bytes of [`poll_write`](Self::poll_write) were written.
    #[inline]
    pub fn handle_written(&mut self, n: usize, now: Instant) {
        self.channel.handle_written(n);
        let flushed = self.channel.queue().is_empty();
        match &mut self.state {
            State::Opening(opening) if flushed && opening.parting.is_some() => {
                if let Some(error) = opening.parting.take() {
                    self.perish(error);
                }
            }
            State::Opening(opening) if !self.channel.is_secure() && !opening.connected => {
                opening.connected = true;
                opening.hello_sent = now;
            }
            State::Busy(exchange) if flushed => {
                exchange.written = true;
                if !exchange.expects_reply {
                    self.state = State::Idle;
                    self.last_used = now;
                }
            }
            _ => {}
        }
    }

    /// The next deadline, and what it is for.
    #[inline]
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, ConnTimer)> {
        let (deadline, timer) = match &self.state {
            State::Opening(opening) => (opening.deadline, ConnTimer::Connect),
            State::Busy(exchange) | State::Streaming(exchange) => {
                (exchange.deadline, ConnTimer::Exchange)
            }
            State::Draining { until, .. } => (Some(*until), ConnTimer::Drain),
            State::Idle | State::Perished => (None, ConnTimer::Exchange),
        };
        deadline.map(|deadline| (deadline, timer))
    }

    /// Time has passed; nothing happens before the deadline.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some((_, timer)) = self.poll_timeout().filter(|(at, _)| *at <= now) else {
            return;
        };
        let text = match timer {
            ConnTimer::Connect => "connectTimeoutMS elapsed before the connection was established",
            ConnTimer::Exchange if self.ends_by_socket_timeout() => {
                "socketTimeoutMS elapsed before the reply arrived"
            }
            ConnTimer::Exchange => "the reply did not arrive in time",
            ConnTimer::Drain => {
                marks::reached(Mark::DrainTimeout);
                "the reply of an abandoned command did not arrive in time"
            }
        };
        self.perish(Error::io(io::Error::new(io::ErrorKind::TimedOut, text)));
    }

    /// Begins an exchange; the connection must be idle. The request's bytes are queued.
    ///
    /// On application connections the deadline is at most the socket timeout away.
    ///
    /// # Errors
    ///
    /// [`BeginError`]; the connection stays idle unless TLS failed.
    #[inline]
    pub fn begin(
        &mut self,
        request: &Request,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<ExchangeId, BeginError> {
        if !matches!(self.state, State::Idle) {
            return Err(BeginError::NotIdle(self.health()));
        }
        let compressor = self.compressor.filter(|_| request.compressible);
        let max = self.hello().map(|hello| hello.max_message_size_bytes);
        let id = self.next_id();
        let max = max.unwrap_or(MESSAGE_LEN_DEFAULT);
        match self.channel.send(request, id, compressor, max) {
            Ok(()) => {}
            Err(SendError::Frame(error)) => return Err(BeginError::Frame(error)),
            Err(SendError::Tls(error)) => {
                self.perish(error.clone());
                return Err(BeginError::Tls(error));
            }
        }
        let (deadline, by_socket_timeout) = self.exchange_deadline(deadline, now);
        self.state = State::Busy(Exchange {
            id: ExchangeId(id),
            answers: id,
            deadline,
            by_socket_timeout,
            expects_reply: !request.more_to_come,
            exhaust: request.exhaust_allowed,
            written: false,
        });
        Ok(ExchangeId(id))
    }

    /// Sets a new deadline for the exchange in progress: monitors do so for each streamed reply.
    pub fn set_deadline(&mut self, deadline: Option<Instant>, now: Instant) {
        let (deadline, by_socket_timeout) = self.exchange_deadline(deadline, now);
        if let State::Busy(exchange) | State::Streaming(exchange) = &mut self.state {
            exchange.deadline = deadline;
            exchange.by_socket_timeout = by_socket_timeout;
        }
    }

    /// Nobody waits for the exchange's reply any more.
    pub fn abandon(&mut self, exchange: ExchangeId, now: Instant) -> Abandoned {
        let events = self.events.len();
        self.events.retain(
            |event| !matches!(event, ConnEvent::Reply { exchange: e, .. } if *e == exchange),
        );
        if self.events.len() < events {
            marks::reached(Mark::CancelReplyRead);
        }
        match &self.state {
            State::Idle => Abandoned::Reusable,
            State::Busy(current) if current.id == exchange => {
                let current = *current;
                self.abandon_busy(current, now)
            }
            State::Draining { until, .. } => Abandoned::Drain { until: *until },
            _ => {
                self.give_up();
                Abandoned::Close
            }
        }
    }

    fn abandon_busy(&mut self, exchange: Exchange, now: Instant) -> Abandoned {
        let untouched = self.channel.queue().written() == 0 && !exchange.written;
        if untouched && !self.channel.is_secure() {
            marks::reached(Mark::CancelUnwritten);
            self.channel.withdraw();
            self.state = State::Idle;
            return Abandoned::Reusable;
        }
        let partial = self.channel.framer().partial_len();
        if !exchange.written || exchange.exhaust || partial > DRAIN_LEN_MAX {
            marks::reached(match (exchange.written, exchange.expects_reply) {
                (true, _) => Mark::CancelReplyTooLong,
                (false, true) => Mark::CancelPartlyWritten,
                (false, false) => Mark::CancelSilentPartlyWritten,
            });
            self.give_up();
            return Abandoned::Close;
        }
        if mutants::active(Mutant::WrongReply) {
            self.state = State::Idle;
            return Abandoned::Reusable;
        }
        let until = now + DRAIN_TIME_MAX;
        let answers = exchange.answers;
        self.state = State::Draining { answers, until };
        Abandoned::Drain { until }
    }

    /// A key of a [`ConnEvent::Derive`] is ready.
    pub fn handle_derived(&mut self, key: DerivedKey, now: Instant) {
        let State::Opening(opening) = &mut self.state else {
            return;
        };
        let next = opening.handshake.handle_derived(key, &self.config);
        if let Err(error) = next.and_then(|next| self.proceed(next, now)) {
            self.perish(error);
        }
    }

    /// The next event.
    #[inline]
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnEvent> {
        self.events.pop_front()
    }

    /// Takes buffers over for as long as bytes are moved; without them it makes its own.
    #[inline]
    pub fn lend(&mut self, scratch: &mut Scratch) {
        self.channel.lend(scratch);
    }

    /// Gives all buffers up that hold no part of a message. After a lend and whatever was read and
    /// written, an idle connection has none.
    #[inline]
    pub fn reclaim(&mut self, scratch: &mut Scratch) {
        self.channel.reclaim(scratch);
    }

    /// The room of all buffers that the connection has at this moment.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.channel.room()
    }

    /// The earlier of the caller's deadline and that of `socketTimeoutMS`, and whether it is the
    /// latter.
    #[inline]
    fn exchange_deadline(
        &self,
        deadline: Option<Instant>,
        now: Instant,
    ) -> (Option<Instant>, bool) {
        let socket = match self.purpose {
            Purpose::Application => limit(self.config.socket_timeout, now),
            Purpose::Monitor | Purpose::RttProbe => None,
        };
        if mutants::active(Mutant::DeadlineIgnored) {
            return (None, false);
        }
        match (deadline, socket) {
            (Some(deadline), Some(socket)) => (Some(deadline.min(socket)), socket < deadline),
            (deadline, socket) => (deadline.or(socket), socket.is_some()),
        }
    }

    fn ends_by_socket_timeout(&self) -> bool {
        matches!(&self.state, State::Busy(e) | State::Streaming(e) if e.by_socket_timeout)
    }

    #[inline]
    fn next_id(&mut self) -> i32 {
        self.next_request = self.next_request.checked_add(1).unwrap_or(1);
        self.next_request
    }

    /// Queues the hello once TLS is up (at once without TLS).
    fn send_hello(&mut self, now: Instant) -> Result<(), Error> {
        if self.channel.is_handshaking() {
            return Ok(());
        }
        let id = self.next_id();
        let State::Opening(opening) = &mut self.state else {
            return Ok(());
        };
        let request = opening.handshake.hello_request(&self.config)?;
        opening.connected = self.channel.is_secure();
        opening.answers = Some(id);
        opening.hello_sent = now;
        self.channel.send(&request, id, None, MESSAGE_LEN_DEFAULT)?;
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("server", &self.config.address)
            .field("purpose", &self.purpose)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

/// The end of an optional time limit; zero means none.
fn limit(timeout: Option<Duration>, now: Instant) -> Option<Instant> {
    let timeout = timeout.filter(|t| !t.is_zero())?;
    Some(now + timeout)
}
