//! A lookup on a runtime whose clock moves whenever it is read, and whose name server never pauses.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Waker},
};

use mongo_client_core::time::UnixMillis;

use super::*;
use crate::runtime::{BoxFuture, Datagram, Job, RuntimeGone, Timer};

#[derive(Default)]
struct Flooded {
    reads: AtomicU64,
}

/// Never ready: as if nobody had the time to look.
struct Unseen;

impl Timer for Unseen {
    fn reset(&mut self, _deadline: Instant) {}

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

struct Flood;

impl Datagram for Flood {
    fn poll_send(&mut self, _cx: &mut Context<'_>, _datagram: &[u8]) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, _cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        out[..20].fill(1);
        Poll::Ready(Ok(20))
    }
}

impl Runtime for Flooded {
    fn name(&self) -> &'static str {
        "flooded"
    }

    fn now(&self) -> Instant {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(reads < 1_000_000, "the deadline is not looked at");
        Instant::from_nanos(reads * 1_000_000)
    }

    fn unix_time(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn entropy(&self, _out: &mut [u8]) {}

    fn spawn(&self, _task: BoxFuture<'static, ()>) -> std::result::Result<(), RuntimeGone> {
        Err(RuntimeGone)
    }

    fn offload(&self, _job: Job) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(Unseen)
    }

    fn lookup(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn datagram(&self, _peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        Box::pin(async { Ok(Box::new(Flood) as BoxDatagram) })
    }
}

#[test]
fn a_flood_does_not_hide_the_deadline() {
    let runtime: Arc<dyn Runtime> = Arc::new(Flooded::default());
    let config = ResolverConfig::new(vec![([10, 0, 0, 1], 53).into()]);
    let query = SrvQuery::new("cluster.example.test", "mongodb");
    let mut lookup = std::pin::pin!(lookup(&runtime, query, config));
    let polled = lookup
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else {
        panic!("{polled:?}");
    };
    assert!(error.to_string().contains("in time"), "{error}");
}
