//! No secret of a login is in a log, an event, an error or any `Debug` output, whether the login
//! succeeds or fails and however it fails. On the scripted runtime; `live_secrets.rs` does the same
//! with real servers.

use std::{sync::Arc, time::Duration};

use bson::{Binary, Document, doc, spec::BinarySubtype};
use mongo_client::{
    Client,
    options::{AuthMechanism, ClientOptions, Credential, Tls, TlsOptions},
};
use mongo_client_core::conn::ConnectionConfig;
use mongo_client_sim::{Behaviour, Scripted, hello_reply};
use mongo_client_tests::{
    logs::Logs,
    secrets::{Flaw, ScramPeer, Watch},
    sim::{ADDRESS, Seen, Servers},
};
use tracing::Level;

/// Parts that stay searchable where a character between them is taken for something else.
const PARTS: [&str; 5] = ["zq7Xkpw", "vJ4wTpw", "bN8rEpw", "mH2yDpw", "ßkR5cpw"];
const USER: &str = "grüße";

fn password() -> String {
    let [a, b, c, d, e] = PARTS;
    format!("{a}/{b}:{c}@{d}%{e}")
}

/// Encoded for a connection string.
fn encoded(text: &str) -> String {
    let byte = |byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn watch() -> Watch {
    let watch = Watch::default();
    watch.hide(|secrets| {
        secrets.text("password", &password());
        for part in PARTS {
            secrets.text("password", part);
        }
    });
    watch
}

fn credential(mechanism: Option<AuthMechanism>, password: &str) -> Credential {
    let mut credential = Credential::builder().username(USER).password(password);
    credential.mechanism = mechanism;
    credential
}

/// Tries to log in while everything is watched; how it ended.
fn log_in(
    watch: &Watch,
    credential: Credential,
    behaviour: impl FnOnce(&Servers),
) -> Option<mongo_client::error::Error> {
    // The sim's clients share no log with other tests: each listens on its own thread.
    let logs = Logs::of("", Level::TRACE);
    let error = logs.listen(|| {
        let servers = Servers::standalone(7);
        behaviour(&servers);
        watch.debug("credential", &credential);
        let client = servers.client(|options| {
            watch.attach(options);
            options.credential = Some(credential.clone());
            options.connect_timeout = Some(Duration::from_millis(300));
            options.server_selection_timeout = Some(Duration::from_millis(900));
            watch.debug("options", options);
        });
        let mut config = ConnectionConfig::new(client.handle().options().hosts[0].clone());
        config.credential = Some(credential);
        watch.debug("connection", &config);
        let error = servers.sim.block_on(async {
            let db = client.database("db");
            let result = db.run_command(doc! { "ping": 1 }).await;
            watch.debug("client", &client);
            watch.debug("handle", &client.handle());
            watch.debug("database", &db);
            watch.debug("collection", &db.collection::<Document>("c"));
            watch.debug("census", &client.handle().census());
            if let Ok(session) = client.start_session().await {
                watch.debug("session", &session);
            }
            // A retry sees what the first failure left, for example in the topology.
            if let Err(error) = db.run_command(doc! { "ping": 1 }).await {
                watch.error("second error", &error);
            }
            result.err()
        });
        servers.pass(Duration::from_secs(11));
        servers.sim.block_on(async { client.shutdown().await });
        error
    });
    if let Some(error) = &error {
        watch.error("error", error);
    }
    assert!(!logs.events().is_empty(), "nothing was logged");
    watch.logs(&logs);
    error
}

const SCRAM: [AuthMechanism; 2] = [AuthMechanism::ScramSha1, AuthMechanism::ScramSha256];

/// Lets the servers log in by SCRAM; `speculates` says whether their hello answers at once.
fn serve_scram(servers: &Servers, peer: ScramPeer, speculates: bool) {
    servers.set_rule(move |seen| {
        if let Some(reply) = peer.answer(seen.connection, &seen.command) {
            return Some(Scripted::Reply(reply));
        }
        let speculation = seen.command.get_document("speculativeAuthenticate").ok()?;
        let mut hello = hello_reply(&seen.command)?;
        hello.insert("saslSupportedMechs", ["SCRAM-SHA-1", "SCRAM-SHA-256"]);
        if speculates {
            let reply = peer.answer(seen.connection, speculation)?;
            hello.insert("speculativeAuthenticate", reply);
        }
        Some(Scripted::Reply(hello))
    });
}

#[test]
fn a_login_by_scram_shows_no_secret() {
    for mechanism in SCRAM {
        for speculates in [false, true] {
            let watch = watch();
            let peer = ScramPeer::new(&watch, mechanism, USER, &password(), Flaw::None);
            let credential = credential(Some(mechanism), &password());
            let error = log_in(&watch, credential, |s| serve_scram(s, peer, speculates));
            assert!(error.is_none(), "{mechanism:?} {speculates}: {error:?}");
            watch.check(&format!("{mechanism:?}"));
        }
    }
}

#[test]
fn a_login_by_a_negotiated_mechanism_shows_no_secret() {
    let watch = watch();
    let sha256 = AuthMechanism::ScramSha256;
    let peer = ScramPeer::new(&watch, sha256, USER, &password(), Flaw::None);
    let credential = credential(None, &password());
    let error = log_in(&watch, credential, |s| serve_scram(s, peer, false));
    assert!(error.is_none(), "{error:?}");
    watch.check("negotiated");
}

#[test]
fn a_login_with_a_wrong_password_shows_neither_password() {
    for mechanism in SCRAM {
        let watch = watch();
        watch.hide(|secrets| secrets.text("right password", "r1ght-Hj6Qs"));
        let peer = ScramPeer::new(&watch, mechanism, USER, "r1ght-Hj6Qs", Flaw::None);
        let credential = credential(Some(mechanism), &password());
        let error = log_in(&watch, credential, |s| serve_scram(s, peer, true));
        assert!(error.unwrap().is_authentication());
        watch.check(&format!("{mechanism:?}"));
    }
}

#[test]
fn a_server_that_breaks_the_rules_of_scram_brings_no_secret_out() {
    for mechanism in SCRAM {
        for flaw in [Flaw::Signature, Flaw::Echo, Flaw::Refusal, Flaw::Rounds] {
            let watch = watch();
            let peer = ScramPeer::new(&watch, mechanism, USER, &password(), flaw);
            let credential = credential(Some(mechanism), &password());
            let error = log_in(&watch, credential, |s| serve_scram(s, peer, true));
            assert!(error.is_some(), "{mechanism:?} {flaw:?}");
            watch.check(&format!("{mechanism:?} {flaw:?}"));
        }
    }
}

type Answer = fn(&Seen) -> Scripted;

/// What a server may do when it is to answer a command of a login.
fn failures() -> [(&'static str, Answer); 6] {
    [
        ("refuses", |_| {
            Scripted::Reply(doc! {
                "ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "no",
            })
        }),
        ("does not know the mechanism", |_| {
            Scripted::Reply(doc! {
                "ok": 0.0, "code": 334, "codeName": "MechanismUnavailable", "errmsg": "what?",
            })
        }),
        ("shuts down", |_| {
            Scripted::Reply(doc! {
                "ok": 0.0, "code": 91, "codeName": "ShutdownInProgress", "errmsg": "bye",
            })
        }),
        ("closes", |_| Scripted::Close),
        ("is silent", |_| Scripted::Silence),
        ("answers nonsense", |_| Scripted::Raw(vec![0xff; 64])),
    ]
}

#[test]
fn no_failure_of_any_mechanism_shows_a_secret() {
    let mechanisms = [
        AuthMechanism::ScramSha1,
        AuthMechanism::ScramSha256,
        AuthMechanism::Plain,
        AuthMechanism::MongoDbX509,
    ];
    for mechanism in mechanisms {
        for (what, answer) in failures() {
            let watch = watch();
            hide_plain(&watch);
            let mut credential = credential(Some(mechanism), &password());
            if mechanism == AuthMechanism::MongoDbX509 {
                credential.password = None;
            }
            let error = log_in(&watch, credential, |servers| {
                servers.set_rule(move |seen| {
                    ["saslStart", "authenticate"]
                        .contains(&seen.name())
                        .then(|| answer(seen))
                });
            });
            assert!(error.is_some(), "{mechanism:?}: the server {what}");
            watch.check(&format!("{mechanism:?}: the server {what}"));
        }
    }
}

#[test]
fn no_failure_after_the_proof_shows_a_secret() {
    for mechanism in SCRAM {
        for (what, answer) in failures() {
            let watch = watch();
            let peer = ScramPeer::new(&watch, mechanism, USER, &password(), Flaw::None);
            let credential = credential(Some(mechanism), &password());
            let error = log_in(&watch, credential, |servers| {
                servers.set_rule(move |seen| {
                    let reply = peer.answer(seen.connection, &seen.command)?;
                    Some(match seen.name() {
                        "saslContinue" => answer(seen),
                        _ => Scripted::Reply(reply),
                    })
                });
            });
            assert!(error.is_some(), "{mechanism:?}: the server {what}");
            watch.check(&format!("{mechanism:?}: the server {what}"));
        }
    }
}

fn hide_plain(watch: &Watch) {
    let payload = format!("\0{USER}\0{}", password());
    watch.hide(|secrets| secrets.bytes("payload of PLAIN", payload.as_bytes()));
}

#[test]
fn a_login_by_plain_shows_no_secret() {
    let watch = watch();
    hide_plain(&watch);
    let credential = credential(Some(AuthMechanism::Plain), &password());
    let error = log_in(&watch, credential, |servers| {
        servers.set_rule(|seen| {
            let payload = seen.command.get_binary_generic("payload").ok()?;
            assert!(payload.ends_with(password().as_bytes()));
            let payload = Binary {
                subtype: BinarySubtype::Generic,
                bytes: Vec::new(),
            };
            Some(Scripted::Reply(
                doc! { "conversationId": 1, "done": true, "payload": payload, "ok": 1.0 },
            ))
        });
    });
    assert!(error.is_none(), "{error:?}");
    watch.check("PLAIN");
}

#[test]
fn a_login_by_x509_shows_no_secret_and_needs_no_password() {
    let watch = watch();
    let mut credential = credential(Some(AuthMechanism::MongoDbX509), "");
    credential.password = None;
    let error = log_in(&watch, credential, |_| {});
    assert!(error.is_none(), "{error:?}");
    watch.check("X.509");
}

#[test]
fn servers_that_cannot_be_reached_bring_no_secret_out() {
    for behaviour in [Behaviour::Refuse, Behaviour::Hang] {
        let watch = watch();
        let credential = credential(None, &password());
        let error = log_in(&watch, credential, |servers| {
            servers.sim.set_behaviour(ADDRESS, behaviour);
        });
        assert!(error.unwrap().is_server_selection());
        watch.check("unreachable");
    }
}

#[test]
fn a_credential_that_fits_no_mechanism_is_refused_without_showing_it() {
    let watch = watch();
    let mut cases = vec![];
    for mechanism in [
        "MONGODB-X509",
        "PLAIN",
        "MONGODB-CR",
        "GSSAPI",
        "MONGODB-AWS",
        "NOPE",
    ] {
        let (user, password) = (encoded(USER), encoded(&password()));
        cases.push(format!(
            "mongodb://{user}:{password}@{ADDRESS}/?authMechanism={mechanism}"
        ));
        cases.push(format!(
            "mongodb://:{password}@{ADDRESS}/?authMechanism={mechanism}"
        ));
    }
    for uri in cases {
        try_uri(&watch, &uri);
    }
    watch.check("mechanisms");
}

/// Builds a client of a connection string; whatever comes of it is watched.
fn try_uri(watch: &Watch, uri: &str) {
    let logs = Logs::of("", Level::TRACE);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let parsed = ClientOptions::parse_uri(uri);
        let built = match parsed {
            Ok(parsed) => {
                watch.debug("parsed", &parsed.options);
                let builder = Client::builder().options(parsed.options);
                builder.runtime(servers.sim.runtime()).build()
            }
            Err(error) => Err(error),
        };
        match built {
            Ok(client) => watch.debug("client", &client),
            Err(error) => watch.error("refusal", &error),
        }
        if let Err(error) = Client::builder().uri(uri) {
            watch.error("builder", &error);
        }
    });
    watch.logs(&logs);
}

#[test]
fn malformed_connection_strings_are_refused_without_showing_the_password() {
    let (raw, good) = (password(), encoded(&password()));
    for uri in [
        // The password was not encoded, in part or at all.
        format!("mongodb://user:{raw}@h/"),
        format!("mongodb://user:{raw}@h/?appName=x"),
        format!("mongodb://user:{}@h/", raw.replace('%', "")),
        format!("mongodb://user:{}@h/", raw.replace(['%', '@'], "")),
        format!("mongodb://user:{}@h/", raw.replace(['%', '@', '/'], "")),
        format!("mongodb://user:{}@h/", raw.replace('/', "?")),
        format!("mongodb://user:{}@h/", raw.replace('/', "#")),
        format!("mongodb+srv://user:{raw}@h.test.example/"),
        format!(
            "mongodb+srv://user:{}@h.test.example/",
            raw.replace('/', "")
        ),
        // Something else is wrong.
        format!("mongodb://user:{good}"),
        format!("mongodb://user:{good}@"),
        format!("mongodb://user:{good}@/"),
        format!("mongodb://user:{good}@h:99999/"),
        format!("mongodb://user:{good}@h,/"),
        format!("mongodb://user:{good}@[::1/"),
        format!("mongodb://user:{good}@h/?authSource="),
        format!("mongodb://user:{good}@h/a.b"),
        format!("mongodb://user:{good}@h/?maxPoolSize=x"),
        format!("mongodb://user:{good}@h/?loadBalanced=true&directConnection=true"),
        format!("mongodb://user:{good}%@h/"),
        format!("mongodb://user:{good}%zz@h/"),
        format!("mongodb+srv://user:{good}@h/"),
        format!("mongodb+srv://user:{good}@h.test.example:1/"),
        format!("mongo://user:{good}@h/"),
        format!("user:{good}@h/"),
        good.clone(),
        // Options with secrets of their own.
        format!("mongodb://h/?tlsCertificateKeyFilePassword={good}"),
        format!("mongodb://h/?tls=true&tlsCertificateKeyFilePassword={good}"),
        format!(
            "mongodb://h/?tls=false&tlsCertificateKeyFile=f&tlsCertificateKeyFilePassword={good}"
        ),
        format!(
            "mongodb://h/?tls=true&tlsCertificateKeyFile=/no&tlsCertificateKeyFilePassword={raw}"
        ),
        format!("mongodb://h/?proxyHost=p&proxyUsername=u&proxyPassword={good}"),
        format!("mongodb://h/?proxyPassword={good}"),
        format!(
            "mongodb://u:{good}@h/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:{good}"
        ),
        format!("mongodb://u:{good}@h/?authMechanism=PLAIN&authMechanismProperties=X:{good}"),
    ] {
        let watch = watch();
        try_uri(&watch, &uri);
        watch.check(&uri);
    }
}

#[test]
fn keys_that_cannot_be_read_are_not_shown() {
    let folder = std::env::temp_dir().join(format!("mongo-client-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let body = "pR1vAt3kEyBy7e5ThAtNoOnEmAySeEiNaNyLoGoRaNyErRoR0123456789abcdEF";
    let kinds = [
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
    ];
    for (i, kind) in kinds.iter().enumerate() {
        for password_given in [false, true] {
            let pem = format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
            let path = folder.join(format!("{i}.pem"));
            std::fs::write(&path, &pem).unwrap();
            let watch = watch();
            watch.hide(|secrets| {
                secrets.pem("private key", &pem);
                secrets.text("private key", body);
            });
            let logs = Logs::of("", Level::TRACE);
            logs.listen(|| {
                let mut tls = TlsOptions::builder().cert_key_file_path(path.clone());
                tls.tls_certificate_key_file_password =
                    password_given.then(|| password().into_bytes());
                watch.debug("TLS", &tls);
                let mut options = ClientOptions::default();
                options.tls = Some(Tls::Enabled(tls));
                watch.debug("options", &options);
                let servers = Servers::standalone(1);
                let builder = Client::builder().options(options);
                let error = builder.runtime(servers.sim.runtime()).build().unwrap_err();
                watch.error("refusal", &error);
            });
            watch.logs(&logs);
            watch.check(kind);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn commands_with_passwords_show_none_of_them() {
    let logs = Logs::of("", Level::TRACE);
    let watch = watch();
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let client = servers.client(|options| watch.attach(options));
        for fails in [false, true] {
            servers.set_rule(move |seen| {
                let answer = match fails {
                    true => doc! { "ok": 0.0, "code": 51_003, "errmsg": seen.command.to_string() },
                    false => doc! { "ok": 1.0, "was": seen.command.to_string() },
                };
                matches!(seen.name(), "createUser" | "updateUser").then(|| Scripted::Reply(answer))
            });
            servers.sim.block_on(async {
                let db = client.database("admin");
                for name in ["createUser", "updateUser"] {
                    let command = doc! { name: "u", "pwd": password(), "roles": [] };
                    // What a server says of it is the caller's to see, and nobody else's.
                    let result = db.run_command(command).await;
                    assert_eq!(result.is_err(), fails);
                }
            });
        }
        watch.debug("client", &client);
    });
    watch.logs(&logs);
    watch.check("users");
}

#[test]
fn what_this_file_searches_for_would_be_found() {
    let found = |text: String| {
        let watch = watch();
        hide_plain(&watch);
        watch.text("text", text);
        let check = move || watch.check("found");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
    };
    let password = password();
    let bytes = password.as_bytes();
    let payload = format!("\0{USER}\0{password}");
    for text in [
        format!("x{password}x"),
        format!("{password:?}"),
        format!("{bytes:?}"),
        format!("{bytes:#?}"),
        format!("{:#?}", bson::Bson::from(password.clone())),
        encoded(&password),
        encoded(&password).to_lowercase(),
        format!("{:?}", Arc::new(payload.as_bytes())),
        bson::Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: payload.clone().into_bytes(),
        })
        .into_relaxed_extjson()
        .to_string(),
        format!("{:02x?}", bytes).replace([',', ' ', '[', ']'], ""),
    ] {
        assert!(found(text.clone()), "{text}");
    }
    assert!(!found("something else".to_owned()));
}
