//! The server's side of the wire protocol, written apart from the client's so that an error in one
//! does not hide in the other.
//!
//! OP_MSG with both kinds of section, the checksum, `moreToCome` and `exhaustAllowed`, and
//! OP_COMPRESSED. The framer takes bytes in any portions. What breaks the protocol is an error: the
//! connection is to be closed.

mod command;
mod compress;
mod crc;
pub(crate) mod document;
mod elements;

use bson::Document;

pub use self::command::Command;
pub(crate) use self::{
    command::Fields,
    compress::Compressor,
    elements::{Elements, Items},
};

const HEADER: usize = 16;
const OP_COMPRESSED: i32 = 2012;
const OP_MSG: i32 = 2013;
const CHECKSUM_PRESENT: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;
/// The low bits must be understood: others than these are refused.
const REQUIRED_BITS: u32 = 0xffff;
const MESSAGE_MAX: usize = 48_000_000;

/// A request, its sequences put into the command as arrays.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: i32,
    /// The client wants no reply.
    pub(crate) more_to_come: bool,
    /// The client takes several replies.
    pub(crate) exhaust_allowed: bool,
    /// The client has added a checksum, and gets one.
    pub(crate) checksum: bool,
    /// How it was compressed.
    pub(crate) compressor: Option<Compressor>,
    pub(crate) command: Command,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Cuts bytes into messages.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    bytes: Vec<u8>,
    start: usize,
}

impl Framer {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole request.
    pub(crate) fn next(&mut self) -> Result<Option<Request>, Malformed> {
        let rest = &self.bytes[self.start..];
        let Some(length) = rest.get(..4) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if !(HEADER..=MESSAGE_MAX).contains(&length) {
            return Err(Malformed("length of the message"));
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        let request = parse(message)?;
        self.start += length;
        if self.start > 1 << 20 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(request))
    }
}

fn int(bytes: &[u8], at: usize) -> Result<i32, Malformed> {
    let end = at.checked_add(4).ok_or(Malformed("offset"))?;
    let bytes = bytes.get(at..end).ok_or(Malformed("end of the message"))?;
    Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn parse(message: &[u8]) -> Result<Request, Malformed> {
    let id = int(message, 4)?;
    match int(message, 12)? {
        OP_MSG => body(id, None, message, &message[HEADER..]),
        OP_COMPRESSED => {
            if int(message, HEADER)? != OP_MSG {
                return Err(Malformed("compressed opcode"));
            }
            let size = int(message, HEADER + 4)?;
            let size = usize::try_from(size).ok().filter(|s| *s <= MESSAGE_MAX);
            let size = size.ok_or(Malformed("uncompressed size"))?;
            let which = message.get(HEADER + 8).ok_or(Malformed("compressor"))?;
            let which = Compressor::from_id(*which).ok_or(Malformed("compressor"))?;
            let plain = which
                .decompress(&message[HEADER + 9..], size)
                .ok_or(Malformed("compressed bytes"))?;
            body(id, Some(which), &[], &plain)
        }
        _ => Err(Malformed("opcode")),
    }
}

/// Parses flags and sections. A checksum covers the whole message, which only plain messages have.
fn body(
    id: i32,
    compressor: Option<Compressor>,
    whole: &[u8],
    body: &[u8],
) -> Result<Request, Malformed> {
    let flags = u32::from_le_bytes(int(body, 0)?.to_le_bytes());
    let known = CHECKSUM_PRESENT | MORE_TO_COME;
    if flags & REQUIRED_BITS & !known != 0 {
        return Err(Malformed("required flag bits"));
    }
    let checksum = flags & CHECKSUM_PRESENT != 0;
    let mut end = body.len();
    if checksum {
        end = end.checked_sub(4).ok_or(Malformed("checksum"))?;
        let expected = u32::from_le_bytes(int(body, end)?.to_le_bytes());
        if let Some(covered) = whole.get(..whole.len().saturating_sub(4))
            && !whole.is_empty()
            && crc::crc32c(covered) != expected
        {
            return Err(Malformed("checksum"));
        }
    }
    let sections = body.get(4..end).ok_or(Malformed("sections"))?;
    Ok(Request {
        id,
        more_to_come: flags & MORE_TO_COME != 0,
        exhaust_allowed: flags & EXHAUST_ALLOWED != 0,
        checksum,
        compressor,
        command: command(sections)?,
    })
}

fn command(mut sections: &[u8]) -> Result<Command, Malformed> {
    let mut command = Command::with_capacity(sections.len());
    let mut has_body = false;
    let mut sequences = Vec::new();
    while let Some((kind, rest)) = sections.split_first() {
        let size = usize::try_from(int(rest, 0)?).map_err(|_| Malformed("section size"))?;
        let section = rest.get(..size).ok_or(Malformed("section size"))?;
        match kind {
            0 if !has_body => {
                let taken = command.take_document(section);
                taken.ok_or(Malformed("document"))?;
                has_body = true;
            }
            1 => sequences.push(section),
            _ => return Err(Malformed("kind of section")),
        }
        sections = &rest[size..];
    }
    if !has_body {
        return Err(Malformed("no body section"));
    }
    for section in sequences {
        take_sequence(&mut command, section)?;
    }
    Ok(command)
}

fn take_sequence(command: &mut Command, section: &[u8]) -> Result<(), Malformed> {
    let bytes = section.get(4..).ok_or(Malformed("sequence"))?;
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.ok_or(Malformed("sequence name"))?;
    let name = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("sequence name"))?;
    if command.contains_key(name) {
        return Err(Malformed("field given twice"));
    }
    let taken = command.take_sequence(name, &bytes[end + 1..]);
    taken.ok_or(Malformed("document"))
}

/// Encodes a reply in the manner of its request; `write` writes its fields.
pub(crate) fn reply(
    request: &Request,
    id: i32,
    response_to: i32,
    more_to_come: bool,
    write: impl FnOnce(&mut Elements<'_>),
) -> Vec<u8> {
    let mut flags = if more_to_come { MORE_TO_COME } else { 0 };
    let checksum = request.checksum && request.compressor.is_none();
    if checksum {
        flags |= CHECKSUM_PRESENT;
    }
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(0);
    let start = elements::open(&mut out);
    write(&mut Elements::new(&mut out));
    elements::close(&mut out, start);
    let mut opcode = OP_MSG;
    if let Some(which) = request.compressor {
        opcode = OP_COMPRESSED;
        let plain = out.split_off(HEADER);
        out.extend_from_slice(&OP_MSG.to_le_bytes());
        out.extend_from_slice(&length(plain.len()).to_le_bytes());
        out.push(which.id());
        out.extend(which.compress(&plain));
    }
    let total = out.len() + if checksum { 4 } else { 0 };
    for (at, field) in [length(total), id, response_to, opcode]
        .into_iter()
        .enumerate()
    {
        out[4 * at..4 * at + 4].copy_from_slice(&field.to_le_bytes());
    }
    if checksum {
        out.extend(crc::crc32c(&out).to_le_bytes());
    }
    out
}

/// Encodes a command as a router sends it to a member.
pub(crate) fn request(id: i32, command: &Document) -> Vec<u8> {
    let body = command.to_vec();
    let body = body.expect("a command that was decoded encodes");
    let total = HEADER + 5 + body.len();
    let mut out = Vec::with_capacity(total);
    for field in [length(total), id, 0, OP_MSG, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.push(0);
    out.extend(body);
    out
}

/// The document of a plain reply, and the request that it answers.
pub(crate) fn parse_reply(message: &[u8]) -> Option<(i32, Document)> {
    let request = int(message, 8).ok()?;
    let document = Document::from_reader(message.get(HEADER + 5..)?).ok()?;
    Some((request, document))
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("batches keep replies far below 2 GiB")
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
