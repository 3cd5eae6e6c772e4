//! One TLS session over bytes that somebody else carries.
//!
//! The TLS library holds at most about one record of plaintext. Ciphertext beyond that waits in
//! `pending` and is fed while plaintext is read, so memory is bounded by what the caller hands in
//! between two reads that end in [`PlainRead::Pending`].

use std::{
    fmt,
    io::{self, Read, Write},
    sync::Arc,
};

use rustls::{AlertDescription, ClientConnection, pki_types::ServerName};

use super::{PlainRead, TlsConfig, TlsFailure};
use crate::error::{Error, Result};

/// One TLS session, client side.
///
/// After any call that can produce output (including failed ones: the alert that tells the server
/// why), call [`Self::take_ciphertext`].
pub struct TlsChannel {
    tls: ClientConnection,
    /// Ciphertext that was handed in and not yet taken by `tls`, from `pending_start` on.
    pending: Vec<u8>,
    pending_start: usize,
    /// Whether the server sent `close_notify`.
    closed: bool,
}

impl TlsChannel {
    /// Begins a session with the server `host`: a DNS name or an IP address.
    ///
    /// A name is sent to the server (SNI), an address is not; both must be in the certificate.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `host` is neither.
    pub fn new(config: &TlsConfig, host: &str) -> Result<Self> {
        let name = server_name(host)?;
        let mut tls = ClientConnection::new(Arc::clone(&config.0), name)
            .map_err(|e| failure("TLS session cannot begin", &e))?;
        // The default limit of 64 KiB would cut large messages; the caller bounds them.
        tls.set_buffer_limit(None);
        Ok(Self {
            tls,
            pending: Vec::new(),
            pending_start: 0,
            closed: false,
        })
    }

    /// Takes ciphertext from the server.
    ///
    /// Read the plaintext until [`PlainRead::Pending`] before handing in more.
    ///
    /// # Errors
    ///
    /// `Io` if the session failed; the session is over then.
    pub fn handle_ciphertext(&mut self, bytes: &[u8]) -> Result<()> {
        let taken = if self.pending_start == self.pending.len() {
            self.feed(bytes)?
        } else {
            0
        };
        self.pending.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Reads decrypted bytes into `out`, which must not be empty.
    ///
    /// # Errors
    ///
    /// `Io` if the session failed; the session is over then.
    pub fn read_plaintext(&mut self, out: &mut [u8]) -> Result<PlainRead> {
        if out.is_empty() {
            return Ok(PlainRead::Pending);
        }
        loop {
            match self.tls.reader().read(out) {
                Ok(0) => return Ok(PlainRead::Closed),
                Ok(len) => return Ok(PlainRead::Bytes(len)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Error::io(e)),
            }
            if self.pending_start == self.pending.len() {
                return Ok(PlainRead::Pending);
            }
            let pending = std::mem::take(&mut self.pending);
            let taken = self.feed(&pending[self.pending_start..]);
            self.pending = pending;
            self.pending_start += taken?;
            if self.pending_start == self.pending.len() {
                self.pending.clear();
                self.pending_start = 0;
            }
        }
    }

    /// Takes bytes to send to the server; before the end of the handshake they wait.
    ///
    /// # Errors
    ///
    /// `Io` if the session failed.
    pub fn write_plaintext(&mut self, bytes: &[u8]) -> Result<()> {
        self.tls.writer().write_all(bytes).map_err(Error::io)
    }

    /// Appends all ciphertext for the server to `out`.
    pub fn take_ciphertext(&mut self, out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            match self.tls.write_tls(out) {
                Ok(len) if len > 0 => {}
                // A vector takes everything; should it not, stopping beats spinning.
                _ => break,
            }
        }
    }

    /// Whether the handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Ends the session in order: the next [`Self::take_ciphertext`] yields `close_notify`.
    pub fn close(&mut self) {
        self.tls.send_close_notify();
    }

    /// Takes the end of the server's stream and says which error that is.
    ///
    /// `Io` with `UnexpectedEof` in every case; the message tells an orderly end (`close_notify`
    /// came first) from a cut and from the end of a handshake.
    pub fn handle_eof(&mut self) -> Error {
        let message = if self.tls.is_handshaking() {
            "connection closed during the TLS handshake"
        } else if self.closed {
            "connection closed by the server"
        } else {
            "connection closed without TLS close_notify"
        };
        Error::io(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }

    /// Feeds ciphertext until plaintext waits to be read; says how much was taken.
    fn feed(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self
                .tls
                .read_tls(&mut rest)
                .map_err(|e| Error::io(io::Error::new(io::ErrorKind::InvalidData, e)))?;
            if len == 0 {
                // After close_notify nothing is read any more; what follows means nothing.
                return Ok(bytes.len());
            }
            let state = self
                .tls
                .process_new_packets()
                .map_err(|e| failure("TLS session failed", &e))?;
            self.closed |= state.peer_has_closed();
            if state.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        Ok(bytes.len() - rest.len())
    }
}

impl fmt::Debug for TlsChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsChannel")
            .field("handshaking", &self.tls.is_handshaking())
            .field("pending", &(self.pending.len() - self.pending_start))
            .finish_non_exhaustive()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    // The zone of a link-local address is the client's own business.
    let bare = bare.split('%').next().unwrap_or(bare);
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        Error::invalid_argument(format!("host \"{host}\" is no name that TLS can check"))
    })
}

/// A failed session as an error: `InvalidData`, marked if a certificate is the reason.
fn failure(what: &str, error: &rustls::Error) -> Error {
    use AlertDescription as Alert;

    let certificate = match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::InvalidCertRevocationList(_)
        | rustls::Error::NoCertificatesPresented => true,
        rustls::Error::AlertReceived(alert) => matches!(
            *alert,
            Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired
        ),
        _ => false,
    };
    Error::io(io::Error::new(
        io::ErrorKind::InvalidData,
        TlsFailure {
            message: format!("{what}: {error}"),
            certificate,
        },
    ))
}
