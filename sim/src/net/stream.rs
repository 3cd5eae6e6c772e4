//! The driver's sockets on the network with faults.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_driver::runtime::{BoxStream, Stream};

use super::{
    fabric::{Dialled, Fabric, State},
    road::{Ended, Way},
};
use crate::{
    executor::{Sim, lock},
    machinery::Machinery,
};

/// A connection's end, closed when it is dropped.
struct End {
    sim: Sim,
    fabric: Fabric,
    connection: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let _own = Machinery::enter();
        let connection = self.connection;
        self.sim
            .with_fabric(&self.fabric, |state| state.close(connection));
    }
}

/// A dial; dropped, it is given up.
pub(crate) struct Dial(Option<End>);

impl Dial {
    pub(crate) fn new(sim: Sim, fabric: Fabric, server: usize, client: usize) -> Self {
        let connection = sim.with_fabric(&fabric, |state| state.dial(server, client));
        Self(Some(End {
            sim,
            fabric,
            connection,
        }))
    }
}

impl Future for Dial {
    type Output = io::Result<BoxStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _own = Machinery::enter();
        let end = self.0.as_ref().expect("not polled after its end");
        let dialled = {
            let mut state = end.fabric.lock();
            let socket = state.sockets.get_mut(&end.connection);
            socket.map(|socket| {
                socket.reader = Some(cx.waker().clone());
                socket.dialled
            })
        };
        match dialled {
            Some(Dialled::Waiting) => Poll::Pending,
            Some(Dialled::Failed(why)) => Poll::Ready(Err(why.into())),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Some(Dialled::Connected) => {
                lock(&end.sim.world).stats.dials += 1;
                let end = self.0.take().expect("looked at before");
                Poll::Ready(Ok(Box::new(Socket { end })))
            }
        }
    }
}

/// An open connection.
struct Socket {
    end: End,
}

impl Socket {
    /// Whether to put this call off; the task is woken at once.
    fn yields(&self, cx: &Context<'_>) -> bool {
        let yields = lock(&self.end.sim.world).yields();
        if yields {
            cx.waker().wake_by_ref();
        }
        yields
    }

    /// Gives `take` what has arrived, up to `most`.
    fn read(
        &self,
        cx: &Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let _own = Machinery::enter();
        let reads_max = {
            let mut world = lock(&self.end.sim.world);
            world.stats.reads += 1;
            world.reads_max
        };
        if self.yields(cx) {
            return Poll::Pending;
        }
        let connection = self.end.connection;
        let mut state = self.end.fabric.lock();
        let arrived = state.network.arrived(connection, Way::ToClient);
        let n = arrived.len().min(most).min(reads_max);
        if n > 0 {
            take(&arrived[..n]);
            state.network.consume(connection, Way::ToClient, n);
            return Poll::Ready(Ok(n));
        }
        match state.network.ended(connection) {
            Some(Ended::Eof) => Poll::Ready(Ok(0)),
            Some(Ended::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                if let Some(socket) = state.sockets.get_mut(&connection) {
                    socket.reader = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn write(&self, cx: &Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let _own = Machinery::enter();
        lock(&self.end.sim.world).stats.writes += 1;
        if self.yields(cx) {
            return Poll::Pending;
        }
        let connection = self.end.connection;
        let send = |state: &mut State| {
            if state.network.ended(connection) == Some(Ended::Reset) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let now = state.network.now;
            let (mut taken, mut wanted) = (0, 0);
            for slice in slices {
                wanted += slice.len();
                taken += state.network.client_send(connection, slice, now);
                if taken < wanted {
                    break;
                }
            }
            if taken == 0 && wanted > 0 {
                if let Some(socket) = state.sockets.get_mut(&connection) {
                    socket.writer = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Poll::Ready(Ok(taken))
        };
        self.end.sim.with_fabric(&self.end.fabric, send)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = out.len();
        self.read(cx, most, |bytes| out[..bytes.len()].copy_from_slice(bytes))
    }
}

impl Stream for Socket {
    fn poll_read_append(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        Some(self.read(cx, most, |bytes| out.extend_from_slice(bytes)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
