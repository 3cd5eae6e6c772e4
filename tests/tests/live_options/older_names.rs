//! The TLS options by the names that PyMongo 3 gave them.

use mongo_client::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, Tls},
};
use mongo_client_tests::{
    deploy,
    fault::{Proxy, TlsListener},
    live, rt,
    secure::{ping, refusal},
};

fn file(name: &str) -> String {
    let path = deploy::certificates().join(name);
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// The options of a deployment's servers, with these instead of its own TLS options.
fn options(uri: &str, tls: &str) -> ClientOptions {
    let own = live::options(uri);
    let hosts: Vec<String> = own.hosts.iter().map(ToString::to_string).collect();
    let mut options = live::options(&format!("mongodb://{}/?{tls}", hosts.join(",")));
    assert!(matches!(options.tls, Some(Tls::Enabled(_))), "{tls}");
    options.repl_set_name = own.repl_set_name;
    options
}

async fn assert_refused_for_its_certificate(options: ClientOptions) {
    let why = refusal(options).await.why();
    assert!(why.to_lowercase().contains("certificate"), "{why}");
}

#[test]
fn ssl_and_its_authorities_decide_who_is_trusted() {
    live::on("TLS", async |uri| {
        let (ours, others) = (file("ca.pem"), file("other-ca.pem"));
        for trusting in [
            format!("ssl=true&ssl_ca_certs={ours}"),
            // Each of the others means TLS as well.
            format!("ssl_ca_certs={ours}"),
            format!("ssl_ca_certs={ours}&ssl_cert_reqs=CERT_REQUIRED"),
            format!("ssl_ca_certs={ours}&ssl_cert_reqs=CERT_OPTIONAL"),
            format!("ssl_ca_certs={ours}&ssl_crlfile={}", file("crl.pem")),
            format!("ssl_ca_certs={others}&ssl_cert_reqs=CERT_NONE"),
            "ssl_cert_reqs=CERT_NONE".to_owned(),
        ] {
            let client = live::build(options(&uri, &trusting));
            ping(&client)
                .await
                .unwrap_or_else(|e| panic!("{trusting}: {e}"));
        }
        for distrusting in [
            format!("ssl_ca_certs={others}"),
            format!("ssl_ca_certs={others}&ssl_cert_reqs=CERT_REQUIRED"),
            format!("ssl_ca_certs={others}&ssl_cert_reqs=CERT_OPTIONAL"),
            format!("ssl_ca_certs={others}&ssl_match_hostname=false"),
        ] {
            assert_refused_for_its_certificate(options(&uri, &distrusting)).await;
        }
    });
}

#[test]
fn names_are_matched_unless_ssl_match_hostname_is_off() {
    live::on("X509", async |uri| {
        let target = live::options(&uri).hosts[0].to_string();
        let proxy = Proxy::transparent("127.0.0.2", target).await.unwrap();
        let uri = format!("mongodb://{}/", proxy.address());
        let trusting = format!("ssl_ca_certs={}", file("ca.pem"));
        for (matching, accepted) in [("", false), ("true", false), ("false", true)] {
            let tls = match matching {
                "" => trusting.clone(),
                value => format!("{trusting}&ssl_match_hostname={value}"),
            };
            if accepted {
                ping(&live::build(options(&uri, &tls))).await.unwrap();
            } else {
                assert_refused_for_its_certificate(options(&uri, &tls)).await;
            }
        }
    });
}

#[test]
fn revoked_certificates_are_those_of_ssl_crlfile() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = TlsListener::start(&deploy::certificates().join("revoked.pem")).unwrap();
        let uri = format!("mongodb://{}/", server.address());
        let tls = format!(
            "ssl_ca_certs={}&ssl_crlfile={}",
            file("ca.pem"),
            file("crl.pem")
        );
        let why = refusal(options(&uri, &tls)).await.why();
        assert!(why.to_lowercase().contains("revoked"), "{why}");
    });
}

#[test]
fn certificate_and_key_are_of_one_file_or_of_two() {
    live::on("X509", async |uri| {
        let login = "authMechanism=MONGODB-X509&authSource=%24external";
        let login = format!("ssl_ca_certs={}&{login}", file("ca.pem"));
        let password = format!("ssl_pem_passphrase={}", deploy::PASSWORD);
        for identity in [
            format!("ssl_certfile={}", file("client.pem")),
            format!("ssl_keyfile={}", file("client.pem")),
            format!(
                "ssl_certfile={}&ssl_keyfile={}",
                file("client.crt"),
                file("client.key")
            ),
            format!("ssl_certfile={}&{password}", file("client-encrypted.pem")),
            format!(
                "ssl_certfile={}&ssl_keyfile={}&{password}",
                file("client.crt"),
                file("client-encrypted.key")
            ),
        ] {
            let client = live::build(options(&uri, &format!("{login}&{identity}")));
            let who = mongo_client_tests::secure::whoami(&client).await;
            let who = who.unwrap_or_else(|e| panic!("{identity}: {e}"));
            assert_eq!(who.as_deref(), Some("O=Kit,OU=users,CN=client@$external"));
        }
    });
}

#[test]
fn the_two_families_do_not_contradict_each_other() {
    live::on("TLS", async |uri| {
        let (ours, others) = (file("ca.pem"), file("other-ca.pem"));
        let same = format!("ssl_ca_certs={ours}&tlsCAFile={ours}");
        ping(&live::build(options(&uri, &same))).await.unwrap();
        for (text, names) in [
            (
                format!("ssl_ca_certs={others}&tlsCAFile={ours}"),
                ["ssl_ca_certs", "tlsCAFile"],
            ),
            (
                format!("ssl_crlfile={others}&tlsCRLFile={ours}"),
                ["ssl_crlfile", "tlsCRLFile"],
            ),
            (
                "ssl_certfile=a.pem&tlsCertificateKeyFile=a.pem".to_owned(),
                ["ssl_certfile", "tlsCertificateKeyFile"],
            ),
            (
                "ssl_keyfile=a.pem&tlsCertificateKeyFile=a.pem".to_owned(),
                ["ssl_keyfile", "tlsCertificateKeyFile"],
            ),
            (
                "ssl_cert_reqs=CERT_NONE&tlsAllowInvalidCertificates=false".to_owned(),
                ["ssl_cert_reqs", "tlsAllowInvalidCertificates"],
            ),
            (
                "ssl_match_hostname=false&tlsAllowInvalidHostnames=false".to_owned(),
                ["ssl_match_hostname", "tlsAllowInvalidHostnames"],
            ),
            ("ssl=true&tls=false".to_owned(), ["ssl", "tls"]),
        ] {
            let error = Client::builder().uri(&format!("mongodb://a.test/?{text}"));
            let error = error.expect_err(&text);
            let invalid = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
            assert!(invalid, "{error:?}");
            for name in names {
                let quoted = format!("{name:?}");
                assert!(error.to_string().contains(&quoted), "{name}: {error}");
            }
        }
    });
}
