//! Invariant 11b.
//!
//! The cluster time in a client's commands never goes back.

use bson::Timestamp;
use mongo_client_core::{event::command::CommandEvent, time::Instant};

use super::Part;
use crate::swarm::observe::Observation;

#[derive(Debug, Default)]
pub(super) struct ClusterTimes {
    last: Vec<(usize, Timestamp)>,
}

impl Part for ClusterTimes {
    fn name(&self) -> &'static str {
        "cluster-time-goes-forward"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Command { client, event } = what else {
            return Ok(());
        };
        let CommandEvent::Started(event) = event else {
            return Ok(());
        };
        let time = event.command.get_document("$clusterTime");
        let Some(new) = time.ok().and_then(|t| t.get_timestamp("clusterTime").ok()) else {
            return Ok(());
        };
        match self.last.iter_mut().find(|(c, _)| c == client) {
            None => self.last.push((*client, new)),
            Some((_, last)) if new < *last => {
                return Err(format!(
                    "client {client}, request {} ({}): from {last} to {new}",
                    event.request_id, event.command_name
                ));
            }
            Some((_, last)) => *last = new,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::swarm::checks::tests::{Run, command};

    #[test]
    fn a_cluster_time_that_goes_back_is_found() {
        let at = |time: u32| {
            let time = Timestamp { time, increment: 1 };
            command(
                1,
                doc! { "ping": 1, "$clusterTime": { "clusterTime": time } },
            )
        };
        let mut run = Run::of(ClusterTimes::default());
        run.command(at(4)).unwrap();
        run.command(at(4)).unwrap();
        run.command(at(5)).unwrap();
        assert!(run.command(at(4)).is_err());
    }
}
