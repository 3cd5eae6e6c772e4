//! Retryable reads: source/retryable-reads/tests/README.md, "Prose Tests".

use bson::{Document, doc};
use mongo_client::{
    options::{ReadPreference, ServerAddress},
    topology::ServerType,
};
use mongo_client_tests::{
    deploy,
    live::{self, FailPoint, Recorder},
    rt,
};

use super::{
    retries::{Retried, answers, known},
    two_faults::{OVERLOADED, failure},
};

mod serial_standalone {
    use mongo_client_tests::logs::Logs;
    use tracing::Level;

    use super::*;

    #[test]
    fn prose_1_a_read_that_waits_for_a_connection_of_a_cleared_pool_is_retried() {
        rt::block_on(async {
            if let Some(uri) = deploy::uri("STANDALONE") {
                Retried::Read.waits_for_a_cleared_pool(&uri).await;
            }
        });
    }

    #[test]
    fn prose_4_and_5_an_overload_limits_later_retries_too_but_only_it_makes_them_wait() {
        let logs = Logs::new(Level::DEBUG);
        logs.listen(|| {
            rt::block_on(async {
                if let Some(uri) = deploy::uri("STANDALONE") {
                    Retried::Read.is_limited_by_an_overload(&uri, &logs).await;
                }
            });
        });
    }
}

mod serial_replica_set {
    use super::*;

    #[test]
    fn prose_2_1_a_read_is_retried_at_another_router() {
        rt::block_on(Retried::Read.goes_to_another_router());
    }

    #[test]
    fn prose_2_2_a_read_is_retried_at_the_only_router() {
        rt::block_on(Retried::Read.stays_at_the_only_router(doc! {}));
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
