//! OP_MSG and OP_COMPRESSED: requests to bytes, bytes to replies.

use std::ops::Range;

use bson::{Document, RawDocument};
use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc};

use super::{
    Chunk, Frame, FrameError, HEADER_LEN, Header, Reply, Request, WriteQueue,
    compress::{deflate, id, inflate},
    frame::{OP_COMPRESSED, OP_MSG},
};
use crate::{op::pieces::SHARED_MIN, options::Compressor};

const CHECKSUM_PRESENT: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;
/// A receiver must refuse unknown bits among these.
const REQUIRED_BITS: u32 = 0xffff;

const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// More kind-1 sections than this in one reply are refused.
const SEQUENCES_MAX: usize = 16;

/// Appends a request to the queue.
///
/// # Errors
///
/// [`FrameError::TooLong`] when the message has more than `max` bytes, or the compressor's error.
/// The queue is then unchanged.
#[inline]
pub fn encode(
    request: &Request,
    request_id: i32,
    compressor: Option<Compressor>,
    max: usize,
    out: &mut WriteQueue,
) -> Result<(), FrameError> {
    let length = message_len(request);
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    let header = Header {
        length,
        request_id,
        response_to: 0,
        op_code: OP_MSG,
    };
    let Some(compressor) = compressor else {
        push_message(&header.to_bytes()?, request, SHARED_MIN, out);
        return Ok(());
    };
    let size = length - HEADER_LEN;
    let mut plain = WriteQueue::default();
    push_message(&[], request, usize::MAX, &mut plain);
    let mut parts = [&[][..]];
    plain.slices(&mut parts);
    let mut message = vec![0; HEADER_LEN];
    message.extend_from_slice(&OP_MSG.to_le_bytes());
    let size_field = i32::try_from(size).map_err(|_| FrameError::TooLong { length, max })?;
    message.extend_from_slice(&size_field.to_le_bytes());
    message.push(id(compressor));
    deflate(compressor, parts[0], &mut message)?;
    let header = Header {
        length: message.len(),
        op_code: OP_COMPRESSED,
        ..header
    };
    message[..HEADER_LEN].copy_from_slice(&header.to_bytes()?);
    out.push_shared(Bytes::from(message));
    Ok(())
}

#[inline]
fn message_len(request: &Request) -> usize {
    let sequences = request.sequences.iter().fold(0_usize, |sum, sequence| {
        sum.saturating_add(sequence.identifier.len())
            .saturating_add(sequence.documents.len())
            .saturating_add(6)
    });
    (HEADER_LEN + 5)
        .saturating_add(request.document.len())
        .saturating_add(sequences)
}

/// Header, flags and sections; the caller has checked that the whole message's length fits into an
/// `i32`.
#[inline]
fn push_message(header: &[u8], request: &Request, shared_min: usize, out: &mut WriteQueue) {
    let mut flags = 0;
    if request.more_to_come {
        flags |= MORE_TO_COME;
    }
    if request.exhaust_allowed {
        flags |= EXHAUST_ALLOWED;
    }
    out.extend_with(|out| {
        out.reserve(header.len() + 5 + request.document.len());
        out.extend_from_slice(header);
        out.extend_from_slice(&flags.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&request.document);
    });
    for sequence in request.sequences.iter() {
        let size = sequence.identifier.len() + sequence.documents.len() + 5;
        out.extend_with(|out| {
            out.push(1);
            out.extend_from_slice(&(size as u32).to_le_bytes());
            out.extend_from_slice(sequence.identifier.as_bytes());
            out.push(0);
        });
        for piece in sequence.documents.iter() {
            match piece {
                Chunk::Shared(piece) if piece.len() >= shared_min => {
                    out.push_shared(piece.clone());
                }
                piece => out.push(piece),
            }
        }
    }
}

/// A message from the server.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The message's own id: what the next reply of an exhaust exchange answers.
    pub request_id: i32,
    /// The id of the message that it answers.
    pub response_to: i32,
    /// Another reply follows without a request.
    pub more_to_come: bool,
    /// The body.
    pub reply: Reply,
}

/// Decodes a frame; a compressed one may inflate to at most `size_max` bytes.
///
/// The body's length and terminator are checked here, its elements when they are read. Kind-1
/// sections become arrays in the body.
///
/// # Errors
///
/// A [`FrameError`] that names the field. The stream is then no longer usable.
#[inline]
pub fn decode(frame: Frame, size_max: usize) -> Result<Incoming, FrameError> {
    match frame.header.op_code {
        OP_MSG => match only_body(&frame.bytes) {
            Some(range) => Ok(Incoming {
                request_id: frame.header.request_id,
                response_to: frame.header.response_to,
                more_to_come: false,
                reply: Reply::checked(frame.bytes, range),
            }),
            None => decode_sections(frame.header, frame.bytes, HEADER_LEN),
        },
        OP_COMPRESSED => {
            let mut at = Cursor::new(&frame.bytes, HEADER_LEN);
            let op_code = at.int("originalOpcode")?;
            let size = at.int("uncompressedSize")?;
            let id = at.byte("compressorId")?;
            if op_code != OP_MSG {
                return Err(FrameError::OpCode(op_code));
            }
            let announced = usize::try_from(size)
                .ok()
                .filter(|size| *size <= size_max)
                .ok_or(FrameError::UncompressedSize {
                    size,
                    max: size_max,
                })?;
            let plain = inflate(id, &frame.bytes[at.position..], announced)?;
            let header = Header {
                length: HEADER_LEN.saturating_add(announced),
                op_code,
                ..frame.header
            };
            decode_sections(header, Chunk::Buffer(plain), 0)
        }
        code => Err(FrameError::OpCode(code)),
    }
}

/// Where the body of a message stands that has no flags and nothing but one whole document, as
/// nearly all replies; `None` leaves the message to [`decode_sections`].
#[inline]
fn only_body(message: &[u8]) -> Option<Range<usize>> {
    const START: usize = HEADER_LEN + 5;
    let (head, document) = message.split_at_checked(START)?;
    // Neither flags nor another kind of section.
    if head[HEADER_LEN..] != [0; 5] {
        return None;
    }
    let (len, [_, ..]) = document.split_first_chunk()? else {
        return None;
    };
    let len = usize::try_from(i32::from_le_bytes(*len)).ok()?;
    let whole = len == document.len() && document.last() == Some(&0);
    whole.then_some(START..message.len())
}

fn decode_sections(header: Header, bytes: Chunk, start: usize) -> Result<Incoming, FrameError> {
    let mut at = Cursor::new(&bytes, start);
    let flags = at.int("flagBits")?.cast_unsigned();
    if flags & REQUIRED_BITS & !(CHECKSUM_PRESENT | MORE_TO_COME) != 0 {
        return Err(FrameError::Flags(flags));
    }
    if flags & CHECKSUM_PRESENT != 0 {
        let end = bytes.len().checked_sub(4).filter(|end| *end >= at.position);
        let end = end.ok_or(FrameError::Truncated("checksum"))?;
        verify_checksum(header, &bytes[start..end], &bytes[end..])?;
        at.bytes = &bytes[..end];
    }
    let mut body = None;
    let mut sequences = Vec::new();
    while !at.is_at_end() {
        match at.byte("sections")? {
            0 if body.is_none() => body = Some(at.document("body")?),
            0 => return Err(FrameError::Document("second body")),
            1 if sequences.len() < SEQUENCES_MAX => sequences.push(at.sequence()?),
            1 => return Err(FrameError::Document("too many sequences")),
            kind => return Err(FrameError::SectionKind(kind)),
        }
    }
    let range = body.ok_or(FrameError::Truncated("body"))?;
    let (bytes, range) = if sequences.is_empty() {
        (bytes, range)
    } else {
        let sequences = sequences
            .iter()
            .map(|s| (&bytes[s.identifier.clone()], [&bytes[s.documents.clone()]]));
        let merged = merge(&bytes[range], sequences)?;
        let range = 0..merged.len();
        (Chunk::Buffer(merged), range)
    };
    Ok(Incoming {
        request_id: header.request_id,
        response_to: header.response_to,
        more_to_come: flags & MORE_TO_COME != 0,
        reply: Reply::new(bytes, range).map_err(|_| FrameError::Document("body"))?,
    })
}

fn verify_checksum(header: Header, covered: &[u8], field: &[u8]) -> Result<(), FrameError> {
    let mut digest = CRC_32C.digest();
    digest.update(&header.to_bytes()?);
    digest.update(covered);
    if digest.finalize().to_le_bytes() == field {
        Ok(())
    } else {
        Err(FrameError::Checksum)
    }
}

/// The whole command as one document, sequences as arrays: what command events show.
///
/// A request that is not valid BSON gives an empty document.
#[must_use]
pub fn command_document(request: &Request) -> Document {
    let sequences = request
        .sequences
        .iter()
        .map(|s| (s.identifier.as_bytes(), s.documents.iter().map(|p| &p[..])));
    merge(&request.document, sequences)
        .ok()
        .and_then(|bytes| Document::try_from(RawDocument::from_bytes(&bytes).ok()?).ok())
        .unwrap_or_default()
}

/// A body document with each sequence added as an array; its documents may come in pieces.
fn merge<'a>(
    body: &[u8],
    sequences: impl Iterator<Item = (&'a [u8], impl IntoIterator<Item = &'a [u8]>)>,
) -> Result<Vec<u8>, FrameError> {
    const TOO_LONG: FrameError = FrameError::Document("sequence: too long");
    let size = |len: usize| {
        i32::try_from(len)
            .map(i32::to_le_bytes)
            .map_err(|_| TOO_LONG)
    };
    let mut out = body.to_vec();
    out.pop().ok_or(FrameError::Document("body"))?;
    for (identifier, pieces) in sequences {
        let name = std::str::from_utf8(identifier)
            .map_err(|_| FrameError::Document("sequence identifier"))?;
        // The document so far, closed: also finds a name that occurs in two sequences.
        out.push(0);
        let len = size(out.len())?;
        out[..4].copy_from_slice(&len);
        let so_far = RawDocument::from_bytes(&out).map_err(|_| FrameError::Document("body"))?;
        if !matches!(so_far.get(name), Ok(None)) {
            return Err(FrameError::Document(
                "sequence identifier: also in the body",
            ));
        }
        out.pop();
        out.push(0x04);
        out.extend_from_slice(identifier);
        out.push(0);
        let array = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut index = 0_u32;
        for documents in pieces {
            let mut at = Cursor::new(documents, 0);
            while !at.is_at_end() {
                let document = at.document("sequence")?;
                out.push(0x03);
                out.extend_from_slice(index.to_string().as_bytes());
                out.push(0);
                out.extend_from_slice(&documents[document]);
                index += 1;
            }
        }
        out.push(0);
        let len = size(out.len() - array)?;
        out[array..array + 4].copy_from_slice(&len);
    }
    out.push(0);
    let len = size(out.len())?;
    out.get_mut(..4)
        .ok_or(FrameError::Document("body"))?
        .copy_from_slice(&len);
    Ok(out)
}

/// Where a kind-1 section's parts stand.
struct Sequence {
    identifier: Range<usize>,
    documents: Range<usize>,
}

/// Reads fields of a message; every read is checked.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    fn take(&mut self, n: usize, field: &'static str) -> Result<Range<usize>, FrameError> {
        let end = self.position.checked_add(n);
        let end = end.filter(|end| *end <= self.bytes.len());
        let range = self.position..end.ok_or(FrameError::Truncated(field))?;
        self.position = range.end;
        Ok(range)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, FrameError> {
        let at = self.take(1, field)?.start;
        Ok(self.bytes[at])
    }

    fn int(&mut self, field: &'static str) -> Result<i32, FrameError> {
        let range = self.take(4, field)?;
        let bytes = self.bytes[range].first_chunk();
        Ok(i32::from_le_bytes(*bytes.expect("took four bytes")))
    }

    /// A length field that counts itself, and the bytes that it counts.
    fn sized(&mut self, field: &'static str) -> Result<Range<usize>, FrameError> {
        let start = self.position;
        let size = usize::try_from(self.int(field)?).map_err(|_| FrameError::Document(field))?;
        let rest = size.checked_sub(4).ok_or(FrameError::Document(field))?;
        let end = self.take(rest, field)?.end;
        Ok(start..end)
    }

    fn document(&mut self, field: &'static str) -> Result<Range<usize>, FrameError> {
        let range = self.sized(field)?;
        let document = &self.bytes[range.clone()];
        if document.len() < 5 || document.last() != Some(&0) {
            return Err(FrameError::Document(field));
        }
        Ok(range)
    }

    fn sequence(&mut self) -> Result<Sequence, FrameError> {
        let range = self.sized("sequence")?;
        let start = range.start + 4;
        let nul = self.bytes[start..range.end].iter().position(|b| *b == 0);
        let nul = start + nul.ok_or(FrameError::Document("sequence identifier"))?;
        Ok(Sequence {
            identifier: start..nul,
            documents: nul + 1..range.end,
        })
    }
}
