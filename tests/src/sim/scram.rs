//! The server's side of SCRAM-SHA-256 (RFC 7677) for one user, without looking at the proof.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use hmac::{Hmac, Mac as _};
use mongo_client_core::options::Credential;
use sha2::Sha256;

const PASSWORD: &str = "secret";
const SALT: &[u8] = b"sixteen bytes ok";
const ROUNDS: u32 = 4096;

/// Whom the server knows.
#[must_use]
pub fn credential() -> Credential {
    let mut credential = Credential::default();
    credential.username = Some("user".to_owned());
    credential.password = Some(PASSWORD.to_owned());
    credential.mechanism = Some(mongo_client_core::options::AuthMechanism::ScramSha256);
    credential
}

/// The conversations, by connection: the messages so far.
#[derive(Default)]
pub(super) struct ScramServer {
    conversations: Mutex<BTreeMap<u64, String>>,
}

impl ScramServer {
    /// Answers `saslStart` and `saslContinue`.
    pub(super) fn answer(&self, connection: u64, command: &Document) -> Option<Document> {
        let name = command.keys().next()?;
        if !["saslStart", "saslContinue"].contains(&name.as_str()) {
            return None;
        }
        let payload = command.get_binary_generic("payload").ok()?;
        let payload = std::str::from_utf8(payload).ok()?;
        let mut all = self
            .conversations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (done, text) = if name == "saslStart" {
            let bare = payload.strip_prefix("n,,")?;
            let (_, nonce) = bare.split_once(",r=")?;
            let salt = BASE64.encode(SALT);
            let first = format!("r={nonce}server,s={salt},i={ROUNDS}");
            all.insert(connection, format!("{bare},{first}"));
            (false, first)
        } else {
            let (without_proof, _) = payload.split_once(",p=")?;
            let signed = format!("{},{without_proof}", all.remove(&connection)?);
            let signature = hmac(server_key(), signed.as_bytes());
            (true, format!("v={}", BASE64.encode(signature)))
        };
        let payload = Binary {
            subtype: BinarySubtype::Generic,
            bytes: text.into_bytes(),
        };
        Some(doc! { "conversationId": 1, "done": done, "payload": payload, "ok": 1.0 })
    }
}

fn server_key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut block = SALT.to_vec();
        block.extend(1_u32.to_be_bytes());
        let mut round = hmac(PASSWORD.as_bytes(), &block);
        let mut salted = round.clone();
        for _ in 1..ROUNDS {
            round = hmac(PASSWORD.as_bytes(), &round);
            for (sum, byte) in salted.iter_mut().zip(&round) {
                *sum ^= byte;
            }
        }
        hmac(&salted, b"Server Key")
    })
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}
