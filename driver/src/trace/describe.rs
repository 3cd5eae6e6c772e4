//! Texts for the fields whose format the specification leaves open.

use std::fmt;

use mongo_client_core::{
    error::{Error, ErrorKind},
    op::Target,
    read_preference::ReadPreference,
    topology::TopologyDescription,
};

use super::{Log, json};

/// An error with its sources, cut like a document: a server decides how long its texts are.
pub(super) fn failure(log: &Log, error: &Error) -> String {
    json::text(Failure(error), log.document_len_max)
}

struct Failure<'a>(&'a Error);

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error: &dyn std::error::Error = match &*self.0.kind {
            // Its text repeats the selector and the topology, which have their own fields.
            ErrorKind::ServerSelection { .. } => {
                return f.write_str("no suitable server became available in time");
            }
            _ => self.0,
        };
        write!(f, "{error}")?;
        let mut source = error.source();
        // A source that cannot end must not make a text without end; the limit ends it.
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// What an operation asks for.
pub(super) struct Selector<'a>(pub(super) &'a Target);

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Write => f.write_str("{ writable }"),
            Target::Server(id) => write!(f, "{{ server: {id} }}"),
            Target::Read(preference) => write_preference(f, preference),
            Target::Output(preference) => write_preference(f, preference),
        }
    }
}

fn write_preference(f: &mut fmt::Formatter<'_>, preference: &ReadPreference) -> fmt::Result {
    write!(f, "{{ mode: {}", preference.mode())?;
    if let Some(options) = preference.options() {
        if let Some(sets) = options.tag_sets.as_ref().filter(|sets| !sets.is_empty()) {
            write!(f, ", tagSets: {sets:?}")?;
        }
        if let Some(staleness) = options.max_staleness {
            write!(f, ", maxStalenessSeconds: {}", staleness.as_secs())?;
        }
        if let Some(hedge) = &options.hedge {
            write!(f, ", hedge: {hedge:?}")?;
        }
    }
    f.write_str(" }")
}

/// A deployment: its type, and each server with its type, round-trip time and error.
pub(super) struct Topology<'a> {
    description: &'a TopologyDescription,
    error_len_max: usize,
}

impl<'a> Topology<'a> {
    pub(super) fn new(log: &Log, description: &'a TopologyDescription) -> Self {
        Self {
            description,
            error_len_max: log.document_len_max,
        }
    }
}

impl fmt::Display for Topology<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.description;
        write!(f, "{{ type: {}", topology.topology_type)?;
        if let Some(name) = &topology.set_name {
            write!(f, ", setName: {name:?}")?;
        }
        if let Some(error) = &topology.compatibility_error {
            write!(f, ", compatibilityError: {error:?}")?;
        }
        f.write_str(", servers: [")?;
        for (i, server) in topology.servers.values().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(
                f,
                "{separator} {{ address: {}, type: {}",
                server.address, server.server_type
            )?;
            if let Some(rtt) = server.average_round_trip_time {
                write!(f, ", roundTripTimeMS: {:.3}", super::millis(rtt))?;
            }
            if let Some(error) = &server.error {
                let error = json::text(error, self.error_len_max);
                write!(f, ", error: \"{error}\"")?;
            }
            f.write_str(" }")?;
        }
        f.write_str(" ] }")
    }
}
