//! What moving many documents costs on a warm client: heap allocations and their bytes.
//!
//! Allocations (growing a block counts as one, of its new size) are counted on the test's thread
//! while the client works, except those inside the simulation's own machinery, which stands for the
//! kernel and the other host.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongo_client::{Client, Collection};
use mongo_client_sim::{Script, Scripted, Sim, hello_reply, in_machinery};

const ADDRESS: &str = "db.test:27017";
/// Documents in a batch.
const COUNT: usize = 1_000;

/// What was allocated.
#[derive(Clone, Copy, Debug, Default)]
struct Heap {
    allocations: usize,
    bytes: usize,
    /// Bytes allocated, less bytes freed.
    kept: isize,
}

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<Heap>> = const { Cell::new(None) };
}

fn count(allocated: usize, freed: usize) {
    if !in_machinery() {
        COUNTED.with(|counted| {
            counted.set(counted.get().map(|heap| Heap {
                allocations: heap.allocations + usize::from(allocated > 0),
                bytes: heap.bytes + allocated,
                kept: heap.kept + allocated as isize - freed as isize,
            }));
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
        count(layout.size(), 0);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what `work` allocates.
fn counted<T>(work: impl FnOnce() -> T) -> (T, Heap) {
    COUNTED.with(|counted| counted.set(Some(Heap::default())));
    let out = work();
    let heap = COUNTED.with(Cell::take).unwrap();
    (out, heap)
}

/// A warm client of a standalone server that has [`COUNT`] documents of this many bytes.
fn collection(sim: &Sim, document_len: usize) -> Collection<RawDocumentBuf> {
    let batch: Vec<Document> = (0..COUNT)
        .map(|n| doc! { "_id": n as i32, "x": "y".repeat(document_len) })
        .collect();
    let script = Script::new(move |_, command| {
        Scripted::Reply(match (hello_reply(command), command.keys().next()) {
            (Some(hello), _) => hello,
            (None, Some(name)) if name == "find" => {
                let batch = batch.clone();
                doc! { "cursor": { "firstBatch": batch, "id": 0_i64, "ns": "db.c" }, "ok": 1.0 }
            }
            _ => doc! { "n": 1, "ok": 1.0 },
        })
    });
    sim.listen(ADDRESS, move |n| script.peer(n));
    let client = Client::builder()
        .uri(&format!("mongodb://{ADDRESS}/"))
        .unwrap()
        .runtime(sim.runtime())
        .build()
        .unwrap();
    let collection = client.database("db").collection("c");
    for _ in 0..3 {
        sim.block_on(async {
            collection.insert_one(&rawdoc! { "_id": 1 }).await.unwrap();
            assert!(collection.find_one(doc! {}).await.unwrap().is_some());
        });
        // Nothing else is under way when the measured operation begins.
        sim.block_on(sim.sleep(Duration::from_secs(1)));
    }
    collection
}

#[test]
fn going_from_document_to_document_allocates_nothing() {
    let sim = Sim::new(1);
    let documents = collection(&sim, 150);
    sim.block_on(async {
        let mut cursor = documents.find(doc! {}).await.unwrap();
        assert!(cursor.advance().await.unwrap());
        let mut count = 1;
        COUNTED.with(|counted| counted.set(Some(Heap::default())));
        while count < COUNT && cursor.advance().await.unwrap() {
            assert!(!cursor.current().is_empty());
            count += 1;
        }
        let heap = COUNTED.with(Cell::take).unwrap();
        assert_eq!((count, heap.allocations), (COUNT, 0), "{heap:?}");
        assert!(!cursor.advance().await.unwrap());
    });
}

#[test]
fn a_document_that_is_taken_out_of_a_batch_is_one_allocation() {
    let sim = Sim::new(1);
    let documents = collection(&sim, 150);
    sim.block_on(async {
        let mut cursor = documents.find(doc! {}).await.unwrap();
        let mut taken: Vec<RawDocumentBuf> = Vec::with_capacity(COUNT);
        COUNTED.with(|counted| counted.set(Some(Heap::default())));
        while let Some(document) = cursor.try_next().await.unwrap() {
            taken.push(document);
        }
        let heap = COUNTED.with(Cell::take).unwrap();
        assert_eq!((taken.len(), heap.allocations), (COUNT, COUNT), "{heap:?}");
        let bytes: usize = taken.iter().map(|d| d.as_bytes().len()).sum();
        assert_eq!(heap.bytes, bytes);
    });
}

#[test]
fn a_long_reply_is_read_into_one_allocation_of_its_length_and_given_back() {
    let sim = Sim::new(1);
    let documents = collection(&sim, 1_500);
    let (len, heap) = counted(|| {
        sim.block_on(async {
            let mut len = 0;
            let mut cursor = documents.find(doc! {}).await.unwrap();
            while cursor.advance().await.unwrap() {
                len += cursor.current().as_bytes().len();
            }
            len
        })
    });
    assert!(len > 1_500 * COUNT, "{len}");
    assert!(heap.bytes < len + len / 20, "{heap:?} for {len}");
    assert!(heap.kept < 1_000, "{heap:?}");
}

#[test]
fn many_large_documents_are_copied_once() {
    let sim = Sim::new(1);
    let target = collection(&sim, 1);
    for document in [
        rawdoc! { "x": "y".repeat(64 * 1024) },
        rawdoc! { "x": "y".repeat(64 * 1024), "_id": 7 },
    ] {
        let large = vec![document; 64];
        let payload = large.iter().map(|d| d.as_bytes().len()).sum::<usize>();
        let (_, heap) = counted(|| {
            sim.block_on(async { target.insert_many(&large).await.unwrap() });
        });
        assert!(heap.bytes < payload + payload / 4, "{heap:?} for {payload}");
        assert!(heap.bytes > payload, "the counting is broken: {heap:?}");
        assert!(heap.kept < 1_000, "{heap:?}");
    }
}

#[test]
fn many_small_documents_take_no_allocation_each() {
    let sim = Sim::new(1);
    let target = collection(&sim, 1);
    let document = rawdoc! { "x": "y".repeat(180) };
    let small = vec![document; 10_000];
    // The buffer for messages grows once.
    sim.block_on(async { target.insert_many(&small).await.unwrap() });
    let (_, heap) = counted(|| {
        sim.block_on(async { target.insert_many(&small).await.unwrap() });
    });
    assert!(heap.allocations < 100, "{heap:?}");
    assert!(heap.kept < 1_000, "{heap:?}");
}
