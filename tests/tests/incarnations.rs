//! A client outlives its runtime: on the scripted runtime, whose tasks are dropped as a runtime does
//! that is shut down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::{Document, doc};
use futures_util::future::{join, join_all};
use mongo_client::{Client, Collection};
use mongo_client_core::event::{EventHandler, sdam::SdamEvent};
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::sim::{ADDRESS, Servers, assert_quiet, drop_after, pool};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn things(client: &Client) -> Collection<Document> {
    client.database("db").collection("c")
}

/// A find that must succeed, with its own answer.
async fn find_ok(things: &Collection<Document>, token: i32) {
    let found = things.find_one(doc! { "_id": token }).await.unwrap();
    assert_eq!(found, Some(doc! { "_id": token }), "another's reply");
}

#[test]
fn those_who_wait_when_the_runtime_dies_are_served_in_its_next_life() {
    let servers = Servers::standalone(11);
    let client = servers.client(|o| o.max_pool_size = Some(2));
    let things = things(&client);
    servers.sim.block_on(async {
        servers.sim.sleep(SECOND).await;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Hang);
        let waiting = join_all((0..500).map(|n| find_ok(&things, n)));
        let stop = async {
            servers.sim.sleep(100 * MS).await;
            assert_eq!(pool(&client).opening, 2);
            servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
            servers.sim.drop_tasks();
        };
        join(waiting, stop).await;
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_check_that_is_under_way_when_the_runtime_dies_has_an_end() {
    let servers = Servers::standalone(11);
    servers.sim.set_behaviour(ADDRESS, Behaviour::Hang);
    let begun_and_ended = Arc::new(Mutex::new((0, 0)));
    let told = Arc::clone(&begun_and_ended);
    let client = servers.client(|options| {
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            let mut told = told.lock().unwrap();
            match event {
                SdamEvent::ServerHeartbeatStarted(_) => told.0 += 1,
                SdamEvent::ServerHeartbeatFailed(_) => told.1 += 1,
                _ => {}
            }
        }));
    });
    let things = things(&client);
    servers.sim.block_on(async {
        let stop = async {
            servers.sim.sleep(100 * MS).await;
            assert_eq!(*begun_and_ended.lock().unwrap(), (1, 0));
            servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
            servers.sim.drop_tasks();
            assert_eq!(*begun_and_ended.lock().unwrap(), (1, 1));
        };
        join(find_ok(&things, 1), stop).await;
    });
}

#[test]
fn those_who_wait_when_the_last_runtime_dies_fail() {
    let servers = Servers::standalone(11);
    let client = servers.client(|o| o.max_pool_size = Some(2));
    let things = things(&client);
    servers.sim.block_on(async {
        servers.sim.sleep(SECOND).await;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Hang);
        let waiting = join_all((0..500).map(|_| async { things.find_one(doc! {}).await }));
        let stop = async {
            servers.sim.sleep(100 * MS).await;
            servers.sim.stop_tasks();
        };
        let (results, ()) = join(waiting, stop).await;
        assert!(results.iter().all(Result::is_err));
    });
    let census = client.handle().census();
    assert_eq!((census.wait_slots, census.operations), (0, 0), "{census:?}");
}

#[test]
fn a_dead_runtime_closes_what_would_have_been_drained() {
    let servers = Servers::standalone(12);
    let client = servers.client(|_| {});
    let things = things(&client);
    servers.sim.block_on(async {
        find_ok(&things, 0).await;
        servers.set_rule(|seen| (seen.name() == "find").then_some(Scripted::Silence));
        assert!(
            drop_after(&servers.sim, things.find_one(doc! { "_id": 1 }), MS)
                .await
                .is_none()
        );
        let second = things.find_one(doc! { "_id": 2 });
        assert!(drop_after(&servers.sim, second, 10 * MS).await.is_none());
        assert_eq!(pool(&client).draining, 2);
        servers.sim.stop_tasks();
    });
    assert_quiet(&client.handle().census());
}

#[test]
fn a_runtime_may_die_at_any_time_under_load() {
    for seed in 0..20 {
        let servers = Servers::standalone(100 + seed);
        servers.sim.set_latency(ADDRESS, 3 * MS);
        let client = servers.client(|o| {
            o.max_pool_size = Some(3);
            o.min_pool_size = Some(1);
        });
        let things = things(&client);
        servers.sim.block_on(async {
            let load = join_all((0..200).map(|n| {
                let (things, sim) = (&things, &servers.sim);
                async move {
                    sim.sleep(MS * (n / 4)).await;
                    // Dropped in the middle, or run to its end.
                    if n % 5 == 0 {
                        let dropped = things.find_one(doc! { "_id": n });
                        drop_after(sim, dropped, MS * (n % 13)).await;
                    } else {
                        find_ok(things, i32::try_from(n).unwrap()).await;
                    }
                }
            }));
            let deaths = async {
                for n in 0..10 {
                    let time = Duration::from_micros(517 + 2_311 * (n + seed) % 9_000);
                    servers.sim.sleep(time).await;
                    servers.sim.drop_tasks();
                    // The streams of a dead runtime fail. An operation may meet many deaths.
                    servers.sim.reset_all(ADDRESS);
                }
            };
            join(load, deaths).await;
            // The pool's own task may be the last to be missed: an operation brings it back.
            find_ok(&things, 1_000).await;
            servers.sim.sleep(3 * SECOND).await;
        });
        assert_quiet(&client.handle().census());
        drop((client, things));
        servers.pass(3 * SECOND);
        assert_eq!(servers.sim.tasks_alive(), 0, "seed {seed}");
        assert_eq!(servers.sim.open_connections(ADDRESS), 0, "seed {seed}");
    }
}
