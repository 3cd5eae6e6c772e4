//! Sessions in memory between a [`TlsChannel`] and the TLS library's own server.
//!
//! The certificates are made by `testdata/generate.sh`.

mod options;

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};

use super::*;
use crate::{error::Result, options::TlsOptions, rng::Rng};

const CA: &[u8] = include_bytes!("testdata/ca.pem");
const OTHER_CA: &[u8] = include_bytes!("testdata/other-ca.pem");
const SERVER: &[u8] = include_bytes!("testdata/server.pem");
const OTHER_HOST: &[u8] = include_bytes!("testdata/other-host.pem");
const REVOKED: &[u8] = include_bytes!("testdata/revoked.pem");
const CLIENT: &[u8] = include_bytes!("testdata/client.pem");

/// New Year's Day 2030: within the validity of the test certificates.
const NOW: UnixMillis = UnixMillis(1_893_456_000_000);

fn wall_clock() -> WallClock {
    Arc::new(|| NOW)
}

fn with_ca() -> TlsFiles {
    TlsFiles {
        ca: Some(CA.to_vec()),
        ..TlsFiles::default()
    }
}

fn config(options: &TlsOptions, files: TlsFiles) -> TlsConfig {
    TlsConfig::build(options, files, wall_clock()).unwrap()
}

#[derive(Debug)]
struct ServerClock;

impl TimeProvider for ServerClock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(NOW.0).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// How the other side behaves.
struct Server {
    certificate: &'static [u8],
    /// The key to sign with; the certificate's own if `None`.
    key: Option<&'static [u8]>,
    version: &'static SupportedProtocolVersion,
    wants_client_certificate: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            certificate: SERVER,
            key: None,
            version: &TLS13,
            wants_client_certificate: false,
        }
    }
}

impl Server {
    fn begin(&self) -> ServerConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(ServerClock))
                .with_protocol_versions(&[self.version])
                .unwrap();
        let builder = if self.wants_client_certificate {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(CA).unwrap())
                .unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(self.certificate).unwrap()];
        let key = self.key.unwrap_or(self.certificate);
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = builder.with_cert_resolver(Arc::new(resolver));
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}

/// Both ends, and the pieces in which ciphertext reaches the client.
struct Pair {
    client: TlsChannel,
    server: ServerConnection,
    piece_len: usize,
    received: Vec<u8>,
    client_closed: bool,
}

impl Pair {
    fn new(config: &TlsConfig, host: &str, server: &Server) -> Self {
        Self {
            client: TlsChannel::new(config, host).unwrap(),
            server: server.begin(),
            piece_len: usize::MAX,
            received: Vec::new(),
            client_closed: false,
        }
    }

    /// Carries bytes in both directions until none are left. Returns what the server received.
    fn carry(&mut self) -> Result<Vec<u8>> {
        let mut at_server = Vec::new();
        loop {
            let mut to_server = Vec::new();
            self.client.take_ciphertext(&mut to_server);
            let mut rest = to_server.as_slice();
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                // A refusal of the server reaches the client as an alert.
                let _ = self.server.process_new_packets();
                let mut plain = [0; 4096];
                while let Ok(len @ 1..) = self.server.reader().read(&mut plain) {
                    at_server.extend_from_slice(&plain[..len]);
                }
            }
            let mut to_client = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut to_client).unwrap();
            }
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(at_server);
            }
            for piece in to_client.chunks(self.piece_len) {
                self.client.handle_ciphertext(piece)?;
                self.read_all()?;
            }
        }
    }

    fn read_all(&mut self) -> Result<()> {
        let mut out = [0; 1000];
        loop {
            match self.client.read_plaintext(&mut out)? {
                PlainRead::Bytes(len) => self.received.extend_from_slice(&out[..len]),
                PlainRead::Pending => return Ok(()),
                PlainRead::Closed => {
                    self.client_closed = true;
                    return Ok(());
                }
            }
        }
    }
}

/// The error of a session between a configuration and a server, if there is one.
fn connect(config: &TlsConfig, host: &str, server: &Server) -> Result<Pair> {
    let mut pair = Pair::new(config, host, server);
    pair.carry()?;
    Ok(pair)
}

fn noise(len: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(1);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

#[test]
fn plaintext_passes_both_ways_whatever_the_pieces() {
    let config = config(&TlsOptions::default(), with_ca());
    for version in [&TLS12, &TLS13] {
        for piece_len in [1, 7, usize::MAX] {
            let server = Server {
                version,
                ..Server::default()
            };
            let mut pair = Pair::new(&config, "localhost", &server);
            pair.piece_len = piece_len;
            assert!(pair.client.is_handshaking());
            // Written before the handshake, sent after it.
            pair.client.write_plaintext(b"hello").unwrap();
            assert_eq!(pair.carry().unwrap(), b"hello");
            assert!(!pair.client.is_handshaking());
            pair.server.writer().write_all(b"welcome").unwrap();
            assert!(pair.carry().unwrap().is_empty());
            assert_eq!(pair.received, b"welcome");
        }
    }
}

#[test]
fn large_messages_pass_in_one_call() {
    let config = config(&TlsOptions::default(), with_ca());
    let mut pair = connect(&config, "localhost", &Server::default()).unwrap();
    let large = noise(300_000);
    pair.client.write_plaintext(&large).unwrap();
    assert!(pair.carry().unwrap() == large);
    pair.server.set_buffer_limit(None);
    pair.server.writer().write_all(&large).unwrap();
    pair.carry().unwrap();
    assert!(pair.received == large);
}

#[test]
fn names_are_sent_and_addresses_are_not_but_both_are_checked() {
    let config = config(&TlsOptions::default(), with_ca());
    let pair = connect(&config, "localhost", &Server::default()).unwrap();
    assert_eq!(pair.server.server_name(), Some("localhost"));
    for host in ["127.0.0.1", "::1", "[::1]"] {
        let pair = connect(&config, host, &Server::default()).unwrap();
        assert_eq!(pair.server.server_name(), None);
    }
    for host in ["127.0.0.2", "[::2]", "localhost.test"] {
        let error = connect(&config, host, &Server::default()).err().unwrap();
        assert!(is_certificate_error(&error), "{host}: {error}");
    }
    for host in ["", "a b", "[::1"] {
        let error = TlsChannel::new(&config, host).unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::InvalidArgument { .. }));
    }
}

#[test]
fn orderly_end_is_told_from_a_cut() {
    let eof = |pair: &mut Pair| {
        let error = pair.client.handle_eof();
        assert!(error.is_network() && !is_certificate_error(&error));
        match &*error.kind {
            ErrorKind::Io(e) => assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof),
            kind => panic!("{kind}"),
        }
        error.to_string()
    };
    let config = config(&TlsOptions::default(), with_ca());
    let mut pair = Pair::new(&config, "localhost", &Server::default());
    assert!(eof(&mut pair).contains("handshake"));

    let mut pair = connect(&config, "localhost", &Server::default()).unwrap();
    assert!(eof(&mut pair).contains("without TLS close_notify"));

    let mut pair = connect(&config, "localhost", &Server::default()).unwrap();
    pair.server.writer().write_all(b"last words").unwrap();
    pair.server.send_close_notify();
    pair.carry().unwrap();
    assert_eq!(pair.received, b"last words");
    assert!(pair.client_closed);
    pair.client
        .handle_ciphertext(b"noise after the end")
        .unwrap();
    assert_eq!(
        pair.client.read_plaintext(&mut [0; 9]).unwrap(),
        PlainRead::Closed
    );
    assert!(eof(&mut pair).contains("closed by the server"));
}

#[test]
fn close_tells_the_server() {
    let config = config(&TlsOptions::default(), with_ca());
    let mut pair = connect(&config, "localhost", &Server::default()).unwrap();
    pair.client.close();
    pair.carry().unwrap();
    assert!(matches!(pair.server.reader().read(&mut [0; 9]), Ok(0)));
}

#[test]
fn server_without_tls_is_an_error_that_is_not_about_certificates() {
    let config = config(&TlsOptions::default(), with_ca());
    let mut channel = TlsChannel::new(&config, "localhost").unwrap();
    let error = channel
        .handle_ciphertext(b"HTTP/1.1 400 Bad Request\r\n")
        .unwrap_err();
    assert!(
        error.is_network() && !is_certificate_error(&error),
        "{error}"
    );
    // The failed session still has its alert for the server.
    let mut out = Vec::new();
    channel.take_ciphertext(&mut out);
    assert!(!out.is_empty());
}

#[test]
fn damaged_handshakes_never_panic_and_never_complete() {
    let config = config(&TlsOptions::default(), with_ca());
    let mut rng = Rng::from_seed(3);
    for _ in 0..500 {
        let mut pair = Pair::new(&config, "localhost", &Server::default());
        let mut hello = Vec::new();
        pair.client.take_ciphertext(&mut hello);
        pair.server.read_tls(&mut hello.as_slice()).unwrap();
        pair.server.process_new_packets().unwrap();
        let mut flight = Vec::new();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut flight).unwrap();
        }
        let at = rng.below(flight.len());
        flight[at] ^= 1 << rng.below(8);
        let result = pair
            .client
            .handle_ciphertext(&flight)
            .and_then(|()| pair.client.read_plaintext(&mut [0; 99]));
        match result {
            Ok(read) => assert_eq!(read, PlainRead::Pending),
            Err(error) => assert!(error.is_network(), "{error}"),
        }
    }
}
