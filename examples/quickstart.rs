//! Writes 1,000 documents while the primary steps down, and loses none.
//!
//! `cargo xtask quickstart` starts a replica set and runs this against it; with a set of your own:
//! `cargo run --example quickstart -- 'mongodb://HOST,HOST,HOST/?replicaSet=NAME'`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use mongo_client::bson::doc;
use mongo_client::error::Result;
use mongo_client::event::EventHandler;
use mongo_client::event::command::CommandEvent;
use mongo_client::options::{ClientOptions, WriteConcern};
use mongo_client::{Client, Collection};
use serde::{Deserialize, Serialize};

const DOCUMENTS: u32 = 1_000;
const STEP_DOWN_AT: u32 = 400;

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    number: u32,
    text: String,
}

/// How often each operation was sent.
type Attempts = Arc<Mutex<BTreeMap<i64, u32>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(uri) = std::env::args().nth(1) else {
        eprintln!("usage: quickstart URI");
        return ExitCode::FAILURE;
    };
    match run(&uri).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(uri: &str) -> Result<bool> {
    let attempts = Attempts::default();
    let client = Client::with_options(options(uri, &attempts)?)?;
    let entries: Collection<Entry> = client.database("quickstart").collection("entries");
    entries.drop().await?;
    let before = primary(&client).await?;
    println!("primary before: {before}");

    let acknowledged = write(uri, &entries).await?;

    let mut after = primary(&client).await?;
    // The members may still be electing when the last write is done.
    for _ in 0..100 {
        if after != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = primary(&client).await?;
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
async fn write(uri: &str, entries: &Collection<Entry>) -> Result<Vec<u32>> {
    let mut acknowledged = Vec::new();
    let mut step_down = None;
    for number in 0..DOCUMENTS {
        if number == STEP_DOWN_AT {
            let uri = uri.to_owned();
            step_down = Some(tokio::spawn(async move {
                let admin = Client::with_uri_str(&uri).await?.database("admin");
                admin
                    .run_command(doc! { "replSetStepDown": 5, "force": true })
                    .await
            }));
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
    if let Some(step_down) = step_down
        && let Ok(Err(error)) = step_down.await
    {
        // The primary may close the connection before it answers.
        eprintln!("replSetStepDown: {error}");
    }
    Ok(acknowledged)
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
async fn primary(client: &Client) -> Result<String> {
    loop {
        let hello = client
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(hello.get_str("me").unwrap_or("unknown").to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
