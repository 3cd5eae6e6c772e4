//! The blocking API: every verb, cursors, sessions and errors, from plain threads and from inside
//! of async runtimes.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc, rawdoc};
use mongo_client::{
    ServerType,
    action::Action,
    error::{ErrorKind, Result, WriteFailure},
    event::{EventHandler, command::CommandEvent},
    options::{ClientOptions, CursorType, ReturnDocument},
    sync::{Client, Collection, Database},
};
use mongo_client_tests::{deploy, live};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
}

/// A client of a shared deployment, and a database of the test's own.
fn start(deployment: &str) -> Option<(Client, Database)> {
    let uri = deploy::uri(deployment)?;
    let client = Client::with_options(live::options(&uri)).unwrap();
    let database = client.database(&live::unique("live_sync"));
    Some((client, database))
}

/// A client whose events are kept.
fn recorded(uri: &str) -> (Client, live::Recorder, ClientOptions) {
    let mut options = live::options(uri);
    let events = live::Recorder::attach(&mut options);
    let client = Client::with_options(options.clone()).unwrap();
    (client, events, options)
}

fn numbered(database: &Database, count: i32) -> Collection<Document> {
    let numbers = database.collection::<Document>("numbers");
    let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n, "n": n % 10 }).collect();
    let inserted = numbers.insert_many(&documents).run().unwrap();
    assert_eq!(inserted.inserted_ids.len(), documents.len());
    numbers
}

/// Asks again until the answer is yes.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < live::PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn verbs_of_a_collection_block_until_they_are_done() {
    let Some((_client, db)) = start("STANDALONE") else {
        return;
    };
    let people = db.collection::<Person>("people");
    let person = |id: i32, name: &str| Person {
        id,
        name: name.to_owned(),
    };

    let ada = people.insert_one(person(1, "Ada")).run().unwrap();
    assert_eq!(ada.inserted_id, Bson::Int32(1));
    let more = [person(2, "Bob"), person(3, "Cyd")];
    let more = people.insert_many(more).ordered(true).run().unwrap();
    assert_eq!(more.inserted_ids.len(), 2);
    assert_eq!(people.count_documents(doc! {}).run().unwrap(), 3);
    assert_eq!(people.estimated_document_count().run().unwrap(), 3);

    let set = |name: &str| doc! { "$set": { "name": name } };
    let updated = people.update_one(doc! { "_id": 2 }, set("Bea")).run();
    assert_eq!(updated.unwrap().modified_count, 1);
    let updated = people.update_many(doc! { "_id": { "$gt": 1 } }, set("X"));
    assert_eq!(updated.run().unwrap().matched_count, 2);
    let replaced = people.replace_one(doc! { "_id": 3 }, person(3, "Dan"));
    assert_eq!(replaced.run().unwrap().modified_count, 1);
    let names = people.distinct("name", doc! {}).run().unwrap();
    assert_eq!(names, ["Ada", "Dan", "X"].map(Bson::from));

    let found = people
        .find_one(doc! {})
        .sort(doc! { "_id": -1 })
        .optional(Some(1), |verb, skip| verb.skip(skip));
    assert_eq!(found.run().unwrap(), Some(person(2, "X")));
    let after = people
        .find_one_and_update(doc! { "_id": 2 }, set("Eve"))
        .return_document(ReturnDocument::After);
    assert_eq!(after.run().unwrap(), Some(person(2, "Eve")));
    let before = people.find_one_and_replace(doc! { "_id": 2 }, person(2, "Fay"));
    assert_eq!(before.run().unwrap(), Some(person(2, "Eve")));
    let gone = people.find_one_and_delete(doc! { "_id": 2 }).run();
    assert_eq!(gone.unwrap(), Some(person(2, "Fay")));

    let count = [doc! { "$count": "n" }];
    let mut counted = people.aggregate(count).run().unwrap();
    assert_eq!(counted.next().unwrap().unwrap(), doc! { "n": 2 });
    assert!(counted.next().is_none());
    let deleted = people.delete_one(doc! { "_id": 1 }).run().unwrap();
    assert_eq!(deleted.deleted_count, 1);
    assert_eq!(people.delete_many(doc! {}).run().unwrap().deleted_count, 1);
    people.drop().run().unwrap();
    db.drop().run().unwrap();
}

#[test]
fn verbs_of_clients_and_databases_block_until_they_are_done() {
    let Some((client, db)) = start("STANDALONE") else {
        return;
    };
    db.create_collection("log")
        .capped(true)
        .size(1 << 20)
        .run()
        .unwrap();
    let ping = db.run_command(doc! { "ping": 1 }).run().unwrap();
    assert!(ping.contains_key("ok"), "{ping}");
    assert!(db.run_raw_command(rawdoc! { "ping": 1 }).run().is_ok());

    let specifications: Vec<_> = db.list_collections().run().unwrap().collect();
    assert_eq!(specifications.len(), 1);
    assert_eq!(specifications[0].as_ref().unwrap().name, "log");
    assert_eq!(db.list_collection_names().run().unwrap(), ["log"]);
    let names = client.list_database_names().run().unwrap();
    assert!(names.iter().any(|name| name == db.name()), "{names:?}");
    assert_eq!(client.list_databases().run().unwrap().len(), names.len());

    let cursor = db.run_cursor_command(doc! { "listCollections": 1 });
    assert_eq!(cursor.run().unwrap().count(), 1);
    let cursor = db.run_raw_cursor_command(rawdoc! { "find": "log" });
    assert_eq!(cursor.run().unwrap().count(), 0);
    let admin = client.database("admin");
    let operations = admin.aggregate([doc! { "$currentOp": {} }, doc! { "$limit": 1 }]);
    assert_eq!(operations.run().unwrap().count(), 1);

    let topology = client.topology_description().unwrap();
    let types: Vec<_> = topology.servers.values().map(|s| s.server_type).collect();
    assert_eq!(types, [ServerType::Standalone]);
    db.drop().run().unwrap();
}

#[test]
fn a_cursor_is_an_iterator_over_all_batches() {
    let Some((_client, db)) = start("STANDALONE") else {
        return;
    };
    let numbers = numbered(&db, 25);

    let find = || numbers.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(4);
    let ids: Result<Vec<i32>> = find()
        .run()
        .unwrap()
        .map(|found| Ok(found?.get_i32("_id").unwrap()))
        .collect();
    assert_eq!(ids.unwrap(), (0..25).collect::<Vec<_>>());

    #[derive(Deserialize)]
    struct Named<'a> {
        name: &'a str,
    }
    let mut cursor = find().run().unwrap();
    assert!(cursor.has_next());
    let mut count = 0;
    while cursor.advance().unwrap() {
        assert_eq!(cursor.current().get_i32("_id").unwrap(), count);
        count += 1;
    }
    assert_eq!((count, cursor.has_next()), (25, false));
    numbers
        .insert_one(doc! { "_id": 99, "name": "Ada" })
        .run()
        .unwrap();
    let last = numbers.find(doc! { "_id": 99 }).run().unwrap();
    let mut borrowing = last.with_type::<Named<'_>>();
    assert!(borrowing.advance().unwrap());
    assert_eq!(borrowing.deserialize_current().unwrap().name, "Ada");
    db.drop().run().unwrap();
}

#[test]
fn a_tailable_cursor_blocks_until_a_document_comes() {
    let Some((_client, db)) = start("STANDALONE") else {
        return;
    };
    db.create_collection("log")
        .capped(true)
        .size(1 << 20)
        .run()
        .unwrap();
    let log = db.collection::<Document>("log");
    log.insert_one(doc! { "_id": 0 }).run().unwrap();
    let mut tail = log
        .find(doc! {})
        .cursor_type(CursorType::TailableAwait)
        .max_await_time(live::PATIENCE)
        .run()
        .unwrap();
    assert_eq!(tail.next().unwrap().unwrap(), doc! { "_id": 0 });

    let waiting = thread::spawn(move || tail.next().unwrap().unwrap());
    log.insert_one(doc! { "_id": 1 }).run().unwrap();

    assert_eq!(waiting.join().unwrap(), doc! { "_id": 1 });
    db.drop().run().unwrap();
}

#[test]
fn a_cursor_dropped_midway_is_killed_at_the_server() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let (client, events, options) = recorded(&uri);
    let db = client.database(&live::unique("live_sync"));
    let numbers = numbered(&db, 50);
    let mut cursor = numbers.find(doc! {}).batch_size(2).run().unwrap();
    assert!(cursor.next().unwrap().is_ok());

    drop(cursor);

    eventually("killCursors", || !events.started("killCursors").is_empty());
    let admin = client.database("admin");
    let app_name = live::app_name(&options);
    eventually("no idle cursor", || {
        let stages = [
            doc! { "$currentOp": { "idleCursors": true, "localOps": true } },
            doc! { "$match": { "type": "idleCursor", "appName": &app_name } },
        ];
        admin.aggregate(stages).run().unwrap().next().is_none()
    });
    db.drop().run().unwrap();
}

#[test]
fn operations_and_cursors_of_a_session_share_its_id() {
    let Some(uri) = deploy::uri("REPLICA_SET") else {
        return;
    };
    let (client, events, _) = recorded(&uri);
    let db = client.database(&live::unique("live_sync"));
    let numbers = numbered(&db, 9);
    let mut session = client
        .start_session()
        .causal_consistency(true)
        .run()
        .unwrap();
    let by_id = doc! { "_id": 1 };

    let insert = numbers.insert_one(doc! { "_id": 100 });
    insert.session(&mut session).run().unwrap();
    assert!(session.operation_time().is_some());
    assert!(session.cluster_time().is_some());
    let find = numbers.find(doc! {}).sort(by_id.clone()).batch_size(2);
    let mut cursor = find.session(&mut session).run().unwrap();
    assert!(cursor.advance(&mut session).unwrap());
    assert_eq!(cursor.current().get_i32("_id").unwrap(), 0);
    assert_eq!(
        cursor.deserialize_current().unwrap(),
        doc! { "_id": 0, "n": 0 }
    );
    assert!(cursor.next(&mut session).unwrap().is_ok());
    let rest: Result<Vec<Document>> = cursor.iter(&mut session).collect();
    assert_eq!(rest.unwrap().len(), 8);
    let find = numbers.find(doc! {}).batch_size(2).session(&mut session);
    let with_type = find.run().unwrap().with_type::<Document>();
    drop(with_type);

    let mut lsids = Vec::new();
    eventually("killCursors", || !events.started("killCursors").is_empty());
    for (name, at_least) in [("find", 2), ("getMore", 4), ("killCursors", 1)] {
        let started = events.started(name);
        assert!(started.len() >= at_least, "{name}: {}", started.len());
        lsids.extend(started.into_iter().map(|e| e.command.get("lsid").cloned()));
    }
    let own = Some(Bson::from(session.id().clone()));
    assert!(lsids.iter().all(|lsid| *lsid == own), "{lsids:?}");
    let first = &events.started("find")[0].command;
    let concern = first.get_document("readConcern").unwrap();
    assert!(concern.contains_key("afterClusterTime"), "{concern}");

    let mut second = session.client().start_session().run().unwrap();
    second.advance_cluster_time(session.cluster_time().unwrap());
    second.advance_operation_time(session.operation_time().unwrap());
    assert_eq!(second.operation_time(), session.operation_time());
    assert_ne!(second.id(), session.id());
    db.drop().run().unwrap();
}

#[test]
fn errors_are_those_of_the_async_api() {
    let invalid = Client::with_uri_str("mongodb://ada:se:cret@localhost").unwrap_err();
    assert!(
        matches!(&*invalid.kind, ErrorKind::InvalidArgument { message } if message.contains("colon")),
        "{invalid}"
    );

    // Nobody listens on the port: it is taken by a listener that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let uri = format!("mongodb://{address}/?serverSelectionTimeoutMS=200");
    let client = Client::with_uri_str(uri).unwrap();
    let nobody = client.list_database_names().run().unwrap_err();
    assert!(
        matches!(&*nobody.kind, ErrorKind::ServerSelection { .. }),
        "{nobody}"
    );

    let Some((client, db)) = start("STANDALONE") else {
        return;
    };
    let numbers = numbered(&db, 1);
    let duplicate = numbers.insert_one(doc! { "_id": 0 }).run().unwrap_err();
    assert!(
        matches!(
            &*duplicate.kind,
            ErrorKind::Write(WriteFailure::WriteError(_))
        ),
        "{duplicate}"
    );
    assert!(duplicate.is_duplicate_key());
    let refused = db.run_command(doc! { "noSuchCommand": 1 }).run();
    let refused = refused.unwrap_err();
    assert!(
        matches!(&*refused.kind, ErrorKind::Command(command) if command.code == 59),
        "{refused}"
    );
    let wrong = numbers.clone_with_type::<Person>().find_one(doc! {}).run();
    let wrong = wrong.unwrap_err();
    assert!(matches!(&*wrong.kind, ErrorKind::Bson(_)), "{wrong}");
    db.drop().run().unwrap();

    client.clone().shutdown().run();
    let over = client.list_database_names().run().unwrap_err();
    assert!(matches!(&*over.kind, ErrorKind::Shutdown), "{over}");
}

#[test]
fn it_authenticates_and_encrypts() {
    for deployment in ["AUTH", "TLS", "X509", "COMPRESSED"] {
        let Some((client, db)) = start(deployment) else {
            return;
        };
        let numbers = numbered(&db, 3);
        assert_eq!(numbers.count_documents(doc! {}).run().unwrap(), 3);
        db.drop().run().unwrap();
        client.shutdown().run();
    }
}

/// The threads of this process with the name of the background thread, as the system cuts it.
fn background_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.unwrap().path().join("comm")).ok()
    });
    names
        .filter(|name| "mongo-client-sync".starts_with(name.trim_end()))
        .count()
}

#[test]
fn operations_run_on_the_calling_thread_and_all_clients_share_one_in_the_background() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let clients = [(), (), ()].map(|()| {
        let ran_on = Arc::new(Mutex::new(Vec::new()));
        let on = Arc::clone(&ran_on);
        let mut options = live::options(&uri);
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if matches!(event, CommandEvent::Started(_)) {
                on.lock().unwrap().push(thread::current().id());
            }
        }));
        (Client::with_options(options).unwrap(), ran_on)
    });
    for (client, ran_on) in &clients {
        let names = [(), ()].map(|()| client.list_database_names().run().unwrap());
        assert!(!names[0].is_empty());
        assert_eq!(*ran_on.lock().unwrap(), [thread::current().id(); 2]);
    }
    assert_eq!(background_threads(), 1);
}

/// Creates a client, and uses it with several batches: what must neither panic nor wait for the
/// thread that calls.
fn exercise() -> Option<Client> {
    let (client, db) = start("REPLICA_SET")?;
    let numbers = numbered(&db, 20);
    let found: Result<Vec<Document>> = numbers.find(doc! {}).batch_size(3).run().unwrap().collect();
    assert_eq!(found.unwrap().len(), 20);
    let mut session = client.start_session().run().unwrap();
    let counted = numbers.count_documents(doc! {}).session(&mut session);
    assert_eq!(counted.run().unwrap(), 20);
    db.drop().run().unwrap();
    Some(client)
}

/// Uses a client where another runtime made it, also once that has ended; then ends it.
fn go_on(client: Option<Client>) {
    let Some(client) = client else {
        return;
    };
    assert!(!client.list_database_names().run().unwrap().is_empty());
    client.shutdown().run();
}

#[test]
fn it_works_on_the_only_thread_of_a_tokio_runtime() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let first = tokio.block_on(async { exercise() });
    let second = tokio.block_on(async {
        let task = tokio::spawn(async { exercise() });
        task.await.unwrap()
    });
    tokio.block_on(async { go_on(first) });
    drop(tokio);
    go_on(second);
}

#[test]
fn it_works_on_the_only_worker_of_a_multi_threaded_tokio_runtime() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = tokio.block_on(async {
        let task = tokio::spawn(async { exercise() });
        task.await.unwrap()
    });
    drop(tokio);
    go_on(client);
}

#[test]
fn it_works_on_the_executor_threads_of_smol_and_async_std() {
    let client = smol::block_on(smol::spawn(async { exercise() }));
    smol::block_on(async { go_on(client) });
    let client = async_std::task::block_on(async_std::task::spawn(async { exercise() }));
    async_std::task::block_on(async { go_on(client) });
}

#[test]
fn a_client_moves_between_the_two_apis() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let blocking = Client::with_options(live::options(&uri)).unwrap();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    // An async client that has no need of the caller's runtime: its tasks run elsewhere.
    let shared = mongo_client::Client::from(blocking.clone());
    let names = tokio.block_on(async { shared.list_database_names().await });
    drop(tokio);
    let blocking_again = Client::from(shared);
    assert_eq!(
        blocking_again.list_database_names().run().unwrap(),
        names.unwrap()
    );
    drop((blocking, blocking_again));
}
