//! What one operation costs on a warm client: wake-ups, spawns, socket calls, heap allocations.
//!
//! A scripted server answers a millisecond after each request, so that the stream is `Pending`
//! once per reply. Allocations (growing a block counts as one) are counted on the test's thread
//! while the operation runs, except those inside the simulation's own machinery: its executor,
//! pipes, timers and peers, which stand for the kernel and the other host.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bson::{Document, Timestamp, doc};
use mongo_client::{Client, Collection};
use mongo_client_sim::{Script, Scripted, Sim, Stats, hello_reply, in_machinery};
use serde::{Deserialize, Serialize};

const ADDRESS: &str = "db.test:27017";

/// The design allows 16; the most that is needed is 11.
const ALLOCATIONS_MAX: u64 = 12;

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

fn count() {
    if !in_machinery() {
        COUNTED.with(|counted| counted.set(counted.get().map(|n| n + 1)));
    }
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts forwards to the system's"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A document of 200 bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    _id: i32,
    count: i64,
    name: String,
}

fn thing() -> Thing {
    Thing {
        _id: 7,
        count: 1 << 40,
        name: "n".repeat(160),
    }
}

/// What the server is: decides its hello and what its replies carry.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Standalone,
    /// Each reply carries a later `$clusterTime`.
    ReplicaSet,
}

fn serve(sim: &Sim, kind: Kind) {
    let clock = AtomicU32::new(1);
    let script = Script::new(move |_, command| {
        let mut reply = match (hello_reply(command), command.keys().next()) {
            (Some(mut hello), _) => {
                if kind == Kind::ReplicaSet {
                    hello.extend(doc! { "setName": "rs", "hosts": [ADDRESS], "me": ADDRESS });
                }
                hello
            }
            (None, Some(name)) if name == "find" => {
                assert!(command.contains_key("lsid"));
                let thing = bson::serialize_to_document(&thing()).unwrap();
                doc! { "cursor": { "firstBatch": [thing], "id": 0_i64, "ns": "db.c" }, "ok": 1.0 }
            }
            _ => doc! { "n": 1, "ok": 1.0 },
        };
        if kind == Kind::ReplicaSet {
            let time = Timestamp {
                time: clock.fetch_add(1, Ordering::Relaxed),
                increment: 1,
            };
            let signature = doc! { "hash": vec![0; 20], "keyId": 1_i64 };
            reply.insert("operationTime", time);
            reply.insert(
                "$clusterTime",
                doc! { "clusterTime": time, "signature": signature },
            );
        }
        Scripted::Reply(reply)
    });
    sim.listen(ADDRESS, move |n| script.peer(n));
}

/// What an operation cost.
#[derive(Debug)]
struct Cost {
    allocations: u64,
    stats: Stats,
}

fn measure(sim: &Sim, operation: impl Future<Output = ()>) -> Cost {
    let before = sim.stats();
    COUNTED.with(|counted| counted.set(Some(0)));
    sim.block_on(operation);
    let allocations = COUNTED.with(|counted| counted.take()).unwrap();
    let after = sim.stats();
    Cost {
        allocations,
        stats: Stats {
            spawns: after.spawns - before.spawns,
            main_wakes: after.main_wakes - before.main_wakes,
            wakes: after.wakes - before.wakes,
            reads: after.reads - before.reads,
            writes: after.writes - before.writes,
            dials: after.dials - before.dials,
        },
    }
}

/// Warms a client up, then measures one operation of it. What the operation is given belongs to
/// its caller and is made beforehand.
fn warm<F: Future<Output = ()>>(
    kind: Kind,
    operation: impl Fn(Collection<Thing>, Document, Thing) -> F,
) -> Cost {
    let sim = Sim::new(1);
    serve(&sim, kind);
    let uri = match kind {
        Kind::Standalone => format!("mongodb://{ADDRESS}/"),
        Kind::ReplicaSet => format!("mongodb://{ADDRESS}/?replicaSet=rs"),
    };
    let client = Client::builder()
        .uri(&uri)
        .unwrap()
        .runtime(sim.runtime())
        .build()
        .unwrap();
    let things = client.database("db").collection::<Thing>("c");
    let start = || operation(things.clone(), doc! { "_id": 7 }, thing());
    for _ in 0..3 {
        sim.block_on(start());
        // Nothing else is under way when the measured operation begins.
        sim.block_on(sim.sleep(Duration::from_secs(1)));
    }
    measure(&sim, start())
}

async fn find_one(things: Collection<Thing>, filter: Document, _: Thing) {
    let found = things.find_one(filter).await.unwrap();
    assert_eq!(found.unwrap()._id, 7);
}

async fn insert_one(things: Collection<Thing>, _: Document, thing: Thing) {
    things.insert_one(&thing).await.unwrap();
}

fn assert_cheap(what: &str, cost: &Cost) {
    println!("{what}: {cost:?}");
    assert!(cost.stats.main_wakes <= 1, "{what}: {cost:?}");
    assert_eq!(cost.stats.wakes, cost.stats.main_wakes, "{what}: {cost:?}");
    assert_eq!(cost.stats.spawns, 0, "{what}: {cost:?}");
    assert_eq!(cost.stats.writes, 1, "{what}: {cost:?}");
    assert!(cost.stats.reads <= 2, "{what}: {cost:?}");
    assert_eq!(cost.stats.dials, 0, "{what}: {cost:?}");
    assert!(cost.allocations <= ALLOCATIONS_MAX, "{what}: {cost:?}");
    // A count of nothing would mean that the counting is broken.
    assert!(cost.allocations > 0, "{what}: {cost:?}");
}

#[test]
fn a_warm_find_one_of_a_standalone_server_is_cheap() {
    assert_cheap("find_one, standalone", &warm(Kind::Standalone, find_one));
}

#[test]
fn a_warm_find_one_of_a_replica_set_is_cheap() {
    assert_cheap("find_one, replica set", &warm(Kind::ReplicaSet, find_one));
}

#[test]
fn a_warm_insert_one_of_a_standalone_server_is_cheap() {
    assert_cheap(
        "insert_one, standalone",
        &warm(Kind::Standalone, insert_one),
    );
}

#[test]
fn a_warm_insert_one_of_a_replica_set_is_cheap() {
    assert_cheap(
        "insert_one, replica set",
        &warm(Kind::ReplicaSet, insert_one),
    );
}

#[test]
fn the_document_of_the_test_has_200_bytes() {
    assert_eq!(bson::serialize_to_vec(&thing()).unwrap().len(), 200);
}
