//! Invariant 11a.
//!
//! The highest election that a client knows never goes back.

use bson::oid::ObjectId;
use mongo_client_core::{event::sdam::SdamEvent, time::Instant};

use super::Part;
use crate::swarm::observe::Observation;

type Election = (Option<ObjectId>, Option<i64>);

#[derive(Debug, Default)]
pub(super) struct Elections {
    last: Vec<(usize, Election)>,
}

impl Part for Elections {
    fn name(&self) -> &'static str {
        "elections-go-forward"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Sdam { client, event } = what else {
            return Ok(());
        };
        let client = *client;
        match event {
            SdamEvent::TopologyOpening(_) => self.last.retain(|(c, _)| *c != client),
            // A topology that is closed has a last view, in which nothing is known.
            SdamEvent::TopologyDescriptionChanged(e) if !e.new_description.servers.is_empty() => {
                let view = &e.new_description;
                let new = (view.max_election_id, view.max_set_version);
                let Some((_, last)) = self.last.iter_mut().find(|(c, _)| *c == client) else {
                    self.last.push((client, new));
                    return Ok(());
                };
                // Old servers are ordered by the version of their set first.
                if new < *last && (new.1, new.0) < (last.1, last.0) {
                    return Err(format!("client {client}: from {last:?} to {new:?}"));
                }
                *last = new;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mongo_client_core::topology::ServerType;

    use super::*;
    use crate::swarm::checks::tests::{Run, view};

    #[test]
    fn an_election_that_is_forgotten_is_found() {
        let at = |election: u8| {
            view(&[ServerType::RsPrimary], |v| {
                v.max_election_id = Some(ObjectId::from_bytes([election; 12]));
                v.max_set_version = Some(1);
            })
        };
        let mut run = Run::of(Elections::default());
        run.sdam(at(1)).unwrap();
        run.sdam(at(2)).unwrap();
        run.sdam(at(2)).unwrap();
        assert!(run.sdam(at(1)).is_err());
        let mut run = Run::of(Elections::default());
        run.sdam(at(1)).unwrap();
        assert!(run.sdam(view(&[ServerType::Unknown], |_| {})).is_err());
    }
}
