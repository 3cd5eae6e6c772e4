//! Streams: dialling, options, both directions, their ends.

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use mongo_client::runtime::{
    BoxStream, DialTarget, KEEP_ALIVE_IDLE, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_RETRIES, Runtime,
};

/// What a test's server does with its connection.
type Serve = fn(TcpStream);

fn server(address: &str, serve: Serve) -> Option<(SocketAddr, thread::JoinHandle<()>)> {
    let Ok(listener) = TcpListener::bind(address) else {
        eprintln!("skipped: {address} is not available");
        return None;
    };
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
    Some((address, thread))
}

async fn dial(runtime: &dyn Runtime, address: SocketAddr) -> BoxStream {
    let target = DialTarget::Tcp {
        address,
        keep_alive: true,
    };
    runtime.connect(target).await.unwrap()
}

fn echo(mut stream: impl Read + Write) {
    let mut buf = [0; 5];
    stream.read_exact(&mut buf).unwrap();
    stream.write_all(&buf).unwrap();
}

async fn hear_echo(mut stream: BoxStream) {
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let mut buf = Vec::new();
    // The server closes, so this also sees the end of the stream.
    stream.read_to_end(&mut buf).await.unwrap();
    assert_eq!(buf, b"hello");
}

/// A connection by IPv4.
pub async fn tcp_v4_carries_bytes(runtime: Arc<dyn Runtime>) {
    let (address, server) = server("127.0.0.1:0", echo).unwrap();
    hear_echo(dial(&*runtime, address).await).await;
    server.join().unwrap();
}

/// A connection by IPv6.
pub async fn tcp_v6_carries_bytes(runtime: Arc<dyn Runtime>) {
    let Some((address, server)) = server("[::1]:0", echo) else {
        return;
    };
    hear_echo(dial(&*runtime, address).await).await;
    server.join().unwrap();
}

/// A connection through a unix socket; one that is not there is an error.
#[cfg(unix)]
pub async fn unix_socket_carries_bytes(runtime: Arc<dyn Runtime>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mongo-client-{}-{unique}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);

    let absent = runtime.connect(DialTarget::Unix(path.clone())).await;
    assert_eq!(absent.err().map(|e| e.kind()), Some(ErrorKind::NotFound));

    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let stream = runtime.connect(DialTarget::Unix(path.clone())).await;
    hear_echo(stream.unwrap()).await;
    server.join().unwrap();

    // The file is left, and nobody listens.
    let left = runtime.connect(DialTarget::Unix(path.clone())).await;
    let kind = left.err().map(|e| e.kind());
    assert_eq!(kind, Some(ErrorKind::ConnectionRefused));
    std::fs::remove_file(&path).unwrap();
}

/// A path that no socket can have is an error.
#[cfg(unix)]
pub async fn impossible_unix_path_is_an_error(runtime: Arc<dyn Runtime>) {
    for path in ["/nonexistent/mongodb.sock".to_owned(), "x".repeat(300)] {
        let target = DialTarget::Unix(path.clone().into());
        assert!(runtime.connect(target).await.is_err(), "{path}");
    }
}

/// A closed port refuses.
pub async fn closed_port_refuses(runtime: Arc<dyn Runtime>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = DialTarget::Tcp {
        address,
        keep_alive: true,
    };
    let kind = runtime.connect(target).await.err().map(|e| e.kind());
    assert_eq!(kind, Some(ErrorKind::ConnectionRefused));
}

/// TCP_NODELAY is on, keep-alive as asked, with the times of the drivers' agreement.
pub async fn tcp_options_are_set(runtime: Arc<dyn Runtime>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for keep_alive in [true, false] {
        let target = DialTarget::Tcp {
            address,
            keep_alive,
        };
        let stream = runtime.connect(target).await.unwrap();
        let (_accepted, local) = listener.accept().unwrap();
        let Some(socket) = own_socket(local) else {
            eprintln!("skipped: the descriptors of this process cannot be copied");
            return;
        };
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.keepalive().unwrap(), keep_alive);
        if keep_alive {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE_IDLE);
            let interval = socket.tcp_keepalive_interval().unwrap();
            assert_eq!(interval, KEEP_ALIVE_INTERVAL);
            let retries = socket.tcp_keepalive_retries().unwrap();
            assert_eq!(retries, KEEP_ALIVE_RETRIES);
        }
        drop(stream);
    }
}

/// A copy of this process' socket that is bound to an address, which the stream hides.
fn own_socket(local: SocketAddr) -> Option<socket2::Socket> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let names = std::fs::read_dir("/proc/self/fd").ok()?;
    names.flatten().find_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        let socket = socket2::Socket::from(copy);
        let bound = socket.local_addr().ok()?.as_socket()?;
        // The accepted end has this address as its peer's, the dialling end as its own.
        (bound == local).then_some(socket)
    })
}

/// One direction ends, the other goes on.
pub async fn half_closed_stream_still_reads(runtime: Arc<dyn Runtime>) {
    let serve: Serve = |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"request");
        stream.write_all(b"reply").unwrap();
    };
    let (address, server) = server("127.0.0.1:0", serve).unwrap();
    let mut stream = dial(&*runtime, address).await;
    stream.write_all(b"request").await.unwrap();
    stream.close().await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"reply");
    server.join().unwrap();
}

/// A dropped stream is an end of stream for the peer.
pub async fn dropped_stream_ends_for_the_peer(runtime: Arc<dyn Runtime>) {
    let serve: Serve = |mut stream| assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    let (address, server) = server("127.0.0.1:0", serve).unwrap();
    drop(dial(&*runtime, address).await);
    server.join().unwrap();
}

/// A connection that the peer resets is an error of the reader, not an end of stream.
pub async fn reset_is_an_error(runtime: Arc<dyn Runtime>) {
    let serve: Serve = |mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    };
    let (address, server) = server("127.0.0.1:0", serve).unwrap();
    let mut stream = dial(&*runtime, address).await;
    stream.write_all(b"!").await.unwrap();
    server.join().unwrap();
    let error = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// A peer that does not read stops the writer, who goes on when it does; nothing is lost, and
/// slices leave together.
pub async fn slow_reader_holds_the_writer_back(runtime: Arc<dyn Runtime>) {
    const TOTAL: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        wait.recv().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let intact = (0..).zip(&all).all(|(at, byte)| *byte == pattern(at));
        stream.write_all(&[u8::from(intact)]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        all.len()
    });
    let mut stream = dial(&*runtime, address).await;
    let data: Vec<u8> = (0..TOTAL).map(pattern).collect();
    let mut sent = 0;
    let mut go = Some(go);
    let mut together = false;
    while sent < TOTAL {
        let (head, tail) = data[sent..].split_at(10.min(TOTAL - sent));
        let n = poll_fn(|cx| {
            let slices = [IoSlice::new(head), IoSlice::new(tail)];
            let polled = Pin::new(&mut stream).poll_write_vectored(cx, &slices);
            if polled.is_pending()
                && let Some(go) = go.take()
            {
                go.send(()).unwrap();
            }
            polled
        });
        let n = n.await.unwrap();
        assert_ne!(n, 0);
        together |= n > head.len();
        sent += n;
    }
    assert!(go.is_none(), "the writer never had to wait");
    assert!(together, "the slices left one by one");
    stream.close().await.unwrap();
    let mut intact = Vec::new();
    stream.read_to_end(&mut intact).await.unwrap();
    assert_eq!(intact, [1]);
    assert_eq!(server.join().unwrap(), TOTAL);
}

fn pattern(at: usize) -> u8 {
    // A period of 251 bytes does not divide any buffer's size.
    u8::try_from(at % 251).unwrap()
}

/// A reader that waits is woken by bytes that come later, also byte by byte.
pub async fn waiting_reader_is_woken(runtime: Arc<dyn Runtime>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream = dial(&*runtime, address).await;
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    let (pending, wait) = mpsc::channel::<()>();
    let server = thread::spawn(move || {
        for byte in 0..20 {
            // Written only when the reader has been told to wait.
            wait.recv().unwrap();
            peer.write_all(&[byte]).unwrap();
        }
        wait.recv().unwrap();
    });
    for byte in 0..20 {
        let mut buf = [0; 64];
        let mut told = false;
        let n = poll_fn(|cx| {
            let polled = Pin::new(&mut stream).poll_read(cx, &mut buf);
            if polled.is_pending() && !std::mem::replace(&mut told, true) {
                pending.send(()).unwrap();
            }
            polled
        });
        assert_eq!(n.await.unwrap(), 1);
        assert_eq!(buf[0], byte);
    }
    drop(stream);
    pending.send(()).unwrap();
    server.join().unwrap();
}

/// A dial that is dropped in the middle leaves nothing behind.
pub async fn dropped_dial_closes_its_socket(runtime: Arc<dyn Runtime>) {
    let hole = super::eyeballs::BlackHole::new("127.0.0.1:0").unwrap();
    let target = DialTarget::Tcp {
        address: hole.address(),
        keep_alive: true,
    };
    let before = open_descriptors();
    let mut dials: Vec<_> = (0..8).map(|_| runtime.connect(target.clone())).collect();
    for dial in &mut dials {
        let polled = poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "the address answered");
    }
    drop(dials);
    // Other tests of the process may open some meanwhile; nextest gives each its own.
    if std::env::var_os("NEXTEST").is_some() {
        assert!(open_descriptors() <= before + 4);
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
