//! Invariant 20.
//!
//! A client that is closed sends nothing, and dials nobody.

use std::collections::{BTreeMap, BTreeSet};

use mongo_client_core::time::Instant;

use super::Part;
use crate::swarm::observe::Observation;

#[derive(Debug, Default)]
pub(super) struct AfterClose {
    closed: BTreeSet<usize>,
    owners: BTreeMap<u64, usize>,
}

impl Part for AfterClose {
    fn name(&self) -> &'static str {
        "silent-after-close"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::ClientClosed { client } => {
                self.closed.insert(*client);
            }
            Observation::Dialled {
                connection, client, ..
            } => {
                self.owners.insert(*connection, *client);
                if self.closed.contains(client) {
                    return Err(format!("client {client} dials after its end"));
                }
            }
            Observation::DialFailed { connection } | Observation::Closed { connection, .. } => {
                self.owners.remove(connection);
            }
            Observation::ClientBytes { connection, .. } => {
                let owner = self.owners.get(connection);
                if let Some(client) = owner.filter(|c| self.closed.contains(c)) {
                    return Err(format!(
                        "client {client} writes on connection {connection} after its end"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::Run;

    #[test]
    fn bytes_and_dials_after_the_end_are_found() {
        let mut run = Run::of(AfterClose::default());
        run.dial(1);
        run.ask(1, 10, None).unwrap();
        run.close_client().unwrap();
        assert!(run.client(1, &[1]).is_err());
        assert!(run.dial_result(2).is_err());
    }
}
