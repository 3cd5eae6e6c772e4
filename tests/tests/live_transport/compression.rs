//! Which messages are compressed, and how.

use std::collections::BTreeSet;

use bson::{Binary, Document, doc, spec::BinarySubtype};
use mongo_client::{
    Client,
    options::{ClientOptions, Compressor},
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, PASSWORD},
    fault::{Sent, Tap},
    live, rt,
    secure::{ping, whoami},
};

const SNAPPY: u8 = 1;
const ZLIB: u8 = 2;
const ZSTD: u8 = 3;

/// The compressors of the frames, of both directions, once hello is over.
fn used(frames: &[Sent]) -> BTreeSet<Option<u8>> {
    let commands = frames
        .iter()
        .filter(|f| f.compressor.is_some() || f.name == "ping");
    commands.map(|f| f.compressor).collect()
}

/// Pings through a tap with options of a connection string.
async fn tapped(server: &str, user: &str, options: &str) -> (Client, Tap) {
    let tap = Tap::start(server).await.unwrap();
    let uri = format!(
        "mongodb://{user}{}/?directConnection=true{options}",
        tap.address()
    );
    let client = live::client(&uri);
    ping(&client).await.unwrap();
    (client, tap)
}

pub(crate) async fn only_what_both_have_is_used(cluster: &OwnCluster) {
    let user = format!("root:{PASSWORD}@");
    for (offered, expected) in [
        ("snappy,zstd,zlib", Some(ZLIB)),
        ("zlib", Some(ZLIB)),
        ("snappy,zstd", None),
    ] {
        let options = format!("&compressors={offered}");
        let (_client, tap) = tapped(&cluster.address(0), &user, &options).await;
        assert_eq!(used(&tap.frames()), [expected].into(), "{offered}");
    }
}

fn compressed() -> Option<String> {
    Some(live::options(&deploy::uri("COMPRESSED")?).hosts[0].to_string())
}

#[test]
fn first_compressor_of_the_client_wins() {
    rt::block_on(async {
        let Some(server) = compressed() else {
            return;
        };
        for (offered, expected) in [
            ("snappy,zlib,zstd", Some(SNAPPY)),
            ("zstd,snappy", Some(ZSTD)),
            ("zlib,zstd", Some(ZLIB)),
            ("", None),
        ] {
            let options = match offered {
                "" => String::new(),
                offered => format!("&compressors={offered}"),
            };
            let (_client, tap) = tapped(&server, "", &options).await;
            assert_eq!(used(&tap.frames()), [expected].into(), "{offered}");
        }
    });
}

#[test]
fn unknown_compressors_are_warned_of_and_skipped() {
    rt::block_on(async {
        let Some(server) = compressed() else {
            return;
        };
        for (offered, expected) in [("lzma,zstd,magic", Some(ZSTD)), ("lzma", None)] {
            let options = format!("&compressors={offered}");
            let (_client, tap) = tapped(&server, "", &options).await;
            assert_eq!(used(&tap.frames()), [expected].into(), "{offered}");

            let parsed = ClientOptions::parse_uri(&format!("mongodb://h/?compressors={offered}"));
            let warnings = parsed.unwrap().warnings;
            let text: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert!(text.iter().any(|w| w.contains("compressors")), "{text:?}");
        }
    });
}

#[test]
fn logins_and_passwords_are_never_compressed() {
    live::on("AUTH", async |uri| {
        let admin = live::client(&uri).database("admin");
        let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
        let primary = hello.get_str("primary").unwrap();
        for compressor in ["snappy", "zlib", "zstd"] {
            let user = format!("root:{PASSWORD}@");
            let options = format!("&compressors={compressor}&authSource=admin");
            let (client, tap) = tapped(primary, &user, &options).await;
            let db = live::database(&client);
            let text = "compressible ".repeat(100);
            let texts = db.collection::<Document>("texts");
            texts.insert_one(doc! { "text": text }).await.unwrap();
            let create = doc! { "createUser": "u", "pwd": "pw", "roles": [] };
            db.run_command(create).await.unwrap();
            db.run_command(doc! { "updateUser": "u", "pwd": "other" })
                .await
                .unwrap();
            db.run_command(doc! { "dropAllUsersFromDatabase": 1 })
                .await
                .unwrap();
            live::forget(&db).await;

            let frames = tap.frames();
            let plain = frames
                .iter()
                .filter(|f| f.from_client && f.compressor.is_none());
            let plain: BTreeSet<&str> = plain.map(|f| f.name.as_str()).collect();
            let allowed = [
                "hello",
                "isMaster",
                "saslStart",
                "saslContinue",
                "createUser",
                "updateUser",
            ];
            for name in &plain {
                assert!(allowed.contains(name), "{name:?} is not compressed");
            }
            for name in ["saslContinue", "createUser", "updateUser"] {
                assert!(plain.contains(name), "{name} is compressed");
            }
            // ping, insert, dropAllUsersFromDatabase, dropDatabase.
            let squeezed = frames
                .iter()
                .filter(|f| f.from_client && f.compressor.is_some());
            assert!(squeezed.count() >= 4);
            // The server compresses replies to compressed requests.
            assert!(
                frames
                    .iter()
                    .any(|f| !f.from_client && f.compressor.is_some())
            );
        }
    });
}

#[test]
fn level_of_zlib_decides_the_length() {
    rt::block_on(async {
        let Some(server) = compressed() else {
            return;
        };
        let words: Vec<String> = (0..2_000_u64)
            .map(|n| (n * n * 7919 % 104_729).to_string())
            .collect();
        let text = words.join(" ");
        let mut lengths = Vec::new();
        for level in [0, 1, 9, -1] {
            let options = format!("&compressors=zlib&zlibCompressionLevel={level}");
            let (client, tap) = tapped(&server, "", &options).await;
            let db = live::database(&client);
            let texts = db.collection::<Document>("texts");
            texts
                .insert_one(doc! { "_id": 1, "text": &text })
                .await
                .unwrap();
            let found = texts.find_one(doc! {}).await.unwrap().unwrap();
            assert_eq!(found.get_str("text").unwrap(), text);
            let frames = tap.frames();
            let sent = frames.iter().filter(|f| f.from_client).map(|f| f.len);
            lengths.push(sent.max().unwrap());
            live::forget(&db).await;
        }
        let [stored, fast, best, usual] = lengths[..] else {
            unreachable!("four levels");
        };
        assert!(stored > text.len(), "{lengths:?} of {}", text.len());
        assert!(fast < text.len() && best < fast, "{lengths:?}");
        assert!(usual < fast, "{lengths:?}");
    });
}

#[test]
fn what_cannot_be_compressed_arrives_whole() {
    rt::block_on(async {
        let Some(server) = compressed() else {
            return;
        };
        // A linear congruential generator: noise to every compressor here.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .take(300_000)
        .collect();
        let bytes = Binary {
            subtype: BinarySubtype::Generic,
            bytes: noise,
        };
        for compressor in [
            Compressor::Snappy,
            Compressor::Zlib { level: Some(9) },
            Compressor::Zstd { level: None },
        ] {
            let mut options = live::options(&format!("mongodb://{server}/"));
            options.compressors = Some(vec![compressor]);
            let client = live::build(options);
            assert_eq!(whoami(&client).await.unwrap(), None);
            let db = live::database(&client);
            let noises = db.collection::<Document>("noises");
            for sent in [doc! { "_id": 1, "bytes": &bytes }, doc! { "_id": 2 }] {
                noises.insert_one(&sent).await.unwrap();
                let id = sent.get_i32("_id").unwrap();
                let found = noises.find_one(doc! { "_id": id }).await.unwrap();
                assert_eq!(found, Some(sent));
            }
            live::forget(&db).await;
        }
    });
}
