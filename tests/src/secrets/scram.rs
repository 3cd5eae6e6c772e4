//! The server's side of SCRAM for one user, which looks at the proof and knows all secrets of the
//! conversation.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use hmac::{Hmac, Mac as _};
use md5::Md5;
use mongo_client::options::AuthMechanism;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Watch;

const SALT: &[u8; 16] = b"a salt of 16 by.";
const ROUNDS: u32 = 4096;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: it logs the user in.
    None,
    /// It signs with another key.
    Signature,
    /// Its first message is the client's.
    Echo,
    /// It says in SCRAM that the proof is wrong.
    Refusal,
    /// Its first message asks for too few rounds.
    Rounds,
}

/// A server that knows one user. What it learns is added to the watch's secrets.
pub struct ScramPeer {
    watch: Watch,
    mechanism: AuthMechanism,
    username: String,
    password: String,
    flaw: Flaw,
    /// The first messages, by connection.
    conversations: Mutex<BTreeMap<u64, String>>,
}

impl ScramPeer {
    /// A server that knows this user and this password.
    #[must_use]
    pub fn new(
        watch: &Watch,
        mechanism: AuthMechanism,
        username: &str,
        password: &str,
        flaw: Flaw,
    ) -> Self {
        Self {
            watch: watch.clone(),
            mechanism,
            username: username.to_owned(),
            password: password.to_owned(),
            flaw,
            conversations: Mutex::default(),
        }
    }

    /// Answers a SASL command; `None` for other commands and other mechanisms.
    pub fn answer(&self, connection: u64, command: &Document) -> Option<Document> {
        let name = command.keys().next()?.as_str();
        let payload = command.get_binary_generic("payload").ok()?;
        let text = std::str::from_utf8(payload).ok()?;
        let hide = |what: &str, bytes: &[u8]| self.watch.hide(|s| s.bytes(what, bytes));
        let mut all = self.conversations.lock().ok()?;
        let (done, text) = match name {
            "saslStart" if command.get_str("mechanism").ok()? == self.mechanism.as_str() => {
                let bare = text.strip_prefix("n,,")?;
                let (_, nonce) = bare.split_once(",r=")?;
                let rounds = if self.flaw == Flaw::Rounds { 1 } else { ROUNDS };
                let salt = BASE64.encode(SALT);
                let first = format!("r={nonce}server,s={salt},i={rounds}");
                all.insert(connection, format!("{bare},{first}"));
                match self.flaw {
                    Flaw::Echo => (false, text.to_owned()),
                    _ => (false, first),
                }
            }
            "saslContinue" => {
                hide("last message of the client", payload);
                let (without_proof, proof) = text.split_once(",p=")?;
                let proof = BASE64.decode(proof).ok()?;
                hide("client's proof", &proof);
                let signed = format!("{},{without_proof}", all.remove(&connection)?);
                let salted = self.salted();
                hide("salted password", &salted);
                let client_key = self.hmac(&salted, b"Client Key");
                hide("client key", &client_key);
                let signature = self.hmac(&self.hash(&client_key), signed.as_bytes());
                let right: Vec<u8> = client_key
                    .iter()
                    .zip(&signature)
                    .map(|(a, b)| a ^ b)
                    .collect();
                let server_key = self.hmac(&salted, b"Server Key");
                hide("server key", &server_key);
                let mut signature = self.hmac(&server_key, signed.as_bytes());
                hide("server's signature", &signature);
                if self.flaw == Flaw::Refusal {
                    (true, "e=invalid-proof".to_owned())
                } else if proof != right {
                    return Some(refusal());
                } else {
                    if self.flaw == Flaw::Signature {
                        signature[0] ^= 1;
                    }
                    (true, format!("v={}", BASE64.encode(signature)))
                }
            }
            _ => return None,
        };
        let payload = Binary {
            subtype: BinarySubtype::Generic,
            bytes: text.into_bytes(),
        };
        Some(doc! { "conversationId": 1, "done": done, "payload": payload, "ok": 1.0 })
    }

    /// The password's salted form.
    fn salted(&self) -> Vec<u8> {
        let prepared = match self.mechanism {
            AuthMechanism::ScramSha1 => {
                let digest = Md5::digest(format!("{}:mongo:{}", self.username, self.password));
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                self.watch.hide(|s| s.text("password's digest", &hex));
                hex
            }
            _ => self.password.clone(),
        };
        // The same for all conversations with one password, and slow in a debug build.
        static SALTED: Mutex<BTreeMap<(&str, String), Vec<u8>>> = Mutex::new(BTreeMap::new());
        let key = (self.mechanism.as_str(), prepared.clone());
        let mut known = SALTED.lock().unwrap_or_else(PoisonError::into_inner);
        let salted = known.entry(key).or_insert_with(|| self.derive(&prepared));
        salted.clone()
    }

    fn derive(&self, prepared: &str) -> Vec<u8> {
        let mut block = SALT.to_vec();
        block.extend(1_u32.to_be_bytes());
        let mut round = self.hmac(prepared.as_bytes(), &block);
        let mut salted = round.clone();
        for _ in 1..ROUNDS {
            round = self.hmac(prepared.as_bytes(), &round);
            for (sum, byte) in salted.iter_mut().zip(&round) {
                *sum ^= byte;
            }
        }
        salted
    }

    fn hmac(&self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        match self.mechanism {
            AuthMechanism::ScramSha1 => Hmac::<Sha1>::new_from_slice(key)
                .expect("any length is a key")
                .chain_update(bytes)
                .finalize()
                .into_bytes()
                .to_vec(),
            _ => Hmac::<Sha256>::new_from_slice(key)
                .expect("any length is a key")
                .chain_update(bytes)
                .finalize()
                .into_bytes()
                .to_vec(),
        }
    }

    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        match self.mechanism {
            AuthMechanism::ScramSha1 => Sha1::digest(bytes).to_vec(),
            _ => Sha256::digest(bytes).to_vec(),
        }
    }
}

/// What a server answers to a wrong password.
#[must_use]
pub(crate) fn refusal() -> Document {
    doc! { "ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "no" }
}
