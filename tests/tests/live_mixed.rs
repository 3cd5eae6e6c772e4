//! Clients on tokio, smol and async-std in one process, at once, also called from executors that
//! are not their own.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use bson::{Document, doc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongo_client::{
    Client,
    runtime::{AsyncStdRuntime, Runtime, SmolRuntime, TokioRuntime},
};
use mongo_client_tests::{deploy, live, rt};

/// Documents of one round of work; each is written and read: 200 operations.
const DOCUMENTS: i32 = 100;
const AT_ONCE: usize = 10;

fn client(uri: &str, runtime: Arc<dyn Runtime>) -> Client {
    let builder = Client::builder().options(live::options(uri));
    builder.runtime(runtime).build().unwrap()
}

/// Writes and reads documents, several at once, and looks at all of them through a cursor.
async fn work(client: &Client) {
    let db = live::database(client);
    let token = db.name().to_owned();
    let tokens = db.collection::<Document>("tokens");
    stream::iter(0..DOCUMENTS)
        .for_each_concurrent(AT_ONCE, |n| {
            let (tokens, token) = (&tokens, &token);
            async move {
                let written = doc! { "_id": n, "token": token };
                tokens.insert_one(&written).await.unwrap();
                let read = tokens.find_one(doc! { "_id": n }).await.unwrap();
                assert_eq!(read, Some(written));
            }
        })
        .await;
    let cursor = tokens.find(doc! {}).batch_size(7).await.unwrap();
    let all: Vec<Document> = cursor.try_collect().await.unwrap();
    assert_eq!(all.len(), usize::try_from(DOCUMENTS).unwrap());
    let mine = |found: &Document| found.get_str("token").is_ok_and(|found| found == token);
    assert!(all.iter().all(mine));
    live::forget(&db).await;
}

/// An executor: does the [`work`] with a client, to its end.
type Executor = fn(&Client);

const EXECUTORS: [Executor; 4] = [
    |client| rt::tokio_runtime().block_on(work(client)),
    |client| smol::block_on(work(client)),
    |client| async_std::task::block_on(work(client)),
    // None at all: a thread that parks.
    |client| smol::future::block_on(work(client)),
];

/// Runs a piece of work per client and executor, all at the same time.
fn all_at_once(pairs: Vec<(Client, Executor)>) {
    let start = Arc::new(Barrier::new(pairs.len()));
    let threads: Vec<_> = pairs
        .into_iter()
        .map(|(client, executor)| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                start.wait();
                executor(&client);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn clients(uri: &str, tokio: &tokio::runtime::Runtime) -> [Client; 3] {
    [
        client(uri, Arc::new(TokioRuntime::new(tokio.handle().clone()))),
        client(uri, Arc::new(SmolRuntime::new())),
        client(uri, Arc::new(AsyncStdRuntime::new())),
    ]
}

fn shut_down(clients: impl IntoIterator<Item = Client>) {
    for client in clients {
        smol::block_on(client.shutdown().into_future());
    }
}

#[test]
fn clients_of_all_runtimes_work_at_once_in_their_own_executors() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let tokio = rt::tokio_runtime();
    let clients = clients(&uri, &tokio);
    all_at_once(clients.iter().cloned().zip(EXECUTORS).collect());
    shut_down(clients);
}

#[test]
fn every_client_works_in_every_executor() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let tokio = rt::tokio_runtime();
    let clients = clients(&uri, &tokio);
    let pairs = clients.iter().flat_map(|client| {
        let pair = move |executor| (client.clone(), executor);
        EXECUTORS.map(pair)
    });
    all_at_once(pairs.collect());
    shut_down(clients);
}

#[test]
fn client_that_was_given_no_runtime_works_elsewhere_too() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let found = || Client::with_options(live::options(&uri)).unwrap();
    let tokio = rt::tokio_runtime();
    let inside = {
        let _context = tokio.enter();
        found()
    };
    let outside = found();
    let pairs = vec![
        (inside.clone(), EXECUTORS[1]),
        (inside.clone(), EXECUTORS[2]),
        (outside.clone(), EXECUTORS[0]),
        (outside.clone(), EXECUTORS[2]),
    ];
    all_at_once(pairs);
    shut_down([inside, outside]);
}

#[test]
fn client_on_an_own_smol_executor_works_while_somebody_runs_it() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let executor = Arc::new(smol::Executor::new());
    let client = client(&uri, Arc::new(SmolRuntime::on(&executor)));
    let inside: [&dyn Fn(); 2] = [
        &|| smol::block_on(executor.run(work(&client))),
        // The executor has a thread; the work is done on another one, in tokio.
        &|| {
            let (stop, stopped) = smol::channel::bounded::<()>(1);
            thread::scope(|scope| {
                scope.spawn(|| smol::block_on(executor.run(stopped.recv())));
                rt::tokio_runtime().block_on(work(&client));
                drop(stop);
            });
        },
    ];
    for step in inside {
        step();
    }
    smol::block_on(executor.run(client.shutdown().into_future()));
}
