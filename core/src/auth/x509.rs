//! `MONGODB-X509`: the certificate of the TLS connection is the proof.
//!
//! The server takes the user's name from the certificate; a name in the credential is sent along
//! and must be the same.

use bson::{Document, doc};

use super::{AuthStep, EXTERNAL};
use crate::{
    error::{Error, Result},
    options::{AuthMechanism, Credential},
};

/// One `MONGODB-X509` conversation.
#[derive(Debug)]
pub(super) struct X509 {
    username: Option<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent, or only a speculation that may have found no answer.
    Initial,
    /// The command was sent.
    Sent,
    /// The server accepted.
    Done,
}

impl X509 {
    pub(super) fn new(credential: &Credential) -> Result<Self> {
        if credential.password.is_some() {
            return Err(Error::invalid_argument("MONGODB-X509 takes no password"));
        }
        if credential.source.as_deref().is_some_and(|s| s != EXTERNAL) {
            return Err(Error::invalid_argument(
                "MONGODB-X509: authSource must be $external",
            ));
        }
        Ok(Self {
            username: credential.username.clone().filter(|u| !u.is_empty()),
            state: State::Initial,
        })
    }

    pub(super) fn speculative(&self) -> Document {
        let mut command = self.command();
        command.insert("db", EXTERNAL);
        command
    }

    pub(super) fn handle_speculative(&mut self) -> Result<AuthStep> {
        self.advance(State::Initial, State::Done)?;
        Ok(AuthStep::Done)
    }

    pub(super) fn start(&mut self) -> Result<AuthStep> {
        self.advance(State::Initial, State::Sent)?;
        Ok(AuthStep::Send {
            db: EXTERNAL.to_owned(),
            command: self.command(),
        })
    }

    pub(super) fn handle_reply(&mut self) -> Result<AuthStep> {
        self.advance(State::Sent, State::Done)?;
        Ok(AuthStep::Done)
    }

    fn command(&self) -> Document {
        let mut command = doc! {
            "authenticate": 1,
            "mechanism": AuthMechanism::MongoDbX509.as_str(),
        };
        // Authentication: without a name in the credential none is sent.
        if let Some(username) = &self.username {
            command.insert("user", username.as_str());
        }
        command
    }

    fn advance(&mut self, from: State, to: State) -> Result<()> {
        if self.state != from {
            return Err(Error::internal(format!(
                "MONGODB-X509: {to:?} does not follow {:?}",
                self.state
            )));
        }
        self.state = to;
        Ok(())
    }
}
