//! What a socket alone can do: requests encoded before, replies read whole and not decoded.
//!
//! The bytes are those that a driver would send, with `lsid` and `$db`; only the ids in them change
//! from one operation to the next. No handshake, no monitor, no session.

mod decode;
mod operation;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use mongo_client_bench_harness::{Case, Peer, Result, Worker};
use operation::{MESSAGE_LEN_MAX, Operation};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

const BUFFER: usize = 64 * 1024;

/// A server, for at most so many connections.
pub(crate) struct Server {
    address: String,
    pool: usize,
}

impl Server {
    /// Takes `host:port` of a connection string.
    fn new(uri: &str, pool: usize) -> Result<Self> {
        let rest = uri.strip_prefix("mongodb://").ok_or("no mongodb:// URI")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        Ok(Self {
            address: rest[..end].to_owned(),
            pool,
        })
    }
}

/// The length of the reply whose beginning was read, once it is known.
fn reply_len(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(prefix) = bytes.first_chunk() else {
        return Ok(None);
    };
    let len = usize::try_from(i32::from_le_bytes(*prefix))?;
    if (26..=MESSAGE_LEN_MAX).contains(&len) {
        Ok(Some(len))
    } else {
        Err(format!("a reply of {len} bytes").into())
    }
}

/// A buffer for one reply at a time, which keeps its largest size.
struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER],
            filled: 0,
        }
    }

    /// Takes note of bytes that were read; says whether the reply is whole.
    fn whole(&mut self, read: usize) -> Result<bool> {
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        self.filled += read;
        let Some(len) = reply_len(&self.bytes[..self.filled])? else {
            return Ok(false);
        };
        if self.filled > len {
            return Err(format!("a reply of {} bytes instead of {len}", self.filled).into());
        }
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        Ok(self.filled == len)
    }

    fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    fn reply(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

/// Blocking sockets, a thread and a connection each.
pub(crate) struct Blocking(Server);

pub(crate) struct BlockingWorker {
    stream: TcpStream,
    buffer: Buffer,
    operation: Operation,
}

impl Peer for Blocking {
    type Worker = BlockingWorker;

    async fn connect(uri: &str, pool: usize) -> Result<Self> {
        Server::new(uri, pool).map(Self)
    }

    async fn workers(&self, case: Case, concurrency: usize) -> Result<Vec<BlockingWorker>> {
        let make = |number| {
            let stream = TcpStream::connect(&self.0.address)?;
            stream.set_nodelay(true)?;
            Ok(BlockingWorker {
                stream,
                buffer: Buffer::new(),
                operation: Operation::new(case, number),
            })
        };
        (0..concurrency.min(self.0.pool)).map(make).collect()
    }
}

impl Worker for BlockingWorker {
    async fn run(&mut self, n: i64) -> Result {
        let mut request = Some(self.operation.request(n));
        while let Some(bytes) = request {
            self.stream.write_all(bytes)?;
            self.buffer.filled = 0;
            loop {
                let read = self.stream.read(self.buffer.free())?;
                if self.buffer.whole(read)? {
                    break;
                }
            }
            request = self.operation.next(self.buffer.reply())?;
        }
        Ok(())
    }
}

/// A connection on tokio.
struct Connection {
    stream: tokio::net::TcpStream,
    buffer: Buffer,
}

impl Connection {
    async fn open(address: &str) -> Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Buffer::new(),
        })
    }

    async fn run(&mut self, operation: &mut Operation, n: i64) -> Result {
        let mut request = Some(operation.request(n));
        while let Some(bytes) = request {
            self.stream.write_all(bytes).await?;
            self.buffer.filled = 0;
            loop {
                let read = self.stream.read(self.buffer.free()).await?;
                if self.buffer.whole(read)? {
                    break;
                }
            }
            request = operation.next(self.buffer.reply())?;
        }
        Ok(())
    }
}

/// tokio, a task and a connection each.
pub(crate) struct Tokio(Server);

pub(crate) struct TokioWorker {
    connection: Connection,
    operation: Operation,
}

impl Peer for Tokio {
    type Worker = TokioWorker;

    async fn connect(uri: &str, pool: usize) -> Result<Self> {
        Server::new(uri, pool).map(Self)
    }

    async fn workers(&self, case: Case, concurrency: usize) -> Result<Vec<TokioWorker>> {
        let mut workers = Vec::new();
        for number in 0..concurrency.min(self.0.pool) {
            workers.push(TokioWorker {
                connection: Connection::open(&self.0.address).await?,
                operation: Operation::new(case, number),
            });
        }
        Ok(workers)
    }
}

impl Worker for TokioWorker {
    async fn run(&mut self, n: i64) -> Result {
        self.connection.run(&mut self.operation, n).await
    }
}

/// tokio, tasks that share the connections of a pool: what a pooled client can reach.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

pub(crate) struct PoolWorker {
    pool: Arc<Shared>,
    operation: Operation,
}

impl Peer for Pool {
    type Worker = PoolWorker;

    async fn connect(uri: &str, pool: usize) -> Result<Self> {
        let server = Server::new(uri, pool)?;
        let mut idle = Vec::new();
        for _ in 0..pool {
            idle.push(Connection::open(&server.address).await?);
        }
        Ok(Self(Arc::new(Shared {
            permits: Semaphore::new(pool),
            idle: Mutex::new(idle),
        })))
    }

    async fn workers(&self, case: Case, concurrency: usize) -> Result<Vec<PoolWorker>> {
        let make = |number| PoolWorker {
            pool: Arc::clone(&self.0),
            operation: Operation::new(case, number),
        };
        Ok((0..concurrency).map(make).collect())
    }
}

impl Worker for PoolWorker {
    async fn run(&mut self, n: i64) -> Result {
        let permit = self.pool.permits.acquire().await?;
        let idle = &self.pool.idle;
        let popped = idle.lock().map_err(|_| "a caller panicked")?.pop();
        let mut connection = popped.ok_or("more permits than connections")?;
        // A failure ends the turn, so its connection is not put back.
        connection.run(&mut self.operation, n).await?;
        idle.lock()
            .map_err(|_| "a caller panicked")?
            .push(connection);
        drop(permit);
        Ok(())
    }
}
