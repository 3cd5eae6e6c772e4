//! What the smol and async-std adapters of mongo-client share: both run on the `async-io` reactor
//! and the `blocking` thread pool.
//!
//! Reactor and pool start by themselves, belong to the process and never end, so everything here
//! works in any executor and needs none; what differs between the adapters is where tasks run.
//! [`runtime_methods!`] writes the methods of the driver's `Runtime` that they have in common.

mod stream;

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use async_io::Async;
use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{
        BoxDatagram, BoxFuture, BoxStream, Datagram, DialTarget, Job, KEEP_ALIVE_IDLE,
        KEEP_ALIVE_INTERVAL, KEEP_ALIVE_RETRIES, Timer, adapter,
    },
};

use crate::stream::ReactorStream;

#[doc(hidden)]
pub use mongo_client_driver as driver;

/// All methods of `Runtime` but `name` and `spawn`, by the functions of this crate.
#[macro_export]
macro_rules! runtime_methods {
    () => {
        fn now(&self) -> $crate::driver::Instant {
            $crate::now()
        }

        fn unix_time(&self) -> $crate::driver::UnixMillis {
            $crate::unix_time()
        }

        fn entropy(&self, out: &mut [u8]) {
            $crate::entropy(out);
        }

        fn offload(
            &self,
            job: $crate::driver::runtime::Job,
        ) -> $crate::driver::runtime::BoxFuture<'static, ()> {
            $crate::offload(job)
        }

        fn timer(&self) -> Box<dyn $crate::driver::runtime::Timer> {
            $crate::timer()
        }

        fn lookup(
            &self,
            host: &str,
        ) -> $crate::driver::runtime::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
            $crate::lookup(host)
        }

        fn connect(
            &self,
            target: $crate::driver::runtime::DialTarget,
        ) -> $crate::driver::runtime::BoxFuture<
            'static,
            std::io::Result<$crate::driver::runtime::BoxStream>,
        > {
            $crate::connect(self.name(), target)
        }

        fn datagram(
            &self,
            peer: std::net::SocketAddr,
        ) -> $crate::driver::runtime::BoxFuture<
            'static,
            std::io::Result<$crate::driver::runtime::BoxDatagram>,
        > {
            $crate::datagram(peer)
        }
    };
}

/// The monotonic clock.
#[must_use]
pub fn now() -> Instant {
    adapter::instant(std::time::Instant::now())
}

/// The wall clock.
#[must_use]
pub fn unix_time() -> UnixMillis {
    adapter::unix_millis(SystemTime::now())
}

/// Random bytes of the operating system.
///
/// # Panics
///
/// When the operating system has none.
pub fn entropy(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system's random source works");
}

/// Runs a job on the thread pool; ready when it has run or panicked.
#[must_use]
pub fn offload(job: Job) -> BoxFuture<'static, ()> {
    // The pool hands panics on to whoever waits; that would end the waiting operation's task.
    Box::pin(blocking::unblock(|| {
        drop(catch_unwind(AssertUnwindSafe(job)))
    }))
}

/// A timer, not armed.
#[must_use]
pub fn timer() -> Box<dyn Timer> {
    Box::new(ReactorTimer(async_io::Timer::never()))
}

/// Resolves a name on the thread pool.
#[must_use]
pub fn lookup(host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    let host = host.to_owned();
    Box::pin(blocking::unblock(move || {
        let addresses = (host.as_str(), 0).to_socket_addrs()?;
        Ok(addresses.map(|address| address.ip()).collect())
    }))
}

/// Opens a stream; `runtime` is for the message of an error.
#[must_use]
pub fn connect(
    runtime: &'static str,
    target: DialTarget,
) -> BoxFuture<'static, io::Result<BoxStream>> {
    Box::pin(async move {
        match target {
            DialTarget::Tcp {
                address,
                keep_alive,
            } => {
                let stream = Async::<TcpStream>::connect(address).await?;
                let socket = socket2::SockRef::from(&stream);
                socket.set_tcp_nodelay(true)?;
                if keep_alive {
                    let options = socket2::TcpKeepalive::new()
                        .with_time(KEEP_ALIVE_IDLE)
                        .with_interval(KEEP_ALIVE_INTERVAL);
                    #[cfg(not(windows))]
                    let options = options.with_retries(KEEP_ALIVE_RETRIES);
                    socket.set_tcp_keepalive(&options)?;
                }
                Ok(Box::new(ReactorStream(stream)) as BoxStream)
            }
            #[cfg(unix)]
            DialTarget::Unix(path) => {
                let stream = Async::<std::os::unix::net::UnixStream>::connect(path).await?;
                Ok(Box::new(ReactorStream(stream)) as BoxStream)
            }
            other => Err(adapter::unsupported(runtime, &other)),
        }
    })
}

/// Opens a datagram socket.
#[must_use]
pub fn datagram(peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
    Box::pin(async move {
        let socket = Async::<UdpSocket>::bind(adapter::unspecified(peer))?;
        socket.get_ref().connect(peer)?;
        Ok(Box::new(ReactorDatagram(socket)) as BoxDatagram)
    })
}

struct ReactorTimer(async_io::Timer);

impl Timer for ReactorTimer {
    fn reset(&mut self, deadline: Instant) {
        match adapter::reading(deadline, std::time::Instant::now()) {
            Some(at) => self.0.set_at(at),
            None => self.0 = async_io::Timer::never(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

struct ReactorDatagram(Async<UdpSocket>);

impl Datagram for ReactorDatagram {
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
