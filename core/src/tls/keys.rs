//! PEM files: certificates, revocation lists, and keys in every common form.

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};

use super::{TlsFiles, config::invalid};
use crate::error::Result;

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// The mark of OpenSSL's old encryption, whose key derivation is one round of MD5.
const LEGACY_ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's certificates and key, if there are files for them.
///
/// Each of the two files may hold both; a file named for one thing is asked first for that.
pub(super) fn client_identity(
    files: &TlsFiles,
    password: Option<&[u8]>,
) -> Result<Option<Identity>> {
    let (cert, key) = match (&files.cert, &files.cert_key) {
        (None, None) => return Ok(None),
        (Some(both), None) | (None, Some(both)) => (both, both),
        (Some(cert), Some(key)) => (cert, key),
    };
    let chain = certificates(cert, "tlsCertificateKeyFile")?;
    Ok(Some((chain, private_key(key, password)?)))
}

/// All certificates of a file; at least one.
pub(super) fn certificates(pem: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found = sections::<CertificateDer<'static>>(pem, option)?;
    if found.is_empty() {
        return Err(invalid(format!("{option}: no certificate in the file")));
    }
    Ok(found)
}

/// All revocation lists of a file; at least one.
pub(super) fn crls(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let found = sections::<CertificateRevocationListDer<'static>>(pem, "tlsCRLFile")?;
    if found.is_empty() {
        return Err(invalid("tlsCRLFile: no revocation list in the file"));
    }
    Ok(found)
}

fn sections<T: PemObject>(pem: &[u8], option: &str) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        // The parser's error would show a line of the file, which may be of a key.
        let (kind, der) =
            section.map_err(|_| invalid(format!("{option}: the file is not valid PEM")))?;
        found.extend(T::from_pem(kind, der));
    }
    Ok(found)
}

/// The first key of a file: PKCS#8, PKCS#1, SEC1 or encrypted PKCS#8.
fn private_key(pem: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>> {
    const OPTION: &str = "tlsCertificateKeyFile";
    if pem
        .windows(LEGACY_ENCRYPTED.len())
        .any(|w| w == LEGACY_ENCRYPTED)
    {
        return Err(invalid(format!(
            "{OPTION}: the key has OpenSSL's old encryption; convert it to PKCS#8"
        )));
    }
    if let Some(der) = encrypted_key(pem)? {
        let Some(password) = password else {
            return Err(invalid(format!(
                "tlsCertificateKeyFilePassword: missing, and the key of {OPTION} is encrypted"
            )));
        };
        return decrypt(&der, password);
    }
    sections::<PrivateKeyDer<'static>>(pem, OPTION)?
        .into_iter()
        .next()
        .ok_or_else(|| invalid(format!("{OPTION}: no private key in the file")))
}

/// The DER content of an `ENCRYPTED PRIVATE KEY` section, which the PEM parser does not know.
fn encrypted_key(pem: &[u8]) -> Result<Option<Vec<u8>>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    let text = String::from_utf8_lossy(pem);
    let Some((_, rest)) = text.split_once(ENCRYPTED_BEGIN) else {
        return Ok(None);
    };
    let broken = || invalid("tlsCertificateKeyFile: the encrypted key is not valid PEM");
    let (body, _) = rest.split_once(ENCRYPTED_END).ok_or_else(broken)?;
    let body: String = body.split_ascii_whitespace().collect();
    BASE64.decode(body).map(Some).map_err(|_| broken())
}

#[cfg(feature = "cert-key-password")]
fn decrypt(der: &[u8], password: &[u8]) -> Result<PrivateKeyDer<'static>> {
    let info = pkcs8::EncryptedPrivateKeyInfo::try_from(der).map_err(|_| {
        invalid("tlsCertificateKeyFile: the encrypted key is not PKCS#8 with PBES2")
    })?;
    let key = info.decrypt(password).map_err(|_| {
        invalid(
            "tlsCertificateKeyFilePassword: does not decrypt the key (or its encryption is not \
             PBES2 with AES)",
        )
    })?;
    Ok(rustls::pki_types::PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

#[cfg(not(feature = "cert-key-password"))]
fn decrypt(_: &[u8], _: &[u8]) -> Result<PrivateKeyDer<'static>> {
    Err(crate::error::Error::unsupported(
        "tlsCertificateKeyFilePassword (enable the Cargo feature `cert-key-password`)",
    ))
}
