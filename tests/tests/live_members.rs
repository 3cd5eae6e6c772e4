//! The properties of a client against real deployments, and what they are without one.

use std::{collections::BTreeSet, time::Duration};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, ReadConcern, ReadPreference, ServerAddress, WriteConcern},
    topology::{ServerType, TopologyType},
};
use mongo_client_tests::{deploy, live, rt};

/// The addresses of a connection string.
fn hosts(uri: &str) -> BTreeSet<ServerAddress> {
    let parsed = ClientOptions::parse_uri(uri).unwrap().options;
    parsed
        .hosts
        .into_iter()
        .map(ServerAddress::with_default_port)
        .collect()
}

/// What the server says of itself, asked by a command of its own.
async fn hello(client: &Client) -> Document {
    let admin = client.database("admin");
    admin.run_command(doc! { "hello": 1 }).await.unwrap()
}

fn count(document: &Document, key: &str) -> usize {
    usize::try_from(document.get_i32(key).unwrap()).unwrap()
}

#[test]
fn members_of_a_standalone() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);

        assert!(client.is_primary().await.unwrap());
        assert!(!client.is_mongos().await.unwrap());

        assert_eq!(client.nodes(), hosts(&uri));
        assert_eq!(client.address().unwrap().as_ref(), hosts(&uri).first());
        assert_eq!(client.primary(), None);
        assert!(client.secondaries().is_empty());
        assert!(client.arbiters().is_empty());
        let hello = hello(&client).await;
        assert_eq!(client.max_bson_size(), count(&hello, "maxBsonObjectSize"));
        assert_eq!(
            client.max_message_size(),
            count(&hello, "maxMessageSizeBytes")
        );
        assert_ne!(client.max_message_size(), 33_554_432);
        assert_eq!(
            client.max_write_batch_size(),
            count(&hello, "maxWriteBatchSize")
        );
        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.topology_type, TopologyType::Single);
        let info = client.server_info().await.unwrap();
        assert!(info.get_str("version").unwrap().contains('.'), "{info}");
    });
}

#[test]
fn members_of_a_replica_set() {
    live::on("REPLICA_SET", async |uri| {
        let client = live::client(&uri);
        assert!(client.is_primary().await.unwrap());
        assert!(!client.is_mongos().await.unwrap());
        let hello = hello(&client).await;
        let named: BTreeSet<ServerAddress> = hello
            .get_array("hosts")
            .unwrap()
            .iter()
            .map(|host| ServerAddress::parse(host.as_str().unwrap()).unwrap())
            .collect();
        live::eventually("all members", || async { client.nodes() == named }).await;

        let primary = ServerAddress::parse(hello.get_str("primary").unwrap()).unwrap();
        assert_eq!(client.address().unwrap(), Some(primary.clone()));
        assert_eq!(client.primary(), Some(primary.clone()));
        let mut others = client.secondaries();
        others.extend(client.arbiters());
        let mut expected = named;
        expected.remove(&primary);
        assert_eq!(others, expected);
    });
}

#[test]
fn a_direct_connection_to_a_secondary_has_an_address_and_takes_no_writes() {
    live::on("REPLICA_SET", async |uri| {
        let set = live::client(&uri);
        live::eventually("a secondary", || async {
            !set.secondaries().is_empty() || {
                set.topology_description().await.unwrap();
                false
            }
        })
        .await;
        let secondary = set.secondaries().into_iter().next().unwrap();
        let mut options = live::options(&uri);
        options.hosts = vec![secondary.clone()];
        options.repl_set_name = None;
        options.direct_connection = Some(true);
        let direct = live::build(options);

        assert!(!direct.is_primary().await.unwrap());

        assert_eq!(direct.address().unwrap(), Some(secondary.clone()));
        assert_eq!(direct.nodes(), BTreeSet::from([secondary.clone()]));
        assert_eq!(direct.primary(), None);
        let topology = direct.topology_description().await.unwrap();
        let (_, server) = topology.server(&secondary).unwrap();
        assert_eq!(server.server_type, ServerType::RsSecondary);
    });
}

#[test]
fn without_a_server_the_members_are_the_documented_defaults() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let mut options = live::options("mongodb://127.0.0.1:1/");
        options.server_selection_timeout = Some(Duration::from_millis(50));
        let client = live::build(options);

        assert_eq!(client.address().unwrap(), None);
        assert!(client.nodes().is_empty());
        assert_eq!(client.primary(), None);
        assert!(client.secondaries().is_empty());
        assert!(client.arbiters().is_empty());
        assert_eq!(client.max_bson_size(), 16 * 1024 * 1024);
        assert_eq!(client.max_message_size(), 33_554_432);
        assert_eq!(client.max_write_batch_size(), 100_000);
        assert_eq!(client.max_pool_size(), Some(100));
        assert_eq!(client.local_threshold(), Duration::from_millis(15));
        assert_eq!(client.read_preference(), ReadPreference::Primary);
        assert_eq!(client.read_concern(), None);
        assert_eq!(client.write_concern(), None);
        for error in [
            client.is_primary().await.unwrap_err(),
            client.is_mongos().await.unwrap_err(),
        ] {
            assert!(
                matches!(&*error.kind, ErrorKind::ServerSelection { message } if message.contains("127.0.0.1:1")),
                "{error:?}"
            );
            assert!(error.is_timeout());
        }
    });
}

#[test]
fn members_show_the_options_that_were_given() {
    rt::block_on(async {
        let uri = "mongodb://127.0.0.1:1/chosen?maxPoolSize=0&localThresholdMS=3&w=2\
                   &readConcernLevel=majority&readPreference=nearest&connect=false";
        let client = Client::with_uri_str(uri).await.unwrap();
        assert_eq!(client.max_pool_size(), None);
        assert_eq!(client.local_threshold(), Duration::from_millis(3));
        assert_eq!(client.read_preference(), ReadPreference::nearest(None));
        assert_eq!(client.write_concern(), Some(&WriteConcern::nodes(2)));
        assert_eq!(client.read_concern(), Some(&ReadConcern::majority()));
        assert_eq!(client.get_default_database(None).unwrap().name(), "chosen");
        assert_eq!(
            client.get_default_database(Some("other")).unwrap().name(),
            "chosen"
        );
    });
}

#[test]
fn without_a_database_in_the_uri_the_default_is_taken_or_missed() {
    rt::block_on(async {
        let client = Client::with_uri_str("mongodb://127.0.0.1:1/?connect=false")
            .await
            .unwrap();
        assert!(client.default_database().is_none());
        assert_eq!(
            client.get_default_database(Some("other")).unwrap().name(),
            "other"
        );
        let error = client.get_default_database(None).unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::InvalidArgument { message } if message.contains("default database")),
            "{error:?}"
        );
    });
}

fn invalid_name(error: &Error) -> (&str, &str) {
    match &*error.kind {
        ErrorKind::InvalidName { name, rule } => (name, rule),
        _ => panic!("{error:?}"),
    }
}

/// No server is there, so the error comes before one is looked for.
#[test]
fn invalid_names_are_errors_of_the_first_operation() {
    rt::block_on(async {
        let client = live::client("mongodb://127.0.0.1:1/");
        let long = "x".repeat(64);
        for (name, named) in [
            ("", "empty"),
            ("a.b", "'.'"),
            ("a/b", "'/'"),
            ("a\\b", r"'\\'"),
            ("a b", "' '"),
            ("a$b", "'$'"),
            ("a\"b", "'\"'"),
            ("a\0b", r"'\0'"),
            (&long, "63 bytes"),
        ] {
            let db = client.database(name);
            let people = db.collection::<Document>("people");
            for error in [
                db.run_command(doc! { "ping": 1 }).await.unwrap_err(),
                db.drop().await.unwrap_err(),
                client.drop_database(name).await.unwrap_err(),
                db.list_collection_names().await.unwrap_err(),
                db.aggregate([]).await.unwrap_err(),
                people.insert_one(doc! {}).await.unwrap_err(),
                people.find_one(doc! {}).await.unwrap_err(),
            ] {
                let (found, rule) = invalid_name(&error);
                assert_eq!(found, name);
                assert!(rule.contains("database") && rule.contains(named), "{rule}");
            }
        }
        let long = "x".repeat(253);
        for (name, named) in [
            ("", "empty"),
            ("a..b", "\"..\""),
            (".a", "'.'"),
            ("a.", "'.'"),
            ("a$b", "'$'"),
            ("a\0b", r"'\0'"),
            (&long, "255 bytes"),
        ] {
            let db = client.database("db");
            let people = db.collection::<Document>(name);
            for error in [
                db.create_collection(name).await.unwrap_err(),
                people.insert_one(doc! {}).await.unwrap_err(),
                people.insert_many([doc! {}]).await.unwrap_err(),
                people.find(doc! {}).await.unwrap_err(),
                people.find_one(doc! {}).await.unwrap_err(),
                people.find_one_and_delete(doc! {}).await.unwrap_err(),
                people.count_documents(doc! {}).await.unwrap_err(),
                people.estimated_document_count().await.unwrap_err(),
                people.distinct("x", doc! {}).await.unwrap_err(),
                people.delete_many(doc! {}).await.unwrap_err(),
                people.drop().await.unwrap_err(),
            ] {
                let (found, rule) = invalid_name(&error);
                assert_eq!(found, name);
                assert!(
                    rule.contains("collection") && rule.contains(named),
                    "{rule}"
                );
            }
        }
    });
}

/// The server has the same rules: what is let through, it takes.
#[test]
fn names_at_their_limits_are_taken_by_the_server() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let unique = live::unique("names");
        let db = client.database(&format!("{unique:x<63}"));
        let longest = "y".repeat(255 - 64);
        for name in [longest.as_str(), "a b", "a.b", "ä/\\\""] {
            let coll = db.collection::<Document>(name);
            coll.insert_one(doc! {}).await.unwrap();
        }
        assert_eq!(db.list_collection_names().await.unwrap().len(), 4);
        live::forget(&db).await;
    });
}
