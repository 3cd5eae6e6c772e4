//! A proxy between a client and a server that understands frames, so that a test can say which
//! message is harmed.
//!
//! A rule looks at each request and decides its fate. The fate of a reply is decided with its
//! request: a connection has at most one exchange, so the next frame of the server is the reply.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bson::Document;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

use crate::rt;

const OP_MSG: i32 = 2013;
const FRAME_BYTES_MAX: usize = 48 * 1024 * 1024;

/// A request on its way to the server.
#[derive(Debug)]
pub struct Request {
    /// Which of the proxy's connections it is on, from 0.
    pub connection: usize,
    /// The command; empty when it is not an uncompressed `OP_MSG`.
    pub command: Document,
}

impl Request {
    /// The name of the command; empty when it is not an uncompressed `OP_MSG`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.command.keys().next().map_or("", String::as_str)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It passes, and so does its reply.
    #[default]
    Pass,
    /// The server never sees it: the connection breaks.
    DropRequest,
    /// The server executes it, but the connection breaks before its reply.
    DropReply,
    /// The connection breaks after so many bytes of the reply.
    TruncateReply(usize),
    /// The server executes it; neither its reply nor anything after it passes, but the connection
    /// stays.
    HoldReply,
}

/// Decides the fate of requests.
type Rule = dyn Fn(&Request) -> Fate + Send + Sync;

/// A proxy on a free loopback port; ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy of the server at `target`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(
        target: impl Into<String>,
        rule: impl Fn(&Request) -> Fate + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind("127.0.0.1:0")).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let rule: Arc<Rule> = Arc::new(rule);
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let (target, rule) = (target.clone(), Arc::clone(&rule));
                connections.spawn(async move {
                    // Either side may break the connection; that is what proxies are for here.
                    let _ = relay(client, &target, number, &*rule).await;
                });
                number += 1;
            }
        });
        Ok(Self { address, task })
    }

    /// Starts a proxy that passes bytes without a look at them, on a loopback address of choice.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn transparent(host: &str, target: impl Into<String>) -> io::Result<Self> {
        let listener = rt::outside_run(TcpListener::bind((host.to_owned(), 0))).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    // Whichever side breaks the connection, both streams end here.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
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

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, target: &str, number: usize, rule: &Rule) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let fate = Mutex::new(Fate::Pass);
    tokio::select! {
        end = requests(from_client, to_server, number, rule, &fate) => end,
        end = replies(from_server, to_client, &fate) => end,
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: usize,
    rule: &Rule,
    fate: &Mutex<Fate>,
) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut from).await? {
        let request = Request {
            connection,
            command: command(&frame).unwrap_or_default(),
        };
        let decided = rule(&request);
        if decided == Fate::DropRequest {
            return Ok(());
        }
        *fate.lock().expect("no holder of the lock panics") = decided;
        to.write_all(&frame).await?;
    }
    Ok(())
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fate: &Mutex<Fate>,
) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut from).await? {
        let decided = *fate.lock().expect("no holder of the lock panics");
        match decided {
            Fate::Pass => to.write_all(&frame).await?,
            Fate::DropReply | Fate::DropRequest => return Ok(()),
            Fate::TruncateReply(len) => {
                to.write_all(&frame[..len.min(frame.len())]).await?;
                return to.flush().await;
            }
            Fate::HoldReply => std::future::pending().await,
        }
    }
    Ok(())
}

/// A whole frame, or `None` at the end of the stream.
pub(super) async fn read_frame(from: &mut OwnedReadHalf) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if let Err(error) = from.read_exact(&mut length).await {
        let over = error.kind() == io::ErrorKind::UnexpectedEof;
        return if over { Ok(None) } else { Err(error) };
    }
    let len = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
    if !(16..=FRAME_BYTES_MAX).contains(&len) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; len];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..]).await?;
    Ok(Some(frame))
}

/// The body of an `OP_MSG`: header, flags, and the byte 0 before the body section, which this
/// client always sends first.
pub(super) fn command(frame: &[u8]) -> Option<Document> {
    let code = i32::from_le_bytes(frame.get(12..16)?.try_into().ok()?);
    if code != OP_MSG || *frame.get(20)? != 0 {
        return None;
    }
    let len = i32::from_le_bytes(frame.get(21..25)?.try_into().ok()?);
    let body = frame.get(21..21 + usize::try_from(len).ok()?)?;
    bson::deserialize_from_slice(body).ok()
}
