//! Dialling a server: name lookup and happy eyeballs (RFC 8305) over single-address connects.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use mongo_client_core::{
    net::{ServerAddress, interleave},
    time::Instant,
};

use crate::{
    runtime::{BoxStream, DialTarget, Runtime},
    wait::within,
};

/// RFC 8305, "Connection Attempt Delay": the recommended value.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// More addresses than this are not tried: a bound on sockets for a hostile zone.
const ADDRESSES_MAX: usize = 16;

/// Why a server was not reached.
#[derive(Debug)]
pub(crate) enum DialError {
    /// No address accepted the connection.
    Connect(io::Error),
    /// The host name was not resolved. Kept apart: it says nothing about load (CMAP:
    /// "Backpressure-enabled").
    Lookup(io::Error),
}

/// Opens a stream to a server.
///
/// # Errors
///
/// The error of the last address that failed; [`io::ErrorKind::TimedOut`] at the deadline.
///
/// # Cancel safety
///
/// Dropping the future closes every half-open socket.
pub(crate) async fn dial(
    runtime: &dyn Runtime,
    address: &ServerAddress,
    keep_alive: bool,
    deadline: Option<Instant>,
) -> Result<BoxStream, DialError> {
    let attempt = async {
        let (host, port) = match address {
            ServerAddress::Unix { path } => {
                let target = DialTarget::Unix(path.clone());
                return runtime.connect(target).await.map_err(DialError::Connect);
            }
            tcp => (tcp.host(), tcp.port().unwrap_or_default()),
        };
        let ips = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => runtime.lookup(&host).await.map_err(DialError::Lookup)?,
        };
        if ips.is_empty() {
            let message = format!("host {host}: no addresses found");
            return Err(DialError::Lookup(io::Error::new(
                io::ErrorKind::NotFound,
                message,
            )));
        }
        let targets = interleave(&ips)
            .into_iter()
            .take(ADDRESSES_MAX)
            .map(|ip| DialTarget::Tcp {
                address: SocketAddr::new(ip, port),
                keep_alive,
            })
            .collect();
        connect_first(runtime, targets)
            .await
            .map_err(DialError::Connect)
    };
    within(runtime, deadline, attempt).await.unwrap_or_else(|| {
        let message = format!("connecting to {address} timed out");
        Err(DialError::Connect(io::Error::new(
            io::ErrorKind::TimedOut,
            message,
        )))
    })
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send>>;

/// Starts an attempt at once and a further one at each delay or failure; the first success wins.
async fn connect_first(
    runtime: &dyn Runtime,
    mut targets: VecDeque<DialTarget>,
) -> io::Result<BoxStream> {
    let mut running: Vec<Attempt> = Vec::new();
    let mut timer = runtime.timer();
    let mut start_next = true;
    let mut last_error = io::Error::from(io::ErrorKind::NotFound);
    poll_fn(|cx| {
        loop {
            if start_next || running.is_empty() {
                start_next = false;
                if let Some(target) = targets.pop_front() {
                    running.push(runtime.connect(target));
                    timer.reset(runtime.now() + ATTEMPT_DELAY);
                }
            }
            let mut failed = false;
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        last_error = error;
                        failed = true;
                        drop(running.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            if running.is_empty() && targets.is_empty() {
                let error = std::mem::replace(&mut last_error, io::ErrorKind::NotFound.into());
                return Poll::Ready(Err(error));
            }
            if failed && !targets.is_empty() {
                start_next = true;
                continue;
            }
            if targets.is_empty() || timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            start_next = true;
        }
    })
    .await
}

#[cfg(test)]
mod tests;
