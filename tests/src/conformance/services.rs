//! Names, datagrams, tasks, jobs and random bytes.

use std::{
    future::poll_fn,
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use futures_util::future::join_all;
use mongo_client::runtime::{BoxDatagram, Runtime};
use tokio::sync::oneshot;

/// The system's resolver knows this machine.
pub async fn localhost_is_found(runtime: Arc<dyn Runtime>) {
    let found = runtime.lookup("localhost").await.unwrap();
    assert!(!found.is_empty());
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
}

/// A name that cannot exist is an error, not an empty list and not a panic.
pub async fn bad_names_are_errors(runtime: Arc<dyn Runtime>) {
    let long = "x".repeat(300);
    for name in ["no.such.host.invalid", "a\0b", "", long.as_str()] {
        let found = runtime.lookup(name).await;
        assert!(found.is_err(), "{name:?}: {found:?}");
    }
}

async fn send(socket: &mut BoxDatagram, bytes: &[u8]) -> std::io::Result<()> {
    poll_fn(|cx| socket.poll_send(cx, bytes)).await
}

async fn receive(socket: &mut BoxDatagram, out: &mut [u8]) -> std::io::Result<usize> {
    poll_fn(|cx| socket.poll_receive(cx, out)).await
}

/// Datagrams go there and back, whole and in both families.
pub async fn datagrams_go_both_ways(runtime: Arc<dyn Runtime>) {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(peer) = UdpSocket::bind(any) else {
            eprintln!("skipped: {any} is not available");
            continue;
        };
        let address = peer.local_addr().unwrap();
        let echo = thread::spawn(move || {
            let mut buf = [0; 2048];
            for _ in 0..3 {
                let (n, from) = peer.recv_from(&mut buf).unwrap();
                buf[..n].reverse();
                peer.send_to(&buf[..n], from).unwrap();
            }
        });
        let mut socket = runtime.datagram(address).await.unwrap();
        for size in [1_u8, 2, 200] {
            let out: Vec<u8> = (0..size).collect();
            send(&mut socket, &out).await.unwrap();
            let mut buf = [0; 2048];
            let n = receive(&mut socket, &mut buf).await.unwrap();
            assert!(buf[..n].iter().rev().eq(&out));
        }
        echo.join().unwrap();
    }
}

/// Datagrams of strangers are not received.
pub async fn datagram_socket_hears_its_peer_only(runtime: Arc<dyn Runtime>) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut socket = runtime.datagram(peer.local_addr().unwrap()).await.unwrap();
    send(&mut socket, b"?").await.unwrap();
    let mut buf = [0; 16];
    let (_, from) = peer.recv_from(&mut buf).unwrap();
    // Loopback keeps the order, so the stranger's would be read first.
    stranger.send_to(b"stranger", from).unwrap();
    peer.send_to(b"peer", from).unwrap();
    let n = receive(&mut socket, &mut buf).await.unwrap();
    assert_eq!(&buf[..n], b"peer");
}

/// A peer that is not there is an error of a later call (where the system says so).
pub async fn datagram_to_a_closed_port_is_an_error(runtime: Arc<dyn Runtime>) {
    let gone: SocketAddr = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut socket = runtime.datagram(gone).await.unwrap();
    for _ in 0..2 {
        send(&mut socket, b"?").await.unwrap();
        if cfg!(target_os = "linux") {
            let error = receive(&mut socket, &mut [0; 16]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }
}

/// Any peer has an address family to speak from.
pub async fn datagram_to_v6_is_no_panic_without_v6(runtime: Arc<dyn Runtime>) {
    let nowhere = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9);
    // Whether it can be opened is up to the machine.
    drop(runtime.datagram(nowhere).await);
}

/// Jobs run, also many at once, and are done when their future is ready.
pub async fn offloaded_jobs_have_run(runtime: Arc<dyn Runtime>) {
    let flags: Vec<_> = (0..16).map(|_| Arc::new(AtomicBool::new(false))).collect();
    let here = thread::current().id();
    let jobs = flags.iter().map(|flag| {
        let flag = Arc::clone(flag);
        runtime.offload(Box::new(move || {
            assert_ne!(thread::current().id(), here);
            flag.store(true, Ordering::SeqCst);
        }))
    });
    join_all(jobs).await;
    assert!(flags.iter().all(|flag| flag.load(Ordering::SeqCst)));
}

/// A job that panics is over; whoever waits goes on, and so does the pool of threads.
pub async fn offloaded_panic_is_the_end_of_the_job_only(runtime: Arc<dyn Runtime>) {
    let panics = Box::new(|| std::panic::resume_unwind(Box::new("a job's panic")));
    runtime.offload(panics).await;
    offloaded_jobs_have_run(runtime).await;
}

/// A job whose future is dropped disturbs nobody.
pub async fn dropped_offload_is_harmless(runtime: Arc<dyn Runtime>) {
    for _ in 0..64 {
        drop(runtime.offload(Box::new(|| {})));
    }
    offloaded_jobs_have_run(runtime).await;
}

/// Tasks run by themselves, and can spawn tasks.
pub async fn spawned_tasks_run(runtime: Arc<dyn Runtime>) {
    let (send, receive) = oneshot::channel();
    let inner = Arc::clone(&runtime);
    let task = async move {
        let nested = Box::pin(async move { send.send(7).unwrap() });
        inner.spawn(nested).unwrap();
    };
    runtime.spawn(Box::pin(task)).unwrap();
    assert_eq!(receive.await, Ok(7));
}

/// A task that is done at once is not taken for one that was dropped.
pub async fn finished_task_is_no_dead_runtime(runtime: Arc<dyn Runtime>) {
    for _ in 0..500 {
        runtime.spawn(Box::pin(async {})).unwrap();
    }
}

/// A spawned task can use everything that the runtime has.
pub async fn services_work_inside_of_a_task(runtime: Arc<dyn Runtime>) {
    let (send, receive) = oneshot::channel();
    let inner = Arc::clone(&runtime);
    let task = async move {
        localhost_is_found(Arc::clone(&inner)).await;
        super::timers::fires_and_not_early(Arc::clone(&inner)).await;
        datagrams_go_both_ways(Arc::clone(&inner)).await;
        offloaded_jobs_have_run(Arc::clone(&inner)).await;
        super::sockets::tcp_v4_carries_bytes(inner).await;
        send.send(()).unwrap();
    };
    runtime.spawn(Box::pin(task)).unwrap();
    assert_eq!(receive.await, Ok(()));
}

/// Random bytes are, as far as one can see, random.
pub async fn entropy_fills(runtime: Arc<dyn Runtime>) {
    let (mut a, mut b) = ([0_u8; 64], [0_u8; 64]);
    runtime.entropy(&mut a);
    runtime.entropy(&mut b);
    assert_ne!(a, b);
    assert!(a.iter().any(|byte| *byte != a[0]));
    // The last bytes are filled, too.
    assert!(a[56..] != [0; 8] || b[56..] != [0; 8]);
    runtime.entropy(&mut []);
}

/// The name is for messages.
pub async fn name_is_short(runtime: Arc<dyn Runtime>) {
    assert!((1..16).contains(&runtime.name().len()));
    assert_eq!(format!("{runtime:?}"), runtime.name());
}
