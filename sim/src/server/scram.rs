//! Authentication by SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side.
//!
//! Written apart from the client's. Passwords of SCRAM-SHA-256 are taken as they are: only ASCII
//! ones are simulated faithfully. Without users a server asks nobody to authenticate.

use std::sync::{Arc, OnceLock};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use hmac::{Hmac, Mac as _};
use md5::Digest as _;
use sha1::Sha1;
use sha2::Sha256;

use super::{
    SimServer,
    dispatch::{Call, Done},
    reply::Reply,
};
use crate::{
    failure::{AUTHENTICATION_FAILED, BAD_VALUE, Failure, Result, UNAUTHORIZED},
    store::value::truthy,
    wire::{Command, Fields},
};

const ITERATIONS: u32 = 4096;

/// Commands that need no user.
const OPEN_TO_ALL: [&str; 5] = ["buildInfo", "hello", "ping", "saslContinue", "saslStart"];

/// Somebody who may authenticate, on the database `admin`.
#[derive(Clone)]
pub struct User {
    name: String,
    password: String,
    /// The salted password for each hash, once it was needed: the costly part of a login.
    salted: Arc<[OnceLock<Vec<u8>>; 2]>,
}

impl User {
    /// A user with a password.
    #[must_use]
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            salted: Arc::default(),
        }
    }

    /// The salt that the user was created with: all members of a set have the same.
    fn salt(&self, hash: Hash) -> Vec<u8> {
        let text = format!("salt of {} for {hash:?}", self.name);
        Sha256::digest(text.as_bytes())[..16].to_vec()
    }

    fn salted(&self, hash: Hash) -> &[u8] {
        self.salted[hash as usize].get_or_init(|| hash.salted(self, &self.salt(hash)))
    }
}

/// Without the password.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
}

/// A conversation that has begun.
pub(super) struct Conversation {
    hash: Hash,
    user: User,
    /// The messages that both sides sign, but for the client's last.
    signed: String,
    nonce: String,
    /// Whether the client wants no empty last exchange.
    skips_empty: bool,
    /// The proof was right; only the empty exchange is missing.
    proven: bool,
}

impl Hash {
    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => {
                let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key length fits");
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length fits");
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }

    fn salted(self, user: &User, salt: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => {
                let text = format!("{}:mongo:{}", user.name, user.password);
                let digest = md5::Md5::digest(text.as_bytes());
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let mut out = vec![0; 20];
                pbkdf2::pbkdf2_hmac::<Sha1>(hex.as_bytes(), salt, ITERATIONS, &mut out);
                out
            }
            Self::Sha256 => {
                let password = user.password.as_bytes();
                let mut out = vec![0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ITERATIONS, &mut out);
                out
            }
        }
    }
}

fn failed() -> Failure {
    Failure::new(AUTHENTICATION_FAILED, "Authentication failed.")
}

fn payload(command: &dyn Fields) -> Result<&str> {
    let bytes = match command.get("payload") {
        Some(Bson::Binary(binary)) if binary.subtype == BinarySubtype::Generic => &binary.bytes,
        _ => return Err(failed()),
    };
    let text = std::str::from_utf8(bytes).ok();
    text.ok_or_else(failed)
}

fn step(done: bool, payload: String) -> Document {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: payload.into_bytes(),
    };
    doc! { "conversationId": 1, "done": done, "payload": payload }
}

pub(super) fn start(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let reply = server.begin_scram(call.connection, call.command)?;
    Ok(Done::reply(reply))
}

pub(super) fn go_on(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let connection = server.connections.get_mut(&call.connection);
    let connection = connection.ok_or_else(failed)?;
    let Some(conversation) = connection.scram.take() else {
        let message = "No SASL session state found";
        return Err(Failure::new(17, message));
    };
    if conversation.proven {
        connection.user = Some(conversation.user.name);
        return Ok(Done::reply(step(true, String::new())));
    }
    let signature = conversation.prove(payload(call.command)?)?;
    if conversation.skips_empty {
        connection.user = Some(conversation.user.name);
        return Ok(Done::reply(step(true, signature)));
    }
    connection.scram = Some(Conversation {
        proven: true,
        ..conversation
    });
    Ok(Done::reply(step(false, signature)))
}

impl Conversation {
    /// Checks the client's proof; the server's signature in answer.
    fn prove(&self, last: &str) -> Result<String> {
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(failed)?;
        if without_proof != format!("c=biws,r={}", self.nonce) {
            return Err(failed());
        }
        let proof = BASE64.decode(proof).map_err(|_| failed())?;
        let signed = format!("{},{without_proof}", self.signed);
        let salted = self.user.salted(self.hash);
        let client_key = self.hash.hmac(salted, b"Client Key");
        let stored = self.hash.digest(&client_key);
        let signature = self.hash.hmac(&stored, signed.as_bytes());
        let shown: Vec<u8> = signature.iter().zip(&proof).map(|(a, b)| a ^ b).collect();
        if proof.len() != signature.len() || self.hash.digest(&shown) != stored {
            return Err(failed());
        }
        let server_key = self.hash.hmac(salted, b"Server Key");
        let signature = self.hash.hmac(&server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)))
    }
}

impl SimServer {
    /// Begins a conversation, by `saslStart` or within hello.
    pub(super) fn begin_scram(&mut self, id: u64, command: &dyn Fields) -> Result<Document> {
        let hash = match command.get_str("mechanism").unwrap_or_default() {
            "SCRAM-SHA-1" => Hash::Sha1,
            "SCRAM-SHA-256" => Hash::Sha256,
            "" => return Err(Failure::new(BAD_VALUE, "no mechanism")),
            other => return Err(Failure::not_simulated(format_args!("mechanism {other}"))),
        };
        let first = payload(command)?.strip_prefix("n,,").ok_or_else(failed)?;
        let (name, nonce) = first
            .strip_prefix("n=")
            .and_then(|rest| rest.split_once(",r="))
            .ok_or_else(failed)?;
        let name = name.replace("=2C", ",").replace("=3D", "=");
        let user = self.config.users.iter().find(|user| user.name == name);
        let user = user.ok_or_else(failed)?.clone();
        let salt = user.salt(hash);
        let own: [u8; 18] = self.draw_bytes("nonce");
        let nonce = format!("{nonce}{}", BASE64.encode(own));
        let answer = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(salt));
        let options = command.get_document("options");
        let conversation = Conversation {
            hash,
            user,
            signed: format!("{first},{answer}"),
            nonce,
            skips_empty: options
                .and_then(|options| options.get("skipEmptyExchange"))
                .is_some_and(truthy),
            proven: false,
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.scram = Some(conversation);
        }
        Ok(step(false, answer))
    }

    /// Fails for a command that needs a user on a connection that has none.
    pub(super) fn check_user(&self, id: u64, name: &str) -> Result<()> {
        let user = self.connections.get(&id).and_then(|c| c.user.as_ref());
        if self.config.users.is_empty() || user.is_some() || OPEN_TO_ALL.contains(&name) {
            return Ok(());
        }
        let message = format!("command {name} requires authentication");
        Err(Failure::new(UNAUTHORIZED, message))
    }

    /// What hello tells and begins for a client that will authenticate.
    pub(super) fn greet_user(&mut self, id: u64, command: &Command, reply: &mut Reply) {
        if let Some(user) = command.get_str("saslSupportedMechs")
            && self
                .config
                .users
                .iter()
                .any(|u| user == format!("admin.{}", u.name))
        {
            let mechanisms = ["SCRAM-SHA-1", "SCRAM-SHA-256"].map(Bson::from);
            reply.insert("saslSupportedMechs", mechanisms.to_vec());
        }
        // A guess that fails is no error: the client starts over.
        if let Some(speculation) = command.get_document("speculativeAuthenticate")
            && let Ok(first) = self.begin_scram(id, speculation)
        {
            reply.insert("speculativeAuthenticate", first);
        }
    }
}
