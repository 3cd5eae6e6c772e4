//! Resolving `mongodb+srv` hosts: carries core's resolver machine's messages over a runtime.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_core::{
    dns::{DnsAction, DnsFault, Resolver, ResolverConfig, SrvQuery, SrvRecords, parse_resolv_conf},
    error::Result,
    net::ServerAddress,
    options::ClientOptions,
    rng::Rng,
    time::Instant,
    topology::SrvPolling,
    uri::srv,
};

use crate::{
    environment,
    runtime::{BoxDatagram, BoxStream, DialTarget, Runtime},
    wait::{Either, race, sleep_until},
};

/// The largest datagram that is received whole; longer answers come by stream.
const DATAGRAM_MAX: usize = 4096;

/// Looks the hosts of a polled service up: the addresses and the least TTL.
pub(crate) async fn poll(
    runtime: &Arc<dyn Runtime>,
    polling: &SrvPolling,
    options: &ClientOptions,
) -> Result<(Vec<ServerAddress>, Duration)> {
    let query = SrvQuery::new(polling.host.clone(), polling.service.clone()).without_txt();
    let records = lookup(runtime, query, config(options)).await?;
    let suffix = options.srv_allowed_hosts_suffix.as_deref();
    let outside = |target: &&ServerAddress| !srv::accepts(&polling.host, suffix, target);
    if let Some(first) = records.hosts.iter().find(outside) {
        let host = &polling.host;
        crate::warn(&format!(
            "{host}: SRV target {first} is outside its domain, and left out"
        ));
    }
    Ok(srv::polled(&polling.host, suffix, records))
}

/// Resolves the host of a `mongodb+srv` connection string; gives the complete options and the
/// least TTL of the SRV records.
pub(crate) async fn resolve(
    runtime: &Arc<dyn Runtime>,
    options: &ClientOptions,
) -> Result<(ClientOptions, Duration)> {
    let records = lookup(runtime, srv::query(options)?, config(options)).await?;
    let mut seed = [0; 8];
    runtime.entropy(&mut seed);
    let mut rng = Rng::from_seed(u64::from_le_bytes(seed));
    let (options, warnings) = srv::apply(options.clone(), &records, &mut rng)?;
    for warning in warnings {
        crate::warn(&warning.to_string());
    }
    Ok((options, records.min_ttl))
}

fn config(options: &ClientOptions) -> ResolverConfig {
    let own = options.resolver_config.clone();
    own.unwrap_or_else(|| parse_resolv_conf(&environment::resolv_conf()))
}

/// The sockets of one lookup.
struct Sockets {
    datagrams: BTreeMap<SocketAddr, BoxDatagram>,
    stream: Option<(SocketAddr, BoxStream)>,
}

/// What a socket had to say.
enum Heard {
    Broken(SocketAddr, io::Error),
    Datagram(SocketAddr, Vec<u8>),
    Stream(SocketAddr, io::Result<Vec<u8>>),
}

/// Runs one lookup to its end.
///
/// # Cancel safety
///
/// Dropping the future closes its sockets.
async fn lookup(
    runtime: &Arc<dyn Runtime>,
    query: SrvQuery,
    config: ResolverConfig,
) -> Result<SrvRecords> {
    let mut entropy = |out: &mut [u8]| runtime.entropy(out);
    let host = query.host.clone();
    let mut resolver = Resolver::new(query, config, &mut entropy, runtime.now());
    let mut sockets = Sockets {
        datagrams: BTreeMap::new(),
        stream: None,
    };
    loop {
        // A peer that never pauses must not keep the deadline from being seen.
        resolver.handle_timeout(runtime.now());
        while let Some(action) = resolver.poll_action() {
            match action {
                DnsAction::Done(result) => {
                    return result.map_err(|fault| srv::lookup_error(&host, &fault));
                }
                DnsAction::CloseStream => sockets.stream = None,
                DnsAction::SendDatagram { server, bytes } => {
                    let until = resolver.poll_timeout().unwrap_or(Instant::MAX);
                    let send = sockets.send(&**runtime, server, &bytes);
                    if let Either::First(Err(error)) =
                        race(send, sleep_until(&**runtime, until)).await
                    {
                        resolver.handle_fault(server, &error.to_string(), runtime.now());
                    }
                }
                DnsAction::OpenStream { server } => {
                    let until = resolver.poll_timeout().unwrap_or(Instant::MAX);
                    let target = DialTarget::Tcp {
                        address: server,
                        keep_alive: false,
                    };
                    let dial = runtime.connect(target);
                    match race(dial, sleep_until(&**runtime, until)).await {
                        Either::First(Ok(stream)) => {
                            sockets.stream = Some((server, stream));
                            resolver.handle_stream_opened(runtime.now());
                        }
                        Either::First(Err(error)) => {
                            resolver.handle_fault(server, &error.to_string(), runtime.now());
                        }
                        Either::Second(()) => resolver.handle_timeout(runtime.now()),
                    }
                }
                _ => return Err(DnsFault::Malformed.into()),
            }
        }
        if let Some(bytes) = resolver.poll_stream_write()
            && let Some((server, stream)) = sockets.stream.as_mut()
        {
            let server = *server;
            let until = resolver.poll_timeout().unwrap_or(Instant::MAX);
            match race(write_all(stream, &bytes), sleep_until(&**runtime, until)).await {
                Either::First(Ok(())) => {}
                Either::First(Err(error)) => {
                    resolver.handle_fault(server, &error.to_string(), runtime.now());
                    continue;
                }
                Either::Second(()) => {
                    resolver.handle_timeout(runtime.now());
                    continue;
                }
            }
        }
        let until = resolver.poll_timeout().unwrap_or(Instant::MAX);
        match race(sockets.hear(), sleep_until(&**runtime, until)).await {
            Either::First(Heard::Broken(from, error)) => {
                resolver.handle_fault(from, &error.to_string(), runtime.now());
            }
            Either::First(Heard::Datagram(from, bytes)) => {
                resolver.handle_datagram(from, &bytes, runtime.now());
            }
            Either::First(Heard::Stream(from, Ok(bytes))) if bytes.is_empty() => {
                resolver.handle_fault(from, "the stream ended", runtime.now());
            }
            Either::First(Heard::Stream(_, Ok(bytes))) => {
                resolver.handle_stream_bytes(&bytes, runtime.now());
            }
            Either::First(Heard::Stream(from, Err(error))) => {
                resolver.handle_fault(from, &error.to_string(), runtime.now());
            }
            Either::Second(()) => resolver.handle_timeout(runtime.now()),
        }
    }
}

impl Sockets {
    async fn send(
        &mut self,
        runtime: &dyn Runtime,
        server: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        let socket = match self.datagrams.entry(server) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(runtime.datagram(server).await?),
        };
        poll_fn(|cx| socket.poll_send(cx, bytes)).await
    }

    /// Waits for bytes on any socket. A datagram socket that fails, as when nobody listens, is
    /// dropped.
    async fn hear(&mut self) -> Heard {
        let mut buffer = vec![0; DATAGRAM_MAX];
        poll_fn(|cx| {
            if let Some((server, stream)) = &mut self.stream
                && let Poll::Ready(read) = Pin::new(stream).poll_read(cx, &mut buffer)
            {
                let bytes = read.map(|n| buffer[..n].to_vec());
                return Poll::Ready(Heard::Stream(*server, bytes));
            }
            for (&server, socket) in &mut self.datagrams {
                match socket.poll_receive(cx, &mut buffer) {
                    Poll::Ready(Ok(n)) => {
                        return Poll::Ready(Heard::Datagram(server, buffer[..n].to_vec()));
                    }
                    Poll::Ready(Err(error)) => {
                        self.datagrams.remove(&server);
                        return Poll::Ready(Heard::Broken(server, error));
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn write_all(stream: &mut BoxStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
}

#[cfg(test)]
mod tests;
