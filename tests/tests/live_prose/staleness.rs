//! Max staleness: `max-staleness-tests.md`, what needs servers.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bson::{Bson, Document, doc};
use mongo_client::{
    Client,
    error::Result,
    options::{ClientOptions, ServerAddress},
};
use mongo_client_tests::{deploy, fault::Mongos, live, rt};

use crate::{last, recorded};

async fn primary(client: &Client) -> ServerAddress {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    hello.get_str("primary").unwrap().parse().unwrap()
}

/// When the server has last written, as the client knows it.
async fn last_write(client: &Client, server: &ServerAddress) -> Option<i64> {
    let topology = client.topology_description().await.unwrap();
    let hello = topology.server(server)?.1.hello.clone()?;
    hello.last_write_date
}

#[test]
fn connection_strings_name_the_staleness() {
    let parsed = |query: &str| -> Result<Option<Duration>> {
        let parsed = ClientOptions::parse_uri(&format!("mongodb://host/?{query}"))?;
        let criteria = parsed
            .options
            .selection_criteria
            .expect("a read preference");
        let preference = criteria.as_read_pref().expect("a read preference");
        Ok(preference.max_staleness())
    };
    let basic = parsed("readPreference=secondary&maxStalenessSeconds=120");
    assert_eq!(basic.unwrap(), Some(Duration::from_secs(120)));
    for invalid in ["", "readPreference=primary&"] {
        let error = parsed(&format!("{invalid}maxStalenessSeconds=120")).unwrap_err();
        assert!(error.to_string().contains("maxStalenessSeconds"), "{error}");
    }
    for mode in ["secondary", "primary"] {
        let none = parsed(&format!("readPreference={mode}&maxStalenessSeconds=-1"));
        assert_eq!(none.unwrap(), None, "{mode}");
    }
    let small = parsed("readPreference=secondary&maxStalenessSeconds=1");
    assert_eq!(small.unwrap(), Some(Duration::from_secs(1)));
}

#[test]
fn last_write_dates_are_parsed_and_grow() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let client = live::client(&uri);
        let server = primary(&client).await;
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! {}).await.unwrap();
        let first = AtomicI64::new(0);
        live::eventually("a date", || async {
            let date = last_write(&client, &server).await.unwrap_or(0);
            first.store(date, Ordering::SeqCst);
            date > 0
        })
        .await;
        let first = first.into_inner();
        let now = i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        );
        assert!((now.unwrap() - first).abs() < 3_600_000, "{first}");
        // The server tells whole seconds.
        live::eventually("a later date", || async {
            people.insert_one(doc! {}).await.unwrap();
            last_write(&client, &server).await > Some(first)
        })
        .await;
        let later = last_write(&client, &server).await.unwrap();
        assert!(later - first < 10_000, "{first}, {later}");
        live::forget(&db).await;
    });
}

#[test]
fn a_router_is_told_the_staleness_only_where_there_is_one() {
    rt::block_on(async {
        let Some(uri) = deploy::uri("REPLICA_SET") else {
            return;
        };
        let primary = primary(&live::client(&uri)).await;
        let router = Mongos::start(primary.to_string()).await.unwrap();
        for (option, expected) in [
            ("&maxStalenessSeconds=120", Some(120)),
            ("", None),
            ("&maxStalenessSeconds=-1", None),
        ] {
            let address = router.address();
            let uri = format!("mongodb://{address}/?readPreference=secondary{option}");
            let (client, recorder) = recorded(&uri);
            let people = client.database("test").collection::<Document>("nobody");
            people.find_one(doc! {}).await.unwrap();
            let find = last(&recorder, "find");
            let preference = find.get_document("$readPreference").unwrap();
            assert_eq!(preference.get_str("mode").unwrap(), "secondary", "{option}");
            let seconds = preference
                .get("maxStalenessSeconds")
                .map(|value| match value {
                    Bson::Int32(n) => i64::from(*n),
                    Bson::Int64(n) => *n,
                    other => panic!("{other:?}"),
                });
            assert_eq!(seconds, expected, "{option}");
        }
    });
}
