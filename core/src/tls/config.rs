//! From options and file contents to a configuration that every connection of a client shares.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    time_provider::TimeProvider,
};

use super::{
    TlsFiles, WallClock, keys,
    verifier::{AnyCertificate, AnyName},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::TlsOptions,
};

/// How TLS sessions are made: accepted authorities, the client's key, leniency. Cheap to clone.
///
/// `Debug` shows nothing of keys.
#[derive(Clone)]
pub struct TlsConfig(pub(super) Arc<ClientConfig>);

impl TlsConfig {
    /// Builds a configuration from options and the contents of the files that they name.
    ///
    /// Certificates are checked at the time that `wall_clock` tells. With a CRL, the server's own
    /// certificate (not its authorities') must be covered by a list that has not expired, as with
    /// OpenSSL's leaf check.
    ///
    /// # Errors
    ///
    /// `InvalidTlsConfig`, naming the option; `Unsupported` for an encrypted key without the
    /// feature `cert-key-password`.
    pub fn build(options: &TlsOptions, files: TlsFiles, wall_clock: WallClock) -> Result<Self> {
        let provider = provider();
        let verifier = verifier(options, &files, &provider)?;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Clock(wall_clock)))
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid(format!("protocol versions: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let password = options.tls_certificate_key_file_password.as_deref();
        let mut config = match keys::client_identity(&files, password)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| invalid(format!("tlsCertificateKeyFile: {e}")))?,
            None => builder.with_no_client_auth(),
        };
        // Servers do not resume sessions, so tickets would only take memory.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field(
                "client_certificate",
                &self.0.client_auth_cert_resolver.has_certs(),
            )
            .finish_non_exhaustive()
    }
}

/// The cryptography provider: ring, whatever else is compiled in or installed in the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn verifier(
    options: &TlsOptions,
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    // Files are read even where nothing is checked, so that a broken one is not found later.
    let roots = roots(files)?;
    let crls = match &files.crl {
        Some(pem) => keys::crls(pem)?,
        None => Vec::new(),
    };
    if options.allow_invalid_certificates == Some(true) {
        return Ok(Arc::new(AnyCertificate(
            provider.signature_verification_algorithms,
        )));
    }
    if roots.is_empty() {
        return Err(invalid(
            "no certificate authorities: the system has none and tlsCAFile is not set",
        ));
    }
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !crls.is_empty() {
        builder = builder
            .with_crls(crls)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let strict = builder
        .build()
        .map_err(|e| invalid(format!("tlsCRLFile: {e}")))?;
    if options.allow_invalid_hostnames == Some(true) {
        return Ok(Arc::new(AnyName(strict)));
    }
    Ok(strict)
}

fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &files.ca {
        for certificate in keys::certificates(pem, "tlsCAFile")? {
            roots
                .add(certificate)
                .map_err(|e| invalid(format!("tlsCAFile: {e}")))?;
        }
    } else {
        // System stores hold certificates that no verifier accepts; they are left out.
        let system = files.system_roots.iter();
        roots.add_parsable_certificates(system.map(|der| CertificateDer::from(der.as_slice())));
    }
    Ok(roots)
}

/// An [`ErrorKind::InvalidTlsConfig`].
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidTlsConfig {
        message: message.into(),
    })
}

/// The driver's wall clock as the TLS library sees it.
struct Clock(WallClock);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
