//! The invariants that every run is checked against.
//!
//! All of them look at the same observations, and most at the same messages, so the bytes of a run
//! are cut into messages once (`traffic`) and told to all parts. `Suite` is the one [`Check`] that
//! does so; its name is that of the invariant that was violated.
//!
//! What is checked is seen from outside: bytes on the wire, events, outcomes, counts. Nothing here
//! uses the client's codec, topology or pool.

mod after_close;
mod attempts;
mod buffers;
mod busy;
mod causal;
mod cluster_time;
mod counts;
mod deadlines;
mod dirty;
mod documents;
mod drops;
mod elections;
mod fifo;
mod generations;
mod heartbeats;
mod nesting;
mod places;
mod reference;
mod replies;
mod secrets;
mod tickets;
mod topology;
mod traffic;
mod unread;
mod wire;
mod writes;

#[cfg(test)]
mod tests;

use mongo_client_core::{
    error::{Error, ErrorKind},
    net::ServerAddress,
    time::Instant,
};

use self::traffic::{Told, Traffic};
use super::{
    observe::{Check, End, Observation},
    plan::{Plan, Profile},
};

/// All checks, for one run of a plan.
#[must_use]
pub fn all(plan: &Plan) -> Vec<Box<dyn Check>> {
    vec![Box::new(Suite::new(parts(plan)))]
}

/// The names of the invariants, in the order of docs/SIMULATION.md.
#[must_use]
pub fn names(plan: &Plan) -> Vec<&'static str> {
    parts(plan).iter().map(|part| part.name()).collect()
}

fn parts(plan: &Plan) -> Vec<Box<dyn Part>> {
    let mut parts: Vec<Box<dyn Part>> = vec![
        Box::new(tickets::Tickets::default()),
        Box::new(places::Places::new(plan)),
        Box::new(fifo::Fifo::default()),
        Box::new(generations::Generations::default()),
        Box::new(counts::Counts::default()),
        Box::new(attempts::Attempts::new(plan)),
        Box::new(heartbeats::Heartbeats::default()),
        Box::new(busy::Busy::new(plan)),
        Box::new(nesting::Nesting::default()),
        Box::new(secrets::Secrets::new(plan)),
        Box::new(buffers::Buffers::new(plan)),
        Box::new(after_close::AfterClose::default()),
    ];
    // Where bytes are corrupted, what servers do and say is not what they would, and where a reply
    // ends is anybody's guess: what remains is what holds without looking into messages.
    if !is_corrupted(plan) {
        parts.push(Box::new(replies::Replies::default()));
        parts.push(Box::new(unread::Unread));
        parts.push(Box::new(deadlines::Deadlines::new(plan)));
        parts.push(Box::new(drops::Drops::default()));
        parts.push(Box::new(dirty::Dirty::default()));
        parts.push(Box::new(writes::Writes::default()));
        parts.push(Box::new(causal::Causal::default()));
        parts.push(Box::new(topology::Topology::new(plan)));
        parts.push(Box::new(elections::Elections::default()));
        parts.push(Box::new(cluster_time::ClusterTimes::default()));
    }
    parts
}

fn is_corrupted(plan: &Plan) -> bool {
    let corrupts = |kind: &str| kind.contains("corrupt");
    plan.profile == Profile::HostileBytes || plan.faults.iter().any(|f| corrupts(f.kind))
}

/// An invariant, or a side of one.
trait Part: Send {
    fn name(&self) -> &'static str;

    /// Something happened.
    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        let _ = (at, what);
        Ok(())
    }

    /// A message is complete, or a connection is over.
    fn told(&mut self, at: Instant, what: &Told<'_>) -> Result<(), String> {
        let _ = (at, what);
        Ok(())
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let _ = end;
        Ok(())
    }
}

/// All parts behind one [`Check`].
struct Suite {
    traffic: Traffic,
    parts: Vec<Box<dyn Part>>,
    violated: &'static str,
}

impl Suite {
    fn new(parts: Vec<Box<dyn Part>>) -> Self {
        Self {
            traffic: Traffic::default(),
            parts,
            violated: "invariants",
        }
    }
}

impl Check for Suite {
    fn name(&self) -> &'static str {
        self.violated
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Self {
            traffic,
            parts,
            violated,
        } = self;
        for part in &mut *parts {
            part.observe(at, what)
                .inspect_err(|_| *violated = part.name())?;
        }
        traffic.observe(what, &mut |told| {
            for part in &mut *parts {
                part.told(at, told)
                    .inspect_err(|_| *violated = part.name())?;
            }
            Ok(())
        })
    }

    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        for part in &mut self.parts {
            part.finish(end)
                .inspect_err(|_| self.violated = part.name())?;
        }
        Ok(())
    }
}

/// A check of a server that was given up says nothing of the server.
fn was_cancelled(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::Interrupted)
}

/// Something for each pool: of a client, to a server.
#[derive(Debug)]
struct ByPool<T>(Vec<(usize, ServerAddress, T)>);

impl<T> Default for ByPool<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> ByPool<T> {
    fn of(&mut self, client: usize, address: &ServerAddress) -> &mut T {
        let mut pools = self.0.iter();
        let found = pools.position(|(c, a, _)| *c == client && a == address);
        let index = found.unwrap_or_else(|| {
            self.0.push((client, address.clone(), T::default()));
            self.0.len() - 1
        });
        &mut self.0[index].2
    }
}
