//! One simulated server: bytes and time in, bytes and a wake-up time out.
//!
//! The machine has no clock, no sockets and no randomness of its own: time is an argument and
//! decisions come from [`Choices`]. A connection serves one command after the other; a command that
//! has to wait (for a write concern, for news of the topology, in a fail point) parks its
//! connection, and [`SimServer::settle`] resumes it. What the server does about other members it
//! only asks for ([`Demand`]); [`SimReplicaSet`](crate::SimReplicaSet) answers.

mod commands;
mod concern;
mod dispatch;
mod failpoint;
mod hello;
mod log;
mod member;
mod park;
mod reply;
mod route;
mod scram;
mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bson::{Bson, Document, Timestamp, doc, oid::ObjectId};
use mongo_client_core::time::Instant;

pub(crate) use self::{
    commands::{cursors::Cursor, status::PARAMETERS},
    failpoint::DATA_FIELDS,
    log::{Data, Entry, Retry},
    member::{Membership, State},
    route::Destination,
    table::{SPECS, lookup},
};
use self::{
    failpoint::{FailPoint, Injected},
    park::{After, Busy},
    reply::Reply,
};
pub use self::{log::OpTime, scram::User};
use crate::{
    choices::Choices,
    failure::{Failure, Result, is_retryable_write},
    set::Wanted,
    wire::{self, Command, Elements, Framer, Request},
};

/// What a server is told at its beginning.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its address, `host:port`.
    pub address: String,
    /// The wall clock, in milliseconds since 1970, at the zero of the machine's time.
    pub wall_epoch_ms: i64,
    /// Who may authenticate; without anybody, nobody has to.
    pub users: Vec<User>,
}

impl ServerConfig {
    /// A server at an address, in 2026.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            wall_epoch_ms: 1_767_225_600_000,
            users: Vec::new(),
        }
    }
}

/// What leaves a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for a connection.
    Bytes(u64, Vec<u8>),
    /// A connection ends in order.
    Close(u64),
    /// A connection is reset.
    Reset(u64),
}

/// What a test wants instead of the server's own answer.
#[derive(Clone, Debug)]
pub enum Scene {
    /// The server closes the connection.
    Close,
    /// The server answers with this document, `ok` included, after a time.
    Reply(Document, Duration),
    /// The server never answers.
    Silence,
}

/// A command as it came, for the hook of a test.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The connection.
    pub connection: u64,
    /// The command, its sequences as arrays.
    pub command: &'a Command,
    /// When it came.
    pub now: Instant,
}

/// Asked about each command before the server looks at it.
pub type Hook = Box<dyn FnMut(Seen<'_>) -> Option<Scene> + Send>;

/// What a server wants from its replica set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Demand {
    /// Of a router: a command for a member, whose reply a connection waits for.
    Forward {
        connection: Option<u64>,
        command: Document,
        to: Destination,
    },
    Reconfigure {
        connection: u64,
        config: Wanted,
        force: bool,
    },
    StepDown {
        connection: u64,
        period: Duration,
        catch_up: Duration,
        force: bool,
    },
}

/// A simulated server.
pub struct SimServer {
    config: ServerConfig,
    choices: Box<dyn Choices>,
    pub(crate) data: Data,
    /// `None` for a standalone server.
    pub(crate) membership: Option<Membership>,
    connections: BTreeMap<u64, Connection>,
    /// The connections whose commands wait, and until when.
    parked: BTreeMap<u64, Option<Instant>>,
    cursors: BTreeMap<i64, Cursor>,
    fail_point: FailPoint,
    /// The fail point of retryable writes.
    transactional_write: Box<FailPoint>,
    hook: Option<Hook>,
    outputs: VecDeque<Output>,
    pub(crate) demands: VecDeque<Demand>,
    process: ObjectId,
    /// The counter of the topology version.
    version: i64,
    /// The greatest cluster time seen.
    clock: Timestamp,
    reply_ids: i32,
    compressed: u64,
    wire_versions: (i32, i32),
    message_len_max: i32,
    /// The server is a router.
    routing: Option<route::Routing>,
}

#[derive(Default)]
struct Connection {
    framer: Framer,
    app_name: Option<String>,
    /// The client knows the newer names, which errors use then.
    hello_ok: bool,
    scram: Option<scram::Conversation>,
    /// Who has authenticated.
    user: Option<String>,
    busy: Option<Busy>,
    /// The next turn of an exhaust request.
    again: Option<Request>,
    /// A fail point closes the connection instead of answering the command that runs.
    cut: bool,
}

impl SimServer {
    /// A standalone server.
    #[must_use]
    pub fn new(config: ServerConfig, mut choices: Box<dyn Choices>) -> Self {
        let process = object_id(&mut *choices);
        Self {
            config,
            choices,
            data: Data::default(),
            membership: None,
            connections: BTreeMap::new(),
            parked: BTreeMap::new(),
            cursors: BTreeMap::new(),
            fail_point: FailPoint::default(),
            transactional_write: Box::default(),
            hook: None,
            outputs: VecDeque::new(),
            demands: VecDeque::new(),
            process,
            version: 0,
            clock: Timestamp {
                time: 0,
                increment: 0,
            },
            reply_ids: 0,
            compressed: 0,
            wire_versions: (0, 17),
            message_len_max: 48_000_000,
            routing: None,
        }
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.config.address
    }

    /// Sets what is asked about each command; `None` there lets the server answer.
    pub fn set_hook(&mut self, hook: impl FnMut(Seen<'_>) -> Option<Scene> + Send + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// Takes the hook away.
    pub fn clear_hook(&mut self) {
        self.hook = None;
    }

    /// Sets the fail point `failCommand`, as the command `configureFailPoint` does.
    ///
    /// # Errors
    ///
    /// What the server has against the command.
    pub fn configure_fail_point(&mut self, command: &Document) -> Result<(), String> {
        let set = self.fail_point.configure(command);
        set.map(drop).map_err(|failure| failure.message)
    }

    /// The documents of a collection, in the order of their insertion.
    #[must_use]
    pub fn documents(&self, database: &str, collection: &str) -> Vec<Document> {
        let ns = crate::store::Namespace::new(database, collection);
        let found = self.data.store.collection(&ns);
        found.map_or_else(Vec::new, |c| {
            c.documents().map(|d| Document::clone(d)).collect()
        })
    }

    /// How many requests came compressed.
    #[must_use]
    pub fn compressed_requests(&self) -> u64 {
        self.compressed
    }

    /// A connection is opened. Its number must be new.
    pub fn accept(&mut self, connection: u64) {
        self.connections.insert(connection, Connection::default());
    }

    /// A router's connection is opened: it may do everything.
    pub(crate) fn accept_internal(&mut self, connection: u64) {
        let trusted = Connection {
            hello_ok: true,
            user: Some("__system".to_owned()),
            ..Connection::default()
        };
        self.connections.insert(connection, trusted);
    }

    /// A connection is gone.
    pub fn hang_up(&mut self, connection: u64) {
        self.connections.remove(&connection);
        self.parked.remove(&connection);
    }

    /// Bytes have come over a connection.
    pub fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        state.framer.feed(bytes);
        self.serve(connection, now);
        self.settle(now);
    }

    /// The next thing to send.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::settle`] wants to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.parked.values().copied().flatten().min()
    }

    /// Ends every connection, as a process does that dies.
    pub(crate) fn reset_connections(&mut self) {
        for id in std::mem::take(&mut self.connections).into_keys() {
            self.outputs.push_back(Output::Reset(id));
        }
        self.parked.clear();
        self.cursors.clear();
    }

    /// Begins a new process over the same data.
    pub(crate) fn reboot(&mut self) {
        self.reset_connections();
        self.process = object_id(&mut *self.choices);
        self.version = 0;
        self.fail_point = FailPoint::default();
        *self.transactional_write = FailPoint::default();
    }

    /// Serves what a connection has sent, as far as it is not busy.
    fn serve(&mut self, id: u64, now: Instant) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if connection.busy.is_some() {
                return;
            }
            let next = match connection.again.take() {
                Some(request) => Ok(Some(request)),
                None => connection.framer.next(),
            };
            match next {
                Ok(Some(request)) => self.begin(id, request, now),
                Ok(None) => return,
                Err(_) => return self.close(id),
            }
        }
    }

    fn close(&mut self, id: u64) {
        self.hang_up(id);
        self.outputs.push_back(Output::Close(id));
    }

    /// Starts a command: the hook, gossip, and the fail point come first.
    fn begin(&mut self, id: u64, request: Request, now: Instant) {
        self.compressed += u64::from(request.compressor.is_some());
        if let Some(hook) = &mut self.hook {
            let seen = Seen {
                connection: id,
                command: &request.command,
                now,
            };
            match hook(seen) {
                None => {}
                Some(Scene::Close) => return self.close(id),
                Some(Scene::Silence) => return self.park(id, Busy::silent(request)),
                Some(Scene::Reply(reply, delay)) => {
                    let busy = Busy::block(request, After::Scripted(reply), now + delay);
                    self.park(id, busy);
                    return;
                }
            }
        }
        self.gossip(&request.command);
        let Some(injected) = self.injected(id, &request.command) else {
            return self.run(id, request, Injected::default(), now);
        };
        let block = injected.block;
        let after = if injected.close {
            After::Close
        } else {
            After::Run(injected)
        };
        match block {
            Some(time) => self.park(id, Busy::block(request, after, now + time)),
            None => self.after(id, request, after, now),
        }
    }

    /// What the fail point does to a command.
    fn injected(&mut self, id: u64, command: &Command) -> Option<Injected> {
        if self.fail_point.is_off() {
            return None;
        }
        let name = command.name();
        let spec = lookup(name)?;
        if spec.name == "configureFailPoint" {
            return None;
        }
        let mut names = vec![name, spec.name];
        names.extend(spec.aliases);
        let database = command.get_str("$db").unwrap_or_default();
        let collection = command.get_str(name).unwrap_or_default();
        let namespace = format!("{database}.{collection}");
        let app_name = self.connections.get(&id)?.app_name.clone();
        self.fail_point
            .enter(&names, spec.is_write(), &namespace, app_name.as_deref())
    }

    /// Goes on after a fail point's block, if there was one.
    fn after(&mut self, id: u64, request: Request, after: After, now: Instant) {
        match after {
            After::Close => self.close(id),
            After::Scripted(reply) => self.send(id, &request, false, |out| out.all(&reply)),
            After::Run(injected) => match injected.error {
                Some(code) => {
                    let message = "Failing command via 'failCommand' failpoint";
                    let failed = Err(Failure::new(code, message));
                    self.complete(id, request, failed, injected.labels, true);
                }
                None => self.run(id, request, injected, now),
            },
        }
    }

    /// Sends the reply of a command, and goes on with an exhaust request.
    fn complete(
        &mut self,
        id: u64,
        mut request: Request,
        result: Result<Reply>,
        labels: Option<Vec<String>>,
        injected: bool,
    ) {
        if self.connections.get(&id).is_some_and(|c| c.cut) {
            return self.close(id);
        }
        let again = match &result {
            Ok(reply) if request.exhaust_allowed => goes_on(&request.command, reply),
            _ => None,
        };
        let succeeded = result.is_ok();
        let (reply, labels) = self.decorated(&request, result, labels, injected);
        let membership = self.membership.is_some();
        let (clock, last) = (self.clock, self.data.last().timestamp());
        self.send(id, &request, again.is_some(), |out| {
            reply.write(out);
            if succeeded {
                out.double("ok", 1.0);
            }
            if let Some(labels) = labels {
                out.array("errorLabels", |out| labels.iter().for_each(|l| out.text(l)));
            }
            if membership {
                cluster_time(clock, out);
                out.timestamp("operationTime", last);
            }
        });
        if let Some(again) = again {
            if again == Again::Hello {
                let version = self.topology_version();
                request.command.replace("topologyVersion", version.into());
            }
            request.id = self.reply_ids;
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.again = Some(request);
            }
        }
    }

    /// The fields of a result, and the labels of an error.
    fn decorated(
        &self,
        request: &Request,
        result: Result<Reply>,
        labels: Option<Vec<String>>,
        injected: bool,
    ) -> (Reply, Option<Vec<String>>) {
        let (reply, code) = match result {
            Ok(reply) => {
                let error = reply.write_concern_error();
                let code = error.and_then(|error| error.get_i32("code").ok());
                (reply, code)
            }
            Err(failure) => {
                let mut reply = Document::new();
                if failure.is_state_change() && !injected && self.membership.is_some() {
                    reply.insert("topologyVersion", self.topology_version());
                }
                reply.extend(failure.reply());
                (reply.into(), Some(failure.code))
            }
        };
        let own = || {
            let label = code.is_some_and(is_retryable_write)
                && request.command.contains_key("txnNumber")
                && self.membership.is_some();
            label.then(|| vec!["RetryableWriteError".to_owned()])
        };
        let labels = labels.filter(|_| code.is_some()).or_else(own);
        (reply, labels.filter(|labels| !labels.is_empty()))
    }

    fn send(
        &mut self,
        id: u64,
        request: &Request,
        more: bool,
        write: impl FnOnce(&mut Elements<'_>),
    ) {
        self.reply_ids = self.reply_ids.wrapping_add(1);
        if request.more_to_come || !self.connections.contains_key(&id) {
            return;
        }
        let bytes = wire::reply(request, self.reply_ids, request.id, more, write);
        self.outputs.push_back(Output::Bytes(id, bytes));
    }

    /// Takes over a greater cluster time of the client.
    fn gossip(&mut self, command: &Command) {
        if self.membership.is_some()
            && let Some(Bson::Timestamp(time)) = command.nested("$clusterTime", "clusterTime")
        {
            self.clock = self.clock.max(time);
        }
    }

    pub(crate) fn topology_version(&self) -> Document {
        doc! { "processId": self.process, "counter": self.version }
    }

    /// Milliseconds since 1970.
    fn wall(&self, now: Instant) -> i64 {
        let millis = i64::try_from(now.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        self.config.wall_epoch_ms.saturating_add(millis)
    }

    /// The place of the next entry of the log.
    pub(crate) fn tick(&mut self, now: Instant) -> OpTime {
        let seconds = u32::try_from(self.wall(now) / 1000).unwrap_or(u32::MAX);
        self.clock = if seconds > self.clock.time {
            Timestamp {
                time: seconds,
                increment: 1,
            }
        } else {
            Timestamp {
                time: self.clock.time,
                increment: self.clock.increment + 1,
            }
        };
        OpTime {
            term: self.membership.as_ref().map_or(0, |m| m.term),
            time: self.clock.time,
            increment: self.clock.increment,
        }
    }

    /// Takes over the time of an entry from another member.
    pub(crate) fn observe(&mut self, at: OpTime) {
        self.clock = self.clock.max(at.timestamp());
    }

    fn draw_bytes<const N: usize>(&mut self, label: &'static str) -> [u8; N] {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.choices.draw(label, 256).to_le_bytes()[0];
        }
        bytes
    }
}

fn object_id(choices: &mut dyn Choices) -> ObjectId {
    let mut bytes = [0; 12];
    for byte in &mut bytes {
        *byte = choices.draw("object id", 256).to_le_bytes()[0];
    }
    ObjectId::from_bytes(bytes)
}

fn cluster_time(clock: Timestamp, out: &mut Elements<'_>) {
    out.document("$clusterTime", |out| {
        out.timestamp("clusterTime", clock);
        out.document("signature", |out| {
            out.binary("hash", &[0; 20]);
            out.long("keyId", 0);
        });
    });
}

/// How an exhaust request gets another reply after one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Batch,
    Hello,
}

fn goes_on(command: &Command, reply: &Reply) -> Option<Again> {
    if command.contains_key("getMore") {
        return (reply.cursor != 0).then_some(Again::Batch);
    }
    let is_hello = lookup(command.name()).is_some_and(|spec| spec.name == "hello");
    (is_hello && command.contains_key("maxAwaitTimeMS")).then_some(Again::Hello)
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
