//! A client outlives its runtime: the `static` client that many runtimes use, one after the other
//! and at once, on tokio and on smol's executors.
//!
//! Each test makes its own runtimes, so `MONGO_CLIENT_TEST_RUNTIME` changes nothing here.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Barrier, LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
};

use bson::{Document, doc};
use futures_util::{TryStreamExt, future::try_join_all};
use mongo_client::{
    Client, Collection,
    error::{Error, ErrorKind, Result},
    runtime::{SmolRuntime, TokioRuntime},
};
use mongo_client_tests::{deploy, live, rt};

const RUNTIMES: u32 = 10;

/// The client of the whole process, as applications and test suites keep it.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let uri = deploy::uri("REPLICA_SET").expect("the caller has looked");
    Client::with_options(live::options(&uri)).expect("the options are valid")
});

fn things(client: &Client) -> Collection<Document> {
    client
        .database("live_runtimes")
        .collection(&live::unique("things"))
}

/// Ten operations of each kind at once, and a cursor; every one has to succeed.
async fn work(things: &Collection<Document>, runtime: u32) -> Result<()> {
    write_and_read(things, runtime).await?;
    let range = doc! { "_id": { "$gte": runtime * 100, "$lt": runtime * 100 + 10 } };
    let cursor = things.find(range).batch_size(3).await?;
    let found: Vec<Document> = cursor.try_collect().await?;
    assert_eq!(found.len(), 10);
    Ok(())
}

/// Ten operations of each kind at once, all of which are retried when their connection dies.
async fn write_and_read(things: &Collection<Document>, runtime: u32) -> Result<()> {
    let ids: Vec<u32> = (0..10).map(|n| runtime * 100 + n).collect();
    try_join_all(ids.iter().map(|id| async move {
        things.insert_one(doc! { "_id": id, "n": 0 }).await?;
        things
            .update_one(doc! { "_id": id }, doc! { "$inc": { "n": 1 } })
            .await?;
        let found = things.find_one(doc! { "_id": id }).await?;
        assert_eq!(found, Some(doc! { "_id": id, "n": 1 }));
        Ok::<(), Error>(())
    }))
    .await?;
    Ok(())
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_static_client_serves_ten_tokio_runtimes_one_after_the_other() {
    if deploy::skips_live() {
        return;
    }
    let mut made = None;
    for n in 0..RUNTIMES {
        let runtime = match n % 2 {
            0 => rt::tokio_runtime(),
            _ => current_thread(),
        };
        runtime.block_on(async {
            // The first runtime is where the client starts.
            let things = made.get_or_insert_with(|| things(&CLIENT));
            work(things, n).await.unwrap();
        });
    }
    current_thread().block_on(async { made.unwrap().drop().await.unwrap() });
}

#[test]
fn a_static_client_serves_overlapping_tokio_runtimes_whose_first_dies_first() {
    if deploy::skips_live() {
        return;
    }
    let first = rt::tokio_runtime();
    let things = first.block_on(async {
        let things = things(&CLIENT);
        work(&things, 0).await.unwrap();
        things
    });
    overlap(
        &things,
        move || drop(first),
        |n, things| {
            rt::tokio_runtime().block_on(keep_working(things, n));
        },
    );
    current_thread().block_on(async { things.drop().await.unwrap() });
}

/// The runtime that owns the monitors dies while the others work; then they go on.
fn overlap(
    things: &Collection<Document>,
    death: impl FnOnce(),
    run: impl Fn(u32, Shared) + Copy + Send,
) {
    let shared = Shared {
        things: things.clone(),
        rounds: Arc::default(),
        dead: Arc::default(),
    };
    let (report, reports) = mpsc::channel();
    let start = Barrier::new(RUNTIMES as usize);
    thread::scope(|scope| {
        for n in 1..RUNTIMES {
            let (shared, report, start) = (shared.clone(), report.clone(), &start);
            scope.spawn(move || {
                start.wait();
                run(n, shared);
                report.send(n).unwrap();
            });
        }
        start.wait();
        // The others are in the middle of their work.
        while shared.rounds.load(Ordering::Acquire) < 2 * RUNTIMES {
            thread::yield_now();
        }
        death();
        shared.dead.store(1, Ordering::Release);
    });
    drop(report);
    assert_eq!(reports.iter().count(), RUNTIMES as usize - 1);
}

#[derive(Clone)]
struct Shared {
    things: Collection<Document>,
    rounds: Arc<AtomicU32>,
    dead: Arc<AtomicU32>,
}

/// Works until the first runtime is dead, and ten rounds more.
async fn keep_working(shared: Shared, n: u32) {
    let (mut round, mut after) = (0, 0);
    while after < 10 {
        round += 1;
        after += shared.dead.load(Ordering::Acquire);
        let result = write_and_read(&shared.things, n * 1_000 + round).await;
        result.unwrap_or_else(|error| panic!("runtime {n}, round {round}: {error:?}"));
        shared.rounds.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_client_of_smol_serves_ten_executors_one_after_the_other() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let mut executor = Arc::new(smol::Executor::new());
    let client = smol_client(&uri, &executor);
    let things = things(&client);
    for n in 0..RUNTIMES {
        smol::block_on(executor.run(async { work(&things, n).await.unwrap() }));
        // The tasks of the client die with their executor.
        executor = Arc::new(smol::Executor::new());
    }
    smol::block_on(async { things.drop().await.unwrap() });
}

#[test]
fn a_client_of_smol_serves_overlapping_executors_whose_first_dies_first() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let first = Arc::new(smol::Executor::new());
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let client = smol_client(&uri, &first);
    let things = things(&client);
    smol::block_on(first.run(async { work(&things, 0).await.unwrap() }));
    let driver = thread::spawn(move || {
        // Runs until it is told to die; then the executor is dropped with its tasks.
        let _ = smol::block_on(first.run(stopped.recv()));
    });
    let death = move || {
        drop(stop);
        driver.join().unwrap();
    };
    overlap(&things, death, |n, shared| {
        let executor = smol::Executor::new();
        smol::block_on(executor.run(keep_working(shared, n)));
    });
    smol::block_on(async { things.drop().await.unwrap() });
}

fn smol_client(uri: &str, executor: &Arc<smol::Executor<'static>>) -> Client {
    let builder = Client::builder().options(live::options(uri));
    let client = builder.runtime(Arc::new(SmolRuntime::on(executor))).build();
    client.unwrap()
}

#[test]
fn a_client_given_a_tokio_runtime_goes_on_in_the_callers_and_nowhere_else() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let given = rt::tokio_runtime();
    let builder = Client::builder().options(live::options(&uri));
    let runtime = TokioRuntime::new(given.handle().clone());
    let client = builder.runtime(Arc::new(runtime)).build().unwrap();
    let things = things(&client);
    given.block_on(async { work(&things, 1).await.unwrap() });
    drop(given);
    let second = rt::tokio_runtime();
    second.block_on(async { work(&things, 2).await.unwrap() });
    drop(second);

    let error = smol::block_on(async { things.find_one(doc! {}).await.unwrap_err() });
    assert!(
        matches!(&*error.kind, ErrorKind::InvalidArgument { message } if message.contains("shut down")),
        "{error:?}"
    );
    rt::tokio_runtime().block_on(async { things.drop().await.unwrap() });
}

#[test]
fn a_client_moves_from_tokio_to_smol_and_back() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let client = Client::with_options(live::options(&uri)).unwrap();
    let things = things(&client);
    rt::tokio_runtime().block_on(async { work(&things, 1).await.unwrap() });
    smol::block_on(async { work(&things, 2).await.unwrap() });
    rt::tokio_runtime().block_on(async {
        work(&things, 3).await.unwrap();
        things.drop().await.unwrap();
        client.clone().shutdown().await;
    });
}

#[test]
fn everything_may_be_dropped_outside_every_runtime_and_after_its_own() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let runtime = current_thread();
    let client = runtime.block_on(async { Client::with_options(live::options(&uri)).unwrap() });
    let things = things(&client);
    let (cursor, session, pending) = runtime.block_on(async {
        work(&things, 1).await.unwrap();
        let mut cursor = things.find(doc! {}).batch_size(2).await.unwrap();
        assert!(cursor.advance().await.unwrap());
        let session = client.start_session().await.unwrap();
        // An operation in the middle of its work.
        let mut pending = Box::pin(async move { things.find_one(doc! {}).await });
        let first = poll_fn(|cx| Poll::Ready(pending.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        (cursor, session, pending)
    });
    drop(runtime);
    drop(pending);
    drop(session);
    drop(cursor);
    drop(client);
}
