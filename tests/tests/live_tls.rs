//! TLS: who is trusted, client certificates, and what refusals look like.

use std::{path::PathBuf, time::Duration};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, ServerAddress, Tls, TlsOptions},
};

use mongo_client_tests::{
    deploy,
    fault::{Proxy, TlsListener},
    live, rt, secure,
};

fn file(name: &str) -> PathBuf {
    deploy::certificates().join(name)
}

fn trusting(ca: &str) -> TlsOptions {
    TlsOptions::builder().ca_file_path(file(ca))
}

/// The options of a deployment with other TLS options.
fn options_with(uri: &str, tls: TlsOptions) -> ClientOptions {
    let mut options = live::options(uri);
    options.tls = Some(Tls::Enabled(tls));
    options
}

/// Why the first server cannot be used.
async fn refusal(options: ClientOptions) -> String {
    let hosts = options.hosts.clone();
    let refusal = secure::refusal(options).await;
    let server = refusal.check.server_address().expect("it is named");
    assert!(hosts.contains(server), "{server}");
    refusal.assert_names(&server.to_string());
    refusal.why()
}

fn refused_to_build(options: ClientOptions) -> Error {
    Client::with_options(options).expect_err("the options are unusable")
}

async fn ping(client: &Client) -> Result<Document, Error> {
    let admin = client.database("admin");
    admin.run_command(doc! { "ping": 1 }).await
}

/// Who the client is, as the server says.
async fn whoami(client: &Client) -> Result<String, Error> {
    let admin = client.database("admin");
    let status = admin.run_command(doc! { "connectionStatus": 1 }).await?;
    Ok(status
        .get_document("authInfo")
        .and_then(|info| info.get_array("authenticatedUsers"))
        .ok()
        .and_then(|users| users.first()?.as_document()?.get_str("user").ok())
        .unwrap_or_default()
        .to_owned())
}

#[test]
fn servers_of_the_trusted_authority_are_used() {
    live::on("TLS", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        let filling = "x".repeat(3_000_000);
        people
            .insert_one(doc! { "_id": 1, "filling": &filling })
            .await
            .unwrap();
        let found = people.find_one(doc! {}).await.unwrap().unwrap();
        assert_eq!(found.get_str("filling").unwrap(), filling);
        live::forget(&db).await;
    });
}

#[test]
fn servers_of_another_authority_are_refused() {
    live::on("TLS", async |uri| {
        let why = refusal(options_with(&uri, trusting("other-ca.pem"))).await;
        assert!(why.to_lowercase().contains("certificate"), "{why}");

        let mut anything = trusting("other-ca.pem");
        anything.allow_invalid_certificates = Some(true);
        ping(&live::build(options_with(&uri, anything)))
            .await
            .unwrap();
    });
}

#[test]
fn server_with_a_certificate_for_another_host_is_refused() {
    live::on("X509", async |uri| {
        let mut options = live::options(&uri);
        let proxy = Proxy::transparent("127.0.0.2", options.hosts[0].to_string())
            .await
            .unwrap();
        options.hosts = vec![ServerAddress::tcp("127.0.0.2", proxy.address().port())];
        let Some(Tls::Enabled(tls)) = &mut options.tls else {
            panic!("the deployment uses TLS");
        };
        tls.allow_invalid_hostnames = Some(true);
        ping(&live::build(options.clone())).await.unwrap();

        let Some(Tls::Enabled(tls)) = &mut options.tls else {
            panic!("the deployment uses TLS");
        };
        tls.allow_invalid_hostnames = None;
        let why = refusal(options).await;

        assert!(why.to_lowercase().contains("certificate"), "{why}");
    });
}

#[test]
fn wrong_host_is_refused_by_its_own_certificate() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = TlsListener::start(&file("wrong-host.pem")).unwrap();
        let uri = format!("mongodb://{}/", server.address());
        let why = refusal(options_with(&uri, trusting("ca.pem"))).await;
        assert!(why.to_lowercase().contains("certificate"), "{why}");
    });
}

#[test]
fn revoked_certificate_is_refused_only_with_the_list() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let server = TlsListener::start(&file("revoked.pem")).unwrap();
        let uri = format!("mongodb://{}/", server.address());

        let listed = trusting("ca.pem").crl_file_path(file("crl.pem"));
        let why = refusal(options_with(&uri, listed)).await;
        let mut unlisted = options_with(&uri, trusting("ca.pem"));
        unlisted.connect_timeout = Some(Duration::from_millis(500));
        let unlisted = refusal(unlisted).await;

        assert!(why.to_lowercase().contains("revoked"), "{why}");
        // Here the handshake succeeds, and nobody answers the first message.
        assert!(
            !unlisted.to_lowercase().contains("certificate"),
            "{unlisted}"
        );
    });
}

#[test]
fn list_without_the_servers_certificate_lets_it_pass() {
    live::on("TLS", async |uri| {
        let tls = trusting("ca.pem").crl_file_path(file("crl.pem"));
        ping(&live::build(options_with(&uri, tls))).await.unwrap();
    });
}

#[test]
fn tls_and_plain_do_not_meet() {
    rt::block_on(async {
        let (Some(secured), Some(plain)) = (deploy::uri("TLS"), deploy::uri("STANDALONE")) else {
            return;
        };
        let mut without = live::options(&secured);
        without.tls = Some(Tls::Disabled);
        refusal(without).await;
        refusal(options_with(&plain, trusting("ca.pem"))).await;
    });
}

#[test]
fn client_certificate_logs_in_by_x509() {
    live::on("X509", async |uri| {
        let client = live::client(&uri);
        assert_eq!(whoami(&client).await.unwrap(), "O=Kit,OU=users,CN=client");
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        people.insert_one(doc! { "_id": 1 }).await.unwrap();
        live::forget(&db).await;
    });
}

#[test]
fn encrypted_key_is_read_with_its_password() {
    live::on("X509", async |uri| {
        let encrypted = uri.replace("client.pem", "client-encrypted.pem");
        let with =
            |password: &str| encrypted.clone() + "&tlsCertificateKeyFilePassword=" + password;

        let client = live::client(&with(deploy::PASSWORD));
        assert_eq!(whoami(&client).await.unwrap(), "O=Kit,OU=users,CN=client");

        for uri in [with("n0t-it"), encrypted] {
            let error = refused_to_build(live::options(&uri));
            assert!(
                matches!(&*error.kind, ErrorKind::InvalidTlsConfig { .. }),
                "{error:?}"
            );
            assert!(
                !error.to_string().contains("n0t-it"),
                "the password shows: {error}"
            );
        }
    });
}

#[test]
fn x509_without_a_certificate_or_with_a_strangers_fails_to_log_in() {
    live::on("X509", async |uri| {
        // A server's certificate: trusted, but nobody's user.
        let stranger = uri.replace("client.pem", "server.pem");
        let error = whoami(&live::client(&stranger)).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
    });
}

#[test]
fn missing_files_are_named_when_the_client_is_built() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let uri = "mongodb://127.0.0.1:1/";
        let missing = || file("no-such-file.pem");
        let mut key = trusting("ca.pem");
        key.cert_key_file_path = Some(missing());
        for tls in [
            TlsOptions::builder().ca_file_path(missing()),
            key,
            trusting("ca.pem").crl_file_path(missing()),
        ] {
            let error = refused_to_build(options_with(uri, tls));
            assert!(
                matches!(&*error.kind, ErrorKind::InvalidTlsConfig { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains("no-such-file.pem"), "{error}");
        }
    });
}
