//! A relay that records the frames that pass: their kind, length and compressor.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bson::Document;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::rt;

const OP_COMPRESSED: i32 = 2012;
const OP_MSG: i32 = 2013;
const FRAME_BYTES_MAX: usize = 48 * 1024 * 1024;

/// A frame that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whether the client sent it.
    pub from_client: bool,
    /// Its length with the header.
    pub len: usize,
    /// The number of the compressor that OP_COMPRESSED names; `None` when it is not compressed.
    pub compressor: Option<u8>,
    /// The first field of an uncompressed OP_MSG; empty otherwise.
    pub name: String,
}

/// A relay on a free loopback port; ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    record: Arc<Mutex<Vec<Sent>>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Starts one before the server at `target`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind("127.0.0.1:0")).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let record = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&record);
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, kept) = (target.clone(), Arc::clone(&kept));
                connections.spawn(async move {
                    // Whichever side breaks the connection, both streams end here.
                    let _ = relay(client, &target, &kept).await;
                });
            }
        });
        Ok(Self {
            address,
            record,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All frames so far. A frame is recorded before it passes.
    #[must_use]
    pub fn frames(&self) -> Vec<Sent> {
        let record = self.record.lock();
        record.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut client: TcpStream, target: &str, record: &Mutex<Vec<Sent>>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        end = pass(from_client, to_server, true, record) => end,
        end = pass(from_server, to_client, false, record) => end,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    from_client: bool,
    record: &Mutex<Vec<Sent>>,
) -> io::Result<()> {
    loop {
        let len = from.read_i32_le().await?;
        let len = usize::try_from(len).unwrap_or(0);
        if !(16..=FRAME_BYTES_MAX).contains(&len) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; len - 4];
        from.read_exact(&mut rest).await?;
        let sent = sent(from_client, len, &rest);
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sent);
        to.write_all(&u32::try_from(len).unwrap_or(0).to_le_bytes())
            .await?;
        to.write_all(&rest).await?;
    }
}

/// Reads a frame without its length.
fn sent(from_client: bool, len: usize, rest: &[u8]) -> Sent {
    let number = |at: usize| {
        let bytes = rest.get(at..at + 4).and_then(|four| four.try_into().ok());
        bytes.map_or(0, i32::from_le_bytes)
    };
    let opcode = number(8);
    // OP_COMPRESSED: the original code, the uncompressed length, the compressor.
    let compressor = (opcode == OP_COMPRESSED).then(|| rest.get(20).copied().unwrap_or(0));
    // OP_MSG: flags, the byte 0, the body.
    let body = rest.get(17..17 + usize::try_from(number(17)).unwrap_or(0));
    let body = body.filter(|_| opcode == OP_MSG);
    let command: Option<Document> = body.and_then(|b| bson::deserialize_from_slice(b).ok());
    Sent {
        from_client,
        len,
        compressor,
        name: command
            .and_then(|c| c.keys().next().cloned())
            .unwrap_or_default(),
    }
}
