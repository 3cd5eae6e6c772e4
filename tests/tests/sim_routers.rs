//! The shipped client on simulated routers, in virtual time.

use std::time::Duration;

use bson::doc;
use mongo_client::{Client, topology::TopologyType};
use mongo_client_core::options::ClientOptions;
use mongo_client_sim::{ClusterConfig, Hosted, Seeded, SetConfig, Sim, SimCluster, User};
use mongo_client_tests::sim::{
    assert_quiet,
    things::{ids, insert, things},
};

const SECOND: Duration = Duration::from_secs(1);

fn cluster(seed: u64) -> (Sim, Hosted<SimCluster>, Client) {
    cluster_of(seed, Vec::new(), "mongodb://r0.test:27020,r1.test:27021/")
}

fn cluster_of(seed: u64, users: Vec<User>, uri: &str) -> (Sim, Hosted<SimCluster>, Client) {
    let sim = Sim::new(seed);
    let mut set = SetConfig::new("rs", (0..3).map(|n| format!("m{n}.test:2701{n}")));
    set.users = users;
    let routers = (0..2).map(|n| format!("r{n}.test:2702{n}"));
    let config = ClusterConfig::new(routers, set);
    let cluster = SimCluster::new(config, Box::new(Seeded::new(seed)), sim.now());
    let hosted = sim.host(cluster);
    let options = ClientOptions::parse_uri(uri).unwrap().options;
    let client = Client::builder().options(options).runtime(sim.runtime());
    (sim, hosted, client.build().unwrap())
}

#[test]
fn nothing_is_lost_when_one_of_two_routers_dies() {
    for seed in 0..20 {
        let (sim, hosted, client) = cluster(seed);
        sim.block_on(async {
            for id in 0..40 {
                match id {
                    10 => hosted.with(|cluster, now| cluster.kill_router(0, now)),
                    20 => hosted.with(|cluster, now| cluster.restart_router(0, now)),
                    30 => hosted.with(|cluster, now| cluster.kill_router(1, now)),
                    _ => {}
                }
                insert(&client, id).await;
            }
            let topology = client.topology_description().await.unwrap();
            assert_eq!(topology.topology_type, TopologyType::Sharded);
            assert_eq!(
                ids(&client).await,
                (0..40).collect::<Vec<_>>(),
                "seed {seed}"
            );
        });
        assert_quiet(&client.handle().census());
    }
}

#[test]
fn a_primary_that_dies_behind_the_routers_is_not_seen() {
    for seed in 0..20 {
        let (sim, hosted, client) = cluster(seed);
        sim.block_on(async {
            for id in 0..30 {
                if id == 10 {
                    hosted.with(|cluster, now| cluster.set_mut(now).step_down(30 * SECOND, now));
                }
                if id == 20 {
                    hosted.with(|cluster, now| {
                        let primary = cluster.set().primary().expect("one is elected");
                        cluster.set_mut(now).kill(primary, now);
                    });
                }
                insert(&client, id).await;
            }
            assert_eq!(
                ids(&client).await,
                (0..30).collect::<Vec<_>>(),
                "seed {seed}"
            );
        });
    }
}

#[test]
fn users_log_in_to_the_routers() {
    for (password, succeeds) in [("right", true), ("wrong", false)] {
        let users = vec![User::new("user", "right")];
        let uri = format!("mongodb://user:{password}@r0.test:27020,r1.test:27021/");
        let (sim, _hosted, client) = cluster_of(1, users, &uri);
        sim.block_on(async {
            let inserted = things(&client).insert_one(doc! { "_id": 1 }).await;
            assert_eq!(inserted.is_ok(), succeeds, "{password}: {inserted:?}");
        });
    }
}

#[test]
fn a_run_through_routers_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let (sim, hosted, client) = cluster(seed);
        sim.block_on(async {
            for id in 0..10 {
                if id == 5 {
                    hosted.with(|cluster, now| cluster.kill_router(0, now));
                }
                insert(&client, id).await;
            }
        });
        (sim.now(), sim.stats())
    };
    assert_eq!(run(9), run(9));
}
