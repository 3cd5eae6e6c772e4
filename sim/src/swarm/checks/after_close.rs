//! Invariant 20.
//!
//! A client that is closed begins no message, and dials nobody. What was written in part goes on.

use std::collections::{BTreeMap, BTreeSet};

use mongo_client_core::time::Instant;

use super::Part;
use crate::swarm::observe::Observation;

#[derive(Debug, Default)]
pub(super) struct AfterClose {
    closed: BTreeSet<usize>,
    owners: BTreeMap<u64, (usize, Writing)>,
}

/// How far a connection is with the message that is written on it.
#[derive(Debug, Default)]
struct Writing {
    /// The bytes of the message's length that have come.
    len: Vec<u8>,
    /// How many bytes are missing.
    left: usize,
}

impl Writing {
    /// Follows what is written; whether a message begins in it.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        let mut begins = false;
        while !bytes.is_empty() {
            if self.left == 0 && self.len.len() < 4 {
                begins |= self.len.is_empty();
                self.len.push(bytes[0]);
                bytes = &bytes[1..];
                if let Ok(len) = <[u8; 4]>::try_from(&*self.len) {
                    self.left = (u32::from_le_bytes(len) as usize).saturating_sub(4);
                }
            }
            let n = self.left.min(bytes.len());
            self.left -= n;
            bytes = &bytes[n..];
            if self.left == 0 && self.len.len() == 4 {
                self.len.clear();
            }
        }
        begins
    }
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
                let owner = (*client, Writing::default());
                self.owners.insert(*connection, owner);
                if self.closed.contains(client) {
                    return Err(format!("client {client} dials after its end"));
                }
            }
            Observation::DialFailed { connection } | Observation::Closed { connection, .. } => {
                self.owners.remove(connection);
            }
            Observation::ClientBytes { connection, bytes } => {
                let Some((client, writing)) = self.owners.get_mut(connection) else {
                    return Ok(());
                };
                if writing.write(bytes) && self.closed.contains(client) {
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
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::{Run, message};

    #[test]
    fn bytes_and_dials_after_the_end_are_found() {
        let mut run = Run::of(AfterClose::default());
        run.dial(1);
        run.ask(1, 10, None).unwrap();
        run.close_client().unwrap();
        assert!(run.client(1, &[1]).is_err());
        assert!(run.dial_result(2).is_err());
    }

    #[test]
    fn what_was_begun_before_the_end_goes_on_and_nothing_follows() {
        let bytes = message(7, 0, 0, &rawdoc! { "ping": 1 });
        for at in 0..=bytes.len() {
            let mut run = Run::of(AfterClose::default());
            run.dial(1);
            run.client(1, &bytes[..at]).unwrap();
            run.close_client().unwrap();
            let rest = run.client(1, &bytes[at..]);
            assert_eq!(rest.is_ok(), at > 0, "{at}");
            assert!(at == 0 || run.client(1, &bytes[..1]).is_err(), "{at}");
        }
    }
}
