//! A connection over TLS, against the TLS library's own server.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use bson::{doc, rawdoc};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    peer::{config, each_step, hello_reply, message},
    *,
};
use crate::{
    error::SYSTEM_OVERLOADED_ERROR,
    id::ConnId,
    net::ServerAddress,
    op::DocumentSequence,
    options::TlsOptions,
    time::{Instant, UnixMillis},
    tls::{TlsConfig, TlsFiles},
    wire::{Frame, Framer, Incoming, Request, decode},
};

const SERVER: &[u8] = include_bytes!("../tls/testdata/server.pem");
const CA: &[u8] = include_bytes!("../tls/testdata/ca.pem");
const OTHER_CA: &[u8] = include_bytes!("../tls/testdata/other-ca.pem");

struct Pair {
    conn: Connection,
    server: ServerConnection,
    received: Framer,
    requests: Vec<Frame>,
    step: usize,
    /// What the server's TLS says of the client's bytes.
    failure: Option<rustls::Error>,
}

impl Pair {
    fn new(ca: &[u8], step: usize) -> Self {
        let files = TlsFiles {
            ca: Some(ca.to_vec()),
            ..TlsFiles::default()
        };
        // New Year's Day 2030: within the validity of the test certificates.
        let clock = Arc::new(|| UnixMillis(1_893_456_000_000));
        let mut config = config();
        config.address = ServerAddress::tcp("localhost", 27017);
        config.tls = Some(TlsConfig::build(&TlsOptions::default(), files, clock).unwrap());
        let mut entropy = |out: &mut [u8]| out.fill(7);
        let conn = Connection::new(
            config.into(),
            ConnId(1),
            Purpose::Application,
            &mut entropy,
            Instant::ZERO,
        );
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(SERVER).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(SERVER).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(certified);
        Self {
            conn: conn.unwrap(),
            server: ServerConnection::new(Arc::new(server)).unwrap(),
            received: Framer::default(),
            requests: Vec::new(),
            step,
            failure: None,
        }
    }

    /// Carries ciphertext until both ends are silent.
    fn carry(&mut self) {
        loop {
            let mut slices = [&[][..]; 1];
            let wrote = self.conn.poll_write(&mut slices);
            let mut rest = &slices[0][..slices[0].len().min(self.step)];
            let n = rest.len();
            if wrote > 0 {
                while !rest.is_empty() {
                    self.server.read_tls(&mut rest).unwrap();
                    // A refusal reaches the client as an alert.
                    self.failure = self
                        .server
                        .process_new_packets()
                        .err()
                        .or(self.failure.take());
                    while let Ok(n @ 1..) = self.server.reader().read(self.received.space()) {
                        self.received.advance(n);
                        let frame = self.received.poll_frame(50_000_000).unwrap();
                        self.requests.extend(frame);
                    }
                }
                self.conn.handle_written(n, Instant::ZERO);
            }
            let mut to_client = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut to_client).unwrap();
            }
            let mut rest = &to_client[..];
            while !rest.is_empty() && self.conn.health() != Health::Perished {
                let space = self.conn.read_space();
                let n = rest.len().min(space.len()).min(self.step);
                space[..n].copy_from_slice(&rest[..n]);
                self.conn.handle_read(n, Instant::ZERO);
                rest = &rest[n..];
            }
            if wrote == 0 && to_client.is_empty() {
                return;
            }
        }
    }

    fn request(&mut self) -> Incoming {
        self.carry();
        assert_eq!(self.requests.len(), 1);
        decode(self.requests.remove(0), 50_000_000).unwrap()
    }

    fn reply(&mut self, to: i32, document: &bson::Document) {
        let bytes = message(1, to, 0, document);
        self.server.writer().write_all(&bytes).unwrap();
        self.carry();
    }
}

#[test]
fn hello_and_commands_travel_encrypted() {
    each_step(|step| {
        let mut pair = Pair::new(CA, step);
        let hello = pair.request();
        assert_eq!(hello.reply.document().get_i32("isMaster").unwrap(), 1);
        pair.reply(hello.request_id, &hello_reply());
        assert!(matches!(
            pair.conn.poll_event(),
            Some(ConnEvent::Established { .. })
        ));
        let sequence = rawdoc! { "text": "x".repeat(20_000) };
        let request = Request {
            document: rawdoc! { "insert": "c" }.into_bytes(),
            sequences: DocumentSequence {
                identifier: "documents",
                documents: sequence.into_bytes().into(),
            }
            .into(),
            ..Request::default()
        };
        for _ in 0..2 {
            pair.conn.begin(&request, None, Instant::ZERO).unwrap();
            let seen = pair.request();
            let documents = seen.reply.document().get_array("documents").unwrap();
            assert_eq!(documents.into_iter().count(), 1);
            // Longer than a TLS record and than the scratch buffer.
            pair.reply(seen.request_id, &doc! { "text": "y".repeat(50_000) });
            let Some(ConnEvent::Reply { reply, .. }) = pair.conn.poll_event() else {
                panic!("no reply");
            };
            let text = reply.document().get_str("text").unwrap();
            assert_eq!(text.len(), 50_000);
        }
        pair.server.send_close_notify();
        pair.carry();
        let Some(ConnEvent::Closed(closed)) = pair.conn.poll_event() else {
            panic!("not closed");
        };
        assert_eq!(closed.phase, Phase::Established);
        assert!(closed.error.is_network());
    });
}

#[test]
fn encrypted_request_cannot_be_withdrawn() {
    let mut pair = Pair::new(CA, usize::MAX);
    let hello = pair.request();
    pair.reply(hello.request_id, &hello_reply());
    let request = Request {
        document: rawdoc! { "ping": 1 }.into_bytes(),
        ..Request::default()
    };
    let exchange = pair.conn.begin(&request, None, Instant::ZERO).unwrap();
    let abandoned = pair.conn.abandon(exchange, Instant::ZERO);
    assert_eq!(abandoned, Abandoned::Close);
}

#[test]
fn end_during_the_tls_handshake_is_overload_but_a_bad_certificate_is_not() {
    let closed = |mut pair: Pair| match pair.conn.poll_event() {
        Some(ConnEvent::Closed(closed)) => closed,
        other => panic!("not closed: {other:?}"),
    };
    let mut ended = Pair::new(CA, usize::MAX);
    ended.conn.handle_read(0, Instant::ZERO);
    let ended = closed(ended);
    assert_eq!(ended.phase, Phase::Connect);
    assert!(ended.error.contains_label(SYSTEM_OVERLOADED_ERROR));
    assert!(ended.error.to_string().contains("may not speak TLS"));

    let mut silenced = Pair::new(CA, usize::MAX);
    silenced.carry();
    silenced.conn.handle_read(0, Instant::ZERO);
    let silenced = closed(silenced);
    assert_eq!(silenced.phase, Phase::Hello);
    let text = silenced.error.to_string();
    assert!(text.contains("tlsCertificateKeyFile"), "{text}");

    let mut refused = Pair::new(OTHER_CA, usize::MAX);
    refused.carry();
    let refused = closed(refused);
    assert_eq!(refused.phase, Phase::Connect);
    assert!(refused.error.labels().is_empty(), "{}", refused.error);

    let mut plain = Pair::new(CA, usize::MAX);
    let space = plain.conn.read_space();
    space[..20].copy_from_slice(b"HTTP/1.1 400 Bad\r\n\r\n");
    plain.conn.handle_read(20, Instant::ZERO);
    plain.carry();
    let plain = closed(plain);
    assert_eq!(plain.phase, Phase::Connect);
    assert!(plain.error.labels().is_empty(), "{}", plain.error);
}

#[test]
fn server_is_told_why_its_certificate_is_refused() {
    each_step(|step| {
        let mut pair = Pair::new(OTHER_CA, step);
        pair.carry();
        let alert = rustls::AlertDescription::UnknownCA;
        assert_eq!(pair.failure, Some(rustls::Error::AlertReceived(alert)));
        assert!(matches!(pair.conn.poll_event(), Some(ConnEvent::Closed(_))));
        assert_eq!(pair.conn.health(), Health::Perished);
    });
}

#[test]
fn whatever_happens_while_the_alert_waits_the_certificate_is_the_reason() {
    let ends: [fn(&mut Connection); 4] = [
        |conn| conn.handle_read(0, Instant::ZERO),
        |conn| conn.handle_fault(IoFault::Reset, Instant::ZERO),
        |conn| {
            let (deadline, _) = conn.poll_timeout().unwrap();
            conn.handle_timeout(deadline);
        },
        |conn| {
            conn.handle_read(1, Instant::ZERO);
            conn.handle_read(0, Instant::ZERO);
        },
    ];
    for end in ends {
        let mut pair = Pair::new(OTHER_CA, usize::MAX);
        // The server's certificate arrives while nothing of the answer can be written.
        let mut slices = [&[][..]; 1];
        assert_eq!(pair.conn.poll_write(&mut slices), 1);
        let mut hello = slices[0];
        let n = pair.server.read_tls(&mut hello).unwrap();
        pair.conn.handle_written(n, Instant::ZERO);
        pair.server.process_new_packets().unwrap();
        let mut flight = Vec::new();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut flight).unwrap();
        }
        let space = pair.conn.read_space();
        space[..flight.len()].copy_from_slice(&flight);
        pair.conn.handle_read(flight.len(), Instant::ZERO);
        assert!(pair.conn.poll_event().is_none());

        end(&mut pair.conn);

        let Some(ConnEvent::Closed(closed)) = pair.conn.poll_event() else {
            panic!("not closed");
        };
        let text = closed.error.to_string();
        assert!(text.contains("UnknownIssuer"), "{text}");
        assert_eq!(closed.phase, Phase::Connect);
        assert!(pair.conn.poll_event().is_none());
    }
}
