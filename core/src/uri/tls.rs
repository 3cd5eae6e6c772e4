//! The TLS options, which conflict with each other more than any others.
//!
//! Any of them turns TLS on; only `tls=false` keeps it off. A user who names a certificate must
//! not be connected in clear text because `tls=true` was forgotten.

use std::path::PathBuf;

use super::values::Values;
use crate::{
    error::{Error, Result},
    options::{ClientOptions, Tls, TlsOptions},
};

/// Options of which at most one may be in the text, whatever their values are.
const CONFLICTS: &[(&str, &str)] = &[
    ("tlsInsecure", "tlsAllowInvalidCertificates"),
    ("tlsInsecure", "tlsAllowInvalidHostnames"),
    ("tlsInsecure", "tlsDisableOCSPEndpointCheck"),
    ("tlsInsecure", "tlsDisableCertificateRevocationCheck"),
    ("tlsInsecure", "ssl_cert_reqs"),
    ("tlsInsecure", "ssl_match_hostname"),
    ("tlsAllowInvalidCertificates", "tlsDisableOCSPEndpointCheck"),
    (
        "tlsAllowInvalidCertificates",
        "tlsDisableCertificateRevocationCheck",
    ),
    ("tlsAllowInvalidCertificates", "ssl_cert_reqs"),
    ("tlsAllowInvalidHostnames", "ssl_match_hostname"),
    ("tlsCertificateKeyFile", "ssl_certfile"),
    ("tlsCertificateKeyFile", "ssl_keyfile"),
    (
        "tlsDisableOCSPEndpointCheck",
        "tlsDisableCertificateRevocationCheck",
    ),
];

/// Reads all TLS options.
pub(super) fn read(values: &mut Values, options: &mut ClientOptions) -> Result<()> {
    for (one, other) in CONFLICTS {
        if values.contains(one) && values.contains(other) {
            return Err(Error::invalid_argument(format!(
                "options {one:?} and {other:?} cannot be used together"
            )));
        }
    }
    // Two files for one purpose: which of them is used must not be left to chance.
    if let Some((older, name)) = values.contradiction("ssl_") {
        return Err(Error::invalid_argument(format!(
            "options {older:?} and {name:?} cannot be used together with different values"
        )));
    }
    let switches = values.all("tls");
    if switches.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Error::invalid_argument(
            "options \"tls\" and \"ssl\" must have the same value wherever they occur",
        ));
    }
    let switch = values.truth("tls");
    let details = details(values);
    options.tls = match (switch, details) {
        (Some(false), None) => Some(Tls::Disabled),
        (Some(false), Some(_)) => {
            values.warn("tls", "tls=false makes the other TLS options useless");
            Some(Tls::Disabled)
        }
        (Some(true), details) => Some(Tls::Enabled(details.unwrap_or_default())),
        (None, Some(details)) => Some(Tls::Enabled(details)),
        (None, None) if options.srv_host.is_some() => Some(Tls::Enabled(TlsOptions::default())),
        (None, None) => None,
    };
    Ok(())
}

/// The options beside the switch; `None` when none is set.
fn details(values: &mut Values) -> Option<TlsOptions> {
    let mut tls = TlsOptions {
        allow_invalid_certificates: values.truth("tlsAllowInvalidCertificates"),
        allow_invalid_hostnames: values.truth("tlsAllowInvalidHostnames"),
        ca_file_path: values.text("tlsCAFile").map(PathBuf::from),
        cert_key_file_path: values.text("tlsCertificateKeyFile").map(PathBuf::from),
        crl_file_path: values.text("tlsCRLFile").map(PathBuf::from),
        tls_certificate_key_file_password: values
            .text("tlsCertificateKeyFilePassword")
            .map(String::into_bytes),
        disable_ocsp_endpoint_check: values.truth("tlsDisableOCSPEndpointCheck"),
        disable_certificate_revocation_check: values.truth("tlsDisableCertificateRevocationCheck"),
        ..TlsOptions::default()
    };
    if let Some(insecure) = values.truth("tlsInsecure") {
        tls.allow_invalid_certificates = Some(insecure);
        tls.allow_invalid_hostnames = Some(insecure);
    }
    older_names(values, &mut tls);
    (tls != TlsOptions::default()).then_some(tls)
}

/// PyMongo 3 options that are not plain renames.
fn older_names(values: &mut Values, tls: &mut TlsOptions) {
    if let Some(text) = values.text("ssl_cert_reqs") {
        match text.strip_prefix("ssl.").unwrap_or(&text) {
            "CERT_NONE" => {
                values.warn("ssl_cert_reqs", "deprecated, use tlsInsecure=true");
                tls.allow_invalid_certificates = Some(true);
                tls.allow_invalid_hostnames = Some(true);
            }
            // A server always has a certificate, so that optional means required.
            "CERT_OPTIONAL" | "CERT_REQUIRED" => {
                values.warn(
                    "ssl_cert_reqs",
                    "deprecated, use tlsAllowInvalidCertificates=false",
                );
                tls.allow_invalid_certificates = Some(false);
            }
            _ => values.warn(
                "ssl_cert_reqs",
                "invalid value, ignored; CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED is expected",
            ),
        }
    }
    if let Some(matched) = values.truth("ssl_match_hostname") {
        values.warn(
            "ssl_match_hostname",
            "deprecated, use tlsAllowInvalidHostnames with the opposite value",
        );
        tls.allow_invalid_hostnames = Some(!matched || tls.allow_invalid_hostnames == Some(true));
    }
    let key = values.text("ssl_keyfile").map(PathBuf::from);
    let certificate = values.text("ssl_certfile").map(PathBuf::from);
    for (name, set) in [
        ("ssl_keyfile", key.is_some()),
        ("ssl_certfile", certificate.is_some()),
    ] {
        if set {
            values.warn(name, "deprecated, use tlsCertificateKeyFile");
        }
    }
    match (key, certificate) {
        (Some(key), certificate) => {
            tls.cert_key_file_path = Some(key);
            tls.cert_file_path = certificate;
        }
        (None, Some(both)) => tls.cert_key_file_path = Some(both),
        (None, None) => {}
    }
}
