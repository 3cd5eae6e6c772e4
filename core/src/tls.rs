//! TLS inside the connection machine: ciphertext in and out, plaintext in and out.
//!
//! Decides how certificates are checked, which key proves the client, and how bytes become other
//! bytes. It reads no files, no clock and no socket: [`TlsFiles`] brings file contents, a function
//! brings wall-clock time, and the caller carries the ciphertext.
//!
//! Without the feature `tls` the types exist and [`TlsConfig::build`] returns `Unsupported`.
//!
//! Invariants: (1) the cryptography provider is chosen here, never the process default; (2) the
//! server's name is checked against its certificate even where it is an address that is not sent;
//! (3) a connection that ends without the TLS closing message is an error, never an end of data.
//!
//! Specification: "URI options" (the `tls*` options) and "Server Discovery and Monitoring" (which
//! errors are certificate errors).

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod channel;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod keys;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tests;
#[cfg(feature = "tls")]
mod verifier;

use std::{fmt, sync::Arc};

#[cfg(not(feature = "tls"))]
pub use self::absent::{TlsChannel, TlsConfig};
#[cfg(feature = "tls")]
pub use self::{channel::TlsChannel, config::TlsConfig};
use crate::{
    error::{Error, ErrorKind},
    time::UnixMillis,
};

/// The wall clock that certificates are checked against.
pub type WallClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The contents of the files that [`TlsOptions`](crate::options::TlsOptions) names.
///
/// `Debug` shows which are present.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// `tlsCAFile`: PEM certificates of the accepted authorities.
    pub ca: Option<Vec<u8>>,
    /// `tlsCertificateKeyFile`: the client's PEM key, and its certificates unless `cert` has them.
    pub cert_key: Option<Vec<u8>>,
    /// The client's PEM certificates, when they stand in a file of their own.
    pub cert: Option<Vec<u8>>,
    /// `tlsCRLFile`: PEM lists of revoked certificates.
    pub crl: Option<Vec<u8>>,
    /// The system's authorities in DER, for use without `ca`.
    pub system_roots: Vec<Vec<u8>>,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles")
            .field("ca", &self.ca.is_some())
            .field("cert_key", &self.cert_key.is_some())
            .field("cert", &self.cert.is_some())
            .field("crl", &self.crl.is_some())
            .field("system_roots", &self.system_roots.len())
            .finish()
    }
}

/// What [`TlsChannel::read_plaintext`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PlainRead {
    /// That many bytes were written into the buffer.
    Bytes(usize),
    /// The server closed the session in order (`close_notify`).
    Closed,
    /// Nothing until more ciphertext arrives.
    Pending,
}

/// Why a TLS session failed, as the inner error of an [`io::Error`](std::io::Error).
#[derive(Debug)]
pub(crate) struct TlsFailure {
    pub(crate) message: String,
    pub(crate) certificate: bool,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TlsFailure {}

/// Whether a certificate was refused, by this side or by the server.
///
/// Trying again cannot help and the server is not overloaded, so these errors are exempt from the
/// overload labels of connection establishment.
#[must_use]
pub fn is_certificate_error(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Io(io) => io
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsFailure>())
            .is_some_and(|failure| failure.certificate),
        _ => false,
    }
}
