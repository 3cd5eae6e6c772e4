//! Handshake: source/mongodb-handshake/tests/README.md, "Client Metadata Update Prose Tests".
//!
//! What a connection has said of its client is asked of the server; new connections are had by
//! closing the client, which takes the place of waiting until they are idle.

use bson::{Document, doc};
use mongo_client::{Client, options::DriverInfo};
use mongo_client_tests::{deploy, live, rt};

/// Name, version and platform; `None` is unset.
type Info = (&'static str, Option<&'static str>, Option<&'static str>);

const LIBRARY: Info = ("library", Some("1.2"), Some("Library Platform"));
const FRAMEWORK: Info = ("framework", Some("2.0"), Some("Framework Platform"));

fn info((name, version, platform): Info) -> DriverInfo {
    let mut info = DriverInfo::builder().name(name.to_owned()).build();
    info.version = version.map(str::to_owned);
    info.platform = platform.map(str::to_owned);
    info
}

/// What a new connection says of the client.
async fn told(client: &Client) -> Document {
    client.close().await;
    let admin = client.database("admin");
    let pipeline = [
        doc! { "$currentOp": { "allUsers": false, "idleConnections": false } },
        doc! { "$match": { "command.comment": "told" } },
    ];
    let own = admin.aggregate(pipeline).comment("told").await;
    let mut own = own.unwrap();
    while own.advance().await.unwrap() {
        let operation = own.deserialize_current().unwrap();
        let metadata = operation.get_document("clientMetadata").unwrap();
        let application = metadata.get_document("application").unwrap();
        // Other tests ask too.
        if application.get_str("name").ok() == client_name(client).as_deref() {
            return metadata.clone();
        }
    }
    panic!("the operation is not there");
}

fn client_name(client: &Client) -> Option<String> {
    client.handle().options().app_name.clone()
}

/// A client whose options name these libraries.
fn client(uri: &str, initial: Option<Info>) -> Client {
    let mut options = live::options(uri);
    options.driver_info = initial.map(info);
    live::build(options)
}

/// The document with the fields of a library appended.
fn appended(mut metadata: Document, (name, version, platform): Info) -> Document {
    let append = |out: &mut Document, key: &str, value: Option<&str>| {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return;
        };
        let joined = match out.get_str(key) {
            Ok(before) => format!("{before}|{value}"),
            Err(_) => value.to_owned(),
        };
        out.insert(key, joined);
    };
    let driver = metadata.get_document_mut("driver").unwrap();
    append(driver, "name", Some(name));
    append(driver, "version", version);
    append(&mut metadata, "platform", platform);
    metadata
}

#[test]
fn tests_1_and_2_what_is_appended_follows_what_was_there() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        for initially in [true, false] {
            for (version, platform) in [
                (FRAMEWORK.1, FRAMEWORK.2),
                (FRAMEWORK.1, None),
                (None, FRAMEWORK.2),
                (None, None),
            ] {
                let client = client(&uri, initially.then_some(LIBRARY));
                if !initially {
                    client.append_metadata(info(LIBRARY)).unwrap();
                }
                let before = told(&client).await;
                let framework = ("framework", version, platform);
                client.append_metadata(info(framework)).unwrap();
                assert_eq!(told(&client).await, appended(before, framework));
            }
        }
    });
}

#[test]
fn test_3_only_what_is_the_same_in_every_field_is_not_appended() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        for name in ["library", "framework"] {
            for version in [LIBRARY.1, FRAMEWORK.1] {
                for platform in [LIBRARY.2, FRAMEWORK.2] {
                    let client = client(&uri, None);
                    client.append_metadata(info(LIBRARY)).unwrap();
                    let before = told(&client).await;
                    let next = (name, version, platform);
                    client.append_metadata(info(next)).unwrap();
                    let expected = match next == LIBRARY {
                        true => before,
                        false => appended(before, next),
                    };
                    assert_eq!(told(&client).await, expected);
                }
            }
        }
    });
}

#[test]
fn tests_4_to_6_what_was_there_before_is_not_appended_again() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        for (initially, between) in [(false, true), (true, false), (true, true)] {
            let client = client(&uri, initially.then_some(LIBRARY));
            if !initially {
                client.append_metadata(info(LIBRARY)).unwrap();
            }
            if between {
                client.append_metadata(info(FRAMEWORK)).unwrap();
            }
            let before = told(&client).await;
            client.append_metadata(info(LIBRARY)).unwrap();
            assert_eq!(told(&client).await, before);
        }
    });
}

#[test]
fn tests_7_and_8_an_empty_string_is_as_good_as_nothing() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("STANDALONE") else {
            return;
        };
        let cases = [
            (
                ("library", None, LIBRARY.2),
                ("library", Some(""), LIBRARY.2),
            ),
            (
                ("library", LIBRARY.1, None),
                ("library", LIBRARY.1, Some("")),
            ),
        ];
        for (first, again) in cases {
            for initially in [true, false] {
                let client = client(&uri, initially.then_some(first));
                if !initially {
                    client.append_metadata(info(first)).unwrap();
                }
                let before = told(&client).await;
                client.append_metadata(info(again)).unwrap();
                assert_eq!(told(&client).await, before);
            }
        }
    });
}
