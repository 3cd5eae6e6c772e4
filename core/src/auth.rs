//! Authentication mechanisms as conversations: commands out, replies in.
//!
//! Decides what to send to prove who the user is, and whether the server proved itself in return.
//! It does not send anything, does not choose when a connection authenticates, and never runs the
//! expensive key derivation: that leaves as a [`DeriveJob`] which the driver runs where CPU time
//! hurts nobody.
//!
//! ```text
//! speculative() --hello--> handle_speculative() --+
//! start() ----------------------------------------+--> Send --> handle_reply() --+
//!                                                 |                              |
//!                                                 +--> Derive --> handle_derived()
//!                                                 +--> Done
//! ```
//!
//! Invariants: (1) `Done` is reached only after the server's own proof was checked, where the
//! mechanism has one; (2) work that a server can ask for is bounded before it starts; (3) no secret
//! is visible through `Debug`, `Display` or an error.
//!
//! Specification: "Authentication".

mod cache;
mod plain;
mod reply;
mod scram;
#[cfg(test)]
mod tests;
mod x509;

use std::fmt;

use bson::{Document, RawDocument};

pub use self::{
    cache::AuthCache,
    scram::{DeriveJob, DerivedKey},
};
use self::{plain::Plain, scram::Scram, x509::X509};
use crate::{
    error::{Error, Result},
    options::{AuthMechanism, Credential},
    rng::Entropy,
};

/// The database of users that the server itself does not store.
const EXTERNAL: &str = "$external";

/// The mechanism to use: the credential's own, otherwise what the server's list allows.
///
/// Without a list, or with one that lacks SCRAM-SHA-256, the answer is SCRAM-SHA-1. Unknown names
/// in the list are ignored.
#[must_use]
pub fn negotiate(
    credential: &Credential,
    sasl_supported_mechs: Option<&[String]>,
) -> AuthMechanism {
    if let Some(mechanism) = credential.mechanism {
        return mechanism;
    }
    let wanted = AuthMechanism::ScramSha256;
    match sasl_supported_mechs {
        Some(names) if names.iter().any(|name| name == wanted.as_str()) => wanted,
        _ => AuthMechanism::ScramSha1,
    }
}

/// The value of `saslSupportedMechs` in `hello`, when the mechanism is to be negotiated.
#[must_use]
pub fn sasl_supported_mechs(credential: &Credential) -> Option<String> {
    match (&credential.mechanism, &credential.username) {
        (None, Some(username)) => {
            let source = source(credential, AuthMechanism::ScramSha256);
            Some(format!("{source}.{username}"))
        }
        _ => None,
    }
}

/// The database that authentication commands are sent to.
#[must_use]
pub fn source(credential: &Credential, mechanism: AuthMechanism) -> &str {
    let default = match mechanism {
        AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 | AuthMechanism::MongoDbCr => "admin",
        _ => EXTERNAL,
    };
    credential.source.as_deref().unwrap_or(default)
}

/// What to do next to authenticate a connection.
///
/// `Debug` shows the name of a command, never its content.
#[must_use]
pub enum AuthStep {
    /// Send a command and give its reply to [`Authenticator::handle_reply`].
    Send {
        /// The database to send it to.
        db: String,
        /// The command, without `$db`.
        command: Document,
    },
    /// Run the job and give its result to [`Authenticator::handle_derived`].
    Derive(DeriveJob),
    /// The connection is authenticated.
    Done,
}

impl fmt::Debug for AuthStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { db, command } => {
                let name = command.keys().next().map_or("", String::as_str);
                write!(f, "Send({db}.{name})")
            }
            Self::Derive(job) => f.debug_tuple("Derive").field(job).finish(),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// The client's side of one authentication conversation on one connection.
///
/// Single use: a connection that authenticates again takes a new one. After an error nothing more
/// can be done with it.
#[derive(Debug)]
pub struct Authenticator {
    conversation: Conversation,
}

#[derive(Debug)]
enum Conversation {
    Plain(Plain),
    Scram(Box<Scram>),
    X509(X509),
}

impl Authenticator {
    /// Begins a conversation for a credential with a mechanism, see [`negotiate`].
    ///
    /// # Errors
    ///
    /// `Unsupported` for `GSSAPI`, `MONGODB-AWS` and `MONGODB-OIDC`; `InvalidArgument` for
    /// `MONGODB-CR`, which servers no longer have, and for credentials that do not fit the
    /// mechanism.
    pub fn new(
        credential: &Credential,
        mechanism: AuthMechanism,
        cache: &AuthCache,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let conversation = match mechanism {
            AuthMechanism::Gssapi | AuthMechanism::MongoDbAws | AuthMechanism::MongoDbOidc => {
                return Err(Error::unsupported(format!(
                    "authMechanism {}",
                    mechanism.as_str()
                )));
            }
            AuthMechanism::MongoDbCr => {
                return Err(Error::invalid_argument(
                    "authMechanism MONGODB-CR was removed from all supported servers",
                ));
            }
            AuthMechanism::MongoDbX509 => Conversation::X509(X509::new(credential)?),
            AuthMechanism::Plain => Conversation::Plain(Plain::new(credential)?),
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => Conversation::Scram(Box::new(
                Scram::new(credential, mechanism, cache.clone(), entropy)?,
            )),
        };
        Ok(Self { conversation })
    }

    /// The value of `speculativeAuthenticate` in `hello`; `None` if the mechanism has none.
    ///
    /// If the server's answer has a `speculativeAuthenticate` document, it goes to
    /// [`Self::handle_speculative`]; if not, call [`Self::start`].
    pub fn speculative(&mut self) -> Option<Document> {
        match &mut self.conversation {
            Conversation::Plain(_) => None,
            Conversation::Scram(scram) => Some(scram.speculative()),
            Conversation::X509(x509) => Some(x509.speculative()),
        }
    }

    /// Takes the `speculativeAuthenticate` document of the server's `hello` reply.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_reply`].
    pub fn handle_speculative(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        // Unlike a command's reply, the embedded document may lack `ok`.
        reply::check_embedded(reply, self.mechanism())?;
        match &mut self.conversation {
            Conversation::Plain(_) => Err(Error::internal("PLAIN does not speculate")),
            Conversation::Scram(scram) => scram.handle_speculative(reply),
            Conversation::X509(x509) => x509.handle_speculative(),
        }
    }

    /// Begins the conversation when there was no speculative reply.
    ///
    /// # Errors
    ///
    /// `Internal` if the conversation has begun already.
    pub fn start(&mut self) -> Result<AuthStep> {
        match &mut self.conversation {
            Conversation::Plain(plain) => plain.start(),
            Conversation::Scram(scram) => scram.start(),
            Conversation::X509(x509) => x509.start(),
        }
    }

    /// Takes the reply to the last command, failed replies included.
    ///
    /// # Errors
    ///
    /// `Authentication` if the server refused or broke a rule of the mechanism; `Command` if it
    /// answered with an error that says nothing about the credential (such as
    /// `ShutdownInProgress`); `InvalidResponse` if the reply has not the fields that it must have.
    pub fn handle_reply(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        reply::check(reply, self.mechanism())?;
        match &mut self.conversation {
            Conversation::Plain(plain) => plain.handle_reply(reply),
            Conversation::Scram(scram) => scram.handle_reply(reply),
            Conversation::X509(x509) => x509.handle_reply(),
        }
    }

    /// Takes the result of the job that [`AuthStep::Derive`] asked for.
    ///
    /// # Errors
    ///
    /// `Internal` if no such job was asked for.
    pub fn handle_derived(&mut self, key: DerivedKey) -> Result<AuthStep> {
        match &mut self.conversation {
            Conversation::Scram(scram) => scram.handle_derived(key),
            _ => Err(Error::internal(
                "a key was derived for a mechanism without keys",
            )),
        }
    }

    /// The mechanism of this conversation.
    #[must_use]
    pub fn mechanism(&self) -> AuthMechanism {
        match &self.conversation {
            Conversation::Plain(_) => AuthMechanism::Plain,
            Conversation::Scram(scram) => scram.mechanism(),
            Conversation::X509(_) => AuthMechanism::MongoDbX509,
        }
    }
}

/// The user name of a mechanism that cannot do without one.
fn required_username(credential: &Credential, mechanism: AuthMechanism) -> Result<&str> {
    match credential.username.as_deref() {
        Some(username) if !username.is_empty() => Ok(username),
        _ => Err(Error::invalid_argument(format!(
            "{} needs a username",
            mechanism.as_str()
        ))),
    }
}

/// The password of a mechanism that cannot do without one.
fn required_password(credential: &Credential, mechanism: AuthMechanism) -> Result<&str> {
    credential
        .password
        .as_deref()
        .ok_or_else(|| Error::invalid_argument(format!("{} needs a password", mechanism.as_str())))
}
