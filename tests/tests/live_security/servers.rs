//! TLS and client certificates of real servers: strict ones, those of one protocol version, plain
//! ones, and who a certificate is.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{
    Client,
    options::{ClientOptions, Tls, TlsOptions},
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    live, rt,
    secure::{assert_hides, credential, ping, refusal, whoami},
};

use crate::refusals::{assert_refused, encoded};

const SUBJECT: &str = "O=Kit,OU=users,CN=client";

fn file(name: &str) -> PathBuf {
    deploy::certificates().join(name)
}

fn trusting() -> TlsOptions {
    TlsOptions::builder().ca_file_path(file("ca.pem"))
}

/// Options for a server with other TLS options, and nobody's name.
fn options(server: &str, tls: TlsOptions) -> ClientOptions {
    let mut options = live::options(&format!("mongodb://{server}/"));
    options.tls = Some(Tls::Enabled(tls));
    options
}

fn own(name: &str, certificate: &'static str, strict: bool, without: &str) -> Option<OwnCluster> {
    let mut plan = Plan::standalone();
    plan.tls = true;
    plan.certificate = certificate;
    plan.client_certificates = strict;
    plan.arguments = vec![
        "--tlsCRLFile".to_owned(),
        file("crl.pem").display().to_string(),
        "--tlsDisabledProtocols".to_owned(),
        without.to_owned(),
    ];
    deploy::own_cluster(name, plan)
}

/// How many connections of each protocol version the server has had.
async fn versions(client: &Client) -> Document {
    let status = client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await;
    let status = status.unwrap();
    status.get_document("transportSecurity").unwrap().clone()
}

fn number(of: &Document, field: &str) -> i64 {
    let value = of.get(field).unwrap();
    value.as_i64().or(value.as_i32().map(i64::from)).unwrap()
}

#[test]
fn destructive_strict_server_of_tls13_takes_only_good_certificates() {
    rt::block_on(async {
        // Its own certificate is on the list that the client may have.
        let Some(cluster) = own("tls13", "revoked.pem", true, "TLS1_0,TLS1_1,TLS1_2") else {
            return;
        };
        let server = cluster.address(0);
        let with = |name: &str| trusting().cert_key_file_path(file(name));
        let client = live::build(options(&server, with("client.pem")));
        ping(&client).await.unwrap();
        let versions = versions(&client).await;
        assert!(number(&versions, "1.3") > 0, "{versions}");
        assert_eq!(number(&versions, "1.2"), 0, "{versions}");

        for tls in [
            trusting(),
            with("revoked-client.pem"),
            with("expired.pem"),
            // Signed by an authority that the server does not know.
            trusting()
                .cert_file_path(file("other-ca.pem"))
                .cert_key_file_path(file("other-ca.key")),
        ] {
            let start = Instant::now();
            let refusal = refusal(options(&server, tls.clone())).await;
            refusal.assert_names(&server);
            let why = refusal.why();
            assert!(why.contains("tlsCertificateKeyFile"), "{tls:?}: {why}");
            assert!(start.elapsed() < Duration::from_secs(10));
        }

        let listed = with("client.pem").crl_file_path(file("crl.pem"));
        let refusal = refusal(options(&server, listed)).await;
        refusal.assert_names(&server);
        let why = refusal.why().to_lowercase();
        assert!(why.contains("revoked"), "{why}");
        ping(&client).await.unwrap();
    });
}

#[test]
fn destructive_server_of_tls12_is_spoken_to() {
    rt::block_on(async {
        let Some(cluster) = own("tls12", "server.pem", false, "TLS1_0,TLS1_1,TLS1_3") else {
            return;
        };
        let client = live::build(options(&cluster.address(0), trusting()));
        let db = live::database(&client);
        let filled = doc! { "_id": 1, "filling": "x".repeat(1_000_000) };
        let people = db.collection::<Document>("people");
        people.insert_one(&filled).await.unwrap();
        assert_eq!(people.find_one(doc! {}).await.unwrap(), Some(filled));
        let versions = versions(&client).await;
        assert!(number(&versions, "1.2") > 0, "{versions}");
        assert_eq!(number(&versions, "1.3"), 0, "{versions}");
    });
}

#[test]
fn plain_and_tls_end_at_once_with_an_error_that_names_the_server() {
    rt::block_on(async {
        let (Some(secured), Some(plain)) = (deploy::uri("TLS"), deploy::uri("STANDALONE")) else {
            return;
        };
        let secured = live::options(&secured).hosts[0].to_string();
        let plain = live::options(&plain).hosts[0].to_string();
        let mut without = options(&secured, trusting());
        without.tls = Some(Tls::Disabled);
        without.direct_connection = Some(true);
        let with = options(&plain, trusting());
        for (server, options, names) in [
            (secured, without, "may require TLS"),
            (plain, with, "may not speak TLS"),
        ] {
            let start = Instant::now();
            let refusal = refusal(options).await;
            refusal.assert_names(&server);
            let why = refusal.why();
            assert!(why.contains(names), "{why}");
            // Much sooner than the timeout of connecting.
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    });
}

/// The shared server with users of certificates.
fn x509() -> Option<String> {
    Some(live::options(&deploy::uri("X509")?).hosts[0].to_string())
}

fn login(server: &str, certificate: &str, user: &str) -> ClientOptions {
    let ca = encoded(&file("ca.pem").display().to_string());
    let key = encoded(&file(certificate).display().to_string());
    live::options(&format!(
        "mongodb://{user}{server}/?tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={key}\
         &authMechanism=MONGODB-X509"
    ))
}

#[test]
fn certificates_owner_is_derived_or_given() {
    rt::block_on(async {
        let Some(server) = x509() else {
            return;
        };
        let given = encoded(SUBJECT) + "@";
        for (certificate, user) in [
            ("client.pem", ""),
            ("client.pem", given.as_str()),
            ("client-rsa.pem", ""),
            ("client-pkcs1.pem", ""),
            ("client-sec1.pem", given.as_str()),
        ] {
            let client = live::build(login(&server, certificate, user));
            let who = whoami(&client)
                .await
                .unwrap_or_else(|e| panic!("{certificate}: {e}"));
            assert_eq!(who, Some(format!("{SUBJECT}@$external")), "{certificate}");
        }
    });
}

#[test]
fn certificate_of_nobody_or_of_another_is_an_authentication_error() {
    rt::block_on(async {
        let Some(server) = x509() else {
            return;
        };
        let another = encoded("O=Kit,OU=users,CN=another") + "@";
        let given = encoded(SUBJECT) + "@";
        for (certificate, user) in [
            ("stranger.pem", ""),
            ("stranger.pem", given.as_str()),
            ("client.pem", another.as_str()),
        ] {
            let error = whoami(&live::build(login(&server, certificate, user))).await;
            assert_refused(&error.unwrap_err(), &server, &["PRIVATE KEY"]);
        }
        let mut bare = login(&server, "client.pem", "");
        bare.tls = Some(Tls::Enabled(trusting()));
        let error = whoami(&live::build(bare)).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
        assert!(error.to_string().contains(&server), "{error}");
    });
}

#[test]
fn certificate_login_without_tls_is_an_authentication_error() {
    rt::block_on(async {
        let Some(plain) = deploy::uri("STANDALONE") else {
            return;
        };
        let server = live::options(&plain).hosts[0].to_string();
        let options = live::options(&format!("mongodb://{server}/?authMechanism=MONGODB-X509"));
        let error = ping(&live::build(options)).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
        assert!(error.to_string().contains("MONGODB-X509"), "{error}");
        assert!(error.to_string().contains(&server), "{error}");
    });
}

#[test]
fn passwords_work_inside_tls_with_and_without_a_certificate() {
    rt::block_on(async {
        let Some(server) = x509() else {
            return;
        };
        for tls in [
            trusting(),
            trusting().cert_key_file_path(file("stranger.pem")),
        ] {
            for user in ["sha1", "sha256", "both"] {
                let mut options = options(&server, tls.clone());
                options.credential = Some(credential(user, deploy::PASSWORD));
                let who = whoami(&live::build(options.clone())).await;
                let who = who.unwrap_or_else(|e| panic!("{user}: {e}"));
                assert_eq!(who, Some(format!("{user}@admin")));

                options.credential = Some(credential(user, "wr0ng-0ne"));
                let error = whoami(&live::build(options)).await.unwrap_err();
                assert_refused(&error, &server, &["wr0ng-0ne"]);
                assert_hides(&error, &[deploy::PASSWORD]);
            }
        }
    });
}
