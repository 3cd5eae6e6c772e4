//! Writes 1,000 documents while the primary steps down, and loses none.
//!
//! `cargo run --example quickstart` runs at once, against a simulated replica set of three inside
//! this process, on real sockets: nothing has to be installed. With `MONGODB_URI` in the environment,
//! or a connection string as first argument, it runs against that set:
//! `cargo run --example quickstart -- 'mongodb://HOST,HOST,HOST/?replicaSet=NAME'`; `cargo xtask
//! quickstart` starts a real one. A second argument (`--` for no first one) names the runtime:
//! `tokio`, or `smol` and `async-std` with the features of the same names.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use mongo_client::bson::doc;
use mongo_client::error::{Error, Result};
use mongo_client::event::EventHandler;
use mongo_client::event::command::CommandEvent;
use mongo_client::options::{ClientOptions, WriteConcern};
use mongo_client::runtime::Runtime;
use mongo_client::{Client, Collection};
use mongo_client_sim::{Instant, Seeded, Served, SetConfig, SimReplicaSet};
use serde::{Deserialize, Serialize};

const SET: &str = "simulated";
const DOCUMENTS: u32 = 1_000;
const STEP_DOWN_AT: u32 = 400;

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    number: u32,
    text: String,
}

/// How often each operation was sent.
type Attempts = Arc<Mutex<BTreeMap<i64, u32>>>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let given = args.next().or_else(|| std::env::var("MONGODB_URI").ok());
    let name = args.next().unwrap_or_else(|| "tokio".to_owned());
    let mut simulated = None;
    let uri = match given.filter(|uri| uri != "--") {
        Some(uri) => uri,
        None => match simulate() {
            Ok(set) => {
                println!("deployment:     three simulated servers in this process");
                simulated.insert(set).uri(Some(SET))
            }
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    let Some(result) = run_on(&name, &uri) else {
        eprintln!("quickstart is built without the feature {name}");
        return ExitCode::FAILURE;
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A replica set of three on ports of this machine, which elects a primary quickly.
fn simulate() -> std::io::Result<Served<SimReplicaSet>> {
    Served::start(3, |addresses, wall_epoch_ms| {
        let mut config = SetConfig::new(SET, addresses);
        config.wall_epoch_ms = wall_epoch_ms;
        config.election_timeout = Duration::from_millis(300);
        config.lag = Duration::from_micros(200);
        let choices = Box::new(Seeded::new(wall_epoch_ms.unsigned_abs()));
        SimReplicaSet::new(config, choices, Instant::ZERO)
    })
}

/// Runs everything in the executor of a runtime; `None` for one that is not there.
#[cfg_attr(
    not(any(feature = "tokio", feature = "smol", feature = "async-std")),
    expect(unused_variables, reason = "without a runtime nothing can be run")
)]
fn run_on(name: &str, uri: &str) -> Option<Result<bool>> {
    match name {
        #[cfg(feature = "tokio")]
        "tokio" => {
            let tokio = tokio::runtime::Runtime::new().ok()?;
            let runtime = mongo_client::runtime::TokioRuntime::new(tokio.handle().clone());
            Some(tokio.block_on(run(uri, Arc::new(runtime))))
        }
        #[cfg(feature = "smol")]
        "smol" => {
            let runtime = mongo_client::runtime::SmolRuntime::new();
            Some(smol::block_on(run(uri, Arc::new(runtime))))
        }
        #[cfg(feature = "async-std")]
        "async-std" => {
            let runtime = mongo_client::runtime::AsyncStdRuntime::new();
            Some(async_std::task::block_on(run(uri, Arc::new(runtime))))
        }
        _ => None,
    }
}

#[cfg_attr(
    not(any(feature = "tokio", feature = "smol", feature = "async-std")),
    expect(dead_code, reason = "without a runtime nothing can be run")
)]
async fn run(uri: &str, runtime: Arc<dyn Runtime>) -> Result<bool> {
    println!("runtime:        {}", runtime.name());
    let attempts = Attempts::default();
    let client = Client::builder()
        .options(options(uri, &attempts)?)
        .runtime(Arc::clone(&runtime))
        .build()?;
    let entries: Collection<Entry> = client.database("quickstart").collection("entries");
    entries.drop().await?;
    let before = primary(&client, &*runtime).await?;
    println!("primary before: {before}");

    let acknowledged = write(uri, &runtime, &entries).await?;

    let mut after = primary(&client, &*runtime).await?;
    // The members may still be electing when the last write is done.
    for _ in 0..100 {
        if after != before {
            break;
        }
        sleep(&*runtime, Duration::from_millis(100)).await;
        after = primary(&client, &*runtime).await?;
    }
    println!("primary after:  {after}");

    let found = read(&entries).await?;
    let lost = acknowledged
        .iter()
        .filter(|number| !found.contains_key(number))
        .count();
    let duplicated = found.values().filter(|count| **count > 1).count();
    let all: u32 = found.values().sum();
    let retried = {
        let attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.values().filter(|count| **count > 1).count()
    };
    println!("retried operations: {retried}");
    println!(
        "acknowledged {}, found {all}, lost {lost}, duplicated {duplicated}",
        acknowledged.len()
    );
    let complete = u32::try_from(acknowledged.len()) == Ok(DOCUMENTS) && all == DOCUMENTS;
    client.shutdown().await;
    Ok(complete && lost == 0 && duplicated == 0 && before != after)
}

/// The connection string's options, and a handler that counts attempts by operation.
fn options(uri: &str, attempts: &Attempts) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse_uri(uri)?.options;
    options.app_name = Some("quickstart".to_owned());
    let attempts = Arc::clone(attempts);
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            *attempts.entry(started.operation_id.0).or_default() += 1;
        }
    }));
    Ok(options)
}

/// Writes all entries one by one and returns the numbers of those that were acknowledged by a
/// majority. In the middle another client makes the primary step down.
async fn write(
    uri: &str,
    runtime: &Arc<dyn Runtime>,
    entries: &Collection<Entry>,
) -> Result<Vec<u32>> {
    let mut acknowledged = Vec::new();
    for number in 0..DOCUMENTS {
        if number == STEP_DOWN_AT {
            let task = step_down(uri.to_owned(), Arc::clone(runtime));
            runtime.spawn(Box::pin(task)).map_err(Error::custom)?;
        }
        let entry = Entry {
            number,
            text: format!("entry {number}"),
        };
        entries
            .insert_one(&entry)
            .write_concern(WriteConcern::majority())
            .await?;
        acknowledged.push(number);
    }
    Ok(acknowledged)
}

/// Makes the primary step down, by a client of its own.
async fn step_down(uri: String, runtime: Arc<dyn Runtime>) {
    let order = async {
        let client = Client::builder().uri(&uri)?.runtime(runtime).build()?;
        // For long enough that another member is elected, also on a slow machine.
        let command = doc! { "replSetStepDown": 60, "force": true };
        client.database("admin").run_command(command).await
    };
    if let Err(error) = order.await {
        // The primary may close the connection before it answers.
        eprintln!("replSetStepDown: {error}");
    }
}

async fn sleep(runtime: &dyn Runtime, time: Duration) {
    let mut timer = runtime.timer();
    timer.reset(runtime.now() + time);
    poll_fn(|cx| timer.poll(cx)).await;
}

/// Reads all entries back and counts how often each number occurs.
async fn read(entries: &Collection<Entry>) -> Result<BTreeMap<u32, u32>> {
    let mut found = BTreeMap::new();
    let mut cursor = entries.find(doc! {}).sort(doc! { "number": 1 }).await?;
    while let Some(entry) = cursor.try_next().await? {
        *found.entry(entry.number).or_default() += 1;
    }
    Ok(found)
}

/// The address of the member that says it is the primary.
async fn primary(client: &Client, runtime: &dyn Runtime) -> Result<String> {
    loop {
        let hello = client
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(hello.get_str("me").unwrap_or("unknown").to_owned());
        }
        sleep(runtime, Duration::from_millis(50)).await;
    }
}
