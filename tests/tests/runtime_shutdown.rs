//! What an adapter leaves behind can be used and dropped after its runtime: errors, never a panic.
//!
//! But for one, no test here panics on purpose, so that a panic of any thread is a failure.

use std::{
    future::{Future, pending, poll_fn},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    panic,
    pin::Pin,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, SystemTime},
};

use futures_io::AsyncRead;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use mongo_client::runtime::{
    BoxDatagram, BoxStream, DialTarget, Runtime, RuntimeGone, SmolRuntime, Timer, TokioRuntime,
};
use smol::future::block_on;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// The one test whose runtime panics, which the adapter catches.
const CAUGHT: &str = "tokio_without_drivers_is_an_error_and_no_panic_that_leaves";

/// Counts the panics of all threads, also those that are caught.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() != Some(CAUGHT) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            print(info);
        }));
    });
}

fn assert_no_panics() {
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "some thread panicked");
}

/// One of everything that a runtime makes, with both peers.
struct Things {
    stream: BoxStream,
    datagram: BoxDatagram,
    armed: Box<dyn Timer>,
    unarmed: Box<dyn Timer>,
    listener: TcpListener,
    peer: UdpSocket,
    _accepted: std::net::TcpStream,
}

fn target(address: SocketAddr) -> DialTarget {
    DialTarget::Tcp {
        address,
        keep_alive: true,
    }
}

async fn make(runtime: &dyn Runtime) -> Things {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dial = runtime.connect(target(listener.local_addr().unwrap()));
    let mut stream = dial.await.unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let mut datagram = runtime.datagram(peer.local_addr().unwrap()).await.unwrap();
    poll_fn(|cx| datagram.poll_send(cx, b"x")).await.unwrap();
    // All of them have been waited for, so that they are known to the reactor.
    let mut armed = runtime.timer();
    armed.reset(runtime.now() + Duration::from_secs(3600));
    let mut byte = [0];
    poll_fn(|cx| {
        assert!(armed.poll(cx).is_pending());
        assert!(datagram.poll_receive(cx, &mut byte).is_pending());
        let read = Pin::new(&mut stream).poll_read(cx, &mut byte);
        assert!(read.is_pending());
        Poll::Ready(())
    })
    .await;
    Things {
        stream,
        datagram,
        armed,
        unarmed: runtime.timer(),
        listener,
        peer,
        _accepted: accepted,
    }
}

fn poll(timer: &mut dyn Timer) -> Poll<()> {
    timer.poll(&mut Context::from_waker(Waker::noop()))
}

/// What goes on without any executor, for every runtime.
fn assert_facts_go_on(runtime: &dyn Runtime) {
    let now = runtime.now();
    assert!(runtime.now() >= now);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let millis = i64::try_from(since.as_millis()).unwrap();
    assert!((runtime.unix_time().0 - millis).abs() < 60_000);
    let mut bytes = [0; 32];
    runtime.entropy(&mut bytes);
    assert_ne!(bytes, [0; 32]);
}

/// Uses all of it after the end of tokio's runtime.
fn use_after_tokio(runtime: &dyn Runtime, mut things: Things) {
    assert_facts_go_on(runtime);
    let task = Box::pin(async { unreachable!("nobody runs it") });
    assert_eq!(runtime.spawn(task), Err(RuntimeGone));

    let later = runtime.now() + Duration::from_secs(3600);
    for timer in [&mut things.armed, &mut things.unarmed, &mut runtime.timer()] {
        // Whoever waits must not wait for ever, and whoever polls again is no fool.
        timer.reset(later);
        assert_eq!(poll(&mut **timer), Poll::Ready(()));
        timer.reset(later);
        assert_eq!(poll(&mut **timer), Poll::Ready(()));
    }

    let address = things.listener.local_addr().unwrap();
    let peer = things.peer.local_addr().unwrap();
    block_on(async {
        let stream = &mut things.stream;
        assert!(stream.read(&mut [0]).await.is_err());
        assert!(stream.write(b"x").await.is_err());
        // Whether these need the reactor is the runtime's affair.
        let _: io::Result<()> = stream.flush().await;
        let _: io::Result<()> = stream.close().await;
        let datagram = &mut things.datagram;
        let heard = poll_fn(|cx| datagram.poll_receive(cx, &mut [0; 8])).await;
        assert!(heard.is_err());
        let sent = poll_fn(|cx| datagram.poll_send(cx, b"x")).await;
        assert!(sent.is_err());
        assert!(runtime.connect(target(address)).await.is_err());
        assert!(runtime.datagram(peer).await.is_err());
        assert!(runtime.lookup("localhost").await.is_err());
        // Ready without having run.
        let job = Box::new(|| unreachable!("nobody runs it"));
        runtime.offload(job).await;
    });
}

fn multi_thread() -> tokio::runtime::Runtime {
    mongo_client_tests::rt::tokio_runtime()
}

fn current_thread() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Makes everything, ends the runtime, and uses and drops it on another thread.
fn survives(start: fn() -> tokio::runtime::Runtime, end: fn(tokio::runtime::Runtime)) {
    watch_panics();
    let tokio = start();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let things = tokio.block_on(make(&runtime));
    let idle = tokio.block_on(make(&runtime));
    end(tokio);
    thread::spawn(move || {
        use_after_tokio(&runtime, things);
        // Never touched before they are dropped.
        drop(idle);
        drop(runtime);
    })
    .join()
    .unwrap();
    assert_no_panics();
}

#[test]
fn everything_survives_a_dropped_tokio_runtime_with_threads() {
    survives(multi_thread, drop);
}

#[test]
fn everything_survives_a_dropped_tokio_runtime_of_one_thread() {
    survives(current_thread, drop);
}

#[test]
fn everything_survives_a_tokio_shutdown_with_a_limit() {
    survives(multi_thread, |tokio| {
        tokio.shutdown_timeout(Duration::from_secs(30));
    });
}

#[test]
fn everything_survives_a_tokio_runtime_that_ended_before_it_was_used() {
    watch_panics();
    let tokio = multi_thread();
    let unused = TokioRuntime::new(tokio.handle().clone());
    let other = TokioRuntime::new(tokio.handle().clone());
    let things = tokio.block_on(make(&other));
    drop(tokio);
    thread::spawn(move || use_after_tokio(&unused, things))
        .join()
        .unwrap();
    assert_no_panics();
}

/// Its tasks, also those of this adapter, are over some time after the call.
#[test]
fn everything_survives_a_tokio_shutdown_in_the_background() {
    watch_panics();
    let tokio = multi_thread();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let mut things = tokio.block_on(make(&runtime));
    tokio.shutdown_background();
    // Waiting wakes up by itself when the end has come.
    block_on(async {
        assert!(things.stream.read(&mut [0]).await.is_err());
        poll_fn(|cx| things.armed.poll(cx)).await;
    });
    use_after_tokio(&runtime, things);
    assert_no_panics();
}

#[test]
fn whoever_waits_is_woken_when_tokio_ends() {
    watch_panics();
    let tokio = multi_thread();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let Things {
        mut stream,
        mut datagram,
        mut armed,
        listener,
        peer,
        _accepted: accepted,
        ..
    } = tokio.block_on(make(&runtime));
    let (parked, waits) = std::sync::mpsc::channel();
    let signal = |parked: &std::sync::mpsc::Sender<()>| {
        let parked = parked.clone();
        move |polled: bool| {
            if polled {
                let _ = parked.send(());
            }
        }
    };
    let (a, b, c) = (signal(&parked), signal(&parked), signal(&parked));
    let waiters = [
        thread::spawn(move || {
            let read = poll_fn(|cx| {
                let polled = Pin::new(&mut stream).poll_read(cx, &mut [0]);
                a(polled.is_pending());
                polled
            });
            assert!(block_on(read).is_err());
        }),
        thread::spawn(move || {
            let heard = poll_fn(|cx| {
                let polled = datagram.poll_receive(cx, &mut [0; 8]);
                b(polled.is_pending());
                polled
            });
            assert!(block_on(heard).is_err());
        }),
        thread::spawn(move || {
            block_on(poll_fn(|cx| {
                let polled = armed.poll(cx);
                c(polled.is_pending());
                polled
            }));
        }),
    ];
    for _ in &waiters {
        waits.recv().unwrap();
    }
    drop(tokio);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    drop((listener, peer, accepted));
    assert_no_panics();
}

#[test]
fn tokio_without_drivers_is_an_error_and_no_panic_that_leaves() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dial = runtime.connect(target(listener.local_addr().unwrap()));
    let error = block_on(dial).err().unwrap();
    assert!(error.to_string().contains("I/O driver"), "{error}");
    let mut timer = runtime.timer();
    timer.reset(runtime.now() + Duration::from_secs(3600));
    assert_eq!(poll(&mut *timer), Poll::Ready(()));
}

/// Says when it is dropped.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn tasks_are_dropped_with_a_smol_executor_and_everything_else_goes_on() {
    watch_panics();
    let executor = Arc::new(smol::Executor::new());
    let runtime = SmolRuntime::on(&executor);
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Guard(Arc::clone(&dropped));
    let task = Box::pin(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    assert_eq!(runtime.spawn(task), Ok(()));
    let mut things = smol::block_on(executor.run(make(&runtime)));
    drop(executor);
    assert!(dropped.load(Ordering::SeqCst));

    thread::spawn(move || {
        let never = Box::pin(async { unreachable!("nobody runs it") });
        assert_eq!(runtime.spawn(never), Err(RuntimeGone));
        assert_eq!(
            format!("{runtime:?}"),
            "SmolRuntime { executor: \"dropped\" }"
        );
        assert_facts_go_on(&runtime);
        // The reactor belongs to the process.
        things.armed.reset(runtime.now() + Duration::from_millis(5));
        let address = things.listener.local_addr().unwrap();
        block_on(async {
            poll_fn(|cx| things.armed.poll(cx)).await;
            things.stream.write_all(b"x").await.unwrap();
            poll_fn(|cx| things.datagram.poll_send(cx, b"x"))
                .await
                .unwrap();
            runtime.connect(target(address)).await.unwrap();
            runtime.lookup("localhost").await.unwrap();
            runtime.offload(Box::new(|| {})).await;
        });
        drop((things, runtime));
    })
    .join()
    .unwrap();
    assert_no_panics();
}

#[test]
fn executor_that_is_dropped_while_tasks_are_spawned_takes_them_along() {
    watch_panics();
    for _ in 0..200 {
        let executor = Arc::new(smol::Executor::new());
        let runtime = SmolRuntime::on(&executor);
        let spawner = thread::spawn(move || {
            let mut spawned = Vec::new();
            loop {
                let dropped = Arc::new(AtomicBool::new(false));
                let guard = Guard(Arc::clone(&dropped));
                let task = Box::pin(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                let result = runtime.spawn(task);
                spawned.push(dropped);
                if result == Err(RuntimeGone) {
                    return spawned;
                }
            }
        });
        drop(executor);
        let spawned = spawner.join().unwrap();
        assert!(spawned.iter().all(|dropped| dropped.load(Ordering::SeqCst)));
    }
    assert_no_panics();
}

#[test]
fn spawned_task_is_dropped_when_the_answer_is_gone() {
    watch_panics();
    let tokio = multi_thread();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    drop(tokio);
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Guard(Arc::clone(&dropped));
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    assert_eq!(runtime.spawn(task), Err(RuntimeGone));
    assert!(dropped.load(Ordering::SeqCst));
    assert_no_panics();
}
