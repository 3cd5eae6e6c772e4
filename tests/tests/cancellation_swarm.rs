//! Many operations with random fates over a random network: some are dropped, connections are
//! reset, dials are refused. Afterwards the network heals, and nothing may be left.
//!
//! Each seed is a run of its own with limits of its own. `MONGO_CLIENT_TEST_SEED` runs a single one.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{
    TryStreamExt,
    future::{BoxFuture, join, join_all},
};
use mongo_client::{Client, Collection, error::Result};
use mongo_client_core::rng::Rng;
use mongo_client_sim::{Behaviour, Scripted};
use mongo_client_tests::sim::{
    ADDRESS, Cut, Seen, Servers, assert_quiet, cut, drop_after, find_reply,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SEEDS: u64 = 100;
const OPERATIONS: i32 = 60;
/// When the last operation begins.
const SPAN_MS: usize = 400;
/// Tokens from here on are those of finds whose replies open a cursor.
const CURSORS: i32 = 1_000;

fn up_to(rng: &mut Rng, ms: usize) -> Duration {
    Duration::from_micros(rng.below(ms * 1_000 + 1) as u64)
}

/// A duration in some runs, none in others.
fn maybe(rng: &mut Rng, from: usize, to: usize) -> Option<Duration> {
    let time = Duration::from_millis((from + rng.below(to - from)) as u64);
    (rng.below(3) == 0).then_some(time)
}

/// Servers and a client whose manners follow from the generator.
fn world(seed: u64, rng: &mut Rng) -> (Servers, Client) {
    let servers = if rng.below(2) == 0 {
        Servers::standalone(seed)
    } else {
        Servers::replica_set(seed, &[ADDRESS])
    };
    if rng.below(3) > 0 {
        servers.sim.set_chunk(ADDRESS, 16 + rng.below(200));
        servers.sim.set_pause(ADDRESS, up_to(rng, 2));
    }
    servers.sim.set_latency(ADDRESS, up_to(rng, 20));
    let mut fates = Rng::from_seed(rng.next_u64());
    let rare = 4 + fates.below(60);
    servers.set_rule(move |seen| answer(seen, &mut fates, rare));
    let max_pool_size = 1 + rng.below(5) as u32;
    let client = servers.client(|o| {
        o.max_pool_size = Some(max_pool_size);
        o.min_pool_size = Some(rng.below(max_pool_size as usize + 1) as u32);
        o.max_connecting = Some(1 + rng.below(2) as u32);
        // Together with a minimum, it would open and close connections for ever.
        o.max_idle_time = maybe(rng, 20, 200).filter(|_| o.min_pool_size == Some(0));
        o.wait_queue_timeout = maybe(rng, 5, 100);
        // Without it, silence lasts for ever.
        o.socket_timeout = Some(Duration::from_millis(150 + rng.below(300) as u64));
        o.connect_timeout = Some(Duration::from_millis(200 + rng.below(500) as u64));
        o.heartbeat_freq = Some(500 * MS);
        o.retry_reads = Some(rng.below(2) == 0);
        o.retry_writes = Some(rng.below(2) == 0);
    });
    (servers, client)
}

/// What servers say: now and then nothing, too late, or goodbye.
fn answer(seen: &Seen, rng: &mut Rng, rare: usize) -> Option<Scripted> {
    let token = seen.token()?.as_i32()?;
    let reply = find_reply(seen, if token < CURSORS { 0 } else { 77 });
    match rng.below(rare) {
        0 => Some(Scripted::Close),
        1 => Some(Scripted::Reset(up_to(rng, 50))),
        2 => Some(Scripted::Silence),
        3 if seen.name() == "find" => Some(Scripted::Later(reply, up_to(rng, 1_500))),
        _ if seen.name() == "find" => Some(Scripted::Reply(reply)),
        _ => None,
    }
}

/// One operation, which checks that an answer is its own.
fn operation(things: &Collection<Document>, kind: usize, token: i32) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let id = doc! { "_id": token };
        match kind {
            0 => {
                let found = things.find_one(id.clone()).await?;
                assert_eq!(found, Some(id), "another's reply");
            }
            1 => {
                things.insert_one(id).await?;
            }
            2 => {
                let found = things.find_one_and_delete(id.clone()).await?;
                assert_eq!(found, Some(id), "another's reply");
            }
            3 => {
                let found = things.distinct("_id", id).await?;
                assert_eq!(found, [token.into()], "another's reply");
            }
            _ => {
                let id = doc! { "_id": token + CURSORS };
                let cursor = things.find(id.clone()).await?;
                let found: Vec<_> = cursor.try_collect().await?;
                assert_eq!(found, [id, doc! { "_id": 2 }], "another's reply");
            }
        }
        Ok(())
    })
}

/// Starts an operation at its time and lets it meet its fate; whether it ended well.
async fn meet(servers: &Servers, things: &Collection<Document>, seed: u64, token: i32) -> bool {
    let mut rng = Rng::from_seed(seed ^ (token as u64 + 1) << 32);
    servers.sim.sleep(up_to(&mut rng, SPAN_MS)).await;
    let operation = operation(things, rng.below(5), token);
    let result = match rng.below(4) {
        0 => Some(operation.await),
        1 => cut(operation, Cut::AfterPoll(1 + rng.below(12))).await,
        2 => cut(operation, Cut::BeforePoll(1 + rng.below(12))).await,
        _ => drop_after(&servers.sim, operation, up_to(&mut rng, 100)).await,
    };
    result.is_some_and(|result| result.is_ok())
}

/// Resets connections and refuses dials, for a time.
async fn trouble(servers: &Servers, mut rng: Rng) {
    for _ in 0..rng.below(4) {
        servers.sim.sleep(up_to(&mut rng, SPAN_MS / 2)).await;
        match rng.below(3) {
            0 => servers.sim.reset_all(ADDRESS),
            1 => servers.sim.set_behaviour(ADDRESS, Behaviour::Refuse),
            _ => servers.sim.set_behaviour(ADDRESS, Behaviour::Hang),
        }
        servers.sim.sleep(up_to(&mut rng, 100)).await;
        servers.sim.set_behaviour(ADDRESS, Behaviour::Accept);
    }
}

/// Runs one seed; how many operations ended well.
fn run(seed: u64) -> usize {
    let mut rng = Rng::from_seed(seed);
    let (servers, client) = world(seed, &mut rng);
    let things = client.database("db").collection::<Document>("c");
    let well = servers.sim.block_on(async {
        let all = join_all((0..OPERATIONS).map(|token| meet(&servers, &things, seed, token)));
        let troubles = trouble(&servers, Rng::from_seed(rng.next_u64()));
        let (well, ()) = join(all, troubles).await;
        servers.clear_rule();
        servers.sim.sleep(10 * SECOND).await;
        assert_quiet(&client.handle().census());
        let pools = client.handle().census().pools;
        assert_eq!(pools.len(), 1);
        // One more connection belongs to the monitor.
        let open = servers.sim.open_connections(ADDRESS);
        assert_eq!(pools[0].1.available + 1, open, "{pools:?}");
        for token in 100..103 {
            // Where the wait queue is left sooner than a connection is made, it takes several.
            let mut tries = 0;
            while let Err(error) = operation(&things, 0, token).await {
                assert!(error.is_timeout() && tries < 50, "{error:?}");
                tries += 1;
            }
        }
        well.into_iter().filter(|well| *well).count()
    });
    drop((client, things));
    servers.pass(5 * SECOND);
    assert_eq!(servers.sim.tasks_alive(), 0);
    assert_eq!(servers.sim.open_connections(ADDRESS), 0);
    well
}

#[test]
fn operations_of_any_fate_leave_nothing_behind() {
    if let Ok(seed) = std::env::var("MONGO_CLIENT_TEST_SEED") {
        run(seed.parse().expect("the seed is a number"));
        return;
    }
    let mut well = 0;
    for seed in 0..SEEDS {
        println!("MONGO_CLIENT_TEST_SEED={seed}");
        well += run(seed);
    }
    // Neither does everything fail, nor does everything succeed.
    let all = SEEDS as usize * OPERATIONS as usize;
    assert!((all / 10..all / 2).contains(&well), "{well} of {all}");
}
