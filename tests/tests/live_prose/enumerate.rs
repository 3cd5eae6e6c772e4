//! The test plans of `enumerate-collections`, `enumerate-databases` and `index-management`, on
//! each kind of server.

use std::collections::BTreeSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Client, Database, IndexModel,
    options::{Collation, IndexOptions, WriteConcern},
};
use mongo_client_tests::{deploy, fault::Mongos, live, rt};

use crate::{last, recorded};

/// Servers of every kind.
struct Places {
    /// Where to write.
    writers: Vec<Client>,
    /// Where to read what the writer of that number has written: its server, connected directly
    /// or through something like a router.
    readers: Vec<(usize, &'static str, String)>,
    _router: Mongos,
}

/// `None` without servers.
async fn places() -> Option<Places> {
    let (one, set) = (deploy::uri("STANDALONE")?, deploy::uri("REPLICA_SET")?);
    let writers = vec![live::client(&one), live::client(&set)];
    let admin = writers[1].database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = hello.get_str("primary").unwrap().to_owned();
    let hosts = live::options(&set).hosts;
    let mut hosts = hosts.iter().map(ToString::to_string);
    let secondary = hosts.find(|host| *host != primary).unwrap();
    let router = Mongos::start(primary.clone()).await.unwrap();
    let direct = |host: &str| format!("mongodb://{host}/?directConnection=true");
    let readers = vec![
        (0, "standalone", one),
        (1, "primary", direct(&primary)),
        (1, "secondary", direct(&secondary)),
        (1, "router", format!("mongodb://{}/", router.address())),
    ];
    Some(Places {
        writers,
        readers,
        _router: router,
    })
}

/// Members of a set have what is written on all of them; a standalone is content with one.
fn everywhere(writer: usize) -> WriteConcern {
    WriteConcern::nodes(if writer == 0 { 1 } else { 3 })
}

/// A database with a collection and a capped one; both have an index and a document.
async fn prepared(client: &Client, writer: usize) -> Database {
    let db = live::database(client);
    db.create_collection("plain").await.unwrap();
    let capped = db.create_collection("capped").capped(true);
    capped.size(4_096_u64).await.unwrap();
    for name in ["plain", "capped"] {
        let collection = db.collection::<Document>(name);
        let index = IndexModel::builder().keys(doc! { "a": 1 }).build();
        collection.create_index(index).await.unwrap();
        let insert = collection.insert_one(doc! { "a": 1 });
        insert.write_concern(everywhere(writer)).await.unwrap();
    }
    db
}

/// The names in order, of which none stands there twice.
fn once(names: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let set: BTreeSet<&str> = sorted.iter().copied().collect();
    assert_eq!(set.len(), sorted.len(), "{sorted:?}");
    sorted
}

#[test]
fn collections_are_enumerated_by_name_and_by_filter() {
    rt::block_on(async {
        let Some(places) = places().await else {
            return;
        };
        let mut written = Vec::new();
        for (number, writer) in places.writers.iter().enumerate() {
            written.push(prepared(writer, number).await);
        }
        for (writer, place, uri) in &places.readers {
            let (client, recorder) = recorded(uri);
            let db = client.database(written[*writer].name());
            let names = db.list_collection_names().await.unwrap();
            assert_eq!(once(&names), ["capped", "plain"], "{place}");
            let name_only = |sent: Document| sent.get_bool("nameOnly").unwrap_or(false);
            assert!(name_only(last(&recorder, "listCollections")), "{place}");

            let capped = db.list_collection_names();
            let capped = capped.filter(doc! { "options.capped": true });
            assert_eq!(once(&capped.await.unwrap()), ["capped"], "{place}");
            // A server that is to tell names alone knows nothing of options.
            assert!(!name_only(last(&recorder, "listCollections")), "{place}");
        }
        for db in &written {
            live::forget(db).await;
        }
    });
}

#[test]
fn databases_are_enumerated_whole_and_by_name() {
    rt::block_on(async {
        let Some(places) = places().await else {
            return;
        };
        let mut written = Vec::new();
        for (number, writer) in places.writers.iter().enumerate() {
            written.push(prepared(writer, number).await);
        }
        for (writer, place, uri) in &places.readers {
            let client = live::client(uri);
            // Other tests create and drop databases: compared is what no change came between.
            live::eventually("a moment without changes", || async {
                let before = told(&client).await;
                let whole = client.list_databases().await.unwrap();
                let names = client.list_database_names().await.unwrap();
                if told(&client).await != before {
                    return false;
                }
                let of_whole: Vec<String> = whole.iter().map(|d| d.name.clone()).collect();
                assert_eq!(once(&of_whole), once(&before), "{place}");
                assert_eq!(once(&names), once(&before), "{place}");
                let mine = written[*writer].name();
                let mine = whole
                    .iter()
                    .find(|d| d.name == mine)
                    .expect("mine is there");
                assert!(!mine.empty && mine.size_on_disk > 0, "{place}: {mine:?}");
                true
            })
            .await;
        }
        for db in &written {
            live::forget(db).await;
        }
    });
}

/// The names of all databases as the server tells them.
async fn told(client: &Client) -> Vec<String> {
    let admin = client.database("admin");
    let reply = admin
        .run_command(doc! { "listDatabases": 1 })
        .await
        .unwrap();
    let databases = reply.get_array("databases").unwrap().iter();
    let name = |d: &bson::Bson| d.as_document()?.get_str("name").ok().map(str::to_owned);
    databases.filter_map(name).collect()
}

#[test]
fn indexes_are_enumerated_by_name_and_as_models() {
    rt::block_on(async {
        let Some(places) = places().await else {
            return;
        };
        let mut written = Vec::new();
        for (number, writer) in places.writers.iter().enumerate() {
            let db = live::database(writer);
            let things = db.collection::<Document>("things");
            let on = |keys: Document| IndexModel::builder().keys(keys);
            let unique = IndexOptions::builder().unique(true).build();
            let indexes = [
                on(doc! { "a": 1 }).build(),
                on(doc! { "b": 1, "c": -1 }).build(),
                on(doc! { "d": 1 }).options(unique).build(),
            ];
            things.create_indexes(indexes).await.unwrap();
            let insert = things.insert_one(doc! { "a": 1, "b": 1, "c": 1, "d": 1 });
            insert.write_concern(everywhere(number)).await.unwrap();
            written.push(db);
        }
        for (writer, place, uri) in &places.readers {
            let client = live::client(uri);
            let db = client.database(written[*writer].name());
            let things = db.collection::<Document>("things");
            let names = things.list_index_names().await.unwrap();
            let expected = ["_id_", "a_1", "b_1_c_-1", "d_1"];
            assert_eq!(once(&names), expected, "{place}");
            let models = things.list_indexes().await.unwrap();
            let models: Vec<IndexModel> = models.try_collect().await.unwrap();
            let names: Vec<String> = models.iter().map(IndexModel::name).collect();
            assert_eq!(once(&names), expected, "{place}");
            let is_unique =
                |m: &&IndexModel| m.options.as_ref().is_some_and(|o| o.unique == Some(true));
            let unique = models.iter().filter(is_unique).map(IndexModel::name);
            let unique: Vec<String> = unique.collect();
            assert_eq!(unique, ["d_1"], "{place}");
        }
        for db in &written {
            live::forget(db).await;
        }
    });
}

/// The test plan of `collation`.
#[test]
fn indexes_with_the_same_keys_and_other_collations_are_dropped_by_name() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let client = live::client(&uri);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        let in_locale = |locale: &str, name: Option<&str>| {
            let mut options = IndexOptions::default();
            options.collation = Some(Collation::builder().locale(locale).build());
            options.name = name.map(str::to_owned);
            IndexModel::builder()
                .keys(doc! { "a": 1 })
                .options(options)
                .build()
        };
        let indexes = [in_locale("en", None), in_locale("fr", Some("french"))];
        let created = things.create_indexes(indexes).await.unwrap();
        assert_eq!(created.index_names, ["a_1", "french"]);
        things.drop_index("french").await.unwrap();
        let left = things.list_indexes().await.unwrap();
        let left: Vec<IndexModel> = left.try_collect().await.unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!(left[1].name(), "a_1");
        let collation = left[1].options.as_ref().and_then(|o| o.collation.as_ref());
        assert_eq!(collation.map(|c| c.locale.as_str()), Some("en"));
        live::forget(&db).await;
    });
}
