//! What must end a conversation, and with which error.

use super::*;

fn message(error: &Error) -> &str {
    match &*error.kind {
        ErrorKind::Authentication { message } => message,
        other => panic!("not an authentication error: {other}"),
    }
}

#[track_caller]
fn refused_first(text: &str, why: &str) {
    let mut auth = scram(&SHA256, &AuthCache::default());
    let _ = sent(auth.start().unwrap());
    let error = auth.handle_reply(&sasl(text, false)).unwrap_err();
    assert!(message(&error).contains(why), "{error}");
    // A failed conversation stays failed.
    assert!(
        auth.handle_reply(&sasl(SHA256.server_first, false))
            .is_err()
    );
}

#[test]
fn first_message_out_of_rule_is_refused() {
    let n = SHA256.nonce;
    let s = "W22ZaJ0SNY7soEsUEjb6gQ==";
    refused_first(&format!("r={n}x,s={s},i=4095"), "4095");
    refused_first(&format!("r={n}x,s={s},i=1000001"), "1000001");
    refused_first(&format!("r={n}x,s={s},i=99999999999"), "\"i\"");
    refused_first(&format!("r={n}x,s={s},i=+5000"), "\"i\"");
    refused_first(&format!("r={n}x,s={s},i="), "\"i\"");
    refused_first(&format!("r={n}x,s={s}"), "\"i\"");
    refused_first(&format!("r={n}x,s=?,i=5000"), "\"s\"");
    refused_first(&format!("r={n}x,s=,i=5000"), "\"s\"");
    refused_first(&format!("s={s},r={n}x,i=5000"), "\"r\"");
    refused_first(&format!("r={n},s={s},i=5000"), "nonce");
    refused_first(&format!("r=x{n},s={s},i=5000"), "nonce");
    refused_first(&format!("m=x,r={n}x,s={s},i=5000"), "extension");
    refused_first(
        &format!("r={n}{},s={s},i=5000", "x".repeat(5000)),
        "exceeds",
    );
    refused_first("e=other-error,x", "\"other-error\"");
    refused_first("", "\"r\"");
}

#[test]
fn bounds_of_the_iteration_count_are_accepted() {
    for count in ["4096", "1000000"] {
        let mut auth = scram(&SHA256, &AuthCache::default());
        let _ = sent(auth.start().unwrap());
        let text = SHA256.server_first.replace("4096", count);
        let step = auth.handle_reply(&sasl(&text, false)).unwrap();
        assert!(matches!(step, AuthStep::Derive(_)), "{step:?}");
    }
}

#[test]
fn server_that_ends_without_proof_is_refused() {
    let mut auth = scram(&SHA256, &AuthCache::default());
    let _ = sent(auth.start().unwrap());
    let error = auth
        .handle_reply(&sasl(SHA256.server_first, true))
        .unwrap_err();
    assert!(message(&error).contains("without a proof"), "{error}");

    let mut auth = up_to_proof(&SHA256, &AuthCache::default());
    assert!(
        auth.handle_reply(&sasl("", true))
            .unwrap_err()
            .is_authentication()
    );
}

#[test]
fn wrong_signature_is_refused() {
    for text in [
        SHA1.server_final,
        "v=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
        "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "e=invalid-proof",
    ] {
        let mut auth = up_to_proof(&SHA256, &AuthCache::default());
        let error = auth.handle_reply(&sasl(text, true)).unwrap_err();
        assert!(error.is_authentication(), "{text}: {error}");
    }
}

#[test]
fn reply_of_another_conversation_is_refused() {
    let mut auth = up_to_proof(&SHA256, &AuthCache::default());
    let reply = raw(&doc! {
        "conversationId": 2,
        "done": true,
        "payload": binary(SHA256.server_final.as_bytes()),
        "ok": 1,
    });
    let error = auth.handle_reply(&reply).unwrap_err();
    assert!(message(&error).contains("another conversation"), "{error}");
}

#[test]
fn endless_conversation_is_refused() {
    let mut auth = up_to_proof(&SHA256, &AuthCache::default());
    let _ = sent(
        auth.handle_reply(&sasl(SHA256.server_final, false))
            .unwrap(),
    );
    assert!(
        auth.handle_reply(&sasl("", false))
            .unwrap_err()
            .is_authentication()
    );

    let mut plain = authenticator(&user(), AuthMechanism::Plain).unwrap();
    let _ = sent(plain.start().unwrap());
    assert!(
        plain
            .handle_reply(&sasl("", false))
            .unwrap_err()
            .is_authentication()
    );
}

#[test]
fn refused_credential_keeps_text_code_labels_and_response() {
    let reply = raw(&doc! {
        "ok": 0,
        "errmsg": "Authentication failed.",
        "code": 18,
        "codeName": "AuthenticationFailed",
        "errorLabels": ["HandshakeError"],
    });
    for mechanism in [
        AuthMechanism::ScramSha1,
        AuthMechanism::ScramSha256,
        AuthMechanism::Plain,
    ] {
        let mut auth = authenticator(&user(), mechanism).unwrap();
        let _ = sent(auth.start().unwrap());
        let error = auth.handle_reply(&reply).unwrap_err();
        let expected = format!(
            "{}: Authentication failed. (code 18, AuthenticationFailed)",
            mechanism.as_str()
        );
        assert_eq!(message(&error), expected);
        assert!(error.contains_label("HandshakeError"));
        assert_eq!(error.server_response(), Some(&reply));
    }
}

#[test]
fn error_about_the_server_stays_a_command_error() {
    let mut auth = scram(&SHA256, &AuthCache::default());
    let _ = sent(auth.start().unwrap());
    let reply = raw(&doc! { "ok": 0, "errmsg": "in shutdown", "code": 91 });
    let error = auth.handle_reply(&reply).unwrap_err();
    assert_eq!(error.code(), Some(91));
    assert!(!error.is_authentication());
}

#[test]
fn incomplete_reply_names_the_field() {
    let whole = doc! { "conversationId": 1, "done": false, "payload": binary(b"r"), "ok": 1 };
    for field in ["conversationId", "done", "payload", "ok"] {
        for value in [None, Some(Bson::String("x".to_owned()))] {
            let mut reply = whole.clone();
            reply.remove(field);
            if let Some(value) = value {
                reply.insert(field, value);
            }
            let mut auth = scram(&SHA256, &AuthCache::default());
            let _ = sent(auth.start().unwrap());
            let error = auth.handle_reply(&raw(&reply)).unwrap_err();
            match &*error.kind {
                ErrorKind::InvalidResponse { message } => assert!(message.starts_with(field)),
                // An `ok` that is no number is a failure without text.
                kind => assert!(field == "ok", "{field}: {kind}"),
            }
        }
    }
}

#[test]
fn mechanisms_not_built_are_named() {
    for mechanism in [
        AuthMechanism::Gssapi,
        AuthMechanism::MongoDbAws,
        AuthMechanism::MongoDbOidc,
    ] {
        let error = authenticator(&user(), mechanism).unwrap_err();
        match &*error.kind {
            ErrorKind::Unsupported { feature } => assert!(feature.contains(mechanism.as_str())),
            kind => panic!("{kind}"),
        }
    }
    let error = authenticator(&user(), AuthMechanism::MongoDbCr).unwrap_err();
    assert!(matches!(&*error.kind, ErrorKind::InvalidArgument { .. }));
}

#[test]
fn credential_that_does_not_fit_is_refused() {
    let nobody = Credential::builder();
    let cases = [
        (nobody.clone().password("p"), AuthMechanism::ScramSha256),
        (
            nobody.clone().username("").password("p"),
            AuthMechanism::ScramSha1,
        ),
        (nobody.clone().username("u"), AuthMechanism::ScramSha256),
        (nobody.clone().username("u"), AuthMechanism::Plain),
        (user().password("a\0b"), AuthMechanism::Plain),
        (user().password("a\u{7}b"), AuthMechanism::ScramSha256),
        (user(), AuthMechanism::MongoDbX509),
        (nobody.source("admin"), AuthMechanism::MongoDbX509),
    ];
    for (credential, mechanism) in cases {
        let error = authenticator(&credential, mechanism).unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::InvalidArgument { .. }),
            "{error}"
        );
    }
}

#[test]
fn calls_out_of_order_are_internal_errors() {
    let internal = |step: Result<AuthStep>| {
        let error = step.unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::Internal { .. }),
            "{error}"
        );
    };
    let ok = sasl("", true);
    for mechanism in [
        AuthMechanism::ScramSha1,
        AuthMechanism::ScramSha256,
        AuthMechanism::Plain,
    ] {
        let mut auth = authenticator(&user(), mechanism).unwrap();
        internal(auth.handle_reply(&ok));
        let _ = sent(auth.start().unwrap());
        internal(auth.start());
        internal(auth.handle_speculative(&ok));
        let salt = vec![1];
        let secret = std::sync::Arc::from(&b"x"[..]);
        let key = DeriveJob::new(AuthMechanism::ScramSha1, secret, salt, 1).run();
        internal(auth.handle_derived(key));
    }
}

#[test]
fn debug_output_has_no_secrets() {
    let cache = AuthCache::default();
    let mut shown = String::new();
    for mechanism in [AuthMechanism::ScramSha256, AuthMechanism::Plain] {
        let mut auth = authenticator(&user(), mechanism).unwrap();
        shown += &format!("{auth:?}");
        shown += &format!("{:?}", auth.start());
        shown += &format!("{auth:?}");
    }
    let mut auth = scram(&SHA1, &cache);
    let _ = sent(auth.start().unwrap());
    let step = auth.handle_reply(&sasl(SHA1.server_first, false)).unwrap();
    shown += &format!("{step:?}{auth:?}");
    let key = derive(step);
    shown += &format!("{key:?}");
    let step = auth.handle_derived(key).unwrap();
    shown += &format!("{step:?}{auth:?}{cache:?}");
    let digest = "1c33006ec1ffd90f9cadcbcc0e118200";
    for secret in ["pencil", digest, SHA1.nonce, "p=", "Binary"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("Derive(DeriveJob(10000 rounds))"), "{shown}");
}
