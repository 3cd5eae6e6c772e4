//! SCRAM-SHA-1 (RFC 5802) and SCRAM-SHA-256 (RFC 7677), as MongoDB uses them.
//!
//! Inputs: the SASL replies of the server and a derived key. Outputs: SASL commands and the job
//! that derives the key. Differences from the RFCs: user names are not prepared with SASLprep, the
//! password of SCRAM-SHA-1 is a digest, there is no channel binding.
//!
//! ```text
//! Initial --start--> SentFirst --server-first--> [Deriving] --> SentFinal --server-final--> Done
//!    \------------speculative--------^                              \--not done--> SentEmpty --^
//! ```
//!
//! Invariants: (1) a key is derived only for 4096 to 1,000,000 rounds; (2) the proof is sent only
//! after the server repeated the client's nonce; (3) `Done` only after the server's signature was
//! found right, whatever `done` says.

mod keys;
mod message;

use std::{fmt, sync::Arc};

use bson::{Binary, Bson, Document, RawDocument, doc, spec::BinarySubtype};
use subtle::ConstantTimeEq;

pub(super) use self::keys::KeyId;
pub use self::keys::{DeriveJob, DerivedKey};
use self::{keys::Hash, message::ServerFirst};
use super::{AuthCache, AuthStep, reply, required_password, required_username, source};
use crate::{
    error::{Error, Result},
    options::{AuthMechanism, Credential},
    rng::Entropy,
};

/// Random bytes in the client's nonce.
const NONCE_LEN: usize = 24;

/// One SCRAM conversation.
#[derive(Clone)]
pub(super) struct Scram {
    mechanism: AuthMechanism,
    db: String,
    /// The password as the key derivation takes it.
    secret: Arc<[u8]>,
    cache: AuthCache,
    nonce: String,
    /// `n=..,r=..`: the first message without the channel binding header.
    first_bare: String,
    state: State,
}

#[derive(Clone)]
enum State {
    /// Nothing was sent, or only a speculation that may have found no answer.
    Initial,
    /// The first message was sent.
    SentFirst,
    /// The key is being derived.
    Deriving {
        id: KeyId,
        server_first: ServerFirst,
        conversation: Bson,
    },
    /// The proof was sent; holds the signature that the server must answer.
    SentFinal {
        signature: Vec<u8>,
        conversation: Bson,
    },
    /// The server ignored `skipEmptyExchange`; the empty message was sent.
    SentEmpty,
    /// Both sides proved themselves.
    Done,
    /// A rule was broken.
    Failed,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::SentFirst => "sent first message",
            Self::Deriving { .. } => "deriving",
            Self::SentFinal { .. } => "sent proof",
            Self::SentEmpty => "sent empty message",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Scram {
    pub(super) fn new(
        credential: &Credential,
        mechanism: AuthMechanism,
        cache: AuthCache,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let mut random = [0; NONCE_LEN];
        entropy.fill(&mut random);
        Self::with_nonce(credential, mechanism, cache, message::nonce(&random))
    }

    pub(super) fn with_nonce(
        credential: &Credential,
        mechanism: AuthMechanism,
        cache: AuthCache,
        nonce: String,
    ) -> Result<Self> {
        let username = required_username(credential, mechanism)?;
        let password = required_password(credential, mechanism)?;
        let hash = Hash::of(mechanism);
        Ok(Self {
            mechanism,
            db: source(credential, mechanism).to_owned(),
            secret: keys::secret(hash, username, password)?,
            cache,
            first_bare: message::first_bare(username, &nonce),
            nonce,
            state: State::Initial,
        })
    }

    pub(super) fn mechanism(&self) -> AuthMechanism {
        self.mechanism
    }

    pub(super) fn speculative(&self) -> Document {
        let mut command = self.sasl_start();
        command.insert("db", self.db.as_str());
        command
    }

    pub(super) fn handle_speculative(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        match self.state {
            State::Initial => {
                self.state = State::SentFirst;
                self.handle_reply(reply)
            }
            _ => Err(self.out_of_order("a speculative reply")),
        }
    }

    pub(super) fn start(&mut self) -> Result<AuthStep> {
        match self.state {
            // The nonce of an unanswered speculation may serve again: no conversation used it.
            State::Initial => {
                self.state = State::SentFirst;
                Ok(self.send(self.sasl_start()))
            }
            _ => Err(self.out_of_order("a start")),
        }
    }

    pub(super) fn handle_reply(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::SentFirst => self.handle_server_first(reply),
            State::SentFinal {
                signature,
                conversation,
            } => self.handle_server_final(reply, &signature, conversation),
            State::SentEmpty => {
                if !reply::done(reply)? {
                    return Err(self.violation("the server does not end the conversation"));
                }
                self.state = State::Done;
                Ok(AuthStep::Done)
            }
            state => {
                self.state = state;
                Err(self.out_of_order("a reply"))
            }
        }
    }

    fn handle_server_first(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        if reply::done(reply)? {
            return Err(self.violation("the server ends the conversation without a proof"));
        }
        let conversation = reply::conversation_id(reply)?;
        let server_first = message::parse_server_first(reply::payload(reply)?, &self.nonce)
            .map_err(|e| self.violation(e))?;
        let job = DeriveJob::new(
            self.mechanism,
            Arc::clone(&self.secret),
            server_first.salt.clone(),
            server_first.iterations,
        );
        if let Some(key) = self.cache.find(job.id()) {
            return Ok(self.prove(&key, &server_first, conversation));
        }
        let job = self.cache.join(job);
        self.state = State::Deriving {
            id: job.id().clone(),
            server_first,
            conversation,
        };
        Ok(AuthStep::Derive(job))
    }

    pub(super) fn handle_derived(&mut self, key: DerivedKey) -> Result<AuthStep> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Deriving {
                id,
                server_first,
                conversation,
            } if *key.id() == id => {
                let step = self.prove(&key, &server_first, conversation);
                self.cache.insert(key);
                Ok(step)
            }
            state => {
                self.state = state;
                Err(self.out_of_order("a derived key"))
            }
        }
    }

    /// The client's final message: the proof that it knows the password.
    fn prove(&mut self, key: &DerivedKey, first: &ServerFirst, conversation: Bson) -> AuthStep {
        let without_proof = message::final_without_proof(&first.nonce);
        let auth_message = format!("{},{},{without_proof}", self.first_bare, first.text);
        let (proof, signature) = key.sign(auth_message.as_bytes());
        let payload = message::client_final(&without_proof, &proof);
        let step = self.send(sasl_continue(&conversation, payload.into_bytes()));
        self.state = State::SentFinal {
            signature,
            conversation,
        };
        step
    }

    fn handle_server_final(
        &mut self,
        reply: &RawDocument,
        signature: &[u8],
        conversation: Bson,
    ) -> Result<AuthStep> {
        self.check_conversation(reply, &conversation)?;
        let proof =
            message::parse_server_final(reply::payload(reply)?).map_err(|e| self.violation(e))?;
        if !bool::from(proof.as_slice().ct_eq(signature)) {
            return Err(self.violation("the server's signature is wrong"));
        }
        if reply::done(reply)? {
            self.state = State::Done;
            return Ok(AuthStep::Done);
        }
        self.state = State::SentEmpty;
        Ok(self.send(sasl_continue(&conversation, Vec::new())))
    }

    fn check_conversation(&self, reply: &RawDocument, expected: &Bson) -> Result<()> {
        if reply::conversation_id(reply)? == *expected {
            Ok(())
        } else {
            Err(self.violation("the reply belongs to another conversation"))
        }
    }

    fn sasl_start(&self) -> Document {
        // RFC 5802: `n,,` says that the client does not support channel binding.
        let bytes = format!("n,,{}", self.first_bare).into_bytes();
        let subtype = BinarySubtype::Generic;
        doc! {
            "saslStart": 1,
            "mechanism": self.mechanism.as_str(),
            "payload": Binary { subtype, bytes },
            "autoAuthorize": 1,
            "options": { "skipEmptyExchange": true },
        }
    }

    fn send(&self, command: Document) -> AuthStep {
        AuthStep::Send {
            db: self.db.clone(),
            command,
        }
    }

    fn violation(&self, what: impl fmt::Display) -> Error {
        Error::authentication(format!("{}: {what}", self.mechanism.as_str()))
    }

    fn out_of_order(&self, what: &str) -> Error {
        Error::internal(format!(
            "{}: {what} in state \"{}\"",
            self.mechanism.as_str(),
            self.state.name()
        ))
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Scram({}, {}, {})",
            self.mechanism.as_str(),
            self.db,
            self.state.name()
        )
    }
}

fn sasl_continue(conversation: &Bson, bytes: Vec<u8>) -> Document {
    let subtype = BinarySubtype::Generic;
    doc! {
        "saslContinue": 1,
        "conversationId": conversation.clone(),
        "payload": Binary { subtype, bytes },
    }
}
