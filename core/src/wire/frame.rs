//! Cuts a byte stream into messages.
//!
//! Bytes are read into a reusable scratch buffer. A message that fits into it is copied out once,
//! into a spare buffer if one was lent; a longer one gets an allocation of exactly its length as soon as
//! its header is known, and the rest is read in place.

use std::fmt;

use bytes::Bytes;

use super::{Chunk, FrameError};

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
    #[inline]
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
    #[inline]
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
    pub bytes: Chunk,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Moves a buffer to a place that may have one, which then suffices.
#[inline]
pub(super) fn hand_over(from: &mut Vec<u8>, to: &mut Vec<u8>) {
    if from.capacity() == 0 {
        return;
    }
    if to.capacity() == 0 {
        std::mem::swap(from, to);
    } else {
        *from = Vec::new();
    }
}

/// A frame that is longer than the scratch buffer.
struct Long {
    header: Header,
    /// Room for the whole message: what was received, and zeros behind it once someone had to see
    /// the room as a slice.
    bytes: Vec<u8>,
    filled: usize,
}

impl Long {
    fn is_zeroed(&self) -> bool {
        self.bytes.len() > self.filled
    }

    fn is_whole(&self) -> bool {
        self.filled == self.header.length
    }
}

/// Cuts a byte stream into frames.
///
/// After [`advance`](Self::advance), [`poll_frame`](Self::poll_frame) must be called until it
/// returns `None` before [`space`](Self::space) or [`tail`](Self::tail) is asked for again.
#[derive(Default)]
pub struct Framer {
    scratch: Vec<u8>,
    start: usize,
    end: usize,
    long: Option<Long>,
    /// Where the next short message goes.
    spare: Vec<u8>,
}

impl Framer {
    /// Where the next bytes go: never empty once all frames are polled.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(long) = &mut self.long {
            long.bytes.resize(long.header.length, 0);
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

    /// Instead of [`space`](Self::space), for readers that can append to a vector: where the rest
    /// of a long frame goes, and how many bytes of it are missing. The room is not zeroed.
    #[inline]
    pub fn tail(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let long = self.long.as_mut().filter(|long| !long.is_zeroed())?;
        let missing = long.header.length - long.filled;
        Some((&mut long.bytes, missing))
    }

    /// `n` bytes were put into [`space`](Self::space), or appended to [`tail`](Self::tail); more
    /// than there was room for are not counted.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        match &mut self.long {
            Some(long) => {
                long.bytes.truncate(long.header.length);
                long.filled = long.filled.saturating_add(n).min(long.bytes.len());
            }
            None => self.end = self.end.saturating_add(n).min(self.scratch.len()),
        }
    }

    /// The next whole frame; a header that announces more than `max` bytes is refused.
    ///
    /// # Errors
    ///
    /// [`FrameError::Length`] or [`FrameError::OpCode`]. The stream is then out of step and must be given up.
    #[inline]
    pub fn poll_frame(&mut self, max: usize) -> Result<Option<Frame>, FrameError> {
        if let Some(long) = self.long.take_if(|long| long.is_whole()) {
            return Ok(Some(Frame {
                header: long.header,
                bytes: Bytes::from(long.bytes).into(),
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
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            bytes.extend_from_slice(message);
            self.start += header.length;
            return Ok(Some(Frame {
                header,
                bytes: bytes.into(),
            }));
        }
        if header.length > self.scratch.len() {
            let mut bytes = Vec::with_capacity(header.length);
            bytes.extend_from_slice(unread);
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

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.scratch.capacity() + self.spare.capacity()
    }

    /// Takes a scratch buffer over, unless there is one; the content does not matter.
    #[inline]
    pub fn lend(&mut self, scratch: &mut Vec<u8>) {
        if self.scratch.is_empty() {
            std::mem::swap(&mut self.scratch, scratch);
        }
    }

    /// Takes a buffer for the next short message over, unless there is one.
    #[inline]
    pub fn lend_spare(&mut self, spare: &mut Vec<u8>) {
        if self.spare.capacity() == 0 {
            std::mem::swap(&mut self.spare, spare);
        }
    }

    /// Gives that buffer up, if it was not used.
    #[inline]
    pub fn reclaim_spare(&mut self, spare: &mut Vec<u8>) {
        hand_over(&mut self.spare, spare);
    }

    /// Gives the scratch buffer up, unless bytes of a frame are in it.
    #[inline]
    pub fn reclaim(&mut self, scratch: &mut Vec<u8>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            hand_over(&mut self.scratch, scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        let header = Header {
            length: len,
            request_id: 1,
            response_to: 2,
            op_code: OP_MSG,
        };
        let mut message = header.to_bytes().unwrap().to_vec();
        message.extend((HEADER_LEN..len).map(|i| i as u8));
        message
    }

    fn frames(framer: &mut Framer) -> Vec<Bytes> {
        let poll = || framer.poll_frame(MESSAGE_LEN_MAX).unwrap();
        std::iter::from_fn(poll)
            .map(|frame| Bytes::copy_from_slice(&frame.bytes))
            .collect()
    }

    #[test]
    fn a_long_message_is_the_same_however_its_rest_is_read() {
        let len = SCRATCH_LEN * 2 + 5;
        let (whole, next) = (message(len), message(40));
        let stream = [&whole[..], &next[..]].concat();
        for step in [1, 7, 4096, usize::MAX] {
            // Which reads go through the tail: all, none, or all before the first that does not.
            for tails in [usize::MAX, 0, 3] {
                let (mut framer, mut rest, mut out) = (Framer::default(), &stream[..], Vec::new());
                let mut tailed = 0;
                while !rest.is_empty() {
                    let n = match framer.tail().filter(|_| tailed < tails) {
                        Some((bytes, most)) => {
                            tailed += 1;
                            assert_eq!(bytes.capacity(), len, "one allocation of its length");
                            let n = step.min(most).min(rest.len());
                            bytes.extend_from_slice(&rest[..n]);
                            assert_eq!(bytes.capacity(), len);
                            n
                        }
                        None => {
                            let space = framer.space();
                            let n = step.min(space.len()).min(rest.len());
                            space[..n].copy_from_slice(&rest[..n]);
                            n
                        }
                    };
                    framer.advance(n);
                    rest = &rest[n..];
                    out.extend(frames(&mut framer));
                }
                assert_eq!(tailed > 0, tails > 0);
                assert_eq!(out, [&whole[..], &next[..]], "step {step}, tails {tails}");
            }
        }
    }

    #[test]
    fn a_reader_that_appends_too_much_or_too_little_breaks_nothing() {
        let whole = message(SCRATCH_LEN * 2);
        let start = || {
            let mut framer = Framer::default();
            framer.space().copy_from_slice(&whole[..SCRATCH_LEN]);
            framer.advance(SCRATCH_LEN);
            assert_eq!(frames(&mut framer).len(), 0);
            framer
        };
        let mut framer = start();
        framer.tail().unwrap().0.extend([0; SCRATCH_LEN + 9]);
        framer.advance(SCRATCH_LEN + 9);
        assert_eq!(frames(&mut framer)[0].len(), whole.len());
        let mut framer = start();
        framer.tail().unwrap().0.push(0);
        framer.advance(100);
        assert_eq!(framer.space().len(), SCRATCH_LEN - 1);
        let mut framer = start();
        framer.tail().unwrap().0.clear();
        framer.advance(1);
        assert!(frames(&mut framer).is_empty());
        assert!(!framer.space().is_empty());
    }
}
