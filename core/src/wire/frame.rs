//! Cuts a byte stream into messages.
//!
//! Bytes are read into a reusable scratch buffer. A message that fits into it is copied out once
//! into an allocation of its own; a longer one gets an allocation of exactly its length as soon as
//! its header is known, and the rest is read in place.

use std::fmt;

use bytes::Bytes;

use super::FrameError;

/// The length of a message header.
pub const HEADER_LEN: usize = 16;
/// `maxMessageSizeBytes` of a server that has not said its own.
pub const MESSAGE_LEN_DEFAULT: usize = 48_000_000;
/// The longest message that is accepted, whatever a server announces.
pub const MESSAGE_LEN_MAX: usize = 128 * 1024 * 1024;

pub(super) const OP_COMPRESSED: i32 = 2012;
pub(super) const OP_MSG: i32 = 2013;

const SCRATCH_LEN: usize = 16 * 1024;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `messageLength`: of the whole message, with this header.
    pub length: usize,
    /// `requestID`.
    pub request_id: i32,
    /// `responseTo`.
    pub response_to: i32,
    /// `opCode`.
    pub op_code: i32,
}

impl Header {
    /// Parses a header; its length must be within `16 ..= max`.
    ///
    /// # Errors
    ///
    /// [`FrameError::Length`], or [`FrameError::Truncated`] for fewer than 16 bytes.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Self, FrameError> {
        let (length, request_id) = (int(bytes, 0)?, int(bytes, 4)?);
        let (response_to, op_code) = (int(bytes, 8)?, int(bytes, 12)?);
        match usize::try_from(length) {
            Ok(len) if (HEADER_LEN..=max).contains(&len) => Ok(Self {
                length: len,
                request_id,
                response_to,
                op_code,
            }),
            _ => Err(FrameError::Length { length, max }),
        }
    }

    /// The header as it is sent.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] when the length does not fit into the field.
    pub fn to_bytes(self) -> Result<[u8; HEADER_LEN], FrameError> {
        let length = i32::try_from(self.length).map_err(|_| FrameError::TooLong {
            length: self.length,
            max: i32::MAX as usize,
        })?;
        let mut out = [0; HEADER_LEN];
        let fields = [length, self.request_id, self.response_to, self.op_code];
        for (chunk, field) in out.chunks_exact_mut(4).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        Ok(out)
    }
}

fn int(bytes: &[u8], at: usize) -> Result<i32, FrameError> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field
        .map(|b| i32::from_le_bytes(*b))
        .ok_or(FrameError::Truncated("header"))
}

/// A whole message, its header checked and its contents not yet looked at.
///
/// `Debug` shows the header only.
#[derive(Clone)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// The message, with the header.
    pub bytes: Bytes,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Moves a buffer to a place that may have one, which then suffices.
pub(super) fn hand_over(from: &mut Vec<u8>, to: &mut Vec<u8>) {
    let buffer = std::mem::take(from);
    if to.capacity() == 0 {
        *to = buffer;
    }
}

/// A frame that is longer than the scratch buffer.
struct Long {
    header: Header,
    bytes: Vec<u8>,
    filled: usize,
}

/// Cuts a byte stream into frames.
///
/// After [`advance`](Self::advance), [`poll_frame`](Self::poll_frame) must be called until it
/// returns `None` before [`space`](Self::space) is asked for again.
#[derive(Default)]
pub struct Framer {
    scratch: Vec<u8>,
    start: usize,
    end: usize,
    long: Option<Long>,
}

impl Framer {
    /// Where the next bytes go: never empty once all frames are polled.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(long) = &mut self.long {
            return &mut long.bytes[long.filled..];
        }
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH_LEN];
        }
        if self.start > 0 {
            self.scratch.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.scratch[self.end..]
    }

    /// `n` bytes were put into [`space`](Self::space); more than it had are not counted.
    pub fn advance(&mut self, n: usize) {
        match &mut self.long {
            Some(long) => long.filled = long.filled.saturating_add(n).min(long.bytes.len()),
            None => self.end = self.end.saturating_add(n).min(self.scratch.len()),
        }
    }

    /// The next whole frame; a header that announces more than `max` bytes is refused.
    ///
    /// # Errors
    ///
    /// [`FrameError::Length`] or [`FrameError::OpCode`]. The stream is then out of step and must be given up.
    pub fn poll_frame(&mut self, max: usize) -> Result<Option<Frame>, FrameError> {
        if let Some(long) = self.long.take_if(|long| long.filled == long.bytes.len()) {
            return Ok(Some(Frame {
                header: long.header,
                bytes: Bytes::from(long.bytes),
            }));
        }
        if self.long.is_some() {
            return Ok(None);
        }
        let unread = &self.scratch[self.start..self.end];
        if unread.len() < HEADER_LEN {
            return Ok(None);
        }
        let header = Header::parse(unread, max)?;
        if !matches!(header.op_code, OP_COMPRESSED | OP_MSG) {
            return Err(FrameError::OpCode(header.op_code));
        }
        if let Some(message) = unread.get(..header.length) {
            let bytes = Bytes::from(message.to_vec());
            self.start += header.length;
            return Ok(Some(Frame { header, bytes }));
        }
        if header.length > self.scratch.len() {
            let mut bytes = vec![0; header.length];
            bytes[..unread.len()].copy_from_slice(unread);
            let filled = unread.len();
            self.start = self.end;
            self.long = Some(Long {
                header,
                bytes,
                filled,
            });
        }
        Ok(None)
    }

    /// How much memory the frame that is being received takes: 0 between frames, its whole length
    /// once it has an allocation of its own.
    #[must_use]
    pub fn partial_len(&self) -> usize {
        match &self.long {
            Some(long) => long.header.length,
            None => self.end - self.start,
        }
    }

    /// Takes a scratch buffer over, unless there is one; the content does not matter.
    pub fn lend(&mut self, scratch: &mut Vec<u8>) {
        if self.scratch.is_empty() {
            std::mem::swap(&mut self.scratch, scratch);
        }
    }

    /// Gives the scratch buffer up, unless bytes of a frame are in it.
    pub fn reclaim(&mut self, scratch: &mut Vec<u8>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            hand_over(&mut self.scratch, scratch);
        }
    }

    /// Gives the scratch buffer back to the allocator; only between frames.
    pub fn trim(&mut self) {
        if self.partial_len() == 0 {
            *self = Self::default();
        }
    }
}
