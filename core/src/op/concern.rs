//! Which read preference, read concern and write concern a command carries, as raw BSON.
//!
//! Specifications: "Server Selection" (passing read preference), "Read and Write Concern", "Causal
//! Consistency", "Snapshot Reads".

use std::borrow::Cow;

use bson::Timestamp;

use super::{Target, raw};
use crate::{
    concern::{Acknowledgment, ReadConcern, WriteConcern},
    read_preference::ReadPreference,
    topology::{ServerType, TopologyType},
};

/// The first wire version (MongoDB 5.0) whose secondaries run aggregations that write.
pub(crate) const OUTPUT_WIRE_VERSION: i32 = 13;

/// The read preference to send to the selected server; `None` for no `$readPreference` field.
///
/// A direct connection to a member of a replica set turns primary into primaryPreferred, so that
/// any member answers (Server Selection: "Topology type: Single").
#[must_use]
pub(super) fn sent_read_preference(
    target: &Target,
    topology: TopologyType,
    server: ServerType,
    wire_version: i32,
) -> Option<Cow<'_, ReadPreference>> {
    let preference = match target {
        Target::Read(preference) => preference,
        // An older server was selected as the primary.
        Target::Output(preference) if wire_version >= OUTPUT_WIRE_VERSION => preference,
        Target::Output(_) => &ReadPreference::Primary,
        Target::Server(_) | Target::Write => return None,
    };
    let primary = matches!(preference, ReadPreference::Primary);
    match (server, topology) {
        (ServerType::Standalone, _) => None,
        (ServerType::Mongos | ServerType::LoadBalancer, _) if primary => None,
        (ServerType::Mongos | ServerType::LoadBalancer, _) => Some(Cow::Borrowed(preference)),
        (_, TopologyType::Single) if primary => {
            Some(Cow::Owned(ReadPreference::PrimaryPreferred {
                options: None,
            }))
        }
        _ if primary => None,
        _ => Some(Cow::Borrowed(preference)),
    }
}

/// Whether a command accepts `afterClusterTime` (Read and Write Concern: "afterClusterTime").
#[must_use]
pub fn takes_after_cluster_time(command: &str) -> bool {
    matches!(
        command,
        "aggregate"
            | "bulkWrite"
            | "count"
            | "create"
            | "createIndexes"
            | "delete"
            | "distinct"
            | "drop"
            | "dropDatabase"
            | "dropIndexes"
            | "find"
            | "findAndModify"
            | "insert"
            | "update"
    )
}

/// Appends `$readPreference`.
pub(super) fn append_read_preference(out: &mut Vec<u8>, preference: &ReadPreference) {
    let start = raw::open_document(out, "$readPreference");
    raw::string(out, "mode", preference.mode());
    // An empty array of tag sets is not valid on the wire.
    if !preference.tag_sets().is_empty() {
        let sets = raw::open_array(out, "tags");
        for (index, tags) in preference.tag_sets().iter().enumerate() {
            let set = raw::open_document(out, &index.to_string());
            for (name, value) in tags {
                raw::string(out, name, value);
            }
            raw::close(out, set);
        }
        raw::close(out, sets);
    }
    if let Some(staleness) = preference.max_staleness() {
        let seconds = i64::try_from(staleness.as_secs()).unwrap_or(i64::MAX);
        raw::integer(out, "maxStalenessSeconds", seconds);
    }
    if let Some(hedge) = preference.options().and_then(|o| o.hedge.as_ref()) {
        let start = raw::open_document(out, "hedge");
        raw::boolean(out, "enabled", hedge.enabled);
        raw::close(out, start);
    }
    raw::close(out, start);
}

/// Appends `readConcern`, or nothing when it would be empty.
pub(super) fn append_read_concern(
    out: &mut Vec<u8>,
    concern: Option<&ReadConcern>,
    after_cluster_time: Option<Timestamp>,
) {
    if concern.is_none() && after_cluster_time.is_none() {
        return;
    }
    let start = raw::open_document(out, "readConcern");
    if let Some(concern) = concern {
        raw::string(out, "level", concern.level.as_str());
    }
    if let Some(time) = after_cluster_time {
        raw::timestamp(out, "afterClusterTime", time);
    }
    raw::close(out, start);
}

/// Appends the `readConcern` of a snapshot session.
pub(super) fn append_snapshot(out: &mut Vec<u8>, at_cluster_time: Option<Timestamp>) {
    let start = raw::open_document(out, "readConcern");
    raw::string(out, "level", "snapshot");
    if let Some(time) = at_cluster_time {
        raw::timestamp(out, "atClusterTime", time);
    }
    raw::close(out, start);
}

/// Appends `writeConcern`, or nothing when it would be empty.
///
/// `deadline`: the operation has a deadline, which takes the place of `wtimeout`.
pub(super) fn append_write_concern(out: &mut Vec<u8>, concern: &WriteConcern, deadline: bool) {
    let timeout = concern.w_timeout.filter(|_| !deadline);
    let durability = concern.journal.or(concern.fsync);
    if concern.w.is_none() && durability.is_none() && timeout.is_none() {
        return;
    }
    let start = raw::open_document(out, "writeConcern");
    match &concern.w {
        None => {}
        Some(Acknowledgment::Nodes(nodes)) => raw::integer(out, "w", i64::from(*nodes)),
        Some(Acknowledgment::Majority) => raw::string(out, "w", "majority"),
        Some(Acknowledgment::Custom(name)) => raw::string(out, "w", name),
    }
    if let Some(timeout) = timeout {
        let ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        raw::integer(out, "wtimeout", ms);
    }
    if let Some(journal) = concern.journal {
        raw::boolean(out, "j", journal);
    }
    if let Some(fsync) = concern.fsync {
        raw::boolean(out, "fsync", fsync);
    }
    raw::close(out, start);
}

#[cfg(test)]
mod tests {
    use bson::{RawDocument, doc};

    use super::*;
    use crate::{id::ServerId, read_preference::ReadPreferenceOptions};

    #[test]
    fn read_preference_is_sent_as_op_msg_demands() {
        use {ServerType as S, TopologyType as T};
        let primary = Target::Read(ReadPreference::Primary);
        let secondary = Target::Read(ReadPreference::secondary(None));
        let cases = [
            (T::ReplicaSetWithPrimary, S::RsPrimary, &primary, None),
            (
                T::ReplicaSetWithPrimary,
                S::RsSecondary,
                &secondary,
                Some("secondary"),
            ),
            (T::Sharded, S::Mongos, &primary, None),
            (T::Sharded, S::Mongos, &secondary, Some("secondary")),
            (T::LoadBalanced, S::LoadBalancer, &primary, None),
            (
                T::LoadBalanced,
                S::LoadBalancer,
                &secondary,
                Some("secondary"),
            ),
            (T::Single, S::Standalone, &secondary, None),
            (T::Single, S::Mongos, &primary, None),
            (T::Single, S::Mongos, &secondary, Some("secondary")),
            (
                T::Single,
                S::RsSecondary,
                &primary,
                Some("primaryPreferred"),
            ),
            (T::Single, S::RsSecondary, &secondary, Some("secondary")),
            (T::Single, S::RsOther, &Target::Write, None),
            (
                T::ReplicaSetWithPrimary,
                S::RsSecondary,
                &Target::Server(ServerId(1)),
                None,
            ),
        ];
        for (topology_type, server_type, target, want) in cases {
            let got = sent_read_preference(target, topology_type, server_type, 17);
            assert_eq!(
                got.as_ref().map(|preference| preference.mode()),
                want,
                "{topology_type} {server_type} {target:?}"
            );
        }
    }

    #[test]
    fn an_old_server_that_writes_its_results_is_sent_no_read_preference() {
        let target = Target::Output(ReadPreference::secondary(None).into());
        let (topology, server) = (TopologyType::ReplicaSetWithPrimary, ServerType::RsPrimary);
        for (wire_version, mode) in [(12, None), (13, Some("secondary"))] {
            let got = sent_read_preference(&target, topology, server, wire_version);
            assert_eq!(got.as_ref().map(|p| p.mode()), mode, "{wire_version}");
        }
    }

    #[test]
    fn an_empty_list_of_tag_sets_is_not_sent() {
        let options = ReadPreferenceOptions::builder().tag_sets(Vec::new());
        let mut out = Vec::new();
        let start = raw::open(&mut out);
        append_read_preference(&mut out, &ReadPreference::nearest(options));
        raw::close(&mut out, start);
        let sent = RawDocument::from_bytes(&out).unwrap();
        assert_eq!(
            bson::Document::try_from(sent).unwrap(),
            doc! { "$readPreference": { "mode": "nearest" } }
        );
    }
}
