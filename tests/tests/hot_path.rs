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

/// The result, and with a replica set two for the cluster time.
const READ_ALLOCATIONS_MAX: u64 = 3;
/// None, but with a replica set two for the cluster time.
const WRITE_ALLOCATIONS_MAX: u64 = 2;
/// The reply, which becomes a document and allocates per element.
const PING_ALLOCATIONS_MAX: u64 = 4;
/// What all allocations of an operation come to.
const ALLOCATED_MAX: u64 = 640;
/// The future of a verb lies in that of its caller.
const FUTURE_LEN_MAX: usize = 1_088;

struct Counting;

thread_local! {
    /// How many allocations, and of how many bytes.
    static COUNTED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

fn count(len: usize) {
    if !in_machinery() {
        COUNTED.with(|counted| {
            let more = |(n, bytes)| (n + 1, bytes + len as u64);
            counted.set(counted.get().map(more));
        });
    }
}

#[expect(
    unsafe_code,
    reason = "an allocator that counts forwards to the system's"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
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
    allocated: u64,
    stats: Stats,
}

fn measure(sim: &Sim, operation: impl Future<Output = ()>) -> Cost {
    let before = sim.stats();
    COUNTED.with(|counted| counted.set(Some((0, 0))));
    sim.block_on(operation);
    let (allocations, allocated) = COUNTED.with(|counted| counted.take()).unwrap();
    let after = sim.stats();
    Cost {
        allocations,
        allocated,
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

async fn update_one(things: Collection<Thing>, filter: Document, _: Thing) {
    let update = UPDATE.with(Cell::take).unwrap();
    things.update_one(filter, update).await.unwrap();
}

thread_local! {
    static UPDATE: Cell<Option<Document>> = const { Cell::new(None) };
}

/// As [`warm`], for updates: they are given to the operation, as filters are.
fn warm_update(kind: Kind) -> Cost {
    warm(kind, |things, filter, thing| {
        UPDATE.with(|update| update.set(Some(doc! { "$set": { "count": 1 } })));
        update_one(things, filter, thing)
    })
}

fn ping(things: Collection<Thing>, _: Document, _: Thing) -> impl Future<Output = ()> {
    let db = things.client().database("admin");
    let command = doc! { "ping": 1 };
    async move {
        let reply = db.run_command(command).await.unwrap();
        assert_eq!(reply.get_f64("ok").unwrap(), 1.0);
    }
}

#[test]
fn the_futures_of_verbs_are_small() {
    let sim = Sim::new(1);
    let client = Client::builder()
        .uri("mongodb://db.test/?connect=false")
        .unwrap()
        .runtime(sim.runtime())
        .build()
        .unwrap();
    let things = client.database("db").collection::<Thing>("c");
    let len = |what: &str, len: usize| {
        println!("{what}: {len}");
        assert!(len <= FUTURE_LEN_MAX, "{what}: {len}");
    };
    let update = doc! { "$set": { "count": 1 } };
    let find = things.find_one(doc! {}).into_future();
    len("find_one", size_of_val(&find));
    let insert = things.insert_one(thing()).into_future();
    len("insert_one", size_of_val(&insert));
    let update = things.update_one(doc! {}, update).into_future();
    len("update_one", size_of_val(&update));
    let db = client.database("admin");
    let ping = db.run_command(doc! { "ping": 1 }).into_future();
    len("run_command", size_of_val(&ping));
}

fn assert_cheap(what: &str, cost: &Cost) {
    println!("{what}: {cost:?}");
    assert!(cost.stats.main_wakes <= 1, "{what}: {cost:?}");
    assert_eq!(cost.stats.wakes, cost.stats.main_wakes, "{what}: {cost:?}");
    assert_eq!(cost.stats.spawns, 0, "{what}: {cost:?}");
    assert_eq!(cost.stats.writes, 1, "{what}: {cost:?}");
    assert!(cost.stats.reads <= 2, "{what}: {cost:?}");
    assert_eq!(cost.stats.dials, 0, "{what}: {cost:?}");
    let most = match what.split_once(',') {
        Some(("find_one", _)) => READ_ALLOCATIONS_MAX,
        Some(("ping", _)) => PING_ALLOCATIONS_MAX,
        _ => WRITE_ALLOCATIONS_MAX,
    };
    assert!(cost.allocations <= most, "{what}: {cost:?}");
    assert!(cost.allocated <= ALLOCATED_MAX, "{what}: {cost:?}");
}

#[test]
fn an_allocation_is_counted() {
    COUNTED.with(|counted| counted.set(Some((0, 0))));
    let one = std::hint::black_box(Box::new([1_u8; 100]));
    let counted = COUNTED.with(Cell::take);
    assert_eq!((counted, one[0]), (Some((1, 100)), 1));
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
fn a_warm_update_one_is_cheap() {
    assert_cheap("update_one, standalone", &warm_update(Kind::Standalone));
    assert_cheap("update_one, replica set", &warm_update(Kind::ReplicaSet));
}

#[test]
fn a_warm_ping_of_a_standalone_server_is_cheap() {
    assert_cheap("ping, standalone", &warm(Kind::Standalone, ping));
}

#[test]
fn the_document_of_the_test_has_200_bytes() {
    assert_eq!(bson::serialize_to_vec(&thing()).unwrap().len(), 200);
}
