//! `PLAIN` (RFC 4616): the password in clear text, in one exchange.
//!
//! Used with LDAP. Nothing is proved by the server, so it belongs on TLS connections only; whether
//! the connection is one is not decided here.

use std::fmt;

use bson::{Binary, RawDocument, doc, spec::BinarySubtype};

use super::{AuthStep, reply, required_password, required_username, source};
use crate::{
    error::{Error, Result},
    options::{AuthMechanism, Credential},
};

/// One `PLAIN` conversation.
pub(super) struct Plain {
    db: String,
    state: State,
}

enum State {
    /// Nothing was sent; holds the message to send.
    Initial(Vec<u8>),
    /// The message was sent.
    Sent,
    /// The server accepted.
    Done,
}

impl Plain {
    pub(super) fn new(credential: &Credential) -> Result<Self> {
        let mechanism = AuthMechanism::Plain;
        let username = required_username(credential, mechanism)?;
        let password = required_password(credential, mechanism)?;
        // RFC 4616: NUL separates the parts and stands in none of them.
        if username.contains('\0') || password.contains('\0') {
            return Err(Error::invalid_argument(
                "PLAIN: username and password must not contain NUL",
            ));
        }
        let payload = format!("\0{username}\0{password}").into_bytes();
        Ok(Self {
            db: source(credential, mechanism).to_owned(),
            state: State::Initial(payload),
        })
    }

    pub(super) fn start(&mut self) -> Result<AuthStep> {
        match std::mem::replace(&mut self.state, State::Sent) {
            State::Initial(payload) => {
                let bytes = payload;
                let subtype = BinarySubtype::Generic;
                Ok(AuthStep::Send {
                    db: self.db.clone(),
                    command: doc! {
                        "saslStart": 1,
                        "mechanism": AuthMechanism::Plain.as_str(),
                        "payload": Binary { subtype, bytes },
                        "autoAuthorize": 1,
                    },
                })
            }
            State::Sent | State::Done => Err(Error::internal("PLAIN was started twice")),
        }
    }

    pub(super) fn handle_reply(&mut self, reply: &RawDocument) -> Result<AuthStep> {
        match self.state {
            State::Sent => {
                if !reply::done(reply)? {
                    return Err(Error::authentication(
                        "PLAIN: the server wants to continue a conversation of one message",
                    ));
                }
                self.state = State::Done;
                Ok(AuthStep::Done)
            }
            State::Initial(_) | State::Done => {
                Err(Error::internal("PLAIN: a reply that was not asked for"))
            }
        }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Initial(_) => "initial",
            State::Sent => "sent",
            State::Done => "done",
        };
        write!(f, "Plain({}, {state})", self.db)
    }
}
