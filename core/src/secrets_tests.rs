//! No password is visible in what the types of this crate print.

use std::fmt::Debug;

use bson::rawdoc;
use bytes::Bytes;

use crate::{
    auth::{AuthCache, Authenticator},
    error::Result,
    op::{CommandSpec, DocumentSequence},
    options::{AuthMechanism, ClientOptions, Credential, TlsOptions},
    tls::{TlsConfig, TlsFiles},
    wire::{Frame, HEADER_LEN, Header, Reply, Request, encode},
};

const PASSWORD: &str = "pa55-w0rd";

/// A value must not print the password, as text, as a list of bytes, in hexadecimal or in Base64.
fn hides(what: &str, value: &dyn Debug) {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    let bytes = PASSWORD.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']);
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        let flat: String = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in [PASSWORD, &hex, list, BASE64.encode(bytes).as_str()] {
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
        documents: Bytes::from(body.as_bytes().to_vec()),
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
    let bytes = Bytes::from(body.into_bytes());
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
