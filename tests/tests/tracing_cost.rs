//! What logging costs a warm operation: nothing where nobody listens, and no more than is shown
//! where somebody does. Allocations are counted on the test's thread, outside the simulation's own
//! machinery.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use bson::{Document, doc};
use mongo_client::Collection;
use mongo_client_sim::in_machinery;
use mongo_client_tests::{logs::Logs, sim::Servers};
use tracing::{
    Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

fn count(size: usize) {
    if !in_machinery() {
        COUNTED.with(|counted| {
            counted.set(counted.get().map(|(n, bytes)| (n + 1, bytes + size as u64)));
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

/// Takes everything up to a level and keeps nothing.
struct Nowhere(Level);

impl Subscriber for Nowhere {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Allocations and bytes of one warm insert of a document with a text of this length.
fn cost(length: usize) -> (u64, u64) {
    let servers = Servers::standalone(1);
    let client = servers.client(|_| {});
    let things: Collection<Document> = client.database("db").collection("c");
    let insert = |document: Document| {
        let things = &things;
        async move { things.insert_one(&document).await.unwrap() }
    };
    for id in 0..3 {
        servers.sim.block_on(insert(doc! { "_id": id }));
        servers.pass(Duration::from_secs(1));
    }
    let document = doc! { "_id": 7, "text": "x".repeat(length) };
    COUNTED.with(|counted| counted.set(Some((0, 0))));
    servers.sim.block_on(insert(document));
    COUNTED.with(|counted| counted.take()).unwrap()
}

fn heard(level: Level, length: usize) -> (u64, u64) {
    tracing::subscriber::with_default(Nowhere(level), || cost(length))
}

#[test]
fn an_operation_that_nobody_hears_costs_the_same_as_without_a_subscriber() {
    let (allocations, bytes) = cost(100);
    for level in [Level::ERROR, Level::WARN, Level::INFO] {
        assert_eq!(heard(level, 100), (allocations, bytes), "{level}");
    }
    // Somebody who listens does pay.
    let (heard, _) = heard(Level::DEBUG, 100);
    assert!(heard > allocations, "{heard}");
}

#[test]
fn a_listener_of_another_crate_costs_nothing() {
    let alone = cost(100);
    let logs = Logs::of("somebody_else", Level::TRACE);
    assert_eq!(logs.listen(|| cost(100)), alone);
}

#[test]
fn long_documents_cost_a_listener_no_more_than_what_is_shown() {
    let long = 1 << 20;
    let extra = |length| heard(Level::DEBUG, length).1 - cost(length).1;
    let (short, long) = (extra(2_000), extra(long));
    assert!(long < short + 10_000, "{short} and {long} bytes");
}
