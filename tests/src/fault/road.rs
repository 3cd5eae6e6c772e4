//! A way to a server on which bytes can be held up, per direction, for as long as a test wants.
//!
//! Held bytes, and held ends of a stream, pass once the way is clear again: that is how TCP makes
//! a lost packet look to both sides. What never shows is the loss itself.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::rt;

const CHUNK_BYTES: usize = 16 * 1024;

/// A direction between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server to the client: replies.
    ToClient,
    /// From the client to the server: requests.
    ToServer,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    to_client_held: bool,
    to_server_held: bool,
    resets: u64,
}

impl State {
    fn holds(self, way: Way) -> bool {
        match way {
            Way::ToClient => self.to_client_held,
            Way::ToServer => self.to_server_held,
        }
    }
}

/// A proxy of a server on a free loopback port; ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Road {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Road {
    /// Starts one to the server at `target`, clear in both directions.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind("127.0.0.1:0")).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let (state, watching) = watch::channel(State::default());
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, state) = (target.clone(), watching.clone());
                connections.spawn(async move {
                    // Either side may break the connection, and so does the end of the road.
                    let _ = relay(client, &target, state).await;
                });
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Where it listens. Connections are accepted even while everything is held.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing more pass in that direction.
    pub fn hold(&self, way: Way) {
        self.state.send_modify(|state| match way {
            Way::ToClient => state.to_client_held = true,
            Way::ToServer => state.to_server_held = true,
        });
    }

    /// Lets everything pass, also what was held.
    pub fn clear(&self) {
        self.state.send_modify(|state| {
            state.to_client_held = false;
            state.to_server_held = false;
        });
    }

    /// Resets all connections; what they held is lost.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    mut client: TcpStream,
    target: &str,
    state: watch::Receiver<State>,
) -> io::Result<()> {
    let resets = state.borrow().resets;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        let requests = pump(from_client, to_server, Way::ToServer, state.clone());
        let replies = pump(from_server, to_client, Way::ToClient, state.clone());
        tokio::try_join!(requests, replies).map(drop)
    };
    let mut watching = state.clone();
    tokio::select! {
        end = both => return end,
        // An error means that the road itself has ended.
        _ = watching.wait_for(|state| state.resets > resets) => {}
    }
    client.set_zero_linger()
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    way: Way,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = from.read(&mut chunk).await?;
        let clear = state.wait_for(|state| !state.holds(way)).await;
        clear.map_err(io::Error::other)?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..len]).await?;
    }
}
