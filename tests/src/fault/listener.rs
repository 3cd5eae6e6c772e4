//! Listeners that are no servers.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::rt;

/// What a [`Bogus`] listener does with each connection.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Reads everything and says nothing.
    Silent,
    /// Answers whatever it first reads with these bytes, then says nothing more.
    Says(Vec<u8>),
    /// Closes it when something was read.
    HangsUp,
}

/// A listener on a free loopback port; ends when it is dropped.
#[derive(Debug)]
pub struct Bogus {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Bogus {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(manner: Manner) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind("127.0.0.1:0")).await?;
        let address = listener.local_addr()?;
        let manner = Arc::new(manner);
        let task = rt::outside().spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(behave(stream, Arc::clone(&manner)));
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Bogus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn behave(mut stream: TcpStream, manner: Arc<Manner>) {
    let mut heard = [0; 4096];
    let mut first = true;
    // A peer that closes or resets ends this as well.
    while matches!(stream.read(&mut heard).await, Ok(n) if n > 0) {
        match &*manner {
            Manner::Says(bytes) if first => {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Manner::Silent | Manner::Says(_) => {}
            Manner::HangsUp => return,
        }
        first = false;
    }
}
