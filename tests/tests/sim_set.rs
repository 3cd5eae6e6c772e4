//! The shipped client on a simulated replica set, in virtual time.

use std::time::Duration;

use bson::{Document, doc};
use mongo_client::{Client, error::ErrorKind, options::ReadPreference};
use mongo_client_core::options::ClientOptions;
use mongo_client_sim::{
    Deployment as _, Hosted, Seeded, ServerConfig, SetConfig, Sim, SimReplicaSet, SimServer, User,
};
use mongo_client_tests::sim::{
    assert_quiet,
    things::{ids, insert, things},
};

const SECOND: Duration = Duration::from_secs(1);

fn set(seed: u64) -> (Sim, Hosted<SimReplicaSet>, Client) {
    let sim = Sim::new(seed);
    let addresses = (0..3).map(|n| format!("m{n}.test:2701{n}"));
    let config = SetConfig::new("rs", addresses);
    let set = SimReplicaSet::new(config, Box::new(Seeded::new(seed)), sim.now());
    let hosted = sim.host(set);
    let uri = "mongodb://m0.test:27010,m1.test:27011,m2.test:27012/?replicaSet=rs";
    let options = ClientOptions::parse_uri(uri).unwrap().options;
    let client = Client::builder().options(options).runtime(sim.runtime());
    (sim, hosted, client.build().unwrap())
}

#[test]
fn every_write_survives_a_step_down_exactly_once() {
    for seed in 0..20 {
        let (sim, hosted, client) = set(seed);
        sim.block_on(async {
            for id in 0..60 {
                if id == 20 {
                    hosted.with(|set, now| set.step_down(30 * SECOND, now));
                }
                insert(&client, id).await;
            }
            assert_eq!(
                ids(&client).await,
                (0..60).collect::<Vec<_>>(),
                "seed {seed}"
            );
        });
        assert_ne!(hosted.with(|set, _| set.primary()), Some(0), "seed {seed}");
        assert_quiet(&client.handle().census());
    }
}

#[test]
fn every_acknowledged_write_survives_the_death_of_the_primary() {
    for seed in 0..20 {
        let (sim, hosted, client) = set(seed);
        sim.block_on(async {
            for id in 0..30 {
                if id == 10 {
                    hosted.with(|set, now| set.kill(0, now));
                }
                insert(&client, id).await;
            }
            hosted.with(|set, now| set.restart(0, now));
            sim.sleep(SECOND).await;
            assert_eq!(
                ids(&client).await,
                (0..30).collect::<Vec<_>>(),
                "seed {seed}"
            );
        });
        let member = hosted.with(|set, _| set.member(0).documents("db", "c").len());
        assert_eq!(
            member, 30,
            "seed {seed}: the restarted member has caught up"
        );
    }
}

#[test]
fn a_stale_primary_is_left_for_the_one_of_the_higher_term() {
    let (sim, hosted, client) = set(3);
    sim.block_on(async {
        insert(&client, 0).await;
        hosted.with(|set, now| set.partition(&[&[1, 2]], now));
        sim.sleep(10_500 * Duration::from_millis(1)).await;
        insert(&client, 1).await;
        hosted.with(|set, now| set.heal(now));
        sim.sleep(SECOND).await;
        insert(&client, 2).await;
        assert_eq!(ids(&client).await, [0, 1, 2]);
    });
}

#[test]
fn secondaries_serve_reads_that_prefer_them() {
    let (sim, hosted, client) = set(4);
    sim.block_on(async {
        insert(&client, 0).await;
        sim.sleep(SECOND).await;
        let things = things(&client);
        let find = things.find_one(doc! { "_id": 0 });
        let secondary = ReadPreference::secondary(None);
        let found = find.selection_criteria(secondary).await;
        assert_eq!(found.unwrap(), Some(doc! { "_id": 0 }));
        hosted.with(|set, now| {
            set.kill(0, now);
            set.kill(1, now);
        });
        // The first one has lost its connection, and says so when there is nowhere to retry.
        let lost = things.insert_one(doc! { "_id": 1 }).await;
        assert!(lost.is_err());
        let refused = things.insert_one(doc! { "_id": 1 }).await;
        let error = refused.unwrap_err();
        let selection = matches!(*error.kind, ErrorKind::ServerSelection { .. });
        assert!(selection, "{error}");
    });
}

#[test]
fn users_authenticate_with_either_mechanism_and_others_are_refused() {
    for (mechanism, password, accepted) in [
        ("", "pencil", true),
        ("&authMechanism=SCRAM-SHA-1", "pencil", true),
        ("&authMechanism=SCRAM-SHA-256", "pencil", true),
        ("&authMechanism=SCRAM-SHA-256", "crayon", false),
        ("&authMechanism=SCRAM-SHA-1", "crayon", false),
    ] {
        let sim = Sim::new(6);
        let mut config = ServerConfig::new("db.test:27017");
        config.users.push(User::new("ada", "pencil"));
        sim.host(SimServer::new(config, Box::new(Seeded::new(6))));
        let uri = format!("mongodb://ada:{password}@db.test/?authSource=admin{mechanism}");
        let builder = Client::builder().uri(&uri).unwrap();
        let client = builder.runtime(sim.runtime()).build().unwrap();
        let inserted = sim.block_on(async {
            let things = things(&client);
            things.insert_one(doc! { "_id": 1 }).await
        });
        assert_eq!(inserted.is_ok(), accepted, "{uri}: {inserted:?}");
        if let Err(error) = inserted {
            let authentication = matches!(*error.kind, ErrorKind::Authentication { .. });
            assert!(authentication, "{error}");
        }
        let stranger = Client::builder().uri("mongodb://db.test").unwrap();
        let stranger = stranger.runtime(sim.runtime()).build().unwrap();
        let refused = sim.block_on(async {
            let things = things(&stranger);
            things.insert_one(doc! { "_id": 2 }).await
        });
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("command insert requires authentication"),
            "{message}"
        );
    }
}

#[test]
fn both_ends_understand_each_others_compressed_messages() {
    for compressor in ["snappy", "zlib", "zstd"] {
        let sim = Sim::new(8);
        let config = ServerConfig::new("db.test:27017");
        let hosted = sim.host(SimServer::new(config, Box::new(Seeded::new(8))));
        let uri = format!("mongodb://db.test/?compressors={compressor}");
        let builder = Client::builder().uri(&uri).unwrap();
        let client = builder.runtime(sim.runtime()).build().unwrap();
        let text = "the same again and again, ".repeat(10_000);
        sim.block_on(async {
            let things = things(&client);
            let inserted = things.insert_one(doc! { "_id": 1, "text": &text }).await;
            inserted.unwrap_or_else(|error| panic!("{compressor}: {error}"));
            let found = things.find_one(doc! {}).await.unwrap().unwrap();
            assert_eq!(found.get_str("text").unwrap(), text, "{compressor}");
        });
        let compressed = hosted.with(|server, _| server.compressed_requests());
        assert!(compressed >= 2, "{compressor}: {compressed}");
    }
}

#[test]
fn the_fail_point_makes_the_client_retry_once() {
    let (sim, _hosted, client) = set(11);
    sim.block_on(async {
        insert(&client, 0).await;
        let admin = client.database("admin");
        let failures = [
            doc! { "failCommands": ["insert"], "errorCode": 91, "errorLabels": ["RetryableWriteError"] },
            doc! { "failCommands": ["insert"], "closeConnection": true },
            doc! { "failCommands": ["insert"], "writeConcernError": { "code": 91, "errmsg": "x" } },
        ];
        for (id, data) in (1..).zip(failures) {
            let times = doc! { "times": 1 };
            let point = doc! { "configureFailPoint": "failCommand", "mode": times, "data": data };
            admin.run_command(point).await.unwrap();
            insert(&client, id).await;
        }
        assert_eq!(ids(&client).await, [0, 1, 2, 3]);
    });
}

#[test]
fn a_run_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let (sim, hosted, client) = set(seed);
        sim.block_on(async {
            for id in 0..10 {
                if id == 5 {
                    hosted.with(|set, now| set.kill(0, now));
                }
                insert(&client, id).await;
            }
        });
        (sim.now(), sim.stats())
    };
    assert_eq!(run(9), run(9));
}

#[test]
fn a_standalone_server_serves_every_byte_alone() {
    let sim = Sim::new(5);
    let address = "db.test:27017";
    let server = SimServer::new(ServerConfig::new(address), Box::new(Seeded::new(5)));
    assert_eq!(server.addresses(), [address]);
    let hosted = sim.host(server);
    sim.set_chunk(address, 1);
    let builder = Client::builder().uri("mongodb://db.test:27017").unwrap();
    let client = builder.runtime(sim.runtime()).build().unwrap();
    sim.block_on(async {
        let documents: Vec<Document> = (0..20).map(|n| doc! { "_id": n, "k": n % 2 }).collect();
        let things = things(&client);
        things.insert_many(&documents).await.unwrap();
        let update = things.update_many(doc! { "k": 1 }, doc! { "$inc": { "k": 5 } });
        assert_eq!(update.await.unwrap().modified_count, 10);
        assert_eq!(ids(&client).await, (0..20).collect::<Vec<_>>());
    });
    let seen = hosted.with(|server, _| server.documents("db", "c"));
    assert_eq!(
        seen.iter()
            .filter(|d| d.get_i32("k").is_ok_and(|k| k == 6))
            .count(),
        10
    );
}
