//! Client backpressure: source/client-backpressure/tests/README.md, "Prose Tests".
//!
//! Not here: 5 (no server of today sends `baseBackoffMS`).

mod serial_standalone {
    use std::{
        io,
        net::{IpAddr, SocketAddr},
        sync::Arc,
        time::{Duration, Instant as Clock},
    };

    use bson::{Document, doc};
    use mongo_client::{
        Client,
        error::{RETRYABLE_ERROR, SYSTEM_OVERLOADED_ERROR},
        runtime::{
            BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer,
            TokioRuntime,
        },
    };
    use mongo_client_core::{
        rng::Rng,
        time::{Instant, UnixMillis},
    };
    use mongo_client_tests::{
        deploy,
        live::{self, FailPoint, Recorder},
        rt,
    };

    use crate::two_faults::{OVERLOADED, failure};

    /// The runtime of the test, whose randomness is no surprise where a client seeds its generator.
    struct Pinned {
        inner: Arc<dyn Runtime>,
        seed: u64,
    }

    impl Pinned {
        /// The first two jitters are about this number, 0 or 1.
        fn jitter(wanted: f64) -> Arc<Self> {
            // As the client does: its topology has the seed itself.
            let of = |seed: u64| Rng::from_seed(seed ^ 0x5eed);
            let near = |rng: &mut Rng| (rng.unit() - wanted).abs() < 0.02;
            let mut seeds = 0..;
            let seed = seeds.find(|seed| {
                let mut rng = of(*seed);
                near(&mut rng) && near(&mut rng)
            });
            Arc::new(Self {
                inner: rt::adapter().unwrap_or_else(|| Arc::new(TokioRuntime::current().unwrap())),
                seed: seed.unwrap(),
            })
        }
    }

    impl Runtime for Pinned {
        fn name(&self) -> &'static str {
            "pinned"
        }

        fn now(&self) -> Instant {
            self.inner.now()
        }

        fn unix_time(&self) -> UnixMillis {
            self.inner.unix_time()
        }

        /// Only seeds have eight bytes: sessions keep their own names.
        fn entropy(&self, out: &mut [u8]) {
            match out.len() {
                8 => out.copy_from_slice(&self.seed.to_le_bytes()),
                _ => self.inner.entropy(out),
            }
        }

        fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
            self.inner.spawn(task)
        }

        fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
            self.inner.offload(job)
        }

        fn timer(&self) -> Box<dyn Timer> {
            self.inner.timer()
        }

        fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            self.inner.lookup(host)
        }

        fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
            self.inner.connect(target)
        }

        fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
            self.inner.datagram(peer)
        }
    }

    /// More than any operation takes.
    const ALWAYS: i32 = 1000;

    /// How long an insert takes whose retries wait with this jitter.
    async fn time_of_a_refused_insert(uri: &str, jitter: f64) -> Duration {
        let options = live::options(uri);
        let app_name = live::app_name(&options);
        let builder = Client::builder().options(options);
        let client = builder.runtime(Pinned::jitter(jitter)).build().unwrap();
        let things = client.database("test").collection::<Document>("things");
        let data = failure("insert", 2, &OVERLOADED);
        let point = FailPoint::set(&client, ALWAYS, &app_name, data).await;
        let start = Clock::now();
        let error = things.insert_one(doc! { "a": 1 }).await.unwrap_err();
        let time = start.elapsed();
        point.off().await;
        assert_eq!(error.code(), Some(2), "{error:?}");
        time
    }

    #[test]
    fn prose_1_retries_wait_longer_and_longer() {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let none = time_of_a_refused_insert(&uri, 0.0).await;
            let full = time_of_a_refused_insert(&uri, 1.0).await;
            // 0.2 s and 0.4 s, for the jitter is not quite 1.
            assert!(full >= Duration::from_millis(585), "{full:?}");
            let expected = none + Duration::from_millis(600);
            assert!(
                full.abs_diff(expected) < Duration::from_millis(600),
                "{none:?} {full:?}"
            );
        });
    }

    /// How often a refused find is sent.
    async fn attempts(uri: &str, retries: Option<u32>) -> usize {
        let mut options = live::options(uri);
        options.max_adaptive_retries = retries;
        let recorder = Recorder::attach(&mut options);
        let app_name = live::app_name(&options);
        let client = live::build(options);
        let things = client.database("test").collection::<Document>("things");
        let data = failure("find", 462, &OVERLOADED);
        let point = FailPoint::set(&client, ALWAYS, &app_name, data).await;
        let error = things.find(doc! {}).await.unwrap_err();
        point.off().await;
        assert!(error.contains_label(RETRYABLE_ERROR), "{error:?}");
        assert!(error.contains_label(SYSTEM_OVERLOADED_ERROR), "{error:?}");
        recorder.started("find").len()
    }

    #[test]
    fn prose_3_an_overloaded_server_is_asked_three_times() {
        rt::block_on(async {
            if let Some(uri) = deploy::uri("STANDALONE") {
                assert_eq!(attempts(&uri, None).await, 3);
            }
        });
    }

    #[test]
    fn prose_4_an_overloaded_server_is_asked_once_more_than_the_options_say() {
        rt::block_on(async {
            if let Some(uri) = deploy::uri("STANDALONE") {
                assert_eq!(attempts(&uri, Some(1)).await, 2);
            }
        });
    }
}
