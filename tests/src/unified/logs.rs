//! Log messages of a client entity: a `tracing` subscriber of its own.
//!
//! A subscriber hears a thread or a task. A client whose messages are observed therefore runs its
//! background tasks on a runtime that puts its subscriber around each, and its operations are
//! polled inside of the subscriber too.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Once},
};

use bson::{Bson, Document};
use mongo_client::runtime::{
    BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer, TokioRuntime,
};
use mongo_client_core::time::{Instant, UnixMillis};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    instrument::WithSubscriber,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

use super::{Checked, Stop};
use crate::logs::{Entry, Logs};

/// The level names of the format, the most severe first; syslog has more than `tracing`.
const LEVELS: [(&str, Level); 9] = [
    ("emergency", Level::ERROR),
    ("alert", Level::ERROR),
    ("critical", Level::ERROR),
    ("error", Level::ERROR),
    ("warning", Level::WARN),
    ("notice", Level::INFO),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// The components of the format and the targets of this client.
const COMPONENTS: [(&str, &str); 4] = [
    ("command", "mongo_client::command"),
    ("connection", "mongo_client::connection"),
    ("serverSelection", "mongo_client::server_selection"),
    ("topology", "mongo_client::topology"),
];

fn level(name: &str) -> Checked<Level> {
    let found = LEVELS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, level)| *level)
        .ok_or_else(|| Stop::Failed(format!("there is no log level {name:?}")))
}

fn target(component: &str) -> Checked<&'static str> {
    let found = COMPONENTS.iter().find(|(known, _)| *known == component);
    found
        .map(|(_, target)| *target)
        .ok_or_else(|| Stop::Failed(format!("there is no log component {component:?}")))
}

/// What a client entity's log has.
#[derive(Clone)]
pub(super) struct Observed {
    logs: Logs,
    dispatch: Dispatch,
    /// Targets with the least severe level that counts.
    wanted: Vec<(&'static str, Level)>,
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// A log message in the words of the format.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) data: Document,
}

impl Message {
    pub(super) fn is_of(&self, component: &str, wanted: &str) -> Checked<bool> {
        Ok(self.target == target(component)? && self.level == level(wanted)?)
    }
}

/// Hears nothing, but keeps every place that logs asking whether somebody listens: a place that is
/// first reached on one thread while a subscriber comes on another may otherwise stay silent.
struct Deaf;

impl Subscriber for Deaf {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

static DEAF: Once = Once::new();

impl Observed {
    /// Reads `observeLogMessages`.
    pub(super) fn new(options: &Document) -> Checked<Self> {
        // A test that has a subscriber for the whole process needs no second one.
        DEAF.call_once(|| drop(tracing::subscriber::set_global_default(Deaf)));
        let wanted = options.iter().map(|(component, name)| {
            let name = name.as_str().unwrap_or_default();
            Ok((target(component)?, level(name)?))
        });
        let wanted = wanted.collect::<Checked<Vec<_>>>()?;
        let logs = Logs::new(Level::TRACE);
        Ok(Self {
            dispatch: Dispatch::new(logs.clone()),
            logs,
            wanted,
        })
    }

    pub(super) fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// A runtime whose tasks are heard.
    pub(super) fn runtime(&self) -> Checked<Arc<dyn Runtime>> {
        let inner = TokioRuntime::current().ok_or("the runner is not on tokio")?;
        Ok(Arc::new(Heard {
            inner,
            dispatch: self.dispatch.clone(),
        }))
    }

    pub(super) fn clear(&self) {
        self.logs.clear();
    }

    /// The messages so far that are observed.
    pub(super) fn messages(&self) -> Checked<Vec<Message>> {
        let mut events = self.logs.events();
        events.retain(|event| {
            let wanted = self
                .wanted
                .iter()
                .find(|(target, _)| *target == event.target);
            wanted.is_some_and(|(_, least)| event.level <= *least)
        });
        events.into_iter().map(message).collect()
    }
}

fn message(entry: Entry) -> Checked<Message> {
    let mut fields = entry.fields;
    fields.insert("message".into(), entry.message.into());
    let data = fields.into_iter().map(|(name, value)| {
        let value = Bson::try_from(value).map_err(|e| Stop::Failed(format!("{name}: {e}")))?;
        Ok((name, value))
    });
    Ok(Message {
        level: entry.level,
        target: entry.target,
        data: data.collect::<Checked<Document>>()?,
    })
}

/// tokio, with a subscriber around every task.
struct Heard {
    inner: TokioRuntime,
    dispatch: Dispatch,
}

impl Runtime for Heard {
    fn name(&self) -> &'static str {
        self.inner.name()
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
        let task = task.with_subscriber(self.dispatch.clone());
        self.inner.spawn(Box::pin(task))
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        let dispatch = self.dispatch.clone();
        let job = move || tracing::dispatcher::with_default(&dispatch, job);
        self.inner.offload(Box::new(job))
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.inner.timer()
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.inner.lookup(host)
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.inner.connect(target)
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        self.inner.datagram(peer)
    }
}
