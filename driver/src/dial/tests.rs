//! Attempts on a runtime whose clock the tests turn.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use futures_util::io::Cursor;
use mongo_client_core::time::UnixMillis;

use super::*;
use crate::runtime::{BoxDatagram, BoxFuture, Job, RuntimeGone, Stream, Timer};

#[test]
fn families_alternate_beginning_with_the_first() {
    let ips = addresses(&["::1", "::2", "127.0.0.1", "::3", "127.0.0.2"]);
    let order: Vec<String> = interleave(&ips).iter().map(ToString::to_string).collect();
    assert_eq!(order, ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]);
}

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|s| s.parse().unwrap()).collect()
}

/// What addresses do: those that end in 1 hang, in 2 refuse, others accept.
#[derive(Clone, Default)]
struct Fake {
    found: Vec<IpAddr>,
    now: Arc<Mutex<Instant>>,
    tried: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new(found: &[&str]) -> Self {
        Self {
            found: addresses(found),
            ..Self::default()
        }
    }

    fn pass(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = *now + time;
    }

    fn tried(&self) -> Vec<String> {
        self.tried.lock().unwrap().clone()
    }
}

struct FakeTimer(Fake, Instant);

impl Timer for FakeTimer {
    fn reset(&mut self, deadline: Instant) {
        self.1 = deadline;
    }

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.0.now() >= self.1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Runtime for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }

    fn unix_time(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn entropy(&self, _out: &mut [u8]) {}

    fn spawn(&self, _task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        Err(RuntimeGone)
    }

    fn offload(&self, _job: Job) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(FakeTimer(self.clone(), Instant::MAX))
    }

    fn lookup(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Ok(self.found.clone())))
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        let DialTarget::Tcp { address, .. } = target else {
            panic!("only TCP is dialled here");
        };
        let ip = address.ip().to_string();
        self.tried.lock().unwrap().push(ip.clone());
        Box::pin(async move {
            match ip.as_bytes().last() {
                Some(b'1') => std::future::pending().await,
                Some(b'2') => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Ok(Box::new(Cursor::new(Vec::new())) as BoxStream),
            }
        })
    }

    fn datagram(&self, _peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

impl Stream for Cursor<Vec<u8>> {}

type Dialled<'a> = Pin<Box<dyn Future<Output = Result<BoxStream, DialError>> + 'a>>;

fn dialled<'a>(
    fake: &'a Fake,
    address: &'a ServerAddress,
    deadline: Option<Instant>,
) -> Dialled<'a> {
    Box::pin(dial(fake, address, true, deadline))
}

fn poll(future: &mut Dialled<'_>) -> Poll<Result<BoxStream, DialError>> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_silent_address_gets_a_rival_after_the_delay() {
    let (fake, address) = (
        Fake::new(&["::1", "::3", "10.0.0.1"]),
        ServerAddress::default(),
    );
    let mut future = dialled(&fake, &address, None);
    assert!(poll(&mut future).is_pending());
    fake.pass(ATTEMPT_DELAY - Duration::from_millis(1));
    assert!(poll(&mut future).is_pending());
    assert_eq!(fake.tried(), ["::1"], "before the delay is over");
    fake.pass(Duration::from_millis(1));
    assert!(poll(&mut future).is_pending());
    assert_eq!(fake.tried(), ["::1", "10.0.0.1"], "then the other family");
    fake.pass(ATTEMPT_DELAY);
    assert!(matches!(poll(&mut future), Poll::Ready(Ok(_))));
    assert_eq!(fake.tried(), ["::1", "10.0.0.1", "::3"]);
}

#[test]
fn a_refused_address_is_followed_at_once() {
    let (fake, address) = (Fake::new(&["::2", "10.0.0.3"]), ServerAddress::default());
    let mut future = dialled(&fake, &address, None);
    assert!(matches!(poll(&mut future), Poll::Ready(Ok(_))));
    assert_eq!(fake.tried(), ["::2", "10.0.0.3"]);
}

#[test]
fn refusals_everywhere_and_no_address_are_told_apart() {
    let address = ServerAddress::default();
    let refused = Fake::new(&["::2", "10.0.0.2"]);
    let Poll::Ready(Err(DialError::Connect(error))) = poll(&mut dialled(&refused, &address, None))
    else {
        panic!("both addresses refuse");
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let nowhere = Fake::new(&[]);
    let found = poll(&mut dialled(&nowhere, &address, None));
    assert!(matches!(found, Poll::Ready(Err(DialError::Lookup(_)))));
}

#[test]
fn the_deadline_ends_all_attempts() {
    let (fake, address) = (Fake::new(&["::1", "10.0.0.1"]), ServerAddress::default());
    let deadline = fake.now() + Duration::from_secs(1);
    let mut future = dialled(&fake, &address, Some(deadline));
    assert!(poll(&mut future).is_pending());
    fake.pass(Duration::from_secs(1));
    let Poll::Ready(Err(DialError::Connect(error))) = poll(&mut future) else {
        panic!("the deadline has passed");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_zone_of_many_addresses_is_not_tried_to_its_end() {
    let many: Vec<String> = (0..40).map(|n| format!("10.0.{n}.2")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (fake, address) = (Fake::new(&many), ServerAddress::default());
    assert!(matches!(
        poll(&mut dialled(&fake, &address, None)),
        Poll::Ready(Err(_))
    ));
    assert_eq!(fake.tried().len(), ADDRESSES_MAX);
}
