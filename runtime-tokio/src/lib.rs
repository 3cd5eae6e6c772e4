//! Runs mongo-client on tokio.
//!
//! [`TokioRuntime`] implements the driver's [`Runtime`] over a tokio [`Handle`]. It takes no
//! decisions: one address per dial, one timer per request, tasks on the handle's executor.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{
        BoxDatagram, BoxFuture, BoxStream, Datagram, DialTarget, Job, KEEP_ALIVE_IDLE,
        KEEP_ALIVE_INTERVAL, KEEP_ALIVE_RETRIES, Runtime, RuntimeGone, Timer,
    },
};
use tokio::{
    io::ReadBuf,
    net::{TcpStream, UdpSocket},
    runtime::Handle,
    time::Sleep,
};

/// The process-wide zero of the monotonic clock.
fn epoch() -> std::time::Instant {
    static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

/// A tokio runtime, through its handle.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
}

impl TokioRuntime {
    /// Uses the runtime that the caller runs in; `None` outside every tokio runtime.
    #[must_use]
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self::new)
    }

    /// Uses the runtime of a handle. Its time and I/O drivers must be enabled.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        epoch();
        Self { handle }
    }
}

impl Runtime for TokioRuntime {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn now(&self) -> Instant {
        to_core(tokio::time::Instant::now().into_std())
    }

    fn unix_time(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn entropy(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system's random source works");
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        // A handle of a runtime that was shut down accepts the task and drops it at once.
        self.handle.spawn(task);
        Ok(())
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        let task = self.handle.spawn_blocking(job);
        Box::pin(async move {
            // A job that panicked or was cancelled leaves no result; the caller sees that.
            let _ = task.await;
        })
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(TokioTimer {
            handle: self.handle.clone(),
            sleep: None,
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        self.on_handle(async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|a| a.ip()).collect())
        })
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.on_handle(async move {
            match target {
                DialTarget::Tcp {
                    address,
                    keep_alive,
                } => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    if keep_alive {
                        let options = socket2::TcpKeepalive::new()
                            .with_time(KEEP_ALIVE_IDLE)
                            .with_interval(KEEP_ALIVE_INTERVAL);
                        #[cfg(not(windows))]
                        let options = options.with_retries(KEEP_ALIVE_RETRIES);
                        socket2::SockRef::from(&stream).set_tcp_keepalive(&options)?;
                    }
                    Ok(Box::new(TokioStream(stream)) as BoxStream)
                }
                #[cfg(unix)]
                DialTarget::Unix(path) => {
                    let stream = tokio::net::UnixStream::connect(path).await?;
                    Ok(Box::new(TokioStream(stream)) as BoxStream)
                }
                other => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("tokio cannot dial {other:?} on this platform"),
                )),
            }
        })
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        self.on_handle(async move {
            let any: SocketAddr = match peer {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => (IpAddr::from([0_u16; 8]), 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(peer).await?;
            Ok(Box::new(TokioDatagram(socket)) as BoxDatagram)
        })
    }
}

impl TokioRuntime {
    /// Polls a future inside the runtime's context, so that it works from any executor.
    fn on_handle<T: Send + 'static>(
        &self,
        future: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let handle = self.handle.clone();
        let mut future = Box::pin(future);
        Box::pin(std::future::poll_fn(move |cx| {
            let _guard = handle.enter();
            future.as_mut().poll(cx)
        }))
    }
}

fn to_core(instant: std::time::Instant) -> Instant {
    let since = instant.saturating_duration_since(epoch());
    Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn from_core(instant: Instant) -> tokio::time::Instant {
    // Far deadlines are capped at 30 years: tokio refuses instants that it cannot represent.
    let nanos = instant.as_nanos().min(30 * 365 * 86_400 * 1_000_000_000);
    tokio::time::Instant::from_std(epoch() + Duration::from_nanos(nanos))
}

struct TokioTimer {
    handle: Handle,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer for TokioTimer {
    fn reset(&mut self, deadline: Instant) {
        let deadline = from_core(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            none => {
                let _guard = self.handle.enter();
                *none = Some(Box::pin(tokio::time::sleep_until(deadline)));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep
            .as_mut()
            .map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

/// A tokio stream seen through futures-io.
struct TokioStream<S>(S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for TokioStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(out);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> AsyncWrite for TokioStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct TokioDatagram(UdpSocket);

impl Datagram for TokioDatagram {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        self.0.poll_send(cx, datagram).map_ok(|_| ())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(out);
        ready!(self.0.poll_recv(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}
