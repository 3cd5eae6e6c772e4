//! What remains of TLS without the feature `tls`: types without values.

use std::convert::Infallible;

use super::{PlainRead, TlsFiles, WallClock};
use crate::{
    error::{Error, Result},
    options::TlsOptions,
};

/// How TLS sessions are made. Has no values without the feature `tls`.
#[derive(Clone, Debug)]
pub struct TlsConfig(Infallible);

impl TlsConfig {
    /// Returns `Unsupported`: the feature `tls` is not enabled.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn build(_: &TlsOptions, _: TlsFiles, _: WallClock) -> Result<Self> {
        Err(Error::unsupported("tls (enable the Cargo feature `tls`)"))
    }
}

/// One TLS session. Has no values without the feature `tls`.
#[derive(Debug)]
pub struct TlsChannel(Infallible);

impl TlsChannel {
    /// Never called: there is no configuration to call it with.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn new(config: &TlsConfig, _: &str) -> Result<Self> {
        match config.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn handle_ciphertext(&mut self, _: &[u8]) -> Result<()> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn read_plaintext(&mut self, _: &mut [u8]) -> Result<PlainRead> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn write_plaintext(&mut self, _: &[u8]) -> Result<()> {
        match self.0 {}
    }

    /// Never called.
    pub fn take_ciphertext(&mut self, _: &mut Vec<u8>) {
        match self.0 {}
    }

    /// Never called.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub fn close(&mut self) {
        match self.0 {}
    }

    /// Never called.
    pub fn handle_eof(&mut self) -> Error {
        match self.0 {}
    }
}
