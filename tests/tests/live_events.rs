//! What clients report of failures, and what servers know of clients.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    event::{
        cmap::{CmapEvent, ConnectionClosedReason},
        command::CommandEvent,
        sdam::SdamEvent,
    },
    options::{Credential, DriverInfo},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
};

#[test]
fn server_knows_the_clients_metadata() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let app_name = live::app_name(&options);
        let mut wrapper = DriverInfo::default();
        wrapper.name = "wrapper".to_owned();
        wrapper.version = Some("7".to_owned());
        options.driver_info = Some(wrapper);
        let client = live::build(options);
        let stages = [
            doc! { "$currentOp": { "idleConnections": true, "localOps": true } },
            doc! { "$match": { "appName": &app_name } },
        ];

        let admin = client.database("admin");
        let operations = admin.aggregate(stages).await.unwrap();
        let operations: Vec<Document> = operations.try_collect().await.unwrap();

        assert!(!operations.is_empty());
        for operation in operations {
            let metadata = operation.get_document("clientMetadata").unwrap();
            let driver = metadata.get_document("driver").unwrap();
            assert!(driver.get_str("name").unwrap().ends_with("|wrapper"));
            assert!(driver.get_str("version").unwrap().ends_with("|7"));
            let os = metadata.get_document("os").unwrap();
            assert!(!os.get_str("type").unwrap().is_empty());
            assert!(!metadata.get_str("platform").unwrap().is_empty());
        }
    });
}

#[test]
fn events_of_a_login_hold_no_secrets() {
    live::on("AUTH", async |uri| {
        let mut options = live::options(&uri);
        options.credential = Some(
            Credential::builder()
                .username("both")
                .password(deploy::PASSWORD)
                .source("admin"),
        );
        let events = live::Recorder::attach(&mut options);
        let shown = format!("{options:?}");
        let client = live::build(options);
        let admin = client.database("admin");
        admin.run_command(doc! { "ping": 1 }).await.unwrap();
        let create = doc! { "createUser": "never", "pwd": "sesame", "roles": [] };
        // This user may not: what counts is what is reported.
        admin.run_command(create).await.unwrap_err();

        assert!(!shown.contains(deploy::PASSWORD), "{shown}");
        assert!(!format!("{client:?}").contains(deploy::PASSWORD));
        let events = events.events();
        let text = format!("{events:?}");
        for secret in ["sesame", "payload", "speculativeAuthenticate"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        let started = events.iter().find_map(|event| match event {
            Event::Command(CommandEvent::Started(e)) if e.command_name == "createUser" => Some(e),
            _ => None,
        });
        assert_eq!(started.map(|e| &e.command), Some(&doc! {}));
    });
}

/// What happens in a failing insert's wake, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    ServerUnknown,
    PoolCleared,
    ConnectionFailed,
    PoolReady,
}

mod serial_replica_set {
    use super::*;

    /// Lets one insert fail, and returns what the client reported up to the retry's success.
    async fn facts_of_a_retry(uri: &str, data: Document) -> Vec<Fact> {
        let mut options = live::options(uri);
        let app_name = live::app_name(&options);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! {}).await.unwrap();
        let point = live::FailPoint::set(&client, 1, &app_name, data).await;
        let before = events.events().len();

        people.insert_one(doc! {}).await.unwrap();

        point.off().await;
        live::forget(&db).await;
        let facts = events.events().into_iter().skip(before);
        let facts = facts.filter_map(|event| match event {
            Event::Sdam(SdamEvent::ServerDescriptionChanged(e))
                if e.new_description.server_type == ServerType::Unknown
                    && e.previous_description.server_type == ServerType::RsPrimary =>
            {
                Some(Fact::ServerUnknown)
            }
            Event::Cmap(CmapEvent::PoolCleared(_)) => Some(Fact::PoolCleared),
            Event::Cmap(CmapEvent::PoolReady(_)) => Some(Fact::PoolReady),
            Event::Cmap(CmapEvent::ConnectionClosed(e))
                if e.reason == ConnectionClosedReason::Error =>
            {
                Some(Fact::ConnectionFailed)
            }
            _ => None,
        });
        facts.collect()
    }

    #[test]
    fn broken_connection_makes_the_server_unknown_and_then_clears_its_pool() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let data = doc! { "failCommands": ["insert"], "closeConnection": true };
            let facts = facts_of_a_retry(&uri, data).await;

            let at = |fact| facts.iter().position(|f| *f == fact);
            assert!(
                at(Fact::ServerUnknown) < at(Fact::PoolCleared)
                    && at(Fact::PoolCleared) < at(Fact::PoolReady),
                "{facts:?}"
            );
            assert!(at(Fact::ServerUnknown).is_some(), "{facts:?}");
            assert!(at(Fact::ConnectionFailed).is_some(), "{facts:?}");
        });
    }

    #[test]
    fn shutting_down_server_becomes_unknown_and_its_pool_is_cleared() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let data = doc! {
                "failCommands": ["insert"], "errorCode": 91, "errorLabels": ["RetryableWriteError"],
            };
            let facts = facts_of_a_retry(&uri, data).await;
            let at = |fact| facts.iter().position(|f| *f == fact);
            assert!(at(Fact::ServerUnknown).is_some(), "{facts:?}");
            assert!(at(Fact::ServerUnknown) < at(Fact::PoolCleared), "{facts:?}");
        });
    }

    /// The server's answer says with its topologyVersion that nothing has changed since.
    #[test]
    fn error_older_than_what_is_known_is_retried_and_changes_nothing() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let data = doc! {
                "failCommands": ["insert"], "errorCode": 10107, "errorLabels": ["RetryableWriteError"],
            };
            let facts = facts_of_a_retry(&uri, data).await;
            assert_eq!(facts, []);
        });
    }
}
