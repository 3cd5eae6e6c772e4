//! Retryable writes: source/retryable-writes/tests/README.md, "Prose Tests".
//!
//! Not here: 1 (no server with MMAPv1 is supported).

mod serial_replica_set {
    use bson::{Document, doc};
    use mongo_client::error::{Error, NO_WRITES_PERFORMED};
    use mongo_client_tests::{deploy, live, logs::Logs, rt};
    use tracing::Level;

    use crate::{
        retries::Retried,
        two_faults::{self, OVERLOADED, failure},
    };

    #[test]
    fn prose_2_a_write_that_waits_for_a_connection_of_a_cleared_pool_is_retried() {
        rt::block_on(async {
            if let Some(uri) = deploy::uri("REPLICA_SET") {
                Retried::Write.waits_for_a_cleared_pool(&uri).await;
            }
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

    #[test]
    fn prose_4_a_write_is_retried_at_another_router() {
        rt::block_on(Retried::Write.goes_to_another_router());
    }

    #[test]
    fn prose_5_a_write_is_retried_at_the_only_router() {
        rt::block_on(Retried::Write.stays_at_the_only_router(doc! { "closeConnection": true }));
    }

    /// The error of an insert that fails in one way first and in another from then on.
    async fn error_of(first: Document, second: Document) -> Option<Error> {
        let uri = deploy::uri("REPLICA_SET")?;
        let (client, _, point) = two_faults::client(&uri, first, second, "alwaysOn").await;
        let things = client.database("test").collection::<Document>("things");
        let error = things.insert_one(doc! {}).await.unwrap_err();
        point.off().await;
        Some(error)
    }

    const NOTHING_WRITTEN: [&str; 3] = [OVERLOADED[0], OVERLOADED[1], NO_WRITES_PERFORMED];

    #[test]
    fn prose_6_case_1_the_last_of_errors_that_may_have_written_is_told() {
        rt::block_on(async {
            let first = failure("insert", 91, &OVERLOADED);
            let second = failure("insert", 10107, &OVERLOADED);
            let Some(error) = error_of(first, second).await else {
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
            let Some(error) = error_of(first, second).await else {
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
            let Some(error) = error_of(first, second).await else {
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
                if let Some(uri) = deploy::uri("REPLICA_SET") {
                    Retried::Write.is_limited_by_an_overload(&uri, &logs).await;
                }
            });
        });
    }
}
