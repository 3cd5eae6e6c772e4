//! TLS before real servers: certificates that a server does not start with, protocol versions,
//! names, forms of client keys. A terminator of the tests' own sees what the client presents.

use std::path::PathBuf;

use mongo_client::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, Tls, TlsOptions},
};
use mongo_client_tests::{
    deploy,
    fault::{Terminator, Versions},
    live, rt,
    secure::{Refusal, assert_hides, ping, refusal},
};

fn file(name: &str) -> PathBuf {
    deploy::certificates().join(name)
}

fn path(name: &str) -> String {
    file(name).display().to_string().replace('/', "%2F")
}

/// A terminator before the shared plain server.
async fn terminator(certificate: &str, versions: Versions) -> Option<Terminator> {
    let plain = live::options(&deploy::uri("STANDALONE")?).hosts[0].to_string();
    let started = Terminator::start("127.0.0.1", certificate, versions, plain).await;
    Some(started.expect("there are ports and certificates"))
}

/// Options from TLS options of a connection string, with the tests' authority.
fn trusting(server: &Terminator, tls: &str) -> ClientOptions {
    let ca = path("ca.pem");
    live::options(&format!(
        "mongodb://{}/?tls=true&tlsCAFile={ca}{tls}",
        server.address()
    ))
}

/// Checks who refused a handshake, and the form of the error, and returns its text.
fn refused_by_client(server: &Terminator, refusal: &Refusal) -> String {
    refusal.assert_names(&server.address().to_string());
    let ErrorKind::Io(error) = &*refusal.check.kind else {
        panic!("{:?}", refusal.check);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    refusal.why().to_lowercase()
}

/// Waits until the terminator has heard the client's alert. Other handshakes may have failed
/// because a client was dropped.
async fn hear_alert(server: &Terminator, alert: &str) {
    let heard = || {
        let failures = server.handshakes().into_iter().filter_map(|h| h.failure);
        failures.map(|why| why.to_lowercase()).any(|why| {
            // As rustls says it: `received fatal alert: UnknownCA`.
            why.contains("alert") && why.contains(alert)
        })
    };
    live::eventually(alert, || async { heard() }).await;
}

#[test]
fn certificate_outside_its_dates_is_refused_unless_anything_goes() {
    rt::block_on(async {
        for (certificate, word) in [("expired.pem", "expired"), ("future.pem", "not valid yet")] {
            let Some(server) = terminator(certificate, Versions::Both).await else {
                return;
            };
            // A lenient check of names is none of dates.
            for tls in ["", "&tlsAllowInvalidHostnames=true"] {
                let why = refused_by_client(&server, &refusal(trusting(&server, tls)).await);
                assert!(why.contains(word), "{certificate}: {why}");
                hear_alert(&server, "expired").await;
            }
            for tls in ["&tlsAllowInvalidCertificates=true", "&tlsInsecure=true"] {
                let client = live::build(trusting(&server, tls));
                ping(&client).await.unwrap_or_else(|e| panic!("{tls}: {e}"));
            }
        }
    });
}

#[test]
fn certificate_of_another_host_passes_only_when_names_are_not_checked() {
    rt::block_on(async {
        let Some(server) = terminator("wrong-host.pem", Versions::Both).await else {
            return;
        };
        for tls in ["", "&tlsAllowInvalidHostnames=false", "&tlsInsecure=false"] {
            let why = refused_by_client(&server, &refusal(trusting(&server, tls)).await);
            assert!(why.contains("127.0.0.1"), "the wanted name: {why}");
            assert!(why.contains("elsewhere.example"), "its names: {why}");
        }
        for tls in [
            "&tlsAllowInvalidHostnames=true",
            "&tlsAllowInvalidCertificates=true",
            "&tlsInsecure=true",
        ] {
            let client = live::build(trusting(&server, tls));
            ping(&client).await.unwrap_or_else(|e| panic!("{tls}: {e}"));
        }
    });
}

#[test]
fn systems_authorities_do_not_vouch_for_a_private_one() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        let uri = format!("mongodb://{}/?tls=true", server.address());
        let options = live::options(&uri);
        if let Err(error) = Client::with_options(options.clone()) {
            println!("skipped, this system has no authorities: {error}");
            let tls = matches!(&*error.kind, ErrorKind::InvalidTlsConfig { .. });
            assert!(tls && error.to_string().contains("tlsCAFile"), "{error}");
            return;
        }
        let why = refused_by_client(&server, &refusal(options).await);
        assert!(why.contains("unknownissuer"), "{why}");
        hear_alert(&server, "unknownca").await;

        // The same connection string works for who asks for no check.
        let client = live::client(&(uri + "&tlsInsecure=true"));
        ping(&client).await.unwrap();
    });
}

#[test]
fn each_protocol_version_is_spoken() {
    rt::block_on(async {
        for (versions, expected) in [
            (Versions::Both, "TLSv1_3"),
            (Versions::Tls12, "TLSv1_2"),
            (Versions::Tls13, "TLSv1_3"),
        ] {
            let Some(server) = terminator("server.pem", versions).await else {
                return;
            };
            let client = live::build(trusting(&server, ""));
            ping(&client).await.unwrap();
            for handshake in server.handshakes() {
                assert_eq!(handshake.failure, None);
                assert_eq!(format!("{:?}", handshake.version.unwrap()), expected);
            }
        }
    });
}

#[test]
fn only_names_are_sent_as_the_servers_name() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        ping(&live::build(trusting(&server, ""))).await.unwrap();
        let by_address = server.handshakes();
        assert!(by_address.iter().all(|h| h.server_name.is_none()));

        let mut options = trusting(&server, "");
        let port = server.address().port();
        options.hosts = vec![format!("localhost:{port}").parse().unwrap()];
        ping(&live::build(options)).await.unwrap();
        let by_name = &server.handshakes()[by_address.len()..];
        assert!(!by_name.is_empty());
        for handshake in by_name {
            assert_eq!(handshake.server_name.as_deref(), Some("localhost"));
        }
    });
}

#[test]
fn client_keys_are_read_in_every_form() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        let password = format!("&tlsCertificateKeyFilePassword={}", deploy::PASSWORD);
        for (name, password) in [
            ("client.pem", ""),
            ("client-rsa.pem", ""),
            ("client-pkcs1.pem", ""),
            ("client-sec1.pem", ""),
            ("client-encrypted.pem", password.as_str()),
            // A password for a key that needs none does no harm.
            ("client.pem", password.as_str()),
        ] {
            let before = server.handshakes().len();
            let tls = format!("&tlsCertificateKeyFile={}{password}", path(name));
            let client = live::build(trusting(&server, &tls));
            ping(&client)
                .await
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let handshakes = &server.handshakes()[before..];
            assert!(!handshakes.is_empty());
            assert!(handshakes.iter().all(|h| h.certificates == 1), "{name}");
        }
        let before = server.handshakes().len();
        ping(&live::build(trusting(&server, ""))).await.unwrap();
        assert_eq!(server.handshakes()[before].certificates, 0);
    });
}

#[test]
fn unusable_key_files_are_named_with_their_option() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let key = |name: &str| format!("tlsCertificateKeyFile={}", path(name));
        let with = |password: &str| {
            let file = key("client-encrypted.pem");
            format!("{file}&tlsCertificateKeyFilePassword={password}")
        };
        for (tls, names) in [
            (with("n0t-the-0ne"), "tlsCertificateKeyFilePassword"),
            (key("client-encrypted.pem"), "tlsCertificateKeyFilePassword"),
            (key("client-legacy.pem"), "tlsCertificateKeyFile"),
            // No key, and no certificate.
            (key("ca.pem"), "tlsCertificateKeyFile"),
            (key("client.key"), "tlsCertificateKeyFile"),
            (key("no-such-file.pem"), "tlsCertificateKeyFile"),
            (format!("tlsCAFile={}", path("client.key")), "tlsCAFile"),
            (format!("tlsCRLFile={}", path("ca.pem")), "tlsCRLFile"),
        ] {
            let uri = format!("mongodb://127.0.0.1:1/?tls=true&{tls}");
            let error = Client::with_options(live::options(&uri)).expect_err(&tls);
            assert!(
                matches!(&*error.kind, ErrorKind::InvalidTlsConfig { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(names), "{tls}: {error}");
            assert_hides(&error, &["n0t-the-0ne", "BEGIN", "PRIVATE"]);
        }
    });
}

#[test]
fn lists_of_revoked_certificates_must_be_current() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        let list = |name| format!("&tlsCRLFile={}", path(name));
        ping(&live::build(trusting(&server, &list("crl.pem"))))
            .await
            .unwrap();

        let outdated = trusting(&server, &list("crl-expired.pem"));
        let why = refused_by_client(&server, &refusal(outdated).await);

        assert!(why.contains("expired"), "{why}");
    });
}

#[test]
fn revocation_options_leave_a_good_server_usable() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        for tls in [
            "&tlsDisableOCSPEndpointCheck=true",
            "&tlsDisableOCSPEndpointCheck=false",
            "&tlsDisableCertificateRevocationCheck=true",
            "&tlsDisableCertificateRevocationCheck=false",
        ] {
            let client = live::build(trusting(&server, tls));
            ping(&client).await.unwrap_or_else(|e| panic!("{tls}: {e}"));
        }
    });
}

#[test]
fn options_work_without_a_connection_string() {
    rt::block_on(async {
        let Some(server) = terminator("server.pem", Versions::Both).await else {
            return;
        };
        let tls = TlsOptions::builder()
            .ca_file_path(file("ca.pem"))
            .cert_file_path(file("client.crt"))
            .cert_key_file_path(file("client.key"));
        let mut options = live::options(&format!("mongodb://{}/", server.address()));
        options.tls = Some(Tls::Enabled(tls));
        ping(&live::build(options)).await.unwrap();
        // The certificate and its key stand in two files.
        assert!(server.handshakes().iter().all(|h| h.certificates == 1));
    });
}
