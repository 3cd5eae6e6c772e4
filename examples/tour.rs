//! Walks through what the page of PyMongo's `MongoClient` documents, member by member, with the async
//! and with the blocking API, and prints the value of each.
//!
//! `cargo xtask tour` starts a replica set and runs this against it; with a set of your own:
//! `cargo run --example tour --features sync -- 'mongodb://HOST,HOST,HOST/?replicaSet=NAME'`; it waits
//! until every member is known. It writes to the database `tour` and drops it, and locks the primary for
//! a moment.

use std::{fmt::Debug, process::ExitCode, sync::Arc};

use mongo_client::{
    bson::{Document, doc},
    cursor::{ClosedCursor, CursorManager},
    error::Result,
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

/// Has the client of these options tell when it knows all servers. The properties of a client show
/// what is known at the moment, and never wait.
fn told_when_complete(options: &mut ClientOptions) -> Receiver<()> {
    let (send, complete) = bounded(1);
    options.sdam_event_handler = Some(EventHandler::callback(move |event| {
        if let SdamEvent::TopologyDescriptionChanged(event) = event {
            let servers = &event.new_description.servers;
            let mut types = servers.values().map(|server| server.server_type);
            if !servers.is_empty() && types.all(|server| server != ServerType::Unknown) {
                // Once is enough: what does not fit into the channel is dropped.
                let _ = send.try_send(());
            }
        }
    }));
    complete
}

/// The page from top to bottom. The two APIs have the same names: `$wait` ends what only has to be
/// waited for, `$run` a verb with options, `$next` asks a cursor for a document, and `$complete` waits
/// until all servers are known.
macro_rules! walk {
    ($client:ident, [$($wait:tt)*], [$($run:tt)*], $next:ident, $complete:expr) => {{
        title("servers");
        show("is_primary", $client.is_primary()$($wait)*?);
        show("is_mongos", $client.is_mongos()$($wait)*?);
        // It fails only when the client is gone.
        let _ = $complete;
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

async fn with_async_api(uri: &str) -> Result<()> {
    macro_rules! next {
        ($cursor:ident) => {{
            $cursor.advance().await?;
            $cursor.deserialize_current()?
        }};
    }
    let mut options = ClientOptions::parse(uri).await?;
    let complete = told_when_complete(&mut options);
    let client = mongo_client::Client::with_options(options)?;
    walk!(client, [.await], [.await], next, complete.recv().await);
    client.shutdown().await;
    Ok(())
}

fn with_blocking_api(uri: &str) -> Result<()> {
    macro_rules! next {
        ($cursor:ident) => {
            $cursor.next().transpose()?
        };
    }
    let mut options = ClientOptions::parse(uri).run()?;
    let complete = told_when_complete(&mut options);
    let client = mongo_client::sync::Client::with_options(options)?;
    walk!(client, [], [.run()], next, complete.recv_blocking());
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
