//! Retryable reads: source/retryable-reads/tests/README.md, "Prose Tests".
//!
//! Routers are proxies of the replica set's primary: a fail point there is one of all routers.

use bson::{Document, doc};
use futures_util::future::join;
use mongo_client::{
    Client,
    event::{
        cmap::{CmapEvent, ConnectionCheckoutFailedReason},
        command::CommandEvent,
    },
    options::{ClientOptions, ReadPreference, ServerAddress},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    fault::Mongos,
    live::{self, Event, FailPoint, Recorder},
    rt,
};

use super::two_faults::{self, OVERLOADED, failure};

/// Routers of the replica set, and a client of its primary.
pub(super) async fn routers(count: usize) -> Option<(Vec<Mongos>, Client)> {
    let client = live::client(&deploy::uri("REPLICA_SET")?);
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = hello.get_str("primary").unwrap();
    let mut routers = Vec::new();
    for _ in 0..count {
        routers.push(Mongos::start(primary).await.unwrap());
    }
    Some((routers, client))
}

/// The options of a client of routers, which counts all as near.
pub(super) fn options(routers: &[Mongos]) -> ClientOptions {
    let hosts: Vec<_> = routers.iter().map(|r| r.address().to_string()).collect();
    let mut options = live::options(&format!("mongodb://{}/", hosts.join(",")));
    options.direct_connection = Some(false);
    options.local_threshold = Some(live::PATIENCE);
    options
}

/// Waits until so many servers of this type are known.
pub(super) async fn known(client: &Client, wanted: ServerType, count: usize) {
    live::eventually("the servers are known", || async {
        let topology = client.topology_description().await.unwrap();
        let servers = topology.servers.values();
        servers.filter(|s| s.server_type == wanted).count() == count
    })
    .await;
}

/// Where commands of this name failed, and where they succeeded.
pub(super) fn answers(recorder: &Recorder, name: &str) -> (Vec<ServerAddress>, Vec<ServerAddress>) {
    let (mut failed, mut succeeded) = (Vec::new(), Vec::new());
    for event in recorder.events() {
        match event {
            Event::Command(CommandEvent::Failed(e)) if e.command_name == name => {
                failed.push(e.connection.address);
            }
            Event::Command(CommandEvent::Succeeded(e)) if e.command_name == name => {
                succeeded.push(e.connection.address);
            }
            _ => {}
        }
    }
    (failed, succeeded)
}

/// A connection is had, then the pool is cleared, then the next one is not had.
pub(super) fn assert_cleared(recorder: &Recorder, before: usize) {
    let events = recorder.events();
    let mut facts = events[before..].iter().filter_map(|event| match event {
        Event::Cmap(CmapEvent::ConnectionCheckedOut(_)) => Some("had"),
        Event::Cmap(CmapEvent::PoolCleared(_)) => Some("cleared"),
        Event::Cmap(CmapEvent::ConnectionCheckoutFailed(e)) => Some(match e.reason {
            ConnectionCheckoutFailedReason::ConnectionError => "not had",
            _ => "not had for another reason",
        }),
        _ => None,
    });
    let first = [facts.next(), facts.next(), facts.next()];
    assert_eq!(first, [Some("had"), Some("cleared"), Some("not had")]);
}

mod serial_standalone {
    use mongo_client_tests::logs::Logs;
    use tracing::Level;

    use super::*;

    #[test]
    fn prose_1_a_read_that_waits_for_a_connection_of_a_cleared_pool_is_retried() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let mut options = live::options(&uri);
            options.max_pool_size = Some(1);
            let app_name = live::app_name(&options);
            let recorder = Recorder::attach(&mut options);
            let client = live::build(options);
            let things = live::database(&client).collection::<Document>("things");
            let mut data = failure("find", 91, &[]);
            data.extend(doc! { "blockConnection": true, "blockTimeMS": 1000 });
            let point = FailPoint::set(&client, 1, &app_name, data).await;
            let before = recorder.events().len();

            let (one, other) = (things.find_one(doc! {}), things.find_one(doc! {}));
            let (one, other) = join(one.into_future(), other.into_future()).await;

            point.off().await;
            assert_eq!((one.unwrap(), other.unwrap()), (None, None));
            assert_cleared(&recorder, before);
            assert_eq!(recorder.started("find").len(), 3);
        });
    }

    #[test]
    fn prose_4_and_5_an_overload_limits_later_retries_too_but_only_it_makes_them_wait() {
        let logs = Logs::new(Level::DEBUG);
        logs.listen(|| {
            rt::block_on(async {
                let Some(uri) = deploy::uri("STANDALONE") else {
                    return;
                };
                let first = failure("find", 91, &OVERLOADED);
                let second = failure("find", 91, &["RetryableError"]);
                let (client, recorder, point) =
                    two_faults::client(&uri, first, second, "alwaysOn").await;
                let things = client.database("test").collection::<Document>("things");
                let error = things.find_one(doc! {}).await.unwrap_err();
                point.off().await;
                assert_eq!(error.code(), Some(91));
                assert_eq!(recorder.started("find").len(), 3);
                let pauses = logs.with_message("Operation paused before its next attempt");
                assert_eq!(pauses.len(), 1, "{pauses:?}");
            });
        });
    }
}

mod serial_replica_set {
    use super::*;

    /// Chance alone would not lead to another router that often.
    const ROUNDS: usize = 10;

    #[test]
    fn prose_2_1_a_read_is_retried_at_another_router() {
        rt::block_on(async {
            let Some((routers, primary)) = routers(2).await else {
                return;
            };
            for _ in 0..ROUNDS {
                let mut options = options(&routers);
                let recorder = Recorder::attach(&mut options);
                let app_name = live::app_name(&options);
                let client = live::build(options);
                known(&client, ServerType::Mongos, 2).await;
                let data = failure("find", 6, &[]);
                let point = FailPoint::set(&primary, 2, &app_name, data).await;
                let things = client.database("test").collection::<Document>("things");
                let error = things.find_one(doc! {}).await.unwrap_err();
                point.off().await;
                assert_eq!(error.code(), Some(6));
                let (failed, succeeded) = answers(&recorder, "find");
                assert_eq!((failed.len(), succeeded.len()), (2, 0));
                assert_ne!(failed[0], failed[1]);
            }
        });
    }

    #[test]
    fn prose_2_2_a_read_is_retried_at_the_only_router() {
        rt::block_on(async {
            let Some((routers, primary)) = routers(1).await else {
                return;
            };
            let mut options = options(&routers);
            let recorder = Recorder::attach(&mut options);
            let app_name = live::app_name(&options);
            let client = live::build(options);
            let data = failure("find", 6, &[]);
            let point = FailPoint::set(&primary, 1, &app_name, data).await;
            let things = client.database("test").collection::<Document>("things");
            things.find_one(doc! {}).await.unwrap();
            point.off().await;
            let (failed, succeeded) = answers(&recorder, "find");
            assert_eq!((failed.len(), succeeded.len()), (1, 1));
            assert_eq!(failed, succeeded);
        });
    }

    /// Where a read with `primaryPreferred` failed and then succeeded.
    async fn retried(
        retargeting: Option<bool>,
        labels: &[&str],
    ) -> Option<(ServerAddress, ServerAddress)> {
        let mut options = live::options(&deploy::uri("REPLICA_SET")?);
        options.selection_criteria = Some(ReadPreference::primary_preferred(None).into());
        options.enable_overload_retargeting = retargeting;
        let recorder = Recorder::attach(&mut options);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        known(&client, ServerType::RsPrimary, 1).await;
        known(&client, ServerType::RsSecondary, 2).await;
        let data = failure("find", 6, labels);
        let point = FailPoint::set(&client, 1, &app_name, data).await;
        let things = client.database("test").collection::<Document>("things");
        things.find_one(doc! {}).await.unwrap();
        point.off().await;
        let (failed, succeeded) = answers(&recorder, "find");
        let ([failed], [succeeded]) = (&failed[..], &succeeded[..]) else {
            panic!("{failed:?} {succeeded:?}");
        };
        Some((failed.clone(), succeeded.clone()))
    }

    #[test]
    fn prose_3_1_an_overloaded_server_is_left_when_retargeting_is_on() {
        rt::block_on(async {
            if let Some((failed, succeeded)) = retried(Some(true), &OVERLOADED).await {
                assert_ne!(failed, succeeded);
            }
        });
    }

    #[test]
    fn prose_3_2_a_server_that_is_not_overloaded_is_asked_again() {
        rt::block_on(async {
            if let Some((failed, succeeded)) = retried(None, &["RetryableError"]).await {
                assert_eq!(failed, succeeded);
            }
        });
    }

    #[test]
    fn prose_3_3_an_overloaded_server_is_asked_again_when_retargeting_is_off() {
        rt::block_on(async {
            if let Some((failed, succeeded)) = retried(None, &OVERLOADED).await {
                assert_eq!(failed, succeeded);
            }
        });
    }
}
