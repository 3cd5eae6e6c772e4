//! Bytes of the socket to frames and back, with or without TLS.

use crate::{
    error::Error,
    options::Compressor,
    tls::{PlainRead, TlsChannel, TlsConfig},
    wire::{Frame, FrameError, Framer, Reply, Request, WriteQueue, encode},
};

const CIPHERTEXT_LEN: usize = 16 * 1024;
/// How many slices of a message are encrypted at a time.
const SLICES: usize = 8;

/// Buffers that connections lend while they move bytes, so that an idle one holds none.
///
/// One is enough for all connections of a thread: lend it before a connection is driven, and reclaim
/// it when it waits.
#[derive(Default)]
pub struct Scratch {
    socket: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
    reply: Vec<u8>,
}

/// A larger buffer for replies is not kept.
const REPLY_LEN_MAX: usize = 64 * 1024;

impl Scratch {
    /// Keeps the buffer of a reply that was read, for the next one.
    #[inline]
    pub fn keep_reply(&mut self, reply: Reply) {
        let buffer = reply.into_buffer();
        if (1..=REPLY_LEN_MAX).contains(&buffer.capacity()) {
            self.reply = buffer;
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

/// TLS and its buffer of received ciphertext.
struct Secure {
    tls: TlsChannel,
    received: Vec<u8>,
}

/// Bytes of the socket to frames and back.
pub(super) struct Channel {
    secure: Option<Box<Secure>>,
    framer: Framer,
    queue: WriteQueue,
}

impl Channel {
    pub(super) fn new(tls: Option<&TlsConfig>, host: &str) -> Result<Self, Error> {
        let secure = match tls {
            None => None,
            Some(config) => Some(Box::new(Secure {
                tls: TlsChannel::new(config, host)?,
                received: Vec::new(),
            })),
        };
        let mut channel = Self {
            secure,
            framer: Framer::default(),
            queue: WriteQueue::default(),
        };
        channel.flush();
        Ok(channel)
    }

    #[inline]
    pub(super) fn is_handshaking(&self) -> bool {
        let secure = self.secure.as_ref();
        secure.is_some_and(|secure| secure.tls.is_handshaking())
    }

    #[inline]
    pub(super) fn is_secure(&self) -> bool {
        self.secure.is_some()
    }

    pub(super) fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    #[inline]
    pub(super) fn queue(&self) -> &WriteQueue {
        &self.queue
    }

    #[inline]
    pub(super) fn handle_written(&mut self, n: usize) {
        self.queue.advance(n);
    }

    /// Where the next bytes of the socket go.
    #[inline]
    pub(super) fn read_space(&mut self) -> &mut [u8] {
        match &mut self.secure {
            None => self.framer.space(),
            Some(secure) => {
                if secure.received.is_empty() {
                    secure.received = vec![0; CIPHERTEXT_LEN];
                }
                &mut secure.received
            }
        }
    }

    /// Where the rest of a long message goes, for readers that can append; never with TLS.
    #[inline]
    pub(super) fn read_tail(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        match self.secure {
            None => self.framer.tail(),
            Some(_) => None,
        }
    }

    #[inline]
    pub(super) fn handle_read(&mut self, n: usize) -> Result<(), Error> {
        match &mut self.secure {
            None => self.framer.advance(n),
            Some(secure) => {
                let n = n.min(secure.received.len());
                secure.tls.handle_ciphertext(&secure.received[..n])?;
            }
        }
        self.flush();
        Ok(())
    }

    /// Moves decrypted bytes to the framer; false when there are none.
    #[inline]
    pub(super) fn pull_plaintext(&mut self) -> Result<bool, Error> {
        let Some(secure) = &mut self.secure else {
            return Ok(false);
        };
        match secure.tls.read_plaintext(self.framer.space())? {
            PlainRead::Bytes(n) => {
                self.framer.advance(n);
                Ok(n > 0)
            }
            PlainRead::Pending => {
                // Reading may have raised an answer, such as a key update.
                self.flush();
                Ok(false)
            }
            PlainRead::Closed => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    #[inline]
    pub(super) fn poll_frame(&mut self, max: usize) -> Result<Option<Frame>, FrameError> {
        self.framer.poll_frame(max)
    }

    /// What the end of the byte stream means.
    pub(super) fn eof(&mut self) -> Error {
        match &mut self.secure {
            None => std::io::ErrorKind::UnexpectedEof.into(),
            Some(secure) => secure.tls.handle_eof(),
        }
    }

    /// Encodes, encrypts and queues a request.
    #[inline]
    pub(super) fn send(
        &mut self,
        request: &Request,
        id: i32,
        compressor: Option<Compressor>,
        max: usize,
    ) -> Result<(), SendError> {
        let Some(secure) = &mut self.secure else {
            return encode(request, id, compressor, max, &mut self.queue).map_err(SendError::Frame);
        };
        let mut plain = WriteQueue::default();
        encode(request, id, compressor, max, &mut plain).map_err(SendError::Frame)?;
        while !plain.is_empty() {
            let mut slices = [&[][..]; SLICES];
            let count = plain.slices(&mut slices);
            let mut written = 0;
            for slice in &slices[..count] {
                secure.tls.write_plaintext(slice).map_err(SendError::Tls)?;
                written += slice.len();
            }
            plain.advance(written);
        }
        self.flush();
        Ok(())
    }

    #[inline]
    fn flush(&mut self) {
        if let Some(secure) = &mut self.secure {
            self.queue
                .extend_with(|out| secure.tls.take_ciphertext(out));
        }
    }

    /// Queues what a failed TLS session has to tell the server; false when that is nothing.
    pub(super) fn flush_alert(&mut self) -> bool {
        let before = self.queue.len();
        self.flush();
        self.queue.len() > before
    }

    /// Withdraws everything not yet written; without TLS only.
    pub(super) fn withdraw(&mut self) {
        self.queue.clear();
    }

    /// Takes buffers over that it needs for as long as bytes are moved.
    #[inline]
    pub(super) fn lend(&mut self, scratch: &mut Scratch) {
        self.queue.lend(&mut scratch.out);
        self.framer.lend_spare(&mut scratch.reply);
        match &mut self.secure {
            None => self.framer.lend(&mut scratch.socket),
            Some(secure) => {
                if secure.received.is_empty() {
                    std::mem::swap(&mut secure.received, &mut scratch.socket);
                }
                self.framer.lend(&mut scratch.plain);
            }
        }
    }

    /// Gives the buffers up that hold no part of a message.
    #[inline]
    pub(super) fn reclaim(&mut self, scratch: &mut Scratch) {
        self.queue.reclaim(&mut scratch.out);
        self.framer.reclaim_spare(&mut scratch.reply);
        match &mut self.secure {
            None => self.framer.reclaim(&mut scratch.socket),
            Some(secure) => {
                // Ciphertext is taken out of it at once.
                let received = std::mem::take(&mut secure.received);
                if scratch.socket.is_empty() {
                    scratch.socket = received;
                }
                self.framer.reclaim(&mut scratch.plain);
            }
        }
    }

    /// The room of all buffers.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let received = self.secure.as_ref().map_or(0, |s| s.received.capacity());
        received + self.framer.room() + self.queue.room()
    }

    /// Nothing is read or written any more.
    pub(super) fn shut(&mut self) {
        self.framer = Framer::default();
        self.queue = WriteQueue::default();
    }
}

/// Why a request was not queued.
pub(super) enum SendError {
    Frame(FrameError),
    Tls(Error),
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Frame(e) => e.into(),
            SendError::Tls(e) => e,
        }
    }
}
