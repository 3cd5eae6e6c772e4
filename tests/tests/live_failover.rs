//! Primaries that crash, step down or freeze while many tasks write.
//!
//! Each task inserts numbered documents and increments a counter. Afterwards every acknowledged
//! insert is there exactly once, and each counter stands between the acknowledged increments and
//! those plus the failed ones, of which nobody knows whether they were done.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{
    Client, Collection, Database,
    error::Error,
    event::{EventHandler, cmap::CmapEvent},
    options::{ClientOptions, ReadConcern, ReadPreference, WriteConcern},
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    fault::{Network, Way},
    live,
    rt::{self, Task},
    sim::assert_quiet,
    witness::Witness,
};

const TASKS: u64 = 8;

/// How long the tasks may stand still. On a starved machine the surviving secondary has been seen
/// to take over half a minute to follow the new primary, and before that nothing has a majority.
const PATIENCE: Duration = Duration::from_secs(75);

/// Eight writing tasks.
struct Load {
    db: Database,
    shared: Arc<Shared>,
    tasks: Vec<Task<Written>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    acknowledged: [AtomicU64; TASKS as usize],
}

/// What a task did.
#[derive(Default)]
struct Written {
    inserts: Vec<i64>,
    increments: i64,
    errors: Vec<Error>,
    /// Operations that were dropped when their limit was over.
    dropped: usize,
    /// The longest that a round of two operations took.
    pause: Duration,
    /// The longest that an operation took.
    longest: Duration,
}

impl Load {
    fn start(client: &Client) -> Self {
        Self::with_limit(client, None)
    }

    /// Operations are dropped when they take longer.
    fn with_limit(client: &Client, limit: Option<Duration>) -> Self {
        let db = live::database(client);
        let shared = Arc::new(Shared::default());
        let tasks = (0..TASKS)
            .map(|task| rt::spawn(write(db.clone(), task, Arc::clone(&shared), limit)))
            .collect();
        Self { db, shared, tasks }
    }

    /// Waits until every task had that many more rounds acknowledged.
    async fn goes_on(&self, rounds: u64) {
        let counters = || self.shared.acknowledged.iter();
        let targets: Vec<u64> = counters()
            .map(|n| n.load(Ordering::Relaxed) + rounds)
            .collect();
        let enough = live::within(PATIENCE, || async {
            counters()
                .zip(&targets)
                .all(|(n, target)| n.load(Ordering::Relaxed) >= *target)
        });
        if enough.await {
            return;
        }
        let done: Vec<u64> = counters().map(|n| n.load(Ordering::Relaxed)).collect();
        let topology = self.db.client().topology_description().await.unwrap();
        let servers: Vec<_> = topology
            .servers
            .values()
            .map(|server| {
                let written = server
                    .hello
                    .as_ref()
                    .and_then(|h| h.last_write_op_time.clone());
                (&server.address, server.server_type, written)
            })
            .collect();
        panic!("{done:?} of {targets:?}; {servers:?}");
    }

    /// Ends the tasks and compares what they did with what is stored.
    async fn check(self) -> Vec<Written> {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for (task, handle) in (0_i64..).zip(self.tasks) {
            let written = handle.await.unwrap();
            let (documents, counters) = collections(&self.db);
            let majority = || ReadConcern::majority();
            let mut stored = std::collections::BTreeMap::new();
            let mut cursor = documents
                .find(doc! { "task": task })
                .read_concern(majority())
                .await
                .unwrap();
            while cursor.advance().await.unwrap() {
                let n = cursor.current().get_i64("n").unwrap();
                *stored.entry(n).or_insert(0) += 1;
            }
            for n in &written.inserts {
                assert_eq!(stored.get(n), Some(&1), "task {task}, insert {n}");
            }
            assert!(stored.values().all(|count| *count == 1), "{stored:?}");
            let counter = counters.find_one(doc! { "_id": task });
            let counter = counter.read_concern(majority()).await.unwrap().unwrap();
            let counted = counter.get_i64("n").unwrap();
            let unknown = i64::try_from(written.errors.len() + written.dropped).unwrap();
            let possible = written.increments..=written.increments + unknown;
            assert!(
                possible.contains(&counted),
                "task {task}: counted {counted}, possible are {possible:?}"
            );
            all.push(written);
        }
        live::forget(&self.db).await;
        all
    }
}

fn collections(db: &Database) -> (Collection<Document>, Collection<Document>) {
    (db.collection("documents"), db.collection("counters"))
}

async fn write(db: Database, task: u64, shared: Arc<Shared>, limit: Option<Duration>) -> Written {
    let (documents, counters) = collections(&db);
    let task_id = i64::try_from(task).unwrap();
    let mut written = Written::default();
    let mut n = 0_i64;
    while !shared.over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let insert = documents.insert_one(doc! { "task": task_id, "n": n });
        if written.count(limit, insert).await {
            written.inserts.push(n);
        }
        let increment = doc! { "$inc": { "n": 1_i64 } };
        let update = counters.update_one(doc! { "_id": task_id }, increment);
        if written.count(limit, update.upsert(true)).await {
            written.increments += 1;
            shared.acknowledged[usize::try_from(task).unwrap()].fetch_add(1, Ordering::Relaxed);
        }
        written.pause = written.pause.max(start.elapsed());
        n += 1;
    }
    written
}

impl Written {
    /// Whether the operation was acknowledged.
    async fn count<T>(
        &mut self,
        limit: Option<Duration>,
        operation: impl IntoFuture<Output = Result<T, Error>>,
    ) -> bool {
        let start = Instant::now();
        let result = match limit {
            None => Ok(operation.await),
            Some(limit) => rt::timeout(limit, operation.into_future()).await,
        };
        self.longest = self.longest.max(start.elapsed());
        match result {
            Err(rt::Elapsed) => self.dropped += 1,
            Ok(Err(error)) => self.errors.push(error),
            Ok(Ok(_)) => return true,
        }
        false
    }
}

fn majority(uri: &str) -> ClientOptions {
    let mut options = live::options(uri);
    options.write_concern = Some(WriteConcern::majority());
    options
}

fn errors(written: &[Written]) -> Vec<String> {
    let errors = written.iter().flat_map(|w| &w.errors);
    errors.map(ToString::to_string).collect()
}

async fn another_primary(set: &OwnCluster, than: usize) -> usize {
    let mut found = than;
    live::eventually("another primary", || {
        found = set.primary().unwrap_or(than);
        let done = found != than;
        async move { done }
    })
    .await;
    found
}

#[test]
fn destructive_killed_primary_loses_and_doubles_no_acknowledged_write() {
    rt::block_on(async {
        let Some(mut set) = deploy::own_cluster("kill", Plan::replica_set(3)) else {
            return;
        };
        let client = live::build(majority(&set.uri()));
        let load = Load::start(&client);
        load.goes_on(50).await;

        let first = set.primary().expect("a started set has a primary");
        set.kill(first);
        load.goes_on(50).await;
        set.restart(first).expect("the member comes back");
        let second = another_primary(&set, first).await;
        live::eventually("two secondaries", || async {
            let hello = set
                .connect(first)
                .and_then(|mut wire| wire.admin(doc! { "hello": 1 }));
            hello.is_ok_and(|hello| hello.get_bool("secondary").unwrap_or(false))
        })
        .await;
        set.kill(second);
        load.goes_on(50).await;

        let written = load.check().await;
        assert_eq!(errors(&written), [""; 0]);
    });
}

#[test]
fn destructive_step_downs_are_not_seen_by_retryable_writes() {
    rt::block_on(async {
        let Some(set) = deploy::own_cluster("stepdown", Plan::replica_set(3)) else {
            return;
        };
        let mut options = majority(&set.uri());
        let cleared = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&cleared);
        options.cmap_event_handler = Some(EventHandler::callback(move |event| {
            if matches!(event, CmapEvent::PoolCleared(_)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let client = live::build(options);
        let load = Load::start(&client);
        load.goes_on(20).await;

        for _ in 0..3 {
            let primary = set.primary().expect("the set has a primary");
            let mut wire = set.connect(primary).unwrap();
            wire.admin(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 5 })
                .unwrap();
            another_primary(&set, primary).await;
            load.goes_on(20).await;
        }

        let written = load.check().await;
        assert_eq!(errors(&written), [""; 0]);
        // Connections survive a step-down.
        assert_eq!(cleared.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn destructive_frozen_primary_is_given_up_for_another() {
    rt::block_on(async {
        let Some(set) = deploy::own_cluster("freeze", Plan::replica_set(3)) else {
            return;
        };
        let mut options = majority(&set.uri());
        options.connect_timeout = Some(Duration::from_secs(1));
        let client = live::build(options);
        let load = Load::start(&client);
        load.goes_on(20).await;

        let frozen = set.primary().expect("a started set has a primary");
        set.freeze(frozen).unwrap();
        load.goes_on(20).await;
        set.thaw(frozen).unwrap();
        load.goes_on(20).await;

        let written = load.check().await;
        assert_eq!(errors(&written), [""; 0]);
        let pause = written.iter().map(|w| w.pause).max().unwrap();
        assert!(pause < Duration::from_secs(20), "{pause:?}");
    });
}

#[test]
fn destructive_reads_go_on_without_a_primary_when_they_may() {
    rt::block_on(async {
        let Some(mut set) = deploy::own_cluster("reads", Plan::replica_set(2)) else {
            return;
        };
        let client = live::client(&set.uri());
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people
            .insert_one(doc! { "_id": 1 })
            .write_concern(WriteConcern::nodes(2))
            .await
            .unwrap();
        // One of two members elects nobody.
        set.kill(set.primary().expect("a started set has a primary"));

        let find = people.find_one(doc! {});
        let preferred = ReadPreference::secondary_preferred(None);
        let found = find.selection_criteria(preferred).await.unwrap();

        assert_eq!(found, Some(doc! { "_id": 1 }));
        let mut options = live::options(&set.uri());
        options.server_selection_timeout = Some(Duration::from_secs(2));
        let impatient = live::build(options);
        let people = impatient
            .database(db.name())
            .collection::<Document>("people");
        let error = people.insert_one(doc! { "_id": 2 }).await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
    });
}

#[test]
fn destructive_restarted_standalone_is_used_again() {
    rt::block_on(async {
        let Some(mut server) = deploy::own_cluster("restart", Plan::standalone()) else {
            return;
        };
        let client = live::client(&server.uri());
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let mut journaled = WriteConcern::nodes(1);
        journaled.journal = Some(true);
        people
            .insert_one(doc! { "_id": 1 })
            .write_concern(journaled)
            .await
            .unwrap();

        server.kill(0);
        let waiting = rt::spawn({
            let people = people.clone();
            async move { people.find_one(doc! {}).await }
        });
        server.restart(0).expect("the server comes back");

        let found = waiting.await.unwrap();
        // The first attempt may meet the dying server, the second the starting one.
        let found = match found {
            Err(error) if error.is_network() => people.find_one(doc! {}).await,
            other => other,
        };
        assert_eq!(found.unwrap(), Some(doc! { "_id": 1 }));
    });
}

/// What a primary suffers until another is elected.
enum Harm<'a> {
    Frozen,
    Lost(&'a Network, Way),
}

/// Every operation ends by its caller's limit, the set elects another primary, and the pools are
/// whole when the old one is back.
async fn limited_load_survives(set: &OwnCluster, harm: Harm<'_>) {
    const LIMIT: Duration = Duration::from_millis(1_500);
    const POOL_MAX: u32 = 4;
    let mut options = majority(&set.uri());
    options.connect_timeout = Some(Duration::from_secs(1));
    options.max_pool_size = Some(POOL_MAX);
    let client = live::build(options);
    let witness = Witness::new();
    let load = Load::with_limit(&client, Some(LIMIT));
    load.goes_on(20).await;

    let first = set.primary().expect("a started set has a primary");
    match &harm {
        Harm::Frozen => set.freeze(first).unwrap(),
        Harm::Lost(network, way) => network.lose(*way, set.ports()[first]),
    }
    load.goes_on(20).await;
    match &harm {
        Harm::Frozen => set.thaw(first).unwrap(),
        Harm::Lost(network, _) => network.heal(),
    }
    load.goes_on(20).await;

    let written = load.check().await;
    let dropped: usize = written.iter().map(|w| w.dropped).sum();
    assert!(dropped > 0, "nothing was harmed");
    let longest = written.iter().map(|w| w.longest).max().unwrap();
    // What the machine itself was late by is not the client's.
    let stalled = witness.longest();
    assert!(
        longest < LIMIT + Duration::from_secs(2) + stalled,
        "{longest:?}, {stalled:?} of which the machine stood still"
    );
    let quiet = live::within(Duration::from_secs(10), || async {
        let census = client.handle().census();
        census
            .pools
            .iter()
            .all(|(_, n)| n.leased + n.draining + n.opening == 0)
            && census.chores == 0
            && census.operations == 0
    });
    quiet.await;
    let census = client.handle().census();
    assert_quiet(&census);
    assert_eq!(census.pools.len(), 3, "{census:?}");
    for (address, counts) in &census.pools {
        assert!(counts.total() <= POOL_MAX as usize, "{address}: {counts:?}");
    }
}

#[test]
fn destructive_operations_with_a_limit_survive_a_frozen_primary() {
    rt::block_on(async {
        let Some(set) = deploy::own_cluster("freeze", Plan::replica_set(3)) else {
            return;
        };
        limited_load_survives(&set, Harm::Frozen).await;
    });
}

fn in_a_network(name: &str, way: Way) {
    if deploy::skips_live() {
        return;
    }
    Network::run(name, |network| {
        let set = OwnCluster::start("partition", Plan::replica_set(3)).unwrap();
        rt::block_on(limited_load_survives(&set, Harm::Lost(&network, way)));
    });
}

#[test]
fn destructive_operations_with_a_limit_survive_a_primary_that_hears_nobody() {
    in_a_network(
        "destructive_operations_with_a_limit_survive_a_primary_that_hears_nobody",
        Way::ToServer,
    );
}

#[test]
fn destructive_operations_with_a_limit_survive_a_primary_that_nobody_hears() {
    in_a_network(
        "destructive_operations_with_a_limit_survive_a_primary_that_nobody_hears",
        Way::ToClient,
    );
}
