//! Messages, as an onlooker sees them: cut out of the bytes of one direction, with the few fields
//! that the invariants need. Written apart from both the client's codec and the servers'.

use std::borrow::Cow;

use bson::{RawBsonRef, RawDocument, spec::BinarySubtype};

use crate::wire::Compressor;

const HEADER: usize = 16;
const LEN_MAX: usize = 48_000_000 + 16 * 1024;
const OP_COMPRESSED: i32 = 2012;
const OP_MSG: i32 = 2013;
const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;

/// The bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    bytes: Vec<u8>,
    start: usize,
}

impl Splitter {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes of an incomplete message there are.
    pub(super) fn partial(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<Message<'_>>, String> {
        let rest = &self.bytes[self.start..];
        if rest.len() < HEADER {
            return Ok(None);
        }
        let len = usize::try_from(int(rest, 0)?).unwrap_or(0);
        if !(HEADER..=LEN_MAX).contains(&len) {
            return Err(format!("a message of {} bytes", int(rest, 0)?));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let from = self.start;
        self.start += len;
        parse(&self.bytes[from..from + len]).map(Some)
    }
}

/// A whole message.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) id: i32,
    pub(super) response_to: i32,
    pub(super) more_to_come: bool,
    body: Cow<'a, [u8]>,
    /// Where the document of the kind 0 section is in the body.
    document: std::ops::Range<usize>,
}

fn int(bytes: &[u8], at: usize) -> Result<i32, String> {
    let four = bytes
        .get(at..at + 4)
        .and_then(|b| <[u8; 4]>::try_from(b).ok());
    four.map(i32::from_le_bytes)
        .ok_or_else(|| String::from("a message that ends early"))
}

fn parse(message: &[u8]) -> Result<Message<'_>, String> {
    let (id, response_to) = (int(message, 4)?, int(message, 8)?);
    let body = match int(message, 12)? {
        OP_MSG => Cow::Borrowed(&message[HEADER..]),
        OP_COMPRESSED => {
            let size = usize::try_from(int(message, HEADER + 4)?).unwrap_or(usize::MAX);
            if int(message, HEADER)? != OP_MSG || size > LEN_MAX {
                return Err(String::from("a compressed message of another kind or size"));
            }
            let which = message
                .get(HEADER + 8)
                .copied()
                .and_then(Compressor::from_id);
            let packed = message.get(HEADER + 9..).unwrap_or_default();
            let plain = which.and_then(|which| which.decompress(packed, size));
            Cow::Owned(plain.ok_or("a compressed message that cannot be unpacked")?)
        }
        code => return Err(format!("a message with the opcode {code}")),
    };
    let flags = int(&body, 0)?.cast_unsigned();
    let end = body.len() - if flags & CHECKSUM == 0 { 0 } else { 4 };
    let mut at = 4;
    let mut document = None;
    while at < end {
        let len = usize::try_from(int(&body, at + 1)?).unwrap_or(0);
        let section = at + 1..at + 1 + len;
        if len < 5 || section.end > end {
            return Err(String::from("a section that is longer than its message"));
        }
        match body[at] {
            0 if document.is_none() => document = Some(section.clone()),
            1 => {}
            _ => return Err(String::from("a section of another kind, or a second body")),
        }
        at = section.end;
    }
    Ok(Message {
        id,
        response_to,
        more_to_come: flags & MORE_TO_COME != 0,
        document: document.ok_or("a message without a body")?,
        body,
    })
}

impl Message<'_> {
    /// The bytes of its document.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body[self.document.clone()]
    }

    /// Its document, unless that is nonsense.
    pub(super) fn document(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.bytes()).ok()
    }

    /// What the invariants need of a command.
    pub(super) fn command(&self) -> Command<'_> {
        let mut command = Command::default();
        let Some(document) = self.document() else {
            return command;
        };
        for element in document.iter() {
            let Ok((key, value)) = element else {
                break;
            };
            let key = key.as_str();
            if command.name.is_empty() {
                command.name = key;
            }
            match (key, value) {
                ("comment", RawBsonRef::String(text)) => {
                    command.op = text.strip_prefix("op-").and_then(|n| n.parse().ok());
                }
                ("lsid", RawBsonRef::Document(lsid)) => command.lsid = session(lsid),
                ("txnNumber", RawBsonRef::Int64(number)) => command.txn = Some(number),
                ("endSessions", RawBsonRef::Array(ids)) => {
                    let ids = ids.into_iter().flatten();
                    let ids = ids.filter_map(|id| session(id.as_document()?));
                    command.ended_sessions = ids.collect();
                }
                _ => {}
            }
        }
        command
    }
}

fn session(lsid: &RawDocument) -> Option<Lsid> {
    let id = lsid.get_binary("id").ok()?;
    (id.subtype == BinarySubtype::Uuid).then(|| id.bytes.try_into().ok())?
}

/// The id of a session.
pub(super) type Lsid = [u8; 16];

/// What the invariants need of a command.
#[derive(Debug, Default)]
pub(super) struct Command<'a> {
    pub(super) name: &'a str,
    /// The operation that it belongs to, of its comment.
    pub(super) op: Option<u64>,
    pub(super) lsid: Option<Lsid>,
    pub(super) txn: Option<i64>,
    /// The sessions that an `endSessions` names.
    pub(super) ended_sessions: Vec<Lsid>,
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::{SILENT, message};

    #[test]
    fn messages_are_cut_out_of_any_pieces_of_bytes() {
        let first = message(7, 0, SILENT, &rawdoc! { "ping": 1, "comment": "op-12" });
        let second = message(8, 7, 0, &rawdoc! { "ok": 1 });
        let bytes = [first, second].concat();
        for size in [1, 3, 16, bytes.len()] {
            let mut splitter = Splitter::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                splitter.feed(piece);
                while let Some(m) = splitter.next().unwrap() {
                    let op = m.command().op;
                    seen.push((m.id, m.response_to, m.more_to_come, op));
                }
            }
            assert_eq!(
                seen,
                [(7, 0, true, Some(12)), (8, 7, false, None)],
                "{size}"
            );
            assert_eq!(splitter.partial(), 0);
        }
    }

    #[test]
    fn a_message_that_is_packed_by_noop_is_unpacked() {
        let plain = message(7, 3, 0, &rawdoc! { "ping": 1 });
        let mut packed = Vec::new();
        let body = &plain[HEADER..];
        for number in [
            i32::try_from(HEADER + 9 + body.len()).unwrap(),
            7,
            3,
            OP_COMPRESSED,
            OP_MSG,
            i32::try_from(body.len()).unwrap(),
        ] {
            packed.extend(number.to_le_bytes());
        }
        packed.push(0);
        packed.extend(body);
        let mut splitter = Splitter::default();
        splitter.feed(&packed);
        let m = splitter.next().unwrap().unwrap();
        assert_eq!((m.id, m.response_to, m.command().name), (7, 3, "ping"));
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        let good = message(7, 0, 0, &rawdoc! { "ping": 1, "lsid": { "id": 1 } });
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let mut splitter = Splitter::default();
                splitter.feed(&bytes);
                if let Ok(Some(m)) = splitter.next() {
                    let _ = m.command();
                }
            }
        }
        let mut splitter = Splitter::default();
        splitter.feed(&[0xff; 16]);
        assert!(splitter.next().is_err());
    }
}
