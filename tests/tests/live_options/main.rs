//! The options of the documented client against real servers, where no other test has them.

mod acknowledgments;
mod construction;
mod older_names;
mod services;
mod timing;
mod types;
mod writes;

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongo_client::{
    error::ErrorKind,
    event::{cmap::CmapEvent, sdam::SdamEvent},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
    secure::ping,
};

#[test]
fn tag_sets_that_nobody_has_find_nobody_unless_the_empty_one_follows() {
    live::on("REPLICA_SET", async |uri| {
        let tagged = format!("{uri}&readPreference=secondary&readPreferenceTags=dc:nowhere");
        let mut options = live::options(&tagged);
        options.server_selection_timeout = Some(Duration::from_secs(1));
        let error = ping_as_configured(options).await.unwrap_err();
        assert!(error.is_server_selection(), "{error}");

        let options = live::options(&(tagged + "&readPreferenceTags="));
        ping_as_configured(options).await.unwrap();
    });
}

#[test]
fn a_staleness_must_be_one_that_can_be_told() {
    live::on("REPLICA_SET", async |uri| {
        for (seconds, refused) in [(1, true), (89, true), (120, false)] {
            let options = live::options(&format!(
                "{uri}&readPreference=secondaryPreferred&maxStalenessSeconds={seconds}"
            ));
            match ping_as_configured(options).await {
                Ok(()) => assert!(!refused, "{seconds}"),
                Err(error) => {
                    assert!(refused, "{seconds}: {error}");
                    let invalid = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
                    assert!(invalid, "{error:?}");
                    assert!(error.to_string().contains("maxStaleness"), "{error}");
                }
            }
        }
    });
}

/// Reads with the client's own read preference.
async fn ping_as_configured(
    options: mongo_client::options::ClientOptions,
) -> mongo_client::error::Result<()> {
    let client = live::build(options);
    let people = client.database("admin").collection::<Document>("nobody");
    people.find_one(doc! {}).await.map(drop)
}

mod serial_standalone {
    use super::*;

    #[test]
    fn a_reply_that_is_late_costs_its_connection_and_nothing_else() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let control = live::client(&uri);
            let mut options = live::options(&format!("{uri}?socketTimeoutMS=300"));
            options.retry_reads = Some(false);
            let app_name = live::app_name(&options);
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);
            ping(&client).await.unwrap();
            let people = client
                .database("live_options")
                .collection::<Document>("people");
            let data = doc! {
                "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 3_000,
            };
            let point = live::FailPoint::set(&control, 1, &app_name, data).await;

            let error = people.find_one(doc! {}).await.unwrap_err();
            assert!(error.is_network_timeout(), "{error:?}");
            assert!(error.to_string().contains("socketTimeoutMS"), "{error}");
            people.find_one(doc! {}).await.unwrap();

            let finds = events.started("find");
            assert_ne!(finds[0].connection.id, finds[1].connection.id);
            let late = finds[0].connection.id;
            for event in events.events() {
                match event {
                    Event::Cmap(CmapEvent::ConnectionClosed(e)) => {
                        assert_eq!(e.connection_id, late);
                    }
                    Event::Cmap(CmapEvent::PoolCleared(e)) => panic!("{e:?}"),
                    Event::Sdam(SdamEvent::ServerDescriptionChanged(e)) => {
                        let kind = e.new_description.server_type;
                        assert_ne!(kind, ServerType::Unknown, "{e:?}");
                    }
                    _ => {}
                }
            }
            point.off().await;
        });
    }

    #[test]
    fn a_wait_queue_beyond_its_multiple_fails_at_once() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let control = live::client(&uri);
            let limits = "maxPoolSize=1&waitQueueMultiple=2";
            let mut options = live::options(&format!("{uri}?{limits}"));
            options.retry_reads = Some(false);
            let app_name = live::app_name(&options);
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);
            let people = client
                .database("live_options")
                .collection::<Document>("people");
            people.find_one(doc! {}).await.unwrap();
            let data = doc! {
                "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 2_000,
            };
            let point = live::FailPoint::set(&control, 1, &app_name, data).await;

            let asked = |events: &[Event]| {
                let asks =
                    |e: &&Event| matches!(e, Event::Cmap(CmapEvent::ConnectionCheckoutStarted(_)));
                events.iter().filter(asks).count()
            };
            let mut served = Vec::new();
            for wanted in 2..=4 {
                let people = people.clone();
                served.push(rt::spawn(async move { people.find_one(doc! {}).await }));
                let arrived = |events: &[Event]| asked(events) == wanted;
                events.wait("another operation asks", arrived).await;
            }
            let start = Instant::now();
            let error = people.find_one(doc! {}).await.unwrap_err();
            let took = start.elapsed();

            assert!(took < Duration::from_secs(1), "{took:?}");
            let refused = matches!(&*error.kind, ErrorKind::ConnectionCheckout { .. });
            assert!(refused, "{error:?}");
            assert!(error.to_string().contains("waitQueueMultiple"), "{error}");
            assert!(!error.is_timeout(), "{error:?}");
            for served in served {
                assert_eq!(served.await.unwrap().unwrap(), None);
            }
            point.off().await;
        });
    }
}
