//! A socket on the reactor as a byte stream whose directions end one by one.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    pin::Pin,
    task::{Context, Poll},
};

use async_io::{Async, IoSafe};
use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_driver::runtime::Stream;

/// Like [`Async`], which leaves the socket open in both directions when it is closed.
pub(crate) struct ReactorStream<S>(pub(crate) Async<S>);

/// A socket whose writing end can be closed.
pub(crate) trait Socket: Read + Write + IoSafe {
    fn end_writing(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(unix)]
impl Socket for std::os::unix::net::UnixStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl<S: Socket + Send + Unpin> Stream for ReactorStream<S> {}

impl<S: Socket> AsyncRead for ReactorStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl<S: Socket> AsyncWrite for ReactorStream<S> {
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

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets keep nothing back that would have to be flushed first.
        Poll::Ready(self.0.get_ref().end_writing())
    }
}
