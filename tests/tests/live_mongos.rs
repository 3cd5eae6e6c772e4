//! Several routers of one cluster: proxies of the replica set's primary that call themselves
//! mongos.

use std::time::Duration;

use bson::{Document, doc};
use mongo_client::{Client, error::ErrorKind, options::ClientOptions};
use mongo_client_core::topology::{ServerType, TopologyType};
use mongo_client_tests::{deploy, fault::Mongos, live, rt};

async fn primary() -> Option<String> {
    let client = live::client(&deploy::uri("REPLICA_SET")?);
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    Some(hello.get_str("primary").unwrap().to_owned())
}

async fn routers(count: usize) -> Option<Vec<Mongos>> {
    let primary = primary().await?;
    let mut routers = Vec::new();
    for _ in 0..count {
        routers.push(Mongos::start(primary.clone()).await.unwrap());
    }
    Some(routers)
}

fn options(routers: &[Mongos]) -> ClientOptions {
    let hosts: Vec<_> = routers.iter().map(|r| r.address().to_string()).collect();
    live::options(&format!("mongodb://{}/", hosts.join(",")))
}

/// Waits until so many of the routers are known to work.
async fn known(client: &Client, count: usize) {
    live::eventually("the routers are known", || async {
        let topology = client.topology_description().await.unwrap();
        let servers = topology.servers.values();
        let known = servers.filter(|s| s.server_type == ServerType::Mongos);
        known.count() == count
    })
    .await;
}

#[test]
fn routers_share_the_load() {
    rt::block_on(async {
        let Some(routers) = routers(2).await else {
            return;
        };
        // A busy machine is no reason to prefer one.
        let mut options = options(&routers);
        options.local_threshold = Some(Duration::from_secs(5));
        let client = live::build(options);
        known(&client, 2).await;
        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.topology_type, TopologyType::Sharded);
        assert_eq!(topology.set_name, None);
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        for id in 0..400 {
            things.insert_one(doc! { "_id": id }).await.unwrap();
        }
        let counts: Vec<_> = routers.iter().map(|r| r.count("insert")).collect();
        assert_eq!(counts.iter().sum::<usize>(), 400);
        let even = 150..=250;
        assert!(counts.iter().all(|n| even.contains(n)), "{counts:?}");
        // Nothing ties a client to the router of its last write.
        let found = things.count_documents(doc! {}).await.unwrap();
        assert_eq!(found, 400);

        assert!(client.is_mongos().await.unwrap());
        let error = client.address().unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::InvalidOperation { .. }),
            "{error:?}"
        );
        live::forget(&db).await;
    });
}

#[test]
fn routers_beyond_the_latency_window_are_left_alone() {
    rt::block_on(async {
        let Some(routers) = routers(2).await else {
            return;
        };
        routers[1].set_latency(Duration::from_millis(300));
        let mut narrow = options(&routers);
        narrow.local_threshold = Some(Duration::from_millis(100));
        let client = live::build(narrow);
        known(&client, 2).await;
        for _ in 0..40 {
            let admin = client.database("admin");
            admin.run_command(doc! { "ping": 1 }).await.unwrap();
        }
        assert_eq!(routers[0].count("ping"), 40);
        assert_eq!(routers[1].count("ping"), 0);

        let mut wide = options(&routers);
        wide.local_threshold = Some(Duration::from_secs(5));
        let client = live::build(wide);
        known(&client, 2).await;
        for _ in 0..20 {
            let admin = client.database("admin");
            admin.run_command(doc! { "ping": 1 }).await.unwrap();
        }
        assert!(routers[1].count("ping") > 0);
    });
}

#[test]
fn another_router_takes_over_from_one_that_dies_until_it_is_back() {
    rt::block_on(async {
        let Some(mut routers) = routers(2).await else {
            return;
        };
        // Both are within the window, however long the machine keeps one of them waiting.
        let mut wide = options(&routers);
        wide.local_threshold = Some(Duration::from_secs(5));
        let client = live::build(wide);
        known(&client, 2).await;
        let db = live::database(&client);
        let things = db.collection::<Document>("things");
        for id in 0..20 {
            things.insert_one(doc! { "_id": id }).await.unwrap();
        }
        let dead = routers.pop().unwrap();
        let address = dead.address();
        assert!(dead.count("insert") > 0);
        drop(dead);
        // Each write that meets the dead router is tried again at the other.
        for id in 20..60 {
            things.insert_one(doc! { "_id": id }).await.unwrap();
        }
        assert_eq!(things.count_documents(doc! {}).await.unwrap(), 60);
        known(&client, 1).await;

        let target = primary().await.unwrap();
        let mut back = None;
        while back.is_none() {
            back = Mongos::start_at(address.to_string(), target.clone())
                .await
                .ok();
        }
        known(&client, 2).await;
        for id in 60..100 {
            things.insert_one(doc! { "_id": id }).await.unwrap();
        }
        assert!(back.as_ref().unwrap().count("insert") > 0);
        live::forget(&db).await;
    });
}

#[test]
fn a_member_of_a_set_among_routers_is_removed() {
    rt::block_on(async {
        let Some(routers) = routers(1).await else {
            return;
        };
        let member = primary().await.unwrap();
        let uri = format!("mongodb://{},{member}/", routers[0].address());
        let client = live::build(live::options(&uri));
        // Whatever was seen first decides; either way one kind is left.
        let _ = client.list_database_names().await;
        live::eventually("one kind is left", || async {
            let topology = client.topology_description().await.unwrap();
            match topology.topology_type {
                TopologyType::Sharded => topology.servers.len() == 1,
                TopologyType::ReplicaSetWithPrimary => topology.servers.len() == 3,
                _ => false,
            }
        })
        .await;
        client.list_database_names().await.unwrap();
    });
}
