//! No password is visible in what the types of this crate print.

use std::fmt::Debug;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Document, doc, rawdoc, spec::BinarySubtype};

use crate::{
    auth::{AuthCache, AuthStep, Authenticator},
    engine::{Command, Engine, Input, SocketId},
    error::{CommandError, Error, ErrorKind, Result},
    event::{is_secret, redacted},
    hello::HelloReply,
    op::{CommandSpec, DocumentSequence},
    options::{AuthMechanism, ClientOptions, Credential, TlsOptions},
    settings::{Environment, Settings},
    time::{Instant, UnixMillis},
    tls::{TlsConfig, TlsFiles},
    wire::{Frame, HEADER_LEN, Header, Reply, Request, encode},
};

const PASSWORD: &str = "pa55-w0rd";

/// A value must not print the password, as text, as a list of bytes, in hexadecimal or in Base64.
fn hides(what: &str, value: &dyn Debug) {
    hides_bytes(what, value, PASSWORD.as_bytes());
}

/// A value must not print these bytes.
fn hides_bytes(what: &str, value: &dyn Debug, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']);
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        let flat: String = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in [&*text, &hex, list, BASE64.encode(bytes).as_str()] {
            assert!(!flat.contains(secret), "{what}: {flat}");
        }
    }
}

fn parse(text: &str) -> Result<ClientOptions> {
    Ok(ClientOptions::parse_uri(text)?.options)
}

fn uri() -> String {
    format!(
        "mongodb://user:{PASSWORD}@h/?proxyHost=p&proxyUsername=u&proxyPassword={PASSWORD}\
         &tls=true&tlsCertificateKeyFile=f&tlsCertificateKeyFilePassword={PASSWORD}"
    )
}

#[test]
fn options_and_their_parts_hide_passwords() {
    let options = parse(&uri()).unwrap();
    assert_eq!(
        options.credential.as_ref().unwrap().password.as_deref(),
        Some(PASSWORD)
    );
    hides("options", &options);
    hides("warnings", &options.warnings);
    let aws = format!(
        "mongodb://k:{PASSWORD}@h/?authMechanism=MONGODB-AWS\
         &authMechanismProperties=AWS_SESSION_TOKEN:{PASSWORD}"
    );
    hides("AWS token", &parse(&aws).unwrap());
}

#[test]
fn errors_of_malformed_strings_and_warnings_hide_passwords() {
    for text in [
        format!("mongodb://user:{PASSWORD}@"),
        format!("mongodb://user:{PASSWORD}@h:0/"),
        format!("mongodb://user:{PASSWORD}/x@h/"),
        format!("mongodb://user:{PASSWORD}?x@h/"),
        format!("mongodb://user:x/{PASSWORD}@h/"),
        format!("mongodb://user:x?{PASSWORD}@h/"),
        format!("mongodb://user:x?y={PASSWORD}@h/"),
        format!("mongodb://user:{PASSWORD}%zz@h/"),
        format!("mongodb://us@er:{PASSWORD}@h/"),
        format!("mongodb://user:{PASSWORD}@h/?authMechanism={PASSWORD}"),
        format!("mongodb://user:{PASSWORD}@h/?proxyPassword={PASSWORD}"),
        format!("mongodb://h/?tlsCertificateKeyFilePassword={PASSWORD}%zz"),
        format!("mongodb://h/?authMechanismProperties={PASSWORD}"),
        format!("mongodb+srv://user:{PASSWORD}@a,b/"),
        format!("user:{PASSWORD}@h"),
    ] {
        match parse(&text) {
            Ok(options) => hides(&text, &options),
            Err(error) => {
                hides(&text, &error);
                assert!(!error.to_string().contains(PASSWORD), "{error}");
            }
        }
    }
}

#[test]
fn requests_replies_and_commands_hide_their_content() {
    let body = rawdoc! { "createUser": "u", "pwd": PASSWORD };
    let mut spec = CommandSpec::new("createUser", "admin", body.clone());
    spec.sequences.push(DocumentSequence {
        identifier: "documents",
        documents: body.as_bytes().to_vec().into(),
    });
    hides("spec", &spec);
    let request = Request {
        name: "createUser",
        document: body.as_bytes().to_vec(),
        sequences: spec.sequences.clone(),
        ..Request::default()
    };
    hides("request", &request);
    hides("reply", &Reply::from_document(body.clone()));
    let mut queue = crate::wire::WriteQueue::default();
    encode(&request, 1, None, 48_000_000, &mut queue).unwrap();
    hides("queue", &queue);
    let header = Header {
        length: HEADER_LEN,
        request_id: 1,
        response_to: 0,
        op_code: 2013,
    };
    let bytes = body.into_bytes().into();
    hides("frame", &Frame { header, bytes });
}

#[test]
fn authentication_hides_the_password() {
    let credential = Credential::builder()
        .username("user")
        .password(PASSWORD)
        .source("admin");
    hides("credential", &credential);
    for mechanism in [
        AuthMechanism::Plain,
        AuthMechanism::ScramSha1,
        AuthMechanism::ScramSha256,
    ] {
        let mut entropy = |out: &mut [u8]| out.fill(7);
        let cache = AuthCache::default();
        let mut machine = Authenticator::new(&credential, mechanism, &cache, &mut entropy).unwrap();
        hides("machine", &machine);
        hides("step", &machine.start().unwrap());
        hides("cache", &cache);
    }
}

#[test]
fn tls_hides_the_password_of_the_key() {
    let options = TlsOptions {
        tls_certificate_key_file_password: Some(PASSWORD.as_bytes().to_vec()),
        ..TlsOptions::default()
    };
    hides("options", &options);
    let files = TlsFiles {
        cert_key: Some(format!("-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n").into_bytes()),
        ..TlsFiles::default()
    };
    hides("files", &files);
    let clock = std::sync::Arc::new(|| crate::time::UnixMillis(0));
    let error = TlsConfig::build(&options, files, clock).unwrap_err();
    hides("error", &error);
}

/// The payload of a SASL command.
fn payload(step: &AuthStep) -> Vec<u8> {
    let AuthStep::Send { command, .. } = step else {
        panic!("{step:?} sends nothing");
    };
    command.get_binary_generic("payload").unwrap().clone()
}

fn server_first(client_first: &[u8]) -> bson::RawDocumentBuf {
    let text = std::str::from_utf8(client_first).unwrap();
    let (_, nonce) = text.split_once(",r=").unwrap();
    let text = format!("r={nonce}x,s={},i=4096", BASE64.encode([5; 16]));
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: text.into_bytes(),
    };
    rawdoc! { "conversationId": 1, "done": false, "payload": payload, "ok": 1 }
}

#[test]
fn a_conversation_hides_keys_and_proofs_at_each_of_its_steps() {
    let credential = Credential::builder()
        .username("user")
        .password(PASSWORD)
        .source("admin");
    for mechanism in [AuthMechanism::ScramSha1, AuthMechanism::ScramSha256] {
        let mut entropy = |out: &mut [u8]| out.fill(7);
        let cache = AuthCache::default();
        let mut machine = Authenticator::new(&credential, mechanism, &cache, &mut entropy).unwrap();
        let first = payload(&machine.start().unwrap());
        let step = machine.handle_reply(&server_first(&first)).unwrap();
        hides("step", &step);
        let AuthStep::Derive(job) = step else {
            panic!("no key is derived");
        };
        hides("job", &job);
        let key = job.run();
        let shown = format!("{key:?}");
        assert!(!shown.contains(|c: char| c.is_ascii_digit()), "{shown}");
        let step = machine.handle_derived(key).unwrap();
        let last = payload(&step);
        let (_, proof) = std::str::from_utf8(&last)
            .unwrap()
            .split_once(",p=")
            .unwrap();
        for (what, value) in [("step", &step as &dyn Debug), ("machine", &machine)] {
            hides(what, value);
            hides_bytes(what, value, &last);
            hides_bytes(what, value, &BASE64.decode(proof).unwrap());
        }
        // A server that says something wrong is not quoted.
        let wrong = Binary {
            subtype: BinarySubtype::Generic,
            bytes: last.clone(),
        };
        let wrong = rawdoc! { "conversationId": 1, "done": true, "payload": wrong, "ok": 1 };
        let error = machine.handle_reply(&wrong).unwrap_err();
        hides_bytes("error", &error, &last);
        hides_bytes("error", &error, proof.as_bytes());
    }
}

#[test]
fn a_hello_hides_its_part_of_a_login() {
    let hello = doc! { "ok": 1, "speculativeAuthenticate": { "payload": PASSWORD } };
    hides("hello", &HelloReply::from_document(hello).unwrap());
}

#[test]
fn commands_with_secrets_are_known_in_any_case_and_their_errors_are_redacted() {
    let is = |command: Document| is_secret(&bson::RawDocumentBuf::try_from(&command).unwrap());
    for name in [
        "createUser",
        "UPDATEUSER",
        "saslstart",
        "saslContinue",
        "authenticate",
    ] {
        assert!(is(doc! { name: 1 }), "{name}");
    }
    for name in ["hello", "isMaster", "ismaster"] {
        assert!(
            is(doc! { name: 1, "speculativeAuthenticate": {} }),
            "{name}"
        );
        assert!(!is(doc! { name: 1 }), "{name}");
    }
    assert!(!is(doc! {}));
    assert!(!is(
        doc! { "find": "createUser", "speculativeAuthenticate": 1 }
    ));

    let command = CommandError {
        code: 11,
        message: PASSWORD.to_owned(),
        ..CommandError::default()
    };
    let error =
        Error::new(ErrorKind::Command(command)).with_response(rawdoc! { "errmsg": PASSWORD });
    let shown = redacted(&error, true);
    hides("error", &shown);
    assert_eq!(shown.code(), Some(11));
    assert!(!shown.to_string().contains(PASSWORD));
    assert!(shown.server_response().is_none());
    assert_eq!(redacted(&error, false).to_string(), error.to_string());
}

#[test]
fn an_engine_s_inputs_outputs_and_settings_hide_what_a_login_says() {
    let read = Input::Read {
        conn: SocketId(1),
        bytes: PASSWORD.as_bytes(),
    };
    hides("input", &read);
    let body = rawdoc! { "createUser": "u", "pwd": PASSWORD };
    hides(
        "command",
        &Command::new(CommandSpec::new("createUser", "admin", body)),
    );

    let mut options = parse(&uri().replace("tls=true&", "").replace("tls", "x")).unwrap();
    options.socks5_proxy = None;
    let clock = std::sync::Arc::new(|| UnixMillis(0));
    let mut environment = Environment::default();
    environment.tls.cert_key = Some(PASSWORD.as_bytes().to_vec());
    hides("environment", &environment);
    let settings = Settings::new(&options, &environment, clock.clone()).unwrap();
    hides("settings", &settings);
    hides("connection", &settings.connection);
    let now = Instant::from_nanos(1);
    let entropy = Box::new(|out: &mut [u8]| out.fill(7));
    let mut engine = Engine::new(options, environment, entropy, clock, now).unwrap();
    while let Some(output) = engine.poll_output() {
        hides("output", &output);
    }
}
