//! A TLS server before a plain server of MongoDB: certificates that a real server refuses to start
//! with, protocol versions of choice, and a record of what clients presented.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{deploy, rt};

/// The protocol versions of a [`Terminator`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&TLS13, &TLS12],
            Self::Tls12 => vec![&TLS12],
            Self::Tls13 => vec![&TLS13],
        }
    }
}

/// What a client's handshake looked like from the server's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The version that was agreed upon.
    pub version: Option<ProtocolVersion>,
    /// The server's name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// How many certificates the client sent.
    pub certificates: usize,
    /// Why the handshake failed, if it did: the client's alert, for example.
    pub failure: Option<String>,
}

/// A TLS server on a free port that passes what it decrypts to a plain one; ends, with its
/// connections, when it is dropped.
#[derive(Debug)]
pub struct Terminator {
    address: SocketAddr,
    record: Arc<Mutex<Vec<Presented>>>,
    task: JoinHandle<()>,
}

impl Terminator {
    /// Starts one on a loopback address of choice, with one of the tests' certificates, before the
    /// server at `target`. A client's certificate is asked for, but not required.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be used or there is no port.
    pub async fn start(
        host: &str,
        certificate: &str,
        versions: Versions,
        target: impl Into<String>,
    ) -> io::Result<Self> {
        let config = config(&deploy::certificates(), certificate, versions)?;
        let listener = rt::outside_run(TcpListener::bind((host.to_owned(), 0))).await?;
        let (address, target) = (listener.local_addr()?, target.into());
        let record = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&record);
        let task = rt::outside().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (config, target, kept) =
                    (Arc::clone(&config), target.clone(), Arc::clone(&kept));
                connections.spawn(async move {
                    // Either side may break the connection; handshakes leave their record.
                    let _ = serve(client, &target, config, &kept).await;
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

    /// The handshakes so far.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Presented> {
        let record = self.record.lock();
        record.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(folder: &Path, certificate: &str, versions: Versions) -> io::Result<Arc<ServerConfig>> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let path = folder.join(certificate);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&path)
        .map_err(io::Error::other)?
        .collect();
    let key = PrivateKeyDer::from_pem_file(&path).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions.list())
        .map_err(io::Error::other)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

async fn serve(
    mut client: TcpStream,
    target: &str,
    config: Arc<ServerConfig>,
    record: &Mutex<Vec<Presented>>,
) -> io::Result<()> {
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    tls.set_buffer_limit(None);
    let shaken = handshake(&mut client, &mut tls).await;
    record
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Presented {
            version: tls.protocol_version(),
            server_name: tls.server_name().map(str::to_owned),
            certificates: tls.peer_certificates().map_or(0, <[_]>::len),
            failure: shaken.as_ref().err().map(ToString::to_string),
        });
    shaken?;
    relay(client, TcpStream::connect(target).await?, tls).await
}

async fn handshake(client: &mut TcpStream, tls: &mut ServerConnection) -> io::Result<()> {
    let mut received = vec![0; 16 * 1024];
    while tls.is_handshaking() {
        send(client, tls).await?;
        if !tls.is_handshaking() {
            break;
        }
        let n = client.read(&mut received).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(why) = feed(tls, &received[..n]) {
            // The alert that tells the client why; it may be gone already.
            let _ = send(client, tls).await;
            return Err(why);
        }
    }
    send(client, tls).await
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mut tls: ServerConnection,
) -> io::Result<()> {
    let (mut secret, mut plain) = (vec![0; 16 * 1024], vec![0; 64 * 1024]);
    loop {
        loop {
            match tls.reader().read(&mut plain) {
                Ok(0) => return Ok(()),
                Ok(n) => server.write_all(&plain[..n]).await?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        tokio::select! {
            n = client.read(&mut secret) => match n? {
                0 => return Ok(()),
                n => feed(&mut tls, &secret[..n])?,
            },
            n = server.read(&mut plain) => match n? {
                0 => tls.send_close_notify(),
                n => tls.writer().write_all(&plain[..n])?,
            },
        }
        send(&mut client, &mut tls).await?;
    }
}

/// Hands received bytes to the session, which has to take them all: what they decrypt to is read
/// right after.
fn feed(tls: &mut ServerConnection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        if tls.read_tls(&mut bytes)? == 0 {
            return Ok(());
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

async fn send(client: &mut TcpStream, tls: &mut ServerConnection) -> io::Result<()> {
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out)?;
    }
    client.write_all(&out).await
}
