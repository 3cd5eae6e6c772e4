//! Ten thousand operations, dropped at random under load, against a real replica set.
//!
//! Thirty-two tasks run operations with tokens of their own; most are dropped, after a few polls or
//! after a short time. What is not dropped must get its own answer. Afterwards the pools count
//! exactly, few drops have cost a connection, and a thousand more operations succeed.
//! `MONGO_CLIENT_TEST_SEED` repeats the choices of a run (the threads choose for themselves).

use std::{
    future::{Future, IntoFuture},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Client, Collection,
    event::cmap::{CmapEvent, ConnectionClosedReason},
};
use mongo_client_core::rng::Rng;
use mongo_client_driver::Census;
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    live::{self, Event, Recorder},
    rt,
    sim::{Cut, assert_quiet, cut},
};

const TASKS: u64 = 32;
const DROPS: usize = 10_000;
const AFTERWARDS: u64 = 1_000;
/// The documents of the collection, and how many of them one `find` gives.
const DOCUMENTS: usize = 1_000;
const GROUP: usize = 10;
/// A monitor and its round-trip probe.
const MONITORING: usize = 2;

/// When an operation is dropped.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Not at all.
    Ends,
    At(Cut),
    After(Duration),
}

impl Fate {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(8) {
            0 => Self::Ends,
            1..=2 => Self::At(Cut::AfterPoll(1 + rng.below(4))),
            3..=4 => Self::At(Cut::BeforePoll(2 + rng.below(4))),
            _ => Self::After(Duration::from_micros(rng.below(20_000) as u64)),
        }
    }

    /// Runs an operation to its fate; `None` when it was dropped.
    async fn meet<F: IntoFuture>(self, operation: F) -> Option<F::Output> {
        match self {
            Self::Ends => Some(operation.await),
            Self::At(when) => cut(operation, when).await,
            Self::After(time) => rt::timeout(time, operation.into_future()).await.ok(),
        }
    }
}

/// Operations that tell whose answer they got.
struct Work {
    things: Collection<Document>,
    rng: Rng,
    task: u64,
    count: u64,
}

impl Work {
    fn new(things: &Collection<Document>, seed: u64, task: u64) -> Self {
        Self {
            things: things.clone(),
            rng: Rng::from_seed(seed.wrapping_add(task.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            task,
            count: 0,
        }
    }

    /// Runs a random operation to its fate. Whether it ended.
    ///
    /// # Panics
    ///
    /// When it fails, or got another's answer.
    async fn run(&mut self, fate: Fate) -> bool {
        self.count += 1;
        let token = format!("{}/{}", self.task, self.count);
        let (things, any) = (&self.things, self.rng.below(DOCUMENTS));
        let echo = doc! { "token": { "$literal": &token } };
        match self.rng.below(4) {
            0 => {
                let found = things.find_one(doc! { "_id": any as i64 });
                let Some(found) = fate.meet(found.projection(echo)).await else {
                    return false;
                };
                let found = found.unwrap().unwrap();
                assert_eq!(found, doc! { "_id": any as i64, "token": &token });
            }
            1 => {
                let insert = things.insert_one(doc! { "_id": &token });
                let Some(inserted) = fate.meet(insert).await else {
                    return false;
                };
                assert_eq!(inserted.unwrap().inserted_id.as_str(), Some(&*token));
            }
            2 => {
                let id = format!("upsert {token}");
                let update = things.update_one(doc! { "_id": &id }, doc! { "$set": { "x": 1 } });
                let Some(updated) = fate.meet(update.upsert(true)).await else {
                    return false;
                };
                let upserted = updated.unwrap().upserted_id.unwrap();
                assert_eq!(upserted.as_str(), Some(&*id));
            }
            _ => {
                let group = (any / GROUP) as i64;
                let all = async {
                    let found = things.find(doc! { "group": group }).batch_size(4);
                    let found = found.projection(doc! { "token": { "$literal": &token } });
                    found.await?.try_collect::<Vec<_>>().await
                };
                let Some(found) = fate.meet(all).await else {
                    return false;
                };
                let found = found.unwrap();
                assert_eq!(found.len(), GROUP);
                assert!(
                    found
                        .iter()
                        .all(|d| d.get_str("token").ok() == Some(&*token)),
                    "another's reply: {found:?} instead of {token}"
                );
            }
        }
        true
    }
}

fn seed() -> u64 {
    let given = std::env::var("MONGO_CLIENT_TEST_SEED").ok();
    let seed = given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap().as_nanos() as u64
        },
        |seed| seed.parse().expect("MONGO_CLIENT_TEST_SEED is a number"),
    );
    println!("MONGO_CLIENT_TEST_SEED={seed}");
    seed
}

/// Runs a number of tasks to their end.
async fn tasks<F, R>(task: impl Fn(u64) -> F) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let all: Vec<_> = (0..TASKS).map(|n| rt::spawn(task(n))).collect();
    let mut out = Vec::new();
    for task in all {
        out.push(task.await.expect("no task panics"));
    }
    out
}

fn is_at_rest(census: &Census) -> bool {
    let busy = census
        .pools
        .iter()
        .any(|(_, counts)| counts.leased + counts.draining + counts.opening + counts.waiting > 0);
    !busy && census.chores == 0 && census.operations == 0
}

/// The reasons for which connections were closed.
fn closed(events: &Recorder) -> Vec<ConnectionClosedReason> {
    let closed = events.events().into_iter().filter_map(|event| match event {
        Event::Cmap(CmapEvent::ConnectionClosed(event)) => Some(event.reason),
        _ => None,
    });
    closed.collect()
}

async fn prepare(client: &Client) -> Collection<Document> {
    let things = client.database("drops").collection::<Document>("things");
    let documents = (0..DOCUMENTS).map(|n| doc! { "_id": n as i64, "group": (n / GROUP) as i64 });
    things.insert_many(documents).await.unwrap();
    let index = doc! {
        "createIndexes": "things",
        "indexes": [{ "key": { "group": 1 }, "name": "group" }],
    };
    client.database("drops").run_command(index).await.unwrap();
    things
}

async fn operations_dropped_at_random(set: &OwnCluster, max_pool_size: u32) {
    let seed = seed();
    let observer = live::client(&set.uri());
    let things = prepare(&observer).await;
    let mut options = live::options(&set.uri());
    options.max_pool_size = Some(max_pool_size);
    let app_name = live::app_name(&options);
    // Nothing fails, so nothing has to be retried, and what were retried would hide a failure.
    options.retry_reads = Some(false);
    let events = Recorder::attach(&mut options);
    options.command_event_handler = None;
    let client = live::build(options);
    let things = client
        .database("drops")
        .collection::<Document>(things.name());

    let start = Instant::now();
    let (dropped, drained) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ended: Vec<usize> = tasks(|n| {
        let mut work = Work::new(&things, seed, n);
        let (client, dropped, drained) =
            (client.clone(), Arc::clone(&dropped), Arc::clone(&drained));
        async move {
            let mut ended = 0;
            while dropped.load(Ordering::Relaxed) < DROPS {
                let fate = Fate::draw(&mut work.rng);
                if work.run(fate).await {
                    ended += 1;
                } else {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    let census = client.handle().census();
                    let draining = census.pools.iter().map(|(_, counts)| counts.draining).sum();
                    drained.fetch_max(draining, Ordering::Relaxed);
                }
            }
            ended
        }
    })
    .await;
    let took = start.elapsed();
    let (dropped, drained) = (
        dropped.load(Ordering::Relaxed),
        drained.load(Ordering::Relaxed),
    );
    let closed = closed(&events);
    let dropped_closed = closed
        .iter()
        .filter(|why| **why == ConnectionClosedReason::Dropped);
    let dropped_closed = dropped_closed.count();
    println!(
        "maxPoolSize {max_pool_size}: {dropped} dropped, {} ended, {dropped_closed} closed, \
         {drained} drained at once, {took:?}",
        ended.iter().sum::<usize>()
    );

    live::eventually("nothing is under way", || async {
        is_at_rest(&client.handle().census())
    })
    .await;
    let census = client.handle().census();
    assert_quiet(&census);
    for (address, counts) in &census.pools {
        assert!(
            counts.available <= max_pool_size as usize,
            "{address}: {counts:?}"
        );
    }
    assert_eq!(closed.len(), dropped_closed, "other reasons: {closed:?}");
    assert!(
        dropped_closed * 100 <= dropped,
        "{dropped_closed} of {dropped}"
    );
    // The primary sees the same connections as the client.
    let open = census
        .pools
        .iter()
        .map(|(_, counts)| counts.available)
        .max();
    live::eventually(
        "the primary has as many connections as the pool",
        || async {
            let seen = live::connections_of(&observer, &app_name).await.unwrap();
            Some(seen) == open.map(|open| open + MONITORING)
        },
    )
    .await;

    tasks(|n| {
        let mut work = Work::new(&things, seed, TASKS + n);
        async move {
            for _ in 0..AFTERWARDS / TASKS + 1 {
                assert!(work.run(Fate::Ends).await);
            }
        }
    })
    .await;
    assert_quiet(&client.handle().census());
}

fn destructive(max_pool_size: u32) {
    let Some(set) = deploy::own_cluster("drops", Plan::replica_set(3)) else {
        return;
    };
    rt::block_on(operations_dropped_at_random(&set, max_pool_size));
}

#[test]
fn destructive_ten_thousand_drops_over_ten_connections_leave_the_client_whole() {
    destructive(10);
}

#[test]
fn destructive_ten_thousand_drops_over_a_hundred_connections_leave_the_client_whole() {
    destructive(100);
}
