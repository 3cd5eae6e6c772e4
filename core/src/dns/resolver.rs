//! The machine that asks name servers for the SRV and TXT records of a host.
//!
//! Asks for SRV, then for TXT; each question goes to the name servers in turn, `attempts` times
//! around, each with its own timeout and a new random id. Only the asked server's answer with that
//! id and question counts; everything else is ignored. A truncated answer is fetched over a stream.
//!
//! ```text
//! Datagram --answer--> next question, Done
//!    |  \--truncated--> Connecting --opened--> Stream --answer--> next question, Done
//!    \--timeout, failure, fault (also of the stream)--> Datagram to the next server, Done
//! ```
//!
//! Invariants: 1. `Done` leaves exactly once and is the last action. 2. Every `OpenStream` is
//! followed by one `CloseStream`. 3. The number of datagrams is at most 2 × servers × attempts, so
//! that a lookup ends within that many timeouts.

use core::net::SocketAddr;
use std::{collections::VecDeque, mem, time::Duration};

use super::{
    DnsFault, SrvQuery, SrvRecords,
    message::{self, Kind, MESSAGE_LEN_MAX, Verdict},
};
use crate::{
    rng::{Entropy, Rng},
    time::Instant,
};

/// How long a name server may take when nothing else is configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often each name server is asked when nothing else is configured.
pub const DEFAULT_ATTEMPTS: u32 = 2;
/// The most name servers that are asked.
const NAME_SERVERS_MAX: usize = 8;

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverConfig {
    /// The name servers, in order of preference; at most eight are asked.
    pub name_servers: Vec<SocketAddr>,
    /// The limit for each answer. Default: 5 s.
    pub timeout: Duration,
    /// How often each name server is asked. Default: 2.
    pub attempts: u32,
    /// For tests: polls SRV records more often than once in 60 seconds.
    #[doc(hidden)]
    pub rescan_interval_min: Option<Duration>,
}

impl ResolverConfig {
    /// Asks these name servers with the default timeout and attempts.
    #[must_use]
    pub fn new(name_servers: Vec<SocketAddr>) -> Self {
        Self {
            name_servers,
            timeout: DEFAULT_TIMEOUT,
            attempts: DEFAULT_ATTEMPTS,
            rescan_interval_min: None,
        }
    }
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsAction {
    /// Close the stream that was opened last.
    CloseStream,
    /// The lookup is over; nothing follows.
    Done(Result<SrvRecords, DnsFault>),
    /// Open a stream, then call [`Resolver::handle_stream_opened`].
    OpenStream {
        /// The name server.
        server: SocketAddr,
    },
    /// Send a datagram; its loss needs no report.
    SendDatagram {
        /// The name server.
        server: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
}

#[derive(Debug)]
enum State {
    /// Waiting for a datagram.
    Datagram,
    /// Waiting for the stream to open.
    Connecting,
    /// Reading `length, message` from the stream; `out` is what is not yet written.
    Stream { out: Vec<u8>, input: Vec<u8> },
    /// The result has been given.
    Done,
}

/// One lookup of the records of one host.
#[derive(Debug)]
pub struct Resolver {
    query: SrvQuery,
    config: ResolverConfig,
    ids: Rng,
    kind: Kind,
    /// Sent questions of this kind: decides the server and when to give up.
    turn: usize,
    /// The id of the outstanding question.
    id: u16,
    state: State,
    deadline: Instant,
    fault: DnsFault,
    records: SrvRecords,
    actions: VecDeque<DnsAction>,
}

impl Resolver {
    /// Starts a lookup; the first action is ready at once.
    pub fn new(
        query: SrvQuery,
        mut config: ResolverConfig,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Self {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        config.name_servers.truncate(NAME_SERVERS_MAX);
        config.attempts = config.attempts.clamp(1, 10);
        let mut this = Self {
            query,
            config,
            ids: Rng::from_seed(u64::from_le_bytes(seed)),
            kind: Kind::Srv,
            turn: 0,
            id: 0,
            state: State::Datagram,
            deadline: now,
            fault: DnsFault::NoNameServer,
            records: SrvRecords::default(),
            actions: VecDeque::new(),
        };
        this.send(now);
        this
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<DnsAction> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called: the asked server has not answered by then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Done)).then_some(self.deadline)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.next_server(DnsFault::TimedOut, now);
        }
    }

    /// A datagram has come in.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if !matches!(self.state, State::Datagram) || self.server() != Some(from) {
            return;
        }
        match message::answer(bytes, self.id, &self.name(), self.kind) {
            Verdict::Foreign => {}
            Verdict::Truncated => {
                self.state = State::Connecting;
                self.deadline = now + self.config.timeout;
                self.actions
                    .push_back(DnsAction::OpenStream { server: from });
            }
            verdict => self.settle(verdict, now),
        }
    }

    /// The stream is open.
    pub fn handle_stream_opened(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting) {
            return;
        }
        match message::question(self.id, &self.name(), self.kind) {
            Ok(question) => {
                let len = u16::try_from(question.len()).unwrap_or(u16::MAX);
                let mut out = len.to_be_bytes().to_vec();
                out.extend_from_slice(&question);
                let input = Vec::new();
                self.state = State::Stream { out, input };
            }
            Err(fault) => self.finish(Err(fault)),
        }
        self.deadline = now + self.config.timeout;
    }

    /// What has to be written to the stream; each byte is given once.
    #[must_use]
    pub fn poll_stream_write(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Stream { out, .. } if !out.is_empty() => Some(mem::take(out)),
            _ => None,
        }
    }

    /// Bytes have come in on the stream; none at all means that it has ended.
    pub fn handle_stream_bytes(&mut self, bytes: &[u8], now: Instant) {
        let name = self.name();
        let State::Stream { input, .. } = &mut self.state else {
            return;
        };
        if bytes.is_empty() {
            let fault = DnsFault::Network("the stream ended early".to_owned());
            self.next_server(fault, now);
            return;
        }
        let room = 2 + MESSAGE_LEN_MAX - input.len();
        input.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some((prefix, rest)) = input.split_first_chunk::<2>() else {
            return;
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        let Some(message) = rest.get(..len) else {
            return;
        };
        let verdict = message::answer(message, self.id, &name, self.kind);
        self.settle(verdict, now);
    }

    /// A datagram could not be sent, or the stream could not be opened, written or read.
    pub fn handle_fault(&mut self, server: SocketAddr, why: &str, now: Instant) {
        if !matches!(self.state, State::Done) && self.server() == Some(server) {
            let why = format!("{server}: {why}");
            self.next_server(DnsFault::Network(why), now);
        }
    }

    /// Acts on an answer that belongs to the question, or that ends the stream.
    fn settle(&mut self, verdict: Verdict, now: Instant) {
        match verdict {
            // On a stream there is nothing else to wait for.
            Verdict::Foreign | Verdict::Truncated | Verdict::Malformed => {
                self.next_server(DnsFault::Malformed, now);
            }
            Verdict::Failure(code) => self.next_server(DnsFault::ServerFailure(code), now),
            Verdict::InvalidTarget => self.finish(Err(DnsFault::InvalidTarget)),
            Verdict::TxtNotText => self.finish(Err(DnsFault::TxtNotText)),
            Verdict::NoSuchName if self.kind == Kind::Txt => self.finish_found(),
            Verdict::NoSuchName => self.finish(Err(DnsFault::NoSuchName(self.name()))),
            Verdict::Srv(hosts, _) if hosts.is_empty() => {
                self.finish(Err(DnsFault::NoRecords(self.name())));
            }
            Verdict::Srv(hosts, min_ttl) => {
                self.records.hosts = hosts;
                self.records.min_ttl = min_ttl;
                if self.query.txt {
                    self.close_stream();
                    self.kind = Kind::Txt;
                    self.turn = 0;
                    self.send(now);
                } else {
                    self.finish_found();
                }
            }
            Verdict::Txt(texts) if texts.len() > 1 => self.finish(Err(DnsFault::MultipleTxt)),
            Verdict::Txt(texts) => {
                self.records.txt = texts.into_iter().next();
                self.finish_found();
            }
        }
    }

    fn next_server(&mut self, fault: DnsFault, now: Instant) {
        self.close_stream();
        self.fault = fault;
        self.turn += 1;
        self.send(now);
    }

    /// Sends the question to the server whose turn it is, or gives up.
    fn send(&mut self, now: Instant) {
        let Some(server) = self.server() else {
            let fault = self.fault.clone();
            self.finish(Err(fault));
            return;
        };
        self.id = self.ids.next_u64() as u16;
        match message::question(self.id, &self.name(), self.kind) {
            Ok(bytes) => {
                self.state = State::Datagram;
                self.deadline = now + self.config.timeout;
                self.actions
                    .push_back(DnsAction::SendDatagram { server, bytes });
            }
            Err(fault) => self.finish(Err(fault)),
        }
    }

    fn close_stream(&mut self) {
        if matches!(self.state, State::Connecting | State::Stream { .. }) {
            self.state = State::Datagram;
            self.actions.push_back(DnsAction::CloseStream);
        }
    }

    fn finish_found(&mut self) {
        let records = mem::take(&mut self.records);
        self.finish(Ok(records));
    }

    fn finish(&mut self, result: Result<SrvRecords, DnsFault>) {
        self.close_stream();
        self.state = State::Done;
        self.actions.push_back(DnsAction::Done(result));
    }

    /// The server whose turn it is; `None` when each was asked often enough.
    fn server(&self) -> Option<SocketAddr> {
        let servers = &self.config.name_servers;
        let round = self.turn.checked_div(servers.len())?;
        if round >= usize::try_from(self.config.attempts).unwrap_or(usize::MAX) {
            return None;
        }
        servers.get(self.turn % servers.len()).copied()
    }

    fn name(&self) -> String {
        let host = self.query.host.trim_end_matches('.');
        match self.kind {
            Kind::Srv => format!("_{}._tcp.{host}", self.query.service),
            Kind::Txt => host.to_owned(),
        }
    }
}
