//! Write concerns: what is sent, what is refused, and writes without an acknowledgment.

use std::time::Duration;

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    event::cmap::CmapEvent,
    options::{DatabaseOptions, ReadPreference, SelectionCriteria, WriteConcern},
};
use mongo_client_tests::live::{self, Event};

#[test]
fn write_concerns_are_sent_as_they_are_given_and_served() {
    live::on("REPLICA_SET", async |uri| {
        for (options, sent) in [
            ("w=1", doc! { "w": 1 }),
            ("w=2&wtimeout=20000", doc! { "w": 2, "wtimeout": 20_000 }),
            ("w=majority", doc! { "w": "majority" }),
            ("j=true", doc! { "j": true }),
            ("w=1&journal=false", doc! { "w": 1, "j": false }),
            ("w=1&fsync=true", doc! { "w": 1, "fsync": true }),
        ] {
            let mut options = live::options(&format!("{uri}&{options}"));
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);
            let db = live::database(&client);
            let people = db.collection::<Document>("people");
            people.insert_one(doc! {}).await.unwrap();
            let insert = &events.started("insert")[0].command;
            let concern = insert.get_document("writeConcern").unwrap();
            let numbers = |concern: &Document| {
                let number = |key| concern.get(key).and_then(as_number);
                (number("w"), number("wtimeout"))
            };
            assert_eq!(numbers(concern), numbers(&sent), "{concern}");
            for key in ["j", "fsync"] {
                assert_eq!(concern.get(key), sent.get(key), "{concern}");
            }
            assert_eq!(concern.len(), sent.len(), "{concern}");
            live::forget(&db).await;
        }
    });
}

/// A number of either width.
fn as_number(value: &bson::Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

#[test]
fn a_write_that_is_not_replicated_in_time_says_so() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let members = client.topology_description().await.unwrap().servers.len();
        let mut everywhere = WriteConcern::nodes(u32::try_from(members).unwrap() + 1);
        everywhere.w_timeout = Some(Duration::from_millis(100));

        let insert = people.insert_one(doc! { "_id": 1 });
        let error = insert.write_concern(everywhere).await.unwrap_err();

        assert!(matches!(&*error.kind, ErrorKind::Write(_)), "{error:?}");
        // The write is there all the same.
        assert_eq!(people.count_documents(doc! {}).await.unwrap(), 1);
        live::forget(&db).await;
    });
}

fn assert_names(error: &Error, names: [&str; 2]) {
    let invalid = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
    assert!(invalid, "{error:?}");
    for name in names {
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn write_concerns_without_a_meaning_are_refused_by_name_before_anything_is_sent() {
    live::on("REPLICA_SET", async |uri| {
        let journal = WriteConcern::builder().journal(true);
        let fsync = WriteConcern::builder().fsync(true);
        let mut both = journal.clone();
        both.fsync = Some(true);
        let unacknowledged = |mut concern: WriteConcern| {
            concern.w = WriteConcern::nodes(0).w;
            concern
        };
        let mut options = live::options(&uri);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options.clone());
        let people = client
            .database("live_options")
            .collection::<Document>("people");
        for (concern, names) in [
            (both, ["fsync", "journal"]),
            (unacknowledged(journal), ["w=0", "journal"]),
            (unacknowledged(fsync), ["w=0", "fsync"]),
        ] {
            let insert = people.insert_one(doc! {}).write_concern(concern.clone());
            assert_names(&insert.await.unwrap_err(), names);
            let mut options = options.clone();
            options.write_concern = Some(concern);
            assert_names(&Client::with_options(options).unwrap_err(), names);
        }
        for (text, names) in [
            ("fsync=true&j=true", ["fsync", "journal"]),
            ("w=0&j=true", ["w=0", "journal"]),
            ("w=0&fsync=true", ["w=0", "fsync"]),
        ] {
            let error = Client::builder().uri(&format!("{uri}&{text}")).unwrap_err();
            assert_names(&error, names);
        }
        assert!(events.started("insert").is_empty());
    });
}

#[test]
fn writes_without_an_acknowledgment_leave_their_connection_in_use() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&format!("{uri}?w=0&maxPoolSize=1"));
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");

        for n in 0..50 {
            // Every id twice: nobody is told of the second, which the server refuses.
            people.insert_one(doc! { "_id": n / 2 }).await.unwrap();
        }
        let update = doc! { "$set": { "seen": true } };
        let updated = people.update_many(doc! {}, update).await.unwrap();
        assert_eq!(updated.matched_count, 0, "nobody counts");

        // On one connection, requests are served in their order.
        assert_eq!(
            people.count_documents(doc! { "seen": true }).await.unwrap(),
            25
        );
        let inserts = events.started("insert");
        assert_eq!(inserts.len(), 50);
        let connection = events.started("aggregate")[0].connection.id;
        for insert in &inserts {
            assert_eq!(insert.connection.id, connection);
            let concern = insert.command.get_document("writeConcern").unwrap();
            assert_eq!(concern.get("w").and_then(as_number), Some(0));
            assert!(!insert.command.contains_key("lsid"), "{:?}", insert.command);
        }
        let closed = |event: &Event| matches!(event, Event::Cmap(CmapEvent::ConnectionClosed(_)));
        assert!(!events.events().iter().any(closed));
        let acknowledged = WriteConcern::nodes(1);
        db.drop().write_concern(acknowledged).await.unwrap();
    });
}

#[test]
fn options_of_a_database_win_over_those_of_the_client() {
    live::on("REPLICA_SET", async |uri| {
        let mut options = live::options(&format!("{uri}&w=majority&readConcernLevel=majority"));
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let own = DatabaseOptions::builder()
            .write_concern(WriteConcern::nodes(1))
            .selection_criteria(SelectionCriteria::from(ReadPreference::secondary(None)))
            .build();
        let db = client.database_with_options(&live::unique("live"), own);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();
        people.find_one(doc! {}).await.unwrap();

        let insert = &events.started("insert")[0].command;
        let concern = insert.get_document("writeConcern").unwrap();
        assert_eq!(concern.get("w").and_then(as_number), Some(1));
        let find = &events.started("find")[0].command;
        let preference = find.get_document("$readPreference").unwrap();
        assert_eq!(preference, &doc! { "mode": "secondary" });
        // What the database leaves open comes from the client.
        let concern = find.get_document("readConcern").unwrap();
        assert_eq!(concern.get_str("level").unwrap(), "majority");
        live::forget(&db).await;
    });
}
