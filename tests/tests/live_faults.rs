//! Servers that are none, and networks that lose what passes: errors come in time and say why, and
//! retries do not repeat what was done.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use futures_util::StreamExt;
use mongo_client::{
    Client,
    error::Error,
    options::{ReturnDocument, ServerAddress},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    fault::{Bogus, Fate, Manner, Proxy, Request},
    live, rt,
};

/// Awaits, and says how long it took.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}

/// The error of an operation that finds no server within a second.
async fn no_server(uri: &str) -> Error {
    let uri = format!("{uri}/?serverSelectionTimeoutMS=1000&heartbeatFrequencyMS=500");
    let (client, took) = timed(Client::with_uri_str(&uri)).await;
    let client = client.unwrap();
    assert!(took < Duration::from_millis(500), "built in {took:?}");

    let (result, took) = timed(client.list_database_names().into_future()).await;

    let error = result.unwrap_err();
    assert!(error.is_server_selection(), "{error:?}");
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&took),
        "failed after {took:?}"
    );
    error
}

#[test]
fn silent_listener_delays_no_constructor_and_fails_operations_in_time() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let silent = Bogus::start(Manner::Silent).await.unwrap();
        let address = silent.address().to_string();
        let error = no_server(&format!("mongodb://{address}")).await;
        assert!(error.to_string().contains(&address), "{error}");
    });
}

#[test]
fn last_error_of_a_silent_listener_is_the_timeout() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let silent = Bogus::start(Manner::Silent).await.unwrap();
        let mut options = live::options(&format!("mongodb://{}/", silent.address()));
        options.connect_timeout = Some(Duration::from_millis(300));
        options.server_selection_timeout = Some(Duration::from_millis(1500));
        let client = live::build(options);

        let error = client.list_database_names().await.unwrap_err();

        let text = error.to_string();
        assert!(error.is_server_selection(), "{text}");
        assert!(text.contains("connectTimeoutMS elapsed"), "{text}");
    });
}

#[test]
fn garbage_is_refused_with_a_reason() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let huge = [0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let negative = [0xff; 64];
        let sayings: [&[u8]; 4] = [
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            &huge,
            &negative,
            &[0; 64],
        ];
        for bytes in sayings {
            let garbage = Bogus::start(Manner::Says(bytes.to_vec())).await.unwrap();
            let error = no_server(&format!("mongodb://{}", garbage.address())).await;
            let text = error.to_string();
            assert!(text.contains(&garbage.address().to_string()), "{text}");
            assert!(
                text.contains("message") || text.contains("header") || text.contains("length"),
                "no reason: {text}"
            );
        }
    });
}

#[test]
fn closed_port_and_hung_up_connection_are_told() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let error = no_server("mongodb://127.0.0.1:1").await;
        assert!(error.to_string().contains("refused"), "{error}");

        let hangs_up = Bogus::start(Manner::HangsUp).await.unwrap();
        let error = no_server(&format!("mongodb://{}", hangs_up.address())).await;
        assert!(
            error.to_string().contains("closed before the first reply"),
            "{error}"
        );
    });
}

#[test]
fn unresolvable_host_is_told() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let error = no_server("mongodb://no-such-host.invalid:27017").await;
        assert!(
            error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );
    });
}

#[test]
fn one_dead_seed_does_not_hinder_the_others() {
    live::on("REPLICA_SET", async |uri| {
        let silent = Bogus::start(Manner::Silent).await.unwrap();
        let mut options = live::options(&uri);
        let address = silent.address();
        options.hosts.insert(
            0,
            ServerAddress::tcp(&address.ip().to_string(), address.port()),
        );
        let client = live::build(options);
        let (names, took) = timed(client.list_database_names().into_future()).await;
        names.unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

/// A client that reaches the primary of the set through a proxy, and the proxy.
async fn through_proxy(
    uri: &str,
    rule: impl Fn(&Request) -> Fate + Send + Sync + 'static,
) -> (live::Recorder, Client, Proxy) {
    let direct = live::client(uri);
    // An operation on the primary, so that the topology knows it.
    direct.list_database_names().await.unwrap();
    let topology = direct.topology_description().await.unwrap();
    let primary = topology
        .servers
        .values()
        .find(|server| server.server_type == ServerType::RsPrimary)
        .unwrap();
    let proxy = Proxy::start(primary.address.to_string(), rule)
        .await
        .unwrap();
    let mut options = live::options(uri);
    options.hosts = vec![ServerAddress::tcp("127.0.0.1", proxy.address().port())];
    options.direct_connection = Some(true);
    let events = live::Recorder::attach(&mut options);
    (events, live::build(options), proxy)
}

/// Harms the first request of that name.
fn first(name: &'static str, fate: Fate) -> impl Fn(&Request) -> Fate + Send + Sync {
    let left = AtomicI32::new(1);
    move |request| {
        let hit = request.name() == name && left.fetch_sub(1, Ordering::Relaxed) > 0;
        if hit { fate } else { Fate::Pass }
    }
}

const HARMS: [Fate; 4] = [
    Fate::DropRequest,
    Fate::DropReply,
    Fate::TruncateReply(9),
    Fate::TruncateReply(30),
];

#[test]
fn lost_reply_of_an_insert_leaves_one_document_with_the_returned_id() {
    live::on("REPLICA_SET", async |uri| {
        for harm in HARMS {
            let (events, client, _proxy) = through_proxy(&uri, first("insert", harm)).await;
            let db = live::database(&client);
            let people = db.collection::<Document>("people");

            let inserted = people.insert_one(doc! { "name": "Ada" }).await.unwrap();

            assert_eq!(events.started("insert").len(), 2, "{harm:?}");
            let mut cursor = people.find(doc! {}).await.unwrap();
            let found = cursor.next().await.unwrap().unwrap();
            assert_eq!(found.get("_id"), Some(&inserted.inserted_id), "{harm:?}");
            assert!(cursor.next().await.is_none(), "{harm:?}");
            live::forget(&db).await;
        }
    });
}

#[test]
fn lost_reply_of_an_increment_increments_once() {
    live::on("REPLICA_SET", async |uri| {
        for harm in HARMS {
            let (_, client, _proxy) = through_proxy(&uri, first("update", harm)).await;
            let db = live::database(&client);
            let counters = db.collection::<Document>("counters");
            counters
                .insert_one(doc! { "_id": 1, "n": 0 })
                .await
                .unwrap();

            let updated = counters
                .update_one(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } })
                .await
                .unwrap();

            assert_eq!((updated.matched_count, updated.modified_count), (1, 1));
            let found = counters.find_one(doc! {}).await.unwrap().unwrap();
            assert_eq!(found, doc! { "_id": 1, "n": 1 }, "{harm:?}");
            live::forget(&db).await;
        }
    });
}

#[test]
fn lost_reply_of_find_and_modify_returns_what_the_first_attempt_did() {
    live::on("REPLICA_SET", async |uri| {
        for harm in HARMS {
            let (_, client, _proxy) = through_proxy(&uri, first("findAndModify", harm)).await;
            let db = live::database(&client);
            let counters = db.collection::<Document>("counters");
            counters
                .insert_one(doc! { "_id": 1, "n": 0 })
                .await
                .unwrap();

            let after = counters
                .find_one_and_update(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } })
                .return_document(ReturnDocument::After)
                .await
                .unwrap();

            assert_eq!(after, Some(doc! { "_id": 1, "n": 1 }), "{harm:?}");
            live::forget(&db).await;
        }
    });
}

#[test]
fn lost_reply_of_insert_many_leaves_every_document_once() {
    live::on("REPLICA_SET", async |uri| {
        for harm in HARMS {
            let (_, client, _proxy) = through_proxy(&uri, first("insert", harm)).await;
            let db = live::database(&client);
            let numbers = db.collection::<Document>("numbers");
            let documents: Vec<Document> = (0..20).map(|n| doc! { "n": n }).collect();

            let inserted = numbers.insert_many(&documents).await.unwrap();

            let ids: Vec<Bson> = (0..20).map(|n| inserted.inserted_ids[&n].clone()).collect();
            let stored = numbers.distinct("_id", doc! {}).await.unwrap();
            assert_eq!(stored, ids, "{harm:?}");
            let count = numbers.count_documents(doc! {}).await.unwrap();
            assert_eq!(count, 20, "{harm:?}");
            live::forget(&db).await;
        }
    });
}

#[test]
fn lost_reply_of_a_read_is_read_again() {
    live::on("REPLICA_SET", async |uri| {
        for harm in HARMS {
            let (events, client, _proxy) = through_proxy(&uri, first("find", harm)).await;
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            people.insert_one(doc! { "_id": 1 }).await.unwrap();

            let found = people.find_one(doc! {}).await.unwrap();

            assert_eq!(found, Some(doc! { "_id": 1 }), "{harm:?}");
            assert_eq!(events.started("find").len(), 2, "{harm:?}");
            live::forget(&db).await;
        }
    });
}

#[test]
fn lost_reply_of_a_write_to_many_is_an_error_and_no_second_attempt() {
    live::on("REPLICA_SET", async |uri| {
        let (events, client, _proxy) = through_proxy(&uri, first("update", Fate::DropReply)).await;
        let db = live::database(&client);
        let counters = db.collection::<Document>("counters");
        counters.insert_one(doc! { "n": 0 }).await.unwrap();

        let update = counters.update_many(doc! {}, doc! { "$inc": { "n": 1 } });
        let error = update.await.unwrap_err();

        assert!(error.is_network(), "{error}");
        assert!(error.server_address().is_some(), "{error}");
        assert_eq!(events.started("update").len(), 1);
        let found = counters.find_one(doc! {}).await.unwrap().unwrap();
        assert_eq!(found.get_i32("n").unwrap(), 1);
        live::forget(&db).await;
    });
}

#[test]
fn lost_batch_of_a_cursor_is_an_error_not_a_gap() {
    live::on("REPLICA_SET", async |uri| {
        let (events, client, _proxy) = through_proxy(&uri, first("getMore", Fate::DropReply)).await;
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..20).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();

        let mut cursor = numbers.find(doc! {}).batch_size(5).await.unwrap();
        let mut read = 0;
        let error = loop {
            match cursor.next().await {
                Some(Ok(_)) => read += 1,
                Some(Err(error)) => break error,
                None => panic!("the cursor ended after {read} documents"),
            }
        };

        assert_eq!(read, 5);
        assert!(error.is_network(), "{error}");
        assert!(cursor.next().await.is_none());
        assert_eq!(events.started("getMore").len(), 1);
        live::forget(&db).await;
    });
}

#[test]
fn abandoned_operation_spoils_no_later_one() {
    live::on("REPLICA_SET", async |uri| {
        let rule = first("find", Fate::HoldReply);
        let asked = Arc::new(tokio::sync::Notify::new());
        let notify = Arc::clone(&asked);
        let (_, client, _proxy) = through_proxy(&uri, move |request| {
            let fate = rule(request);
            if fate == Fate::HoldReply {
                notify.notify_one();
            }
            fate
        })
        .await;
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let documents: Vec<Document> = (0..9).map(|n| doc! { "_id": n }).collect();
        people.insert_many(&documents).await.unwrap();

        tokio::select! {
            found = people.find_one(doc! { "_id": 0 }).into_future() => panic!("{found:?}"),
            () = asked.notified() => {}
        }

        for n in 1..9 {
            let found = people.find_one(doc! { "_id": n }).await.unwrap();
            assert_eq!(found, Some(doc! { "_id": n }));
        }
        live::forget(&db).await;
    });
}

#[test]
fn reply_that_never_comes_ends_with_the_socket_timeout() {
    live::on("REPLICA_SET", async |uri| {
        let impatient = format!("{uri}&socketTimeoutMS=2000&retryWrites=false");
        let (_, client, _proxy) = through_proxy(&impatient, first("insert", Fate::HoldReply)).await;
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        let (result, took) = timed(people.insert_one(doc! { "_id": 1 }).into_future()).await;

        let error = result.unwrap_err();
        assert!(error.is_network_timeout(), "{error:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        let patient = live::client(&uri);
        let db = patient.database(db.name());
        let people = db.collection::<Document>("people");
        assert_eq!(people.count_documents(doc! {}).await.unwrap(), 1);
        live::forget(&db).await;
    });
}
