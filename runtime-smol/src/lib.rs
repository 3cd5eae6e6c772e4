//! Runs mongo-client on smol.
//!
//! [`SmolRuntime`] implements the driver's [`Runtime`] over smol's global executor and the
//! `async-io` reactor, both of which start by themselves: it works in any executor. It takes no
//! decisions: one address per dial, one timer per request.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{
        BoxDatagram, BoxFuture, BoxStream, Datagram, DialTarget, Job, KEEP_ALIVE_IDLE,
        KEEP_ALIVE_INTERVAL, KEEP_ALIVE_RETRIES, Runtime, RuntimeGone, Timer,
    },
};
use smol::Async;

/// The process-wide zero of the monotonic clock.
fn epoch() -> std::time::Instant {
    static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

/// smol's global executor and the `async-io` reactor.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolRuntime;

impl SmolRuntime {
    /// The runtime; nothing is started before it is needed.
    #[must_use]
    pub fn new() -> Self {
        epoch();
        Self
    }
}

impl Runtime for SmolRuntime {
    fn name(&self) -> &'static str {
        "smol"
    }

    fn now(&self) -> Instant {
        let since = std::time::Instant::now().saturating_duration_since(epoch());
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
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
        smol::spawn(task).detach();
        Ok(())
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        Box::pin(smol::unblock(job))
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SmolTimer(smol::Timer::never()))
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let addresses = smol::net::resolve((host.as_str(), 0)).await?;
            Ok(addresses.into_iter().map(|a| a.ip()).collect())
        })
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async move {
            match target {
                DialTarget::Tcp {
                    address,
                    keep_alive,
                } => {
                    let stream = smol::net::TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    if keep_alive {
                        let options = socket2::TcpKeepalive::new()
                            .with_time(KEEP_ALIVE_IDLE)
                            .with_interval(KEEP_ALIVE_INTERVAL);
                        #[cfg(not(windows))]
                        let options = options.with_retries(KEEP_ALIVE_RETRIES);
                        socket2::SockRef::from(&stream).set_tcp_keepalive(&options)?;
                    }
                    Ok(Box::new(stream) as BoxStream)
                }
                #[cfg(unix)]
                DialTarget::Unix(path) => {
                    let stream = smol::net::unix::UnixStream::connect(path).await?;
                    Ok(Box::new(stream) as BoxStream)
                }
                other => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("smol cannot dial {other:?} on this platform"),
                )),
            }
        })
    }

    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        let open = move || {
            let any: SocketAddr = match peer {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => (IpAddr::from([0_u16; 8]), 0).into(),
            };
            let socket = Async::<std::net::UdpSocket>::bind(any)?;
            socket.get_ref().connect(peer)?;
            Ok(Box::new(SmolDatagram(socket)) as BoxDatagram)
        };
        Box::pin(std::future::ready(open()))
    }
}

struct SmolTimer(smol::Timer);

impl Timer for SmolTimer {
    fn reset(&mut self, deadline: Instant) {
        match epoch().checked_add(Duration::from_nanos(deadline.as_nanos())) {
            Some(at) => self.0.set_at(at),
            None => self.0 = smol::Timer::never(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

struct SmolDatagram(Async<std::net::UdpSocket>);

impl Datagram for SmolDatagram {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        loop {
            match self.0.get_ref().send(datagram) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent.map(drop)),
            }
            ready!(self.0.poll_writable(cx))?;
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().recv(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
            ready!(self.0.poll_readable(cx))?;
        }
    }
}
