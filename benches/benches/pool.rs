//! A pool's critical section: checkout and checkin of a warm connection, and with a queue.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{Criterion, criterion_group, criterion_main};
use mongo_client_core::{
    id::Generation,
    net::ServerAddress,
    pool::{Checkout, Lease, Pool, PoolAction, PoolConfig, PoolDirective, PoolState},
    time::Instant,
};

const NOW: Instant = Instant::from_nanos(1);

/// A ready pool of some established connections, all available.
fn pool(size: u32) -> Pool<u32> {
    let mut config = PoolConfig::new(ServerAddress::tcp("a", 27017));
    config.max_pool_size = size;
    config.min_pool_size = size;
    let mut pool = Pool::new(config, NOW);
    let directive = PoolDirective {
        epoch: 1,
        generation: Generation(0),
        state: PoolState::Ready,
        interrupt_in_use: false,
        service_id: None,
        cause: None,
    };
    pool.apply(directive, NOW);
    while let Some(action) = pool.poll_action() {
        if let PoolAction::Open { id, .. } = action {
            pool.opened(id, 0, None, NOW);
        }
    }
    assert_eq!(pool.counts().available, size as usize);
    pool
}

fn checkout(pool: &mut Pool<u32>) -> Lease<u32> {
    match pool.checkout(NOW) {
        Checkout::Ready(lease) => lease,
        other => panic!("a connection is available: {other:?}"),
    }
}

fn warm(c: &mut Criterion) {
    let mut pool = pool(100);
    c.bench_function("pool/checkout and checkin", |b| {
        b.iter(|| {
            let Lease { token, conn } = checkout(&mut pool);
            pool.checkin(token, conn, true, None, NOW);
            assert!(pool.poll_action().is_none());
        });
    });
}

fn queued(c: &mut Criterion) {
    let mut pool = pool(1);
    let mut held = checkout(&mut pool);
    c.bench_function("pool/wait and grant", |b| {
        b.iter(|| {
            assert!(matches!(pool.checkout(NOW), Checkout::Wait(_)));
            pool.checkin(held.token, held.conn, true, None, NOW);
            let Some(PoolAction::Grant { lease, .. }) = pool.poll_action() else {
                panic!("the waiter is granted the connection");
            };
            held = lease;
        });
    });
}

criterion_group!(benches, warm, queued);
criterion_main!(benches);
