//! No secret of a login with a real server is in a log, an event, an error or any `Debug` output:
//! the counterpart of `secrets.rs`, over real sockets and with everything that any crate logs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::Error,
    options::{AuthMechanism, ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};
use mongo_client_tests::{deploy, live, logs::Logs, rt, secrets::Watch};
use tracing::Level;

const PASSWORD: &str = "zq7Xkpw/vJ4wTpw:bN8rEpw@ßkR5cpw%";
const WRONG: &str = "n0t-Yh3Lpw";
const KEY_PASSWORD: &str = "kEyPw-8fQzR2";

/// Everything that is logged in this process.
fn logs() -> &'static Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let logs = Logs::of("", Level::TRACE);
        let set = tracing::subscriber::set_global_default(logs.clone());
        set.expect("nothing else listens");
        logs
    })
}

fn watch() -> Watch {
    // Listens from now on.
    logs();
    let watch = Watch::default();
    watch.hide(|secrets| {
        secrets.text("password", PASSWORD);
        for part in ["zq7Xkpw", "vJ4wTpw", "bN8rEpw", "ßkR5cpw", "%C3%9FkR5cpw"] {
            secrets.text("password", part);
        }
        secrets.text("wrong password", WRONG);
        secrets.text("password of the key", KEY_PASSWORD);
        // The last message of a client begins like this, whatever its proof is.
        secrets.text("last message of SCRAM", "c=biws,r=");
        secrets.bytes(
            "payload of PLAIN",
            format!("\0secretive\0{PASSWORD}").as_bytes(),
        );
    });
    watch
}

/// What the process has logged is checked as well.
fn check(watch: &Watch, about: &str) {
    assert!(!logs().events().is_empty(), "nothing was logged");
    watch.logs(logs());
    watch.check(about);
}

async fn ping(client: &Client) -> Result<Document, Error> {
    let admin = client.database("admin");
    admin.run_command(doc! { "connectionStatus": 1 }).await
}

/// Uses a client while it is watched; how its first command ended.
async fn try_login(watch: &Watch, mut options: ClientOptions) -> Result<(), Error> {
    watch.attach(&mut options);
    options.server_selection_timeout = Some(Duration::from_secs(2));
    watch.debug("options", &options);
    watch.debug("credential", &options.credential);
    let mut builder = Client::builder().options(options);
    if let Some(runtime) = rt::adapter() {
        builder = builder.runtime(runtime);
    }
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => {
            watch.error("refusal", &error);
            return Err(error);
        }
    };
    let first = ping(&client).await;
    watch.debug("client", &client);
    watch.debug("handle", client.handle());
    watch.debug("options", client.handle().options());
    if let Err(error) = &first {
        watch.error("error", error);
    } else {
        let things = live::database(&client).collection::<Document>("things");
        things.insert_one(doc! { "_id": 1 }).await.unwrap();
        things.drop().await.unwrap();
        // Users of these tests may not make users: servers quote what they refuse.
        let user = doc! { "createUser": "never", "pwd": PASSWORD, "roles": [] };
        let admin = client.database("admin");
        match admin.run_command(user).await {
            Err(error) => watch.error("createUser", &error),
            Ok(_) => drop(
                admin
                    .run_command(doc! { "dropUser": "never" })
                    .await
                    .unwrap(),
            ),
        }
    }
    client.shutdown().await;
    first.map(drop)
}

fn options_as(uri: &str, mechanism: Option<AuthMechanism>, password: &str) -> ClientOptions {
    let mut options = live::options(uri);
    let mut credential = Credential::builder()
        .username("secretive")
        .password(password)
        .source("admin");
    credential.mechanism = mechanism;
    options.credential = Some(credential);
    options
}

#[test]
fn logins_with_passwords_show_no_secret_however_they_end() {
    live::on("AUTH", async |uri| {
        let watch = watch();
        let root = live::client(&uri);
        let admin = root.database("admin");
        let mechanisms = ["SCRAM-SHA-1", "SCRAM-SHA-256"];
        // The user of an earlier run may be there.
        let _ = admin.run_command(doc! { "dropUser": "secretive" }).await;
        for command in ["createUser", "updateUser"] {
            let user = doc! {
                command: "secretive", "pwd": PASSWORD, "mechanisms": mechanisms,
                "roles": ["readWriteAnyDatabase"], "writeConcern": { "w": 3 },
            };
            admin.run_command(user).await.unwrap();
        }
        // It is there already: a failure with the password in the command.
        let user = doc! { "createUser": "secretive", "pwd": PASSWORD, "roles": [] };
        let error = admin.run_command(user).await.unwrap_err();
        watch.error("createUser", &error);

        let scram = [
            None,
            Some(AuthMechanism::ScramSha1),
            Some(AuthMechanism::ScramSha256),
        ];
        for mechanism in scram {
            let options = options_as(&uri, mechanism, PASSWORD);
            let result = try_login(&watch, options).await;
            assert!(result.is_ok(), "{mechanism:?}: {result:?}");

            let error = try_login(&watch, options_as(&uri, mechanism, WRONG)).await;
            assert!(error.unwrap_err().is_authentication(), "{mechanism:?}");
        }
        // The servers have neither.
        for mechanism in [AuthMechanism::Plain, AuthMechanism::MongoDbX509] {
            let mut options = options_as(&uri, Some(mechanism), PASSWORD);
            let credential = options.credential.as_mut().unwrap();
            credential.source = Some("$external".to_owned());
            if mechanism == AuthMechanism::MongoDbX509 {
                credential.password = None;
            }
            try_login(&watch, options).await.unwrap_err();
        }
        // Nobody is there, and nobody speaks TLS there.
        let mut options = options_as(&uri, None, PASSWORD);
        options.hosts = vec![ServerAddress::tcp("127.0.0.1", 1)];
        let error = try_login(&watch, options).await.unwrap_err();
        assert!(error.is_server_selection());
        let mut options = options_as(&uri, None, PASSWORD);
        let mut tls = TlsOptions::builder();
        tls.allow_invalid_certificates = Some(true);
        options.tls = Some(Tls::Enabled(tls));
        try_login(&watch, options).await.unwrap_err();

        let dropped = doc! { "dropUser": "secretive" };
        admin.run_command(dropped).await.unwrap();
        check(&watch, "passwords");
    });
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(live::unique("mongo-client-live-secrets"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over hurts nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The client's certificate with its key encrypted by [`KEY_PASSWORD`].
fn encrypted(folder: &Path) -> PathBuf {
    let plain = deploy::certificates().join("client.pem");
    let key = folder.join("encrypted.key");
    let made = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"])
        .arg(format!("pass:{KEY_PASSWORD}"))
        .arg("-in")
        .arg(&plain)
        .arg("-out")
        .arg(&key)
        .status();
    assert!(made.expect("openssl runs").success());
    let text = std::fs::read_to_string(plain).unwrap();
    let begin = text.find("-----BEGIN CERTIFICATE").unwrap();
    let end_mark = "-----END CERTIFICATE-----\n";
    let end = text.rfind(end_mark).unwrap() + end_mark.len();
    let pem = format!(
        "{}{}",
        &text[begin..end],
        std::fs::read_to_string(key).unwrap()
    );
    let file = folder.join("encrypted.pem");
    std::fs::write(&file, pem).unwrap();
    file
}

#[test]
fn logins_with_certificates_show_neither_key_nor_its_password() {
    live::on("X509", async |uri| {
        let folder = Folder::new();
        let encrypted = encrypted(&folder.0);
        let watch = watch();
        for file in [encrypted.clone(), deploy::certificates().join("client.pem")] {
            let pem = std::fs::read_to_string(file).unwrap();
            watch.hide(|secrets| secrets.pem("private key", &pem));
        }
        let options = |file: &Path, password: Option<&str>| {
            let mut options = live::options(&uri);
            let Some(Tls::Enabled(tls)) = &mut options.tls else {
                panic!("the deployment uses TLS");
            };
            tls.cert_key_file_path = Some(file.to_owned());
            tls.tls_certificate_key_file_password = password.map(|p| p.as_bytes().to_vec());
            options
        };
        let result = try_login(&watch, live::options(&uri)).await;
        assert!(result.is_ok(), "plain key: {result:?}");
        let result = try_login(&watch, options(&encrypted, Some(KEY_PASSWORD))).await;
        assert!(result.is_ok(), "encrypted key: {result:?}");
        for password in [Some(WRONG), Some(""), None] {
            let error = try_login(&watch, options(&encrypted, password)).await;
            error.expect_err("the key cannot be read");
        }
        // A certificate whose key is another's, a missing file, a stranger's certificate.
        let mixed = folder.0.join("mixed.pem");
        let certificate = std::fs::read_to_string(deploy::certificates().join("server.crt"));
        let key = std::fs::read_to_string(folder.0.join("encrypted.key")).unwrap();
        std::fs::write(&mixed, certificate.unwrap() + &key).unwrap();
        try_login(&watch, options(&mixed, Some(KEY_PASSWORD)))
            .await
            .unwrap_err();
        let missing = folder.0.join("missing.pem");
        try_login(&watch, options(&missing, Some(KEY_PASSWORD)))
            .await
            .unwrap_err();
        let stranger = deploy::certificates().join("server.pem");
        let pem = std::fs::read_to_string(&stranger).unwrap();
        watch.hide(|secrets| secrets.pem("stranger's key", &pem));
        let error = try_login(&watch, options(&stranger, Some(KEY_PASSWORD))).await;
        assert!(error.unwrap_err().is_authentication());
        check(&watch, "certificates");
    });
}
