//! What each option changes, and how broken files are reported.

use super::*;

const CLIENT_CERT: &[u8] = include_bytes!("../testdata/client-cert.pem");
const CLIENT_ENCRYPTED: &[u8] = include_bytes!("../testdata/client-key-encrypted.pem");
const CLIENT_ENCRYPTED_SHA1: &[u8] = include_bytes!("../testdata/client-key-encrypted-sha1.pem");
const CLIENT_LEGACY: &[u8] = include_bytes!("../testdata/client-key-legacy.pem");
const CLIENT_RSA: &[u8] = include_bytes!("../testdata/client-rsa-pkcs1.pem");
const CLIENT_SEC1: &[u8] = include_bytes!("../testdata/client-key-sec1.pem");
const CRL: &[u8] = include_bytes!("../testdata/crl.pem");
const CRL_EXPIRED: &[u8] = include_bytes!("../testdata/crl-expired.pem");

fn server(certificate: &'static [u8]) -> Server {
    Server {
        certificate,
        ..Server::default()
    }
}

#[track_caller]
fn refused(config: &TlsConfig, server: &Server, why: &str) {
    let error = connect(config, "localhost", server).err().unwrap();
    assert!(is_certificate_error(&error), "{error}");
    match &*error.kind {
        ErrorKind::Io(e) => assert_eq!(e.kind(), io::ErrorKind::InvalidData),
        kind => panic!("{kind}"),
    }
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn certificate_for_another_name_needs_allow_invalid_hostnames() {
    let strict = config(&TlsOptions::default(), with_ca());
    refused(&strict, &server(OTHER_HOST), "not valid for name");
    let options = TlsOptions::builder().allow_invalid_hostnames(true);
    let lenient = config(&options, with_ca());
    connect(&lenient, "localhost", &server(OTHER_HOST)).unwrap();
    connect(&lenient, "10.0.0.1", &server(SERVER)).unwrap();
    // Only the name is forgiven.
    let files = TlsFiles {
        ca: Some(OTHER_CA.to_vec()),
        ..TlsFiles::default()
    };
    refused(
        &config(&options, files),
        &server(OTHER_HOST),
        "UnknownIssuer",
    );
}

#[test]
fn unknown_authority_needs_allow_invalid_certificates() {
    let files = || TlsFiles {
        ca: Some(OTHER_CA.to_vec()),
        ..TlsFiles::default()
    };
    refused(
        &config(&TlsOptions::default(), files()),
        &server(SERVER),
        "UnknownIssuer",
    );
    let options = TlsOptions::builder().allow_invalid_certificates(true);
    let lenient = config(&options, files());
    connect(&lenient, "localhost", &server(SERVER)).unwrap();
    connect(&lenient, "localhost", &server(OTHER_HOST)).unwrap();
    // No authorities are needed then.
    connect(
        &config(&options, TlsFiles::default()),
        "localhost",
        &server(SERVER),
    )
    .unwrap();
}

#[test]
fn server_must_have_the_key_of_its_certificate_even_if_any_is_allowed() {
    let options = TlsOptions::builder()
        .allow_invalid_certificates(true)
        .allow_invalid_hostnames(true);
    let lenient = config(&options, with_ca());
    for version in [&TLS12, &TLS13] {
        let impostor = Server {
            certificate: SERVER,
            key: Some(CLIENT),
            version,
            ..Server::default()
        };
        refused(&lenient, &impostor, "BadSignature");
    }
}

#[test]
fn certificates_are_checked_at_the_time_of_the_given_clock() {
    for (millis, why) in [
        (1_000_000_000_000, "not valid yet"),
        (9_000_000_000_000, "expired"),
        (-1, "failed to get current time"),
    ] {
        let clock: WallClock = Arc::new(move || UnixMillis(millis));
        let config = TlsConfig::build(&TlsOptions::default(), with_ca(), clock).unwrap();
        let error = connect(&config, "localhost", &server(SERVER))
            .err()
            .unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn system_roots_are_used_without_a_file_only() {
    let der = |pem| CertificateDer::from_pem_slice(pem).unwrap().to_vec();
    let system = |roots| TlsFiles {
        system_roots: roots,
        ..TlsFiles::default()
    };
    // Unusable ones are left out.
    let files = system(vec![b"nonsense".to_vec(), der(CA)]);
    let from_system = config(&TlsOptions::default(), files);
    connect(&from_system, "localhost", &server(SERVER)).unwrap();
    let mut files = system(vec![der(CA)]);
    files.ca = Some(OTHER_CA.to_vec());
    refused(
        &config(&TlsOptions::default(), files),
        &server(SERVER),
        "UnknownIssuer",
    );
}

#[test]
fn revoked_certificate_is_refused() {
    let with_crl = |crl: &[u8]| TlsFiles {
        crl: Some(crl.to_vec()),
        ..with_ca()
    };
    let without = config(&TlsOptions::default(), with_ca());
    connect(&without, "localhost", &server(REVOKED)).unwrap();
    let strict = config(&TlsOptions::default(), with_crl(CRL));
    connect(&strict, "localhost", &server(SERVER)).unwrap();
    refused(&strict, &server(REVOKED), "Revoked");
    let options = TlsOptions::builder().allow_invalid_hostnames(true);
    refused(
        &config(&options, with_crl(CRL)),
        &server(REVOKED),
        "Revoked",
    );
    let outdated = config(&TlsOptions::default(), with_crl(CRL_EXPIRED));
    refused(&outdated, &server(SERVER), "revocation list expired");
}

/// Files with a client's certificate and key in two files or one.
fn identity(cert: Option<&[u8]>, key: &[u8]) -> TlsFiles {
    TlsFiles {
        cert: cert.map(<[u8]>::to_vec),
        cert_key: Some(key.to_vec()),
        ..with_ca()
    }
}

fn with_password(password: &str) -> TlsOptions {
    TlsOptions {
        tls_certificate_key_file_password: Some(password.as_bytes().to_vec()),
        ..TlsOptions::default()
    }
}

#[test]
fn client_proves_itself_with_every_form_of_key() {
    let only_cert = TlsFiles {
        cert: Some(CLIENT.to_vec()),
        ..with_ca()
    };
    let cert = Some(CLIENT_CERT);
    let encrypted_and_cert = [CLIENT_CERT, CLIENT_ENCRYPTED].concat();
    for (files, password) in [
        (identity(None, CLIENT), None),
        (identity(None, CLIENT), Some("not needed")),
        (only_cert, None),
        (identity(cert, CLIENT_SEC1), None),
        (identity(None, CLIENT_RSA), None),
        (identity(cert, CLIENT_ENCRYPTED), Some("open-sesame")),
        (identity(cert, CLIENT_ENCRYPTED_SHA1), Some("open-sesame")),
        (identity(None, &encrypted_and_cert), Some("open-sesame")),
    ] {
        if password == Some("open-sesame") && !cfg!(feature = "cert-key-password") {
            continue;
        }
        let options = password.map_or_else(TlsOptions::default, with_password);
        let config = config(&options, files);
        for version in [&TLS12, &TLS13] {
            let strict = Server {
                wants_client_certificate: true,
                version,
                ..Server::default()
            };
            let pair = connect(&config, "localhost", &strict).unwrap();
            assert_eq!(pair.server.peer_certificates().map(<[_]>::len), Some(1));
        }
    }
}

#[test]
fn missing_client_certificate_is_a_certificate_error() {
    for version in [&TLS12, &TLS13] {
        let strict = Server {
            wants_client_certificate: true,
            version,
            ..Server::default()
        };
        let config = config(&TlsOptions::default(), with_ca());
        let error = connect(&config, "localhost", &strict).err().unwrap();
        assert!(is_certificate_error(&error), "{error}");
    }
}

#[track_caller]
fn invalid(options: &TlsOptions, files: TlsFiles, option: &str) {
    let error = TlsConfig::build(options, files, wall_clock()).unwrap_err();
    match &*error.kind {
        ErrorKind::InvalidTlsConfig { message } => {
            assert!(message.contains(option), "{message}");
            assert!(!message.contains("open-sesame"), "{message}");
        }
        kind => panic!("{kind}"),
    }
}

#[test]
fn broken_files_name_their_option() {
    let none = TlsOptions::default();
    let ca = |pem: &[u8]| TlsFiles {
        ca: Some(pem.to_vec()),
        ..TlsFiles::default()
    };
    let crl = |pem: &[u8]| TlsFiles {
        crl: Some(pem.to_vec()),
        ..with_ca()
    };
    let broken_pem = b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
    let broken_der = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_crl = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    invalid(&none, TlsFiles::default(), "tlsCAFile is not set");
    invalid(&none, ca(b""), "tlsCAFile: no certificate");
    invalid(&none, ca(CRL), "tlsCAFile: no certificate");
    invalid(&none, ca(broken_pem), "tlsCAFile");
    invalid(&none, ca(broken_der), "tlsCAFile");
    invalid(&none, ca(&CA[..CA.len() / 2]), "tlsCAFile");
    invalid(&none, crl(CA), "tlsCRLFile: no revocation list");
    invalid(&none, crl(broken_crl), "tlsCRLFile");
    invalid(
        &none,
        identity(None, CLIENT_CERT),
        "tlsCertificateKeyFile: no private key",
    );
    invalid(
        &none,
        identity(None, CLIENT_SEC1),
        "tlsCertificateKeyFile: no certificate",
    );
    invalid(
        &none,
        identity(Some(SERVER), CLIENT),
        "tlsCertificateKeyFile",
    );
    invalid(
        &none,
        identity(Some(CLIENT_CERT), CLIENT_LEGACY),
        "old encryption",
    );
    let encrypted = || identity(Some(CLIENT_CERT), CLIENT_ENCRYPTED);
    invalid(&none, encrypted(), "tlsCertificateKeyFilePassword: missing");
    let cut = identity(Some(CLIENT_CERT), &CLIENT_ENCRYPTED[..200]);
    invalid(&with_password("open-sesame"), cut, "tlsCertificateKeyFile");
}

#[cfg(feature = "cert-key-password")]
#[test]
fn wrong_password_names_its_option() {
    let encrypted = identity(Some(CLIENT_CERT), CLIENT_ENCRYPTED);
    let option = "tlsCertificateKeyFilePassword: does not decrypt";
    invalid(&with_password("close-sesame"), encrypted, option);
}

#[test]
fn debug_output_has_no_keys() {
    let files = identity(None, CLIENT);
    let mut shown = format!("{files:?}");
    let config = config(&with_password("open-sesame"), files);
    let channel = TlsChannel::new(&config, "localhost").unwrap();
    shown += &format!("{config:?}{channel:?}");
    assert!(shown.len() < 400, "{shown}");
    assert!(!shown.contains("open-sesame"), "{shown}");
}
