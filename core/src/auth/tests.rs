//! Conversations against written replies; the vectors are those of the specification.

mod mutation;
mod refusals;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Bson, RawDocumentBuf, doc, spec::BinarySubtype};

use super::*;
use crate::error::ErrorKind;

/// The messages of one SCRAM conversation, as the specification prints them.
struct Vector {
    mechanism: AuthMechanism,
    nonce: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

const SHA1: Vector = Vector {
    mechanism: AuthMechanism::ScramSha1,
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
    client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    server_first: "r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,\
                   s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000",
    client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,\
                   p=MC2T8BvbmWRckDw8oWl5IVghwCY=",
    server_final: "v=UMWeI25JD1yNYZRMpZ4VHvhZ9e0=",
};

const SHA256: Vector = Vector {
    mechanism: AuthMechanism::ScramSha256,
    nonce: "rOprNGfwEbeRWgbNEkqO",
    client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

fn user() -> Credential {
    Credential::builder().username("user").password("pencil")
}

fn scram(vector: &Vector, cache: &AuthCache) -> Authenticator {
    let nonce = vector.nonce.to_owned();
    let scram = Scram::with_nonce(&user(), vector.mechanism, cache.clone(), nonce).unwrap();
    Authenticator {
        conversation: Conversation::Scram(Box::new(scram)),
    }
}

fn authenticator(credential: &Credential, mechanism: AuthMechanism) -> Result<Authenticator> {
    let mut entropy = |out: &mut [u8]| out.fill(7);
    Authenticator::new(credential, mechanism, &AuthCache::default(), &mut entropy)
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// A SASL reply of the server.
fn sasl(payload: &str, done: bool) -> RawDocumentBuf {
    raw(&doc! {
        "conversationId": 1,
        "done": done,
        "payload": binary(payload.as_bytes()),
        "ok": 1.0,
    })
}

fn sent(step: AuthStep) -> (String, Document) {
    match step {
        AuthStep::Send { db, command } => (db, command),
        other => panic!("nothing sent: {other:?}"),
    }
}

fn derive(step: AuthStep) -> DerivedKey {
    match step {
        AuthStep::Derive(job) => job.run(),
        other => panic!("nothing to derive: {other:?}"),
    }
}

fn assert_done(step: AuthStep) {
    assert!(matches!(step, AuthStep::Done), "{step:?}");
}

/// Runs a conversation up to the client's proof.
fn up_to_proof(vector: &Vector, cache: &AuthCache) -> Authenticator {
    let mut auth = scram(vector, cache);
    let _ = sent(auth.start().unwrap());
    let step = auth
        .handle_reply(&sasl(vector.server_first, false))
        .unwrap();
    let (_, command) = sent(auth.handle_derived(derive(step)).unwrap());
    let expected = doc! {
        "saslContinue": 1,
        "conversationId": 1,
        "payload": binary(vector.client_final.as_bytes()),
    };
    assert_eq!(command, expected);
    auth
}

#[test]
fn scram_conversation_matches_the_specification() {
    for vector in [SHA1, SHA256] {
        let mut auth = scram(&vector, &AuthCache::default());
        let (db, command) = sent(auth.start().unwrap());
        assert_eq!(db, "admin");
        let expected = doc! {
            "saslStart": 1,
            "mechanism": vector.mechanism.as_str(),
            "payload": binary(vector.client_first.as_bytes()),
            "autoAuthorize": 1,
            "options": { "skipEmptyExchange": true },
        };
        assert_eq!(command, expected);
        let mut auth = up_to_proof(&vector, &AuthCache::default());
        assert_done(auth.handle_reply(&sasl(vector.server_final, true)).unwrap());
    }
}

#[test]
fn keys_match_the_vectors_of_the_rfcs() {
    // RFC 5802 section 5: without MongoDB's digest of the password.
    let secret: std::sync::Arc<[u8]> = std::sync::Arc::from(&b"pencil"[..]);
    let salt = BASE64.decode("QSXCR+Q6sek8bf92").unwrap();
    let key = DeriveJob::new(AuthMechanism::ScramSha1, secret, salt, 4096).run();
    let nonce = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
    let message = format!(
        "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r={nonce},s=QSXCR+Q6sek8bf92,i=4096,c=biws,r={nonce}"
    );
    let (proof, signature) = key.sign(message.as_bytes());
    assert_eq!(BASE64.encode(proof), "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
    assert_eq!(BASE64.encode(signature), "rmF9pqV8S7suAoZWja4dJRkFsKQ=");
}

#[test]
fn speculative_reply_replaces_the_first_exchange() {
    for vector in [SHA1, SHA256] {
        let mut auth = scram(&vector, &AuthCache::default());
        let speculation = auth.speculative().unwrap();
        assert_eq!(speculation.get_str("db").unwrap(), "admin");
        assert_eq!(speculation.get_i32("saslStart").unwrap(), 1);
        // The embedded document has no `ok`.
        let reply = raw(&doc! {
            "conversationId": 1,
            "done": false,
            "payload": binary(vector.server_first.as_bytes()),
        });
        let step = auth.handle_speculative(&reply).unwrap();
        let _ = sent(auth.handle_derived(derive(step)).unwrap());
        assert_done(auth.handle_reply(&sasl(vector.server_final, true)).unwrap());
    }
}

#[test]
fn unanswered_speculation_begins_again() {
    let mut auth = scram(&SHA256, &AuthCache::default());
    let _ = auth.speculative().unwrap();
    let (_, command) = sent(auth.start().unwrap());
    assert!(!command.contains_key("db"));
    assert!(auth.handle_reply(&sasl(SHA256.server_first, false)).is_ok());
}

#[test]
fn second_conversation_finds_the_key_in_the_cache() {
    let cache = AuthCache::default();
    let mut auth = up_to_proof(&SHA256, &cache);
    assert_done(auth.handle_reply(&sasl(SHA256.server_final, true)).unwrap());

    let mut auth = scram(&SHA256, &cache);
    let _ = sent(auth.start().unwrap());
    let step = auth
        .handle_reply(&sasl(SHA256.server_first, false))
        .unwrap();
    let (_, command) = sent(step);
    assert_eq!(
        command.get_binary_generic("payload").unwrap().as_slice(),
        SHA256.client_final.as_bytes()
    );
    // More rounds are another key.
    let mut auth = scram(&SHA256, &cache);
    let _ = sent(auth.start().unwrap());
    let other = SHA256.server_first.replace("i=4096", "i=4097");
    let _ = derive(auth.handle_reply(&sasl(&other, false)).unwrap());
}

#[test]
fn conversations_at_the_same_time_derive_once() {
    let cache = AuthCache::default();
    let reply = sasl(SHA256.server_first, false);
    let begin = || {
        let mut auth = scram(&SHA256, &cache);
        sent(auth.start().unwrap());
        let AuthStep::Derive(job) = auth.handle_reply(&reply).unwrap() else {
            panic!("there is no key yet");
        };
        (auth, job)
    };
    let ((mut one, first), (mut two, second)) = (begin(), begin());
    assert!(first.result().ptr_eq(&second.result()));
    for (auth, job) in [(&mut one, first), (&mut two, second)] {
        let (_, command) = sent(auth.handle_derived(job.run()).unwrap());
        assert!(command.contains_key("saslContinue"));
    }
}

#[test]
fn server_without_skip_empty_exchange_gets_an_empty_message() {
    let mut auth = up_to_proof(&SHA1, &AuthCache::default());
    let step = auth.handle_reply(&sasl(SHA1.server_final, false)).unwrap();
    let expected = doc! { "saslContinue": 1, "conversationId": 1, "payload": binary(b"") };
    assert_eq!(sent(step).1, expected);
    assert_done(auth.handle_reply(&sasl("", true)).unwrap());
}

#[test]
fn username_is_escaped_and_not_prepared() {
    let user = user().username("a=b,c\u{2168}").source("mine");
    let mut auth = authenticator(&user, AuthMechanism::ScramSha256).unwrap();
    let (db, command) = sent(auth.start().unwrap());
    assert_eq!(db, "mine");
    let nonce = BASE64.encode([7; 24]);
    assert_eq!(
        command.get_binary_generic("payload").unwrap().as_slice(),
        format!("n,,n=a=3Db=2Cc\u{2168},r={nonce}").as_bytes()
    );
}

#[test]
fn password_is_prepared_for_sha256_only() {
    let key = |mechanism, password: &str| {
        let user = user().password(password);
        let nonce = "n".to_owned();
        let mut scram = Scram::with_nonce(&user, mechanism, AuthCache::default(), nonce).unwrap();
        let _ = sent(scram.start().unwrap());
        let reply = sasl("r=nx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", false);
        derive(scram.handle_reply(&reply).unwrap())
    };
    let sha256 = |password| key(AuthMechanism::ScramSha256, password);
    let sha1 = |password| key(AuthMechanism::ScramSha1, password);
    // SASLprep: U+2168 is the Roman numeral nine, U+00AD disappears.
    assert!(sha256("IX").id() == sha256("\u{2168}").id());
    assert!(sha256("IX").id() == sha256("I\u{ad}X").id());
    assert!(sha256("IX").id() != sha256("IV").id());
    assert!(sha1("IX").id() != sha1("\u{2168}").id());
}

#[test]
fn x509_needs_no_username() {
    let nobody = Credential::builder();
    let mut auth = authenticator(&nobody, AuthMechanism::MongoDbX509).unwrap();
    let (db, command) = sent(auth.start().unwrap());
    assert_eq!(db, "$external");
    let expected = doc! { "authenticate": 1, "mechanism": "MONGODB-X509" };
    assert_eq!(command, expected);
    let reply = raw(&doc! { "dbname": "$external", "user": "CN=client", "ok": 1 });
    assert_done(auth.handle_reply(&reply).unwrap());
}

#[test]
fn x509_speculates_with_the_username_if_there_is_one() {
    let user = Credential::builder().username("CN=client");
    let mut auth = authenticator(&user, AuthMechanism::MongoDbX509).unwrap();
    let expected = doc! {
        "authenticate": 1,
        "mechanism": "MONGODB-X509",
        "user": "CN=client",
        "db": "$external",
    };
    assert_eq!(auth.speculative(), Some(expected));
    let reply = raw(&doc! { "dbname": "$external", "user": "CN=client" });
    assert_done(auth.handle_speculative(&reply).unwrap());
}

#[test]
fn plain_sends_the_password_in_one_message() {
    for (source, db) in [(None, "$external"), (Some("admin"), "admin")] {
        let mut user = user();
        user.source = source.map(str::to_owned);
        let mut auth = authenticator(&user, AuthMechanism::Plain).unwrap();
        assert_eq!(auth.speculative(), None);
        let (to, command) = sent(auth.start().unwrap());
        assert_eq!(to, db);
        let expected = doc! {
            "saslStart": 1,
            "mechanism": "PLAIN",
            "payload": binary(b"\0user\0pencil"),
            "autoAuthorize": 1,
        };
        assert_eq!(command, expected);
        assert_done(auth.handle_reply(&sasl("", true)).unwrap());
    }
}

#[test]
fn negotiation_prefers_explicit_then_sha256_then_sha1() {
    let names = |names: &[&str]| names.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    let both = names(&["SCRAM-SHA-1", "UNHEARD-OF", "SCRAM-SHA-256"]);
    assert_eq!(negotiate(&user(), Some(&both)), AuthMechanism::ScramSha256);
    let plain = names(&["PLAIN"]);
    assert_eq!(negotiate(&user(), Some(&plain)), AuthMechanism::ScramSha1);
    assert_eq!(negotiate(&user(), None), AuthMechanism::ScramSha1);
    let explicit = user().mechanism(AuthMechanism::Plain);
    assert_eq!(negotiate(&explicit, Some(&both)), AuthMechanism::Plain);
    assert_eq!(sasl_supported_mechs(&user()).as_deref(), Some("admin.user"));
    assert_eq!(sasl_supported_mechs(&explicit), None);
}
