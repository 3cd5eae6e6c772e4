//! tokio's sockets, seen through futures-io and the driver's traits.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_driver::runtime::{
    BoxDatagram, BoxFuture, BoxStream, Datagram, DialTarget, KEEP_ALIVE_IDLE, KEEP_ALIVE_INTERVAL,
    KEEP_ALIVE_RETRIES, Stream, adapter,
};
use tokio::{
    io::{AsyncReadExt, Interest, ReadBuf},
    net::{TcpStream, UdpSocket},
};

pub(crate) async fn connect(target: DialTarget) -> Result<BoxStream> {
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
            Ok(Box::new(TokioStream(stream)))
        }
        #[cfg(unix)]
        DialTarget::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok(Box::new(TokioStream(stream)))
        }
        other => Err(adapter::unsupported("tokio", &other)),
    }
}

pub(crate) async fn datagram(peer: SocketAddr) -> Result<BoxDatagram> {
    let socket = UdpSocket::bind(adapter::unspecified(peer)).await?;
    socket.connect(peer).await?;
    let socket = Arc::new(socket);
    Ok(Box::new(TokioDatagram {
        fault: fault(&socket),
        socket,
    }))
}

struct TokioStream<S>(S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for TokioStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<Result<usize>> {
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
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for TokioStream<S> {
    fn poll_read_append(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Option<Poll<Result<usize>>> {
        // The future keeps nothing between two polls: it reads, or it waits for readiness.
        let mut out = out.limit(most);
        Some(pin!(self.0.read_buf(&mut out)).poll(cx))
    }
}

struct TokioDatagram {
    socket: Arc<UdpSocket>,
    /// Waits for an error without data, such as that of a port where nobody listens: waiting for
    /// data does not notice it.
    fault: BoxFuture<'static, Error>,
}

fn fault(socket: &Arc<UdpSocket>) -> BoxFuture<'static, Error> {
    let socket = Arc::clone(socket);
    Box::pin(async move {
        let take = || match socket.take_error() {
            Ok(None) => Err(ErrorKind::WouldBlock.into()),
            Ok(Some(error)) | Err(error) => Ok(error),
        };
        match socket.async_io(Interest::ERROR, take).await {
            Ok(error) | Err(error) => error,
        }
    })
}

impl Datagram for TokioDatagram {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<Result<()>> {
        self.socket.poll_send(cx, datagram).map_ok(drop)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize>> {
        let mut buf = ReadBuf::new(out);
        if self.socket.poll_recv(cx, &mut buf)?.is_ready() {
            return Poll::Ready(Ok(buf.filled().len()));
        }
        let error = ready!(self.fault.as_mut().poll(cx));
        self.fault = fault(&self.socket);
        Poll::Ready(Err(error))
    }
}
