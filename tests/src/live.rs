//! What live tests share: clients that notice changes soon, databases of their own, fail points,
//! and records of events to wait for.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Client, Database,
    error::Error,
    event::{
        EventHandler,
        cmap::CmapEvent,
        command::{CommandEvent, CommandFailedEvent, CommandStartedEvent},
        sdam::SdamEvent,
    },
    options::ClientOptions,
};
use tokio::sync::Notify;

use crate::{deploy, rt};

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test on a shared deployment ([`deploy::uri`]), unless live tests are switched off.
///
/// # Panics
///
/// When the deployment is not there.
pub fn on(deployment: &str, test: impl AsyncFnOnce(String)) {
    if let Some(uri) = deploy::uri(deployment) {
        rt::block_on(test(uri));
    }
}

/// The options of a connection string, with frequent heartbeats and an application name that no
/// other test has.
///
/// # Panics
///
/// When the string is invalid.
#[must_use]
pub fn options(uri: &str) -> ClientOptions {
    let mut options = ClientOptions::parse_uri(uri)
        .unwrap_or_else(|error| panic!("{uri}: {error}"))
        .options;
    options.heartbeat_freq = Some(Duration::from_millis(500));
    options.server_selection_timeout = Some(PATIENCE);
    options.app_name = Some(unique("live"));
    options
}

/// A client with [`options`].
///
/// # Panics
///
/// When the string is invalid.
#[must_use]
pub fn client(uri: &str) -> Client {
    build(options(uri))
}

/// A client on the runtime of the test.
///
/// # Panics
///
/// When the options are invalid.
#[must_use]
pub fn build(options: ClientOptions) -> Client {
    let mut builder = Client::builder().options(options);
    if let Some(runtime) = rt::adapter() {
        builder = builder.runtime(runtime);
    }
    builder.build().expect("the options are valid")
}

/// A name that no other test and no other run uses.
#[must_use]
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{}_{number}", std::process::id())
}

/// A database of the test's own; drop it at the test's end with [`forget`].
#[must_use]
pub fn database(client: &Client) -> Database {
    client.database(&unique("live"))
}

/// Drops a test's database.
///
/// # Panics
///
/// When the server refuses.
pub async fn forget(database: &Database) {
    database.drop().await.expect("the database can be dropped");
}

/// A client's application name.
///
/// # Panics
///
/// When it has none.
#[must_use]
pub fn app_name(options: &ClientOptions) -> String {
    options.app_name.clone().expect("options() sets one")
}

/// Asks again until the answer is yes.
///
/// # Panics
///
/// When [`PATIENCE`] ends first.
pub async fn eventually<F: Future<Output = bool>>(what: &str, done: impl FnMut() -> F) {
    assert!(within(PATIENCE, done).await, "in vain: {what}");
}

/// Asks again until the answer is yes, which it returns, or the time is over.
pub async fn within<F: Future<Output = bool>>(time: Duration, mut done: impl FnMut() -> F) -> bool {
    let start = Instant::now();
    while !done().await {
        if start.elapsed() > time {
            return false;
        }
        rt::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// A fail point of the whole server process: its tests have `serial_` in their paths.
#[derive(Debug)]
pub struct FailPoint {
    client: Client,
}

impl FailPoint {
    /// Makes the primary (or the only server) of `client` fail `times` commands of the clients with
    /// that application name. `data` is that of `failCommand` without the name.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn set(client: &Client, times: i32, app_name: &str, mut data: Document) -> Self {
        data.insert("appName", app_name);
        let command = doc! {
            "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data,
        };
        let admin = client.database("admin");
        admin
            .run_command(command)
            .await
            .expect("the server takes fail points");
        Self {
            client: client.clone(),
        }
    }

    /// Switches it off.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn off(self) {
        let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let admin = self.client.database("admin");
        admin
            .run_command(command)
            .await
            .expect("the server takes fail points");
    }
}

/// How many connections of the clients with this application name the server has, seen through
/// another client.
///
/// # Errors
///
/// When the server does not answer.
pub async fn connections_of(observer: &Client, app_name: &str) -> Result<usize, Error> {
    let stages = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true, "localOps": true } },
        doc! { "$match": { "appName": app_name } },
    ];
    let admin = observer.database("admin");
    let found: Vec<Document> = admin.aggregate(stages).await?.try_collect().await?;
    Ok(found.len())
}

/// An event of any of the three families.
#[derive(Clone, Debug)]
pub enum Event {
    /// Of a command.
    Command(CommandEvent),
    /// Of a connection pool.
    Cmap(CmapEvent),
    /// Of the topology.
    Sdam(SdamEvent),
}

/// Keeps all events of a client, in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    inner: Arc<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    events: Mutex<Vec<Event>>,
    arrived: Notify,
}

impl Recorder {
    /// Records what the client of these options does.
    #[must_use]
    pub fn attach(options: &mut ClientOptions) -> Self {
        let recorder = Self::default();
        options.command_event_handler = Some(recorder.handler(Event::Command));
        options.cmap_event_handler = Some(recorder.handler(Event::Cmap));
        options.sdam_event_handler = Some(recorder.handler(Event::Sdam));
        recorder
    }

    fn handler<T: 'static>(&self, wrap: fn(T) -> Event) -> EventHandler<T> {
        let recorder = self.clone();
        EventHandler::callback(move |event| {
            let mut events = recorder
                .inner
                .events
                .lock()
                .expect("no holder of the lock panics");
            events.push(wrap(event));
            drop(events);
            recorder.inner.arrived.notify_waiters();
        })
    }

    /// All events so far.
    ///
    /// # Panics
    ///
    /// Never, as long as nobody panics with the lock.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let events = self.inner.events.lock();
        events.expect("no holder of the lock panics").clone()
    }

    /// The started commands of this name.
    #[must_use]
    pub fn started(&self, name: &str) -> Vec<CommandStartedEvent> {
        let started = self.events().into_iter().filter_map(|event| match event {
            Event::Command(CommandEvent::Started(e)) if e.command_name == name => Some(e),
            _ => None,
        });
        started.collect()
    }

    /// The failed commands of this name.
    #[must_use]
    pub fn failed(&self, name: &str) -> Vec<CommandFailedEvent> {
        let failed = self.events().into_iter().filter_map(|event| match event {
            Event::Command(CommandEvent::Failed(e)) if e.command_name == name => Some(e),
            _ => None,
        });
        failed.collect()
    }

    /// Waits until the events so far satisfy a condition.
    ///
    /// # Panics
    ///
    /// When [`PATIENCE`] ends first.
    pub async fn wait(&self, what: &str, mut done: impl FnMut(&[Event]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrived = self.inner.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if done(&self.events()) {
                return;
            }
            if rt::timeout(deadline.saturating_duration_since(Instant::now()), arrived)
                .await
                .is_err()
            {
                panic!("in vain: {what}; events: {:#?}", self.events());
            }
        }
    }
}
