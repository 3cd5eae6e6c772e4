//! Retryable writes: source/retryable-writes/tests/README.md, "Prose Tests".
//!
//! Not here: 1 (no server with MMAPv1 is supported).

mod serial_replica_set {
    use bson::{Document, doc};
    use futures_util::future::join;
    use mongo_client::{
        error::{Error, NO_WRITES_PERFORMED},
        topology::ServerType,
    };
    use mongo_client_tests::{
        deploy,
        live::{self, FailPoint, Recorder},
        logs::Logs,
        rt,
    };
    use tracing::Level;

    use crate::{
        retry_reads::{answers, assert_cleared, known, options, routers},
        two_faults::{self, OVERLOADED, failure},
    };

    const LABEL: [&str; 1] = ["RetryableWriteError"];

    #[test]
    fn prose_2_a_write_that_waits_for_a_connection_of_a_cleared_pool_is_retried() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let mut options = live::options(&uri);
            options.max_pool_size = Some(1);
            let app_name = live::app_name(&options);
            let recorder = Recorder::attach(&mut options);
            let client = live::build(options);
            let db = live::database(&client);
            let things = db.collection::<Document>("things");
            let mut data = failure("insert", 91, &LABEL);
            data.extend(doc! { "blockConnection": true, "blockTimeMS": 1000 });
            let point = FailPoint::set(&client, 1, &app_name, data).await;
            let before = recorder.events().len();

            let (one, other) = (things.insert_one(doc! {}), things.insert_one(doc! {}));
            let (one, other) = join(one.into_future(), other.into_future()).await;

            point.off().await;
            one.unwrap();
            other.unwrap();
            assert_cleared(&recorder, before);
            assert_eq!(recorder.started("insert").len(), 3);
            live::forget(&db).await;
        });
    }

    #[test]
    fn prose_3_the_error_of_the_attempt_that_may_have_written_is_told() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("REPLICA_SET") else {
                return;
            };
            let first = doc! {
                "failCommands": ["insert"], "errorLabels": ["RetryableWriteError"],
                "writeConcernError": { "code": 91, "errmsg": "shutting down" },
            };
            let labels = ["RetryableWriteError", NO_WRITES_PERFORMED];
            let second = failure("insert", 10107, &labels);
            let (client, recorder, point) =
                two_faults::client(&uri, first, second, doc! { "times": 1 }).await;
            let db = live::database(&client);
            let things = db.collection::<Document>("things");
            let error = things.insert_one(doc! {}).await.unwrap_err();
            point.off().await;
            assert_eq!(error.code(), Some(91), "{error:?}");
            assert_eq!(recorder.started("insert").len(), 2);
            live::forget(&db).await;
        });
    }

    /// Chance alone would not lead to another router that often.
    const ROUNDS: usize = 10;

    #[test]
    fn prose_4_a_write_is_retried_at_another_router() {
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
                let data = failure("insert", 6, &LABEL);
                let point = FailPoint::set(&primary, 2, &app_name, data).await;
                let things = client.database("test").collection::<Document>("things");
                let error = things.insert_one(doc! {}).await.unwrap_err();
                point.off().await;
                assert_eq!(error.code(), Some(6));
                let (failed, succeeded) = answers(&recorder, "insert");
                assert_eq!((failed.len(), succeeded.len()), (2, 0));
                assert_ne!(failed[0], failed[1]);
            }
        });
    }

    #[test]
    fn prose_5_a_write_is_retried_at_the_only_router() {
        rt::block_on(async {
            let Some((routers, primary)) = routers(1).await else {
                return;
            };
            let mut options = options(&routers);
            let recorder = Recorder::attach(&mut options);
            let app_name = live::app_name(&options);
            let client = live::build(options);
            let db = live::database(&client);
            let mut data = failure("insert", 6, &LABEL);
            data.insert("closeConnection", true);
            let point = FailPoint::set(&primary, 1, &app_name, data).await;
            let things = db.collection::<Document>("things");
            things.insert_one(doc! {}).await.unwrap();
            point.off().await;
            let (failed, succeeded) = answers(&recorder, "insert");
            assert_eq!((failed.len(), succeeded.len()), (1, 1));
            assert_eq!(failed, succeeded);
            live::forget(&db).await;
        });
    }

    /// The error of an insert that fails in one way first and in another from then on.
    async fn error_of(first: Document, second: Document) -> Option<(Error, Recorder)> {
        let uri = deploy::uri("REPLICA_SET")?;
        let (client, recorder, point) = two_faults::client(&uri, first, second, "alwaysOn").await;
        let things = client.database("test").collection::<Document>("things");
        let error = things.insert_one(doc! {}).await.unwrap_err();
        point.off().await;
        Some((error, recorder))
    }

    const NOTHING_WRITTEN: [&str; 3] = [OVERLOADED[0], OVERLOADED[1], NO_WRITES_PERFORMED];

    #[test]
    fn prose_6_case_1_the_last_of_errors_that_may_have_written_is_told() {
        rt::block_on(async {
            let first = failure("insert", 91, &OVERLOADED);
            let second = failure("insert", 10107, &OVERLOADED);
            let Some((error, _)) = error_of(first, second).await else {
                return;
            };
            assert_eq!(error.code(), Some(10107), "{error:?}");
        });
    }

    #[test]
    fn prose_6_case_2_the_first_of_errors_that_wrote_nothing_is_told() {
        rt::block_on(async {
            let first = failure("insert", 91, &NOTHING_WRITTEN);
            let second = failure("insert", 10107, &NOTHING_WRITTEN);
            let Some((error, _)) = error_of(first, second).await else {
                return;
            };
            assert_eq!(error.code(), Some(91), "{error:?}");
        });
    }

    #[test]
    fn prose_6_case_3_an_error_that_may_have_written_goes_before_those_that_did_not() {
        rt::block_on(async {
            let first = failure("insert", 91, &OVERLOADED);
            let second = failure("insert", 91, &NOTHING_WRITTEN);
            let Some((error, _)) = error_of(first, second).await else {
                return;
            };
            assert_eq!(error.code(), Some(91), "{error:?}");
            assert!(!error.contains_label(NO_WRITES_PERFORMED), "{error:?}");
        });
    }

    #[test]
    fn prose_6_cases_4_and_5_an_overload_limits_later_retries_too_but_only_it_makes_them_wait() {
        let logs = Logs::new(Level::DEBUG);
        logs.listen(|| {
            rt::block_on(async {
                let first = failure("insert", 91, &OVERLOADED);
                let second = failure("insert", 91, &["RetryableError", "RetryableWriteError"]);
                let Some((error, recorder)) = error_of(first, second).await else {
                    return;
                };
                assert_eq!(error.code(), Some(91), "{error:?}");
                assert_eq!(recorder.started("insert").len(), 3);
                let pauses = logs.with_message("Operation paused before its next attempt");
                assert_eq!(pauses.len(), 1, "{pauses:?}");
            });
        });
    }
}
