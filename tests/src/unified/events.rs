//! What a client entity tells: events are kept in their order, and can be waited for.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bson::{Bson, Document, doc, oid::ObjectId};
use mongo_client::{
    event::{
        EventHandler,
        cmap::{CmapEvent, ConnectionCheckoutFailedReason, ConnectionClosedReason},
        command::CommandEvent,
        sdam::SdamEvent,
    },
    options::{ClientOptions, ServerAddress},
};
use tokio::{sync::Notify, time::Instant};

/// The monitors that events belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Command,
    Cmap,
    Sdam,
}

/// An event in the words of the test format.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) family: Family,
    pub(super) name: &'static str,
    pub(super) facts: Document,
}

/// What a client's entity observes.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The names of events.
    pub(super) events: Vec<String>,
    /// Commands that do not count.
    pub(super) ignored: Vec<String>,
    /// Whether secret commands count.
    pub(super) sensitive: bool,
}

/// Keeps the events of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    wanted: Wanted,
    seen: Mutex<Vec<Seen>>,
    /// Connections that became ready, by server, whether or not they are observed.
    ready: Mutex<Vec<ServerAddress>>,
    checked_out: AtomicI64,
    deaf: AtomicBool,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            inner: Arc::new(Inner {
                wanted,
                ..Inner::default()
            }),
        }
    }

    /// Listens to the client of these options. Pools are always listened to: their connections
    /// are counted.
    pub(super) fn attach(&self, options: &mut ClientOptions) {
        let wants = |prefixes: &[&str]| {
            let names = &self.inner.wanted.events;
            names
                .iter()
                .any(|n| prefixes.iter().any(|p| n.starts_with(p)))
        };
        let this = self.clone();
        options.cmap_event_handler = Some(EventHandler::callback(move |event| {
            this.count(&event);
            this.keep(cmap(&event));
        }));
        if wants(&["command"]) {
            let this = self.clone();
            options.command_event_handler = Some(EventHandler::callback(move |event| {
                if let Some(seen) = this.command(&event) {
                    this.keep(seen);
                }
            }));
        }
        if wants(&["server", "topology"]) {
            let this = self.clone();
            options.sdam_event_handler = Some(EventHandler::callback(move |event| {
                if let Some(seen) = sdam(&event) {
                    this.keep(seen);
                }
            }));
        }
    }

    fn keep(&self, seen: Seen) {
        let observed = self
            .inner
            .wanted
            .events
            .iter()
            .any(|name| name == seen.name);
        if observed && !self.inner.deaf.load(Ordering::SeqCst) {
            lock(&self.inner.seen).push(seen);
        }
        self.inner.changed.notify_waiters();
    }

    fn count(&self, event: &CmapEvent) {
        match event {
            CmapEvent::ConnectionReady(e) => lock(&self.inner.ready).push(e.address.clone()),
            CmapEvent::ConnectionCheckedOut(_) => {
                self.inner.checked_out.fetch_add(1, Ordering::SeqCst);
            }
            CmapEvent::ConnectionCheckedIn(_) => {
                self.inner.checked_out.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn command(&self, event: &CommandEvent) -> Option<Seen> {
        let (name, command, is_redacted) = match event {
            CommandEvent::Started(e) => {
                ("commandStartedEvent", &e.command_name, e.command.is_empty())
            }
            CommandEvent::Succeeded(e) => {
                ("commandSucceededEvent", &e.command_name, e.reply.is_empty())
            }
            CommandEvent::Failed(e) => ("commandFailedEvent", &e.command_name, false),
            _ => return None,
        };
        let wanted = &self.inner.wanted;
        let ignored = command == "configureFailPoint"
            || wanted.ignored.contains(command)
            || (!wanted.sensitive && is_secret(command, is_redacted));
        if ignored {
            return None;
        }
        let facts = match event {
            CommandEvent::Started(e) => {
                let mut facts = common(&e.db, command, e.connection.server_id, e.service_id);
                facts.insert("command", e.command.clone());
                facts
            }
            CommandEvent::Succeeded(e) => {
                let mut facts = common(&e.db, command, e.connection.server_id, e.service_id);
                facts.insert("reply", e.reply.clone());
                facts
            }
            CommandEvent::Failed(e) => common(&e.db, command, e.connection.server_id, e.service_id),
            _ => return None,
        };
        Some(Seen {
            family: Family::Command,
            name,
            facts,
        })
    }

    /// Does not hear any more.
    pub(super) fn stop(&self) {
        self.inner.deaf.store(true, Ordering::SeqCst);
    }

    /// Forgets what has come so far.
    pub(super) fn clear(&self) {
        lock(&self.inner.seen).clear();
    }

    /// All events so far.
    pub(super) fn all(&self) -> Vec<Seen> {
        lock(&self.inner.seen).clone()
    }

    /// The events of a family so far.
    pub(super) fn seen(&self, family: Family) -> Vec<Seen> {
        let mut seen = lock(&self.inner.seen).clone();
        seen.retain(|event| event.family == family);
        seen
    }

    /// How many connections are checked out.
    pub(super) fn checked_out(&self) -> i64 {
        self.inner.checked_out.load(Ordering::SeqCst)
    }

    /// How many connections to a server have become ready.
    pub(super) fn ready(&self, server: &ServerAddress) -> usize {
        let ready = lock(&self.inner.ready);
        ready.iter().filter(|address| *address == server).count()
    }

    /// Waits until a condition holds, which is asked again with each event; false when it took
    /// longer than that.
    pub(super) async fn wait(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() {
                return true;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return done();
            }
        }
    }
}

/// Whether a command is one of those whose contents are not shown. `hello` is one of them when it
/// logs in, which only its missing contents tell.
fn is_secret(command: &str, is_redacted: bool) -> bool {
    let is = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(command));
    is(&[
        "authenticate",
        "saslStart",
        "saslContinue",
        "getnonce",
        "createUser",
        "updateUser",
        "copydbgetnonce",
        "copydbsaslstart",
        "copydb",
    ]) || (is_redacted && is(&["hello", "ismaster"]))
}

fn common(
    db: &str,
    command: &str,
    server_id: Option<i64>,
    service_id: Option<ObjectId>,
) -> Document {
    doc! {
        "databaseName": db,
        "commandName": command,
        "hasServiceId": service_id.is_some_and(|id| id.bytes() != [0; 12]),
        "hasServerConnectionId": server_id.is_some_and(|id| id > 0),
    }
}

fn cmap(event: &CmapEvent) -> Seen {
    let mut facts = Document::new();
    let name = match event {
        CmapEvent::PoolCreated(_) => "poolCreatedEvent",
        CmapEvent::PoolReady(_) => "poolReadyEvent",
        CmapEvent::PoolCleared(e) => {
            facts.insert("hasServiceId", e.service_id.is_some());
            facts.insert("interruptInUseConnections", e.interrupt_in_use_connections);
            "poolClearedEvent"
        }
        CmapEvent::PoolClosed(_) => "poolClosedEvent",
        CmapEvent::ConnectionCreated(_) => "connectionCreatedEvent",
        CmapEvent::ConnectionReady(_) => "connectionReadyEvent",
        CmapEvent::ConnectionClosed(e) => {
            let reason = match e.reason {
                ConnectionClosedReason::Error => "error",
                ConnectionClosedReason::Idle => "idle",
                ConnectionClosedReason::PoolClosed => "poolClosed",
                ConnectionClosedReason::Stale => "stale",
                _ => "dropped",
            };
            facts.insert("reason", reason);
            "connectionClosedEvent"
        }
        CmapEvent::ConnectionCheckoutStarted(_) => "connectionCheckOutStartedEvent",
        CmapEvent::ConnectionCheckoutFailed(e) => {
            let reason = match e.reason {
                ConnectionCheckoutFailedReason::ConnectionError => "connectionError",
                ConnectionCheckoutFailedReason::PoolClosed => "poolClosed",
                ConnectionCheckoutFailedReason::Timeout => "timeout",
                _ => "unknown",
            };
            facts.insert("reason", reason);
            "connectionCheckOutFailedEvent"
        }
        CmapEvent::ConnectionCheckedOut(_) => "connectionCheckedOutEvent",
        CmapEvent::ConnectionCheckedIn(_) => "connectionCheckedInEvent",
        _ => "an event that this runner does not know",
    };
    Seen {
        family: Family::Cmap,
        name,
        facts,
    }
}

fn sdam(event: &SdamEvent) -> Option<Seen> {
    let described = |previous: &str, new: &str| {
        let of = |kind: &str| Bson::Document(doc! { "type": kind });
        doc! { "previousDescription": of(previous), "newDescription": of(new) }
    };
    let (name, facts) = match event {
        SdamEvent::ServerDescriptionChanged(e) => (
            "serverDescriptionChangedEvent",
            described(
                e.previous_description.server_type.as_str(),
                e.new_description.server_type.as_str(),
            ),
        ),
        SdamEvent::TopologyDescriptionChanged(e) => (
            "topologyDescriptionChangedEvent",
            described(
                e.previous_description.topology_type.as_str(),
                e.new_description.topology_type.as_str(),
            ),
        ),
        SdamEvent::TopologyOpening(_) => ("topologyOpeningEvent", Document::new()),
        SdamEvent::TopologyClosed(_) => ("topologyClosedEvent", Document::new()),
        SdamEvent::ServerHeartbeatStarted(e) => {
            ("serverHeartbeatStartedEvent", doc! { "awaited": e.awaited })
        }
        SdamEvent::ServerHeartbeatSucceeded(e) => (
            "serverHeartbeatSucceededEvent",
            doc! { "awaited": e.awaited },
        ),
        SdamEvent::ServerHeartbeatFailed(e) => {
            ("serverHeartbeatFailedEvent", doc! { "awaited": e.awaited })
        }
        _ => return None,
    };
    Some(Seen {
        family: Family::Sdam,
        name,
        facts,
    })
}
