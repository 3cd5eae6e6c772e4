//! Walks through what the page of PyMongo's `MongoClient` documents, member by member, with the async
//! and with the blocking API, and prints the value of each.
//!
//! `cargo xtask tour` starts a replica set and runs this against it; with a set of your own:
//! `cargo run --example tour --features sync -- 'mongodb://HOST,HOST,HOST/?replicaSet=NAME'`; it waits
//! until every member is known, for half a minute at most. It writes to the database `tour` and drops it, and locks the primary for
//! a moment.

use std::{
    error::Error,
    fmt::Debug,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mongo_client::{
    bson::{Document, doc},
    cursor::{ClosedCursor, CursorManager},
    event::{EventHandler, sdam::SdamEvent},
    options::{ClientOptions, DatabaseOptions, WriteConcern},
    topology::ServerType,
};
use smol::channel::{Receiver, bounded};

const DATABASE: &str = "tour";

/// Says which cursor was dropped, and kills it at once.
#[derive(Debug)]
struct Told;

impl CursorManager for Told {
    fn close(&self, cursor: ClosedCursor) {
        show("the manager kills a cursor of", cursor.address());
        cursor.kill();
    }
}

fn show(name: &str, value: impl Debug) {
    println!("{name:>34}  {value:?}");
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// How long all servers may take to be known.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells when a client knows all its servers. The properties of a client show what is known at the
/// moment, and never wait.
struct Complete {
    told: Receiver<()>,
    /// The servers that are not known, and why.
    missing: Arc<Mutex<Vec<String>>>,
}

impl Complete {
    /// Has the client of these options tell.
    fn of(options: &mut ClientOptions) -> Self {
        let (send, told) = bounded(1);
        let missing = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&missing);
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(event) = event {
                let servers = &event.new_description.servers;
                let unknown = servers.values();
                let unknown = unknown.filter(|server| server.server_type == ServerType::Unknown);
                let unknown = unknown.map(|server| match &server.error {
                    Some(error) => format!("{} ({error})", server.address),
                    None => server.address.to_string(),
                });
                let unknown: Vec<_> = unknown.collect();
                if !servers.is_empty() && unknown.is_empty() {
                    // Once is enough: what does not fit into the channel is dropped.
                    let _ = send.try_send(());
                }
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = unknown;
            }
        }));
        Self { told, missing }
    }

    /// Waits until all servers are known.
    async fn wait(&self) -> Result<(), String> {
        let told = async { self.told.recv().await.map_err(|gone| gone.to_string()) };
        let late = async {
            smol::Timer::after(PATIENCE).await;
            let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            let missing = missing.join(", ");
            let seconds = PATIENCE.as_secs();
            Err(format!("still not known after {seconds} s: {missing}"))
        };
        smol::future::or(told, late).await
    }
}

/// The page from top to bottom. The two APIs have the same names: `$wait` ends what only has to be
/// waited for, `$run` a verb with options, `$next` asks a cursor for a document, and `$complete` waits
/// until all servers are known.
macro_rules! walk {
    ($client:ident, [$($wait:tt)*], [$($run:tt)*], $next:ident, $complete:expr) => {{
        title("servers");
        show("is_primary", $client.is_primary()$($wait)*?);
        show("is_mongos", $client.is_mongos()$($wait)*?);
        $complete?;
        show("address", $client.address()?);
        show("nodes", $client.nodes());
        show("primary", $client.primary());
        show("secondaries", $client.secondaries());
        show("arbiters", $client.arbiters());
        let topology = $client.topology_description()$($wait)*?;
        show("topology_description", topology.topology_type);

        title("limits and defaults");
        show("max_pool_size", $client.max_pool_size());
        show("max_bson_size", $client.max_bson_size());
        show("max_message_size", $client.max_message_size());
        show("max_write_batch_size", $client.max_write_batch_size());
        show("local_threshold", $client.local_threshold());
        show("read_preference", $client.read_preference());
        show("write_concern", $client.write_concern());
        show("read_concern", $client.read_concern());

        title("databases");
        let db = $client.get_default_database(Some(DATABASE))?;
        show("get_default_database", db.name());
        let options = DatabaseOptions::builder()
            .write_concern(WriteConcern::majority())
            .build();
        let careful = $client.database_with_options(DATABASE, options);
        show("database_with_options", careful.write_concern());
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..100).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents)$($run)*?;
        show("list_database_names", $client.list_database_names()$($run)*?);
        let wrong = $client.database("not a name").list_collection_names()$($run)*;
        show("an invalid name", wrong.err().map(|error| error.to_string()));

        title("the server");
        let info = $client.server_info()$($wait)*?;
        show("server_info: version", info.get_str("version").unwrap_or("unknown"));
        let both = $client.fsync().lock(true).async_(true)$($run)*;
        show("fsync(lock, async)", both.err().map(|error| error.to_string()));
        show("fsync", $client.fsync()$($run)*?.get("ok"));
        show("is_locked", $client.is_locked()$($wait)*?);
        $client.fsync().lock(true)$($run)*?;
        show("is_locked after fsync(lock)", $client.is_locked()$($wait)*?);
        $client.unlock()$($wait)*?;
        show("is_locked after unlock", $client.is_locked()$($wait)*?);

        title("cursors");
        $client.set_cursor_manager(Some(Arc::new(Told)));
        let mut cursor = numbers.find(doc! {}).batch_size(2)$($run)*?;
        show("the first of many documents", $next!(cursor));
        drop(cursor);
        $client.set_cursor_manager(None);
        $client.kill_cursors(&[1, 2], None);
        $client.close_cursor(3, None);
        show("kill_cursors, close_cursor", "in the background");

        title("the end");
        $client.drop_database(DATABASE)$($run)*?;
        show("drop_database", $client.list_database_names()$($run)*?);
        $client.close()$($wait)*;
        show("nodes after close", $client.nodes());
        show("and the next use opens it again", $client.is_primary()$($wait)*?);
    }};
}

async fn with_async_api(uri: &str) -> Result<(), Box<dyn Error>> {
    macro_rules! next {
        ($cursor:ident) => {{
            $cursor.advance().await?;
            $cursor.deserialize_current()?
        }};
    }
    let mut options = ClientOptions::parse(uri).await?;
    let complete = Complete::of(&mut options);
    let client = mongo_client::Client::with_options(options)?;
    walk!(client, [.await], [.await], next, complete.wait().await);
    client.shutdown().await;
    Ok(())
}

fn with_blocking_api(uri: &str) -> Result<(), Box<dyn Error>> {
    macro_rules! next {
        ($cursor:ident) => {
            $cursor.next().transpose()?
        };
    }
    let mut options = ClientOptions::parse(uri).run()?;
    let complete = Complete::of(&mut options);
    let client = mongo_client::sync::Client::with_options(options)?;
    walk!(client, [], [.run()], next, smol::block_on(complete.wait()));
    client.shutdown().run();
    Ok(())
}

fn main() -> ExitCode {
    let Some(uri) = std::env::args().nth(1) else {
        eprintln!("usage: tour URI");
        return ExitCode::FAILURE;
    };
    println!("the async API");
    let walked = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|tokio| tokio.block_on(with_async_api(&uri)))
        .and_then(|()| {
            println!("\nthe blocking API");
            with_blocking_api(&uri)
        });
    match walked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
