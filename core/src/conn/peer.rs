//! The server's end of a connection in tests: it sees requests and sends what the test says.

use std::sync::Arc;

use bson::Document;

use super::{ConnEvent, Connection, ConnectionConfig, Health, Purpose};
use crate::{
    id::ConnId,
    net::ServerAddress,
    time::Instant,
    wire::{Framer, HEADER_LEN, Header, decode},
};

/// In what pieces bytes travel; every test of the machine runs with each.
const STEPS: [usize; 3] = [1, 7, usize::MAX];

/// Runs a test once for each size of the pieces in which bytes travel.
pub(super) fn each_step(test: impl Fn(usize)) {
    STEPS.into_iter().for_each(test);
}

/// A request as the server sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: i32,
    pub(super) op_code: i32,
    pub(super) flags: u32,
    pub(super) document: Document,
}

pub(super) struct Peer {
    pub(super) conn: Connection,
    pub(super) now: Instant,
    step: usize,
    received: Framer,
    next_id: i32,
}

pub(super) fn config() -> ConnectionConfig {
    ConnectionConfig::new(ServerAddress::tcp("db.test", 27017))
}

pub(super) fn hello_reply() -> Document {
    bson::doc! {
        "ok": 1, "ismaster": true, "helloOk": true, "maxWireVersion": 21,
        "maxMessageSizeBytes": 48_000_000, "compression": ["zlib", "snappy"],
    }
}

/// An OP_MSG of the server.
pub(super) fn message(id: i32, response_to: i32, flags: u32, document: &Document) -> Vec<u8> {
    let document = document.to_vec().unwrap();
    let header = Header {
        length: HEADER_LEN + 5 + document.len(),
        request_id: id,
        response_to,
        op_code: 2013,
    };
    let mut out = header.to_bytes().unwrap().to_vec();
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&document);
    out
}

impl Peer {
    pub(super) fn new(config: ConnectionConfig, purpose: Purpose, step: usize) -> Self {
        let mut entropy = |out: &mut [u8]| out.fill(7);
        let now = Instant::from_nanos(1_000_000_000);
        let conn = Connection::new(Arc::new(config), ConnId(1), purpose, &mut entropy, now);
        Self {
            conn: conn.unwrap(),
            now,
            step,
            received: Framer::default(),
            next_id: 5000,
        }
    }

    /// A connection that has shaken hands.
    pub(super) fn established(config: ConnectionConfig, purpose: Purpose, step: usize) -> Self {
        let mut peer = Self::new(config, purpose, step);
        let hello = peer.request();
        peer.reply(&hello, &hello_reply());
        let events = peer.events();
        assert!(matches!(&events[..], [ConnEvent::Established { .. }]));
        assert_eq!(peer.conn.health(), Health::Idle);
        peer
    }

    /// Lets the connection write at most `n` bytes; returns how many it wrote.
    pub(super) fn write_some(&mut self, n: usize) -> usize {
        let mut slices = [&[][..]; 2];
        let count = self.conn.poll_write(&mut slices);
        if count == 0 {
            return 0;
        }
        let space = self.received.space();
        let n = n.min(slices[0].len()).min(space.len());
        space[..n].copy_from_slice(&slices[0][..n]);
        self.received.advance(n);
        self.conn.handle_written(n, self.now);
        n
    }

    /// The next request, which must have been begun.
    pub(super) fn request(&mut self) -> Seen {
        loop {
            let wrote = self.write_some(self.step);
            if let Some(frame) = self.received.poll_frame(50_000_000).unwrap() {
                assert_eq!(self.write_some(1), 0, "bytes behind the request");
                let flags = u32::from_le_bytes(*frame.bytes[16..].first_chunk().unwrap());
                let (op_code, bytes) = (frame.header.op_code, frame.clone());
                let incoming = decode(bytes, 50_000_000).unwrap();
                return Seen {
                    id: incoming.request_id,
                    op_code,
                    flags,
                    document: Document::try_from(incoming.reply.document()).unwrap(),
                };
            }
            assert!(wrote > 0, "no request");
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.conn.health() != Health::Perished {
            let space = self.conn.read_space();
            assert!(!space.is_empty());
            let n = self.step.min(rest.len()).min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            self.conn.handle_read(n, self.now);
            rest = &rest[n..];
        }
    }

    /// Sends a last reply; returns its id.
    pub(super) fn reply(&mut self, to: &Seen, document: &Document) -> i32 {
        self.reply_with(to.id, 0, document)
    }

    pub(super) fn reply_with(&mut self, to: i32, flags: u32, document: &Document) -> i32 {
        self.next_id += 1;
        let bytes = message(self.next_id, to, flags, document);
        self.send(&bytes);
        self.next_id
    }

    pub(super) fn events(&mut self) -> Vec<ConnEvent> {
        std::iter::from_fn(|| self.conn.poll_event()).collect()
    }

    /// The error of the only event left, `Closed`; nothing must come after it.
    pub(super) fn closed(&mut self) -> super::ConnError {
        let mut events = self.events();
        let Some(ConnEvent::Closed(error)) = events.pop() else {
            panic!("the connection is not closed");
        };
        assert!(events.is_empty(), "unexpected {events:?}");
        assert_eq!(self.conn.health(), Health::Perished);
        assert_eq!(self.conn.poll_timeout(), None);
        assert_eq!(self.write_some(1), 0, "nothing is written after the end");
        self.conn.handle_read(0, self.now);
        self.conn.handle_timeout(Instant::MAX);
        assert!(self.conn.poll_event().is_none(), "closed twice");
        error
    }
}
