//! What the prose tests of retryable reads and those of retryable writes have in common: one
//! operation, `find` or `insert`, which is made to fail.
//!
//! Routers are proxies of the replica set's primary: a fail point there is one of all routers.

use bson::{Document, doc};
use futures_util::future::join;
use mongo_client::{
    Client, Collection,
    error::Result,
    event::{
        cmap::{CmapEvent, ConnectionCheckoutFailedReason},
        command::CommandEvent,
    },
    options::{ClientOptions, ServerAddress},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    fault::Mongos,
    live::{self, Event, FailPoint, Recorder},
    logs::Logs,
};

use super::two_faults::{self, OVERLOADED, failure};

/// Chance alone would not lead to another router that often.
const ROUNDS: usize = 10;

/// The operation that is retried.
#[derive(Clone, Copy)]
pub(super) enum Retried {
    Read,
    Write,
}

impl Retried {
    fn command(self) -> &'static str {
        match self {
            Self::Read => "find",
            Self::Write => "insert",
        }
    }

    /// What an error must have so that the operation is retried.
    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Read => &[],
            Self::Write => &["RetryableWriteError"],
        }
    }

    fn failure(self, code: i32) -> Document {
        failure(self.command(), code, self.labels())
    }

    async fn run(self, things: &Collection<Document>) -> Result<()> {
        match self {
            Self::Read => things.find_one(doc! { "none": 1 }).await.map(drop),
            Self::Write => things.insert_one(doc! {}).await.map(drop),
        }
    }

    /// With one connection, the second operation waits for the pool, which the first one's failure
    /// clears: both are retried.
    pub(super) async fn waits_for_a_cleared_pool(self, uri: &str) {
        let mut options = live::options(uri);
        options.max_pool_size = Some(1);
        let app_name = live::app_name(&options);
        let recorder = Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let mut data = self.failure(91);
        data.extend(doc! { "blockConnection": true, "blockTimeMS": 1000 });
        let point = FailPoint::set(&client, 1, &app_name, data).await;
        let before = recorder.events().len();

        let (one, other) = join(self.run(&things), self.run(&things)).await;

        point.off().await;
        one.unwrap();
        other.unwrap();
        assert_cleared(&recorder, before);
        assert_eq!(recorder.started(self.command()).len(), 3);
        live::forget(&db).await;
    }

    /// The second attempt goes to the other router.
    pub(super) async fn goes_to_another_router(self) {
        let Some((routers, primary)) = routers(2).await else {
            return;
        };
        for _ in 0..ROUNDS {
            let (client, recorder, app_name) = client_of(&routers);
            known(&client, ServerType::Mongos, 2).await;
            let point = FailPoint::set(&primary, 2, &app_name, self.failure(6)).await;
            let error = self.run(&things(&client)).await.unwrap_err();
            point.off().await;
            assert_eq!(error.code(), Some(6));
            let (failed, succeeded) = answers(&recorder, self.command());
            assert_eq!((failed.len(), succeeded.len()), (2, 0));
            assert_ne!(failed[0], failed[1]);
        }
    }

    /// With one router both attempts go there; `more` is what else the fail point does.
    pub(super) async fn stays_at_the_only_router(self, more: Document) {
        let Some((routers, primary)) = routers(1).await else {
            return;
        };
        let (client, recorder, app_name) = client_of(&routers);
        let mut data = self.failure(6);
        data.extend(more);
        let point = FailPoint::set(&primary, 1, &app_name, data).await;
        self.run(&things(&client)).await.unwrap();
        point.off().await;
        let (failed, succeeded) = answers(&recorder, self.command());
        assert_eq!((failed.len(), succeeded.len()), (1, 1));
        assert_eq!(failed, succeeded);
    }

    /// After an overload other errors are retried no more often than it; they are not waited for.
    pub(super) async fn is_limited_by_an_overload(self, uri: &str, logs: &Logs) {
        let command = self.command();
        let first = failure(command, 91, &OVERLOADED);
        let labels = [&["RetryableError"], self.labels()].concat();
        let second = failure(command, 91, &labels);
        let (client, recorder, point) = two_faults::client(uri, first, second, "alwaysOn").await;
        let error = self.run(&things(&client)).await.unwrap_err();
        point.off().await;
        assert_eq!(error.code(), Some(91), "{error:?}");
        assert_eq!(recorder.started(command).len(), 3);
        let pauses = logs.with_message("Operation paused before its next attempt");
        assert_eq!(pauses.len(), 1, "{pauses:?}");
    }
}

fn things(client: &Client) -> Collection<Document> {
    client.database("test").collection("things")
}

/// Routers of the replica set, and a client of its primary.
pub(super) async fn routers(count: usize) -> Option<(Vec<Mongos>, Client)> {
    let client = live::client(&deploy::uri("REPLICA_SET")?);
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = hello.get_str("primary").unwrap();
    let mut routers = Vec::new();
    for _ in 0..count {
        routers.push(Mongos::start(primary).await.unwrap());
    }
    Some((routers, client))
}

/// The options of a client of routers, which counts all as near.
pub(super) fn options(routers: &[Mongos]) -> ClientOptions {
    let hosts: Vec<_> = routers.iter().map(|r| r.address().to_string()).collect();
    let mut options = live::options(&format!("mongodb://{}/", hosts.join(",")));
    options.direct_connection = Some(false);
    options.local_threshold = Some(live::PATIENCE);
    options
}

fn client_of(routers: &[Mongos]) -> (Client, Recorder, String) {
    let mut options = options(routers);
    let recorder = Recorder::attach(&mut options);
    let app_name = live::app_name(&options);
    (live::build(options), recorder, app_name)
}

/// Waits until so many servers of this type are known.
pub(super) async fn known(client: &Client, wanted: ServerType, count: usize) {
    live::eventually("the servers are known", || async {
        let topology = client.topology_description().await.unwrap();
        let servers = topology.servers.values();
        servers.filter(|s| s.server_type == wanted).count() == count
    })
    .await;
}

/// Where commands of this name failed, and where they succeeded.
pub(super) fn answers(recorder: &Recorder, name: &str) -> (Vec<ServerAddress>, Vec<ServerAddress>) {
    let (mut failed, mut succeeded) = (Vec::new(), Vec::new());
    for event in recorder.events() {
        match event {
            Event::Command(CommandEvent::Failed(e)) if e.command_name == name => {
                failed.push(e.connection.address);
            }
            Event::Command(CommandEvent::Succeeded(e)) if e.command_name == name => {
                succeeded.push(e.connection.address);
            }
            _ => {}
        }
    }
    (failed, succeeded)
}

/// A connection is had, then the pool is cleared, then the next one is not had.
fn assert_cleared(recorder: &Recorder, before: usize) {
    let events = recorder.events();
    let mut facts = events[before..].iter().filter_map(|event| match event {
        Event::Cmap(CmapEvent::ConnectionCheckedOut(_)) => Some("had"),
        Event::Cmap(CmapEvent::PoolCleared(_)) => Some("cleared"),
        Event::Cmap(CmapEvent::ConnectionCheckoutFailed(e)) => Some(match e.reason {
            ConnectionCheckoutFailedReason::ConnectionError => "not had",
            _ => "not had for another reason",
        }),
        _ => None,
    });
    let first = [facts.next(), facts.next(), facts.next()];
    assert_eq!(first, [Some("had"), Some("cleared"), Some("not had")]);
}
