//! Invariant 18.
//!
//! No secret shows: not in what is sent, nor in events, nor in errors.

use std::fmt::Debug;

use mongo_client_core::{
    event::{cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    time::Instant,
};

use super::{Part, traffic::Told};
use crate::swarm::{
    observe::{Observation, Outcome},
    plan::{PASSWORD, Plan},
};

#[derive(Debug)]
pub(super) struct Secrets {
    /// Whether there is one.
    armed: bool,
}

impl Secrets {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { armed: plan.auth }
    }
}

fn look(what: &impl Debug) -> Result<(), String> {
    match format!("{what:?}").contains(PASSWORD) {
        true => Err(String::from("the password shows in an event or error")),
        false => Ok(()),
    }
}

impl Part for Secrets {
    fn name(&self) -> &'static str {
        "no-secrets"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        if !self.armed {
            return Ok(());
        }
        match what {
            Observation::Ended {
                outcome: Outcome::Failed(error),
                ..
            } => {
                look(error)?;
                look(&error.to_string())
            }
            Observation::Command { event, .. } => match event {
                CommandEvent::Started(e) if !e.command_name.starts_with("sasl") => Ok(()),
                CommandEvent::Started(e) if e.command.is_empty() => Ok(()),
                CommandEvent::Started(e) => Err(format!("{} shows its arguments", e.command_name)),
                CommandEvent::Failed(e) => look(e),
                _ => Ok(()),
            },
            Observation::Cmap { event, .. } => match event {
                CmapEvent::ConnectionClosed(e) => look(&e.error),
                CmapEvent::ConnectionCheckoutFailed(e) => look(&e.error),
                _ => Ok(()),
            },
            Observation::Sdam { event, .. } => match event {
                SdamEvent::ServerHeartbeatFailed(e) => look(&e.failure),
                SdamEvent::ServerDescriptionChanged(e) => look(&e.new_description.error),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        let Told::Request { conn, message, .. } = what else {
            return Ok(());
        };
        let secret = PASSWORD.as_bytes();
        if self.armed && message.bytes().windows(secret.len()).any(|w| w == secret) {
            return Err(format!("connection {}: the password is sent", conn.number));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use mongo_client_core::error::Error;

    use super::*;
    use crate::swarm::checks::tests::{Run, message, plan};

    fn run(armed: bool) -> Run {
        let mut plan = plan();
        plan.auth = armed;
        Run::of(Secrets::new(&plan))
    }

    #[test]
    fn a_password_on_the_wire_or_in_an_error_is_found() {
        for armed in [true, false] {
            let mut run = run(armed);
            run.dial(1);
            let bytes = message(1, 0, 0, &rawdoc! { "saslStart": 1, "payload": PASSWORD });
            assert_eq!(run.client(1, &bytes).is_err(), armed);
            let error = Error::invalid_argument(format!("wrong: {PASSWORD}"));
            assert_eq!(run.fail_with(1, error).is_err(), armed);
        }
    }
}
