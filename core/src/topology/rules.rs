//! How the description of one server changes that of the deployment (SDAM: "Updating the
//! TopologyDescription"): the TopologyType table and its actions, over a [`Draft`].
//!
//! The type PossiblePrimary, which only helps clients that check one server at a time, is not used.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{ServerDescription, ServerType, TopologyType, draft::Draft};
use crate::{
    error::Error,
    hello::HelloReply,
    id::ServerId,
    marks::{self, Mark},
    mutants::{self, Mutant},
    net::ServerAddress,
};

/// The first wire version whose primaries are ordered by electionId, then setVersion (MongoDB 6.0).
const ELECTION_ID_FIRST: i32 = 17;

/// Replaces the description of a server that is part of the draft, and draws the conclusions.
///
/// Returns the primaries that were deposed by a newer one: they are to be checked at once.
pub(super) fn apply(
    draft: &mut Draft,
    id: ServerId,
    new: ServerDescription,
    seeds_len: usize,
) -> Vec<ServerId> {
    use ServerType as S;
    use TopologyType as T;

    let new = Arc::new(new);
    let Some(place) = draft.servers.get_mut(&id) else {
        return Vec::new();
    };
    *place = Arc::clone(&new);
    let (server_type, hello) = match &new.hello {
        Some(hello) => (new.server_type, Some(&**hello)),
        None => (S::Unknown, None),
    };
    match (draft.topology_type, server_type, hello) {
        (T::Single, _, _) => verify_set_name(draft, id, &new),
        (T::LoadBalanced, _, _) => {}
        (T::Unknown, S::Standalone, _) => {
            if seeds_len == 1 {
                draft.topology_type = T::Single;
            } else {
                draft.drop_server(id, "a standalone server cannot be one of several");
            }
        }
        (T::Unknown, S::Mongos, _) => draft.topology_type = T::Sharded,
        (T::Sharded, S::Unknown | S::Mongos, _) => {}
        (T::Sharded, _, _) => draft.drop_server(id, "it is no mongos, as others are"),
        (_, S::Standalone | S::Mongos, _) => {
            draft.drop_server(id, "it is no member of a replica set");
            check_if_has_primary(draft);
        }
        (_, S::RsPrimary, Some(hello)) => return update_from_primary(draft, id, &new, hello),
        (T::ReplicaSetWithPrimary, S::RsSecondary | S::RsArbiter | S::RsOther, Some(hello)) => {
            update_with_primary_from_member(draft, id, &new, hello);
        }
        (_, S::RsSecondary | S::RsArbiter | S::RsOther, Some(hello)) => {
            draft.topology_type = T::ReplicaSetNoPrimary;
            update_without_primary(draft, id, &new, hello);
        }
        (T::ReplicaSetWithPrimary, _, _) => {
            check_if_has_primary(draft);
            if draft.topology_type == T::ReplicaSetNoPrimary {
                marks::reached(Mark::TopologyPrimaryLost);
            }
        }
        (T::Unknown | T::ReplicaSetNoPrimary, _, _) => {}
    }
    Vec::new()
}

/// SDAM: "Verifying setName with TopologyType Single": the server stays, but unusable.
fn verify_set_name(draft: &mut Draft, id: ServerId, new: &ServerDescription) {
    let (Some(wanted), Some(hello)) = (&draft.set_name, &new.hello) else {
        return;
    };
    if hello.set_name.as_ref() == Some(wanted) {
        return;
    }
    let error = Error::invalid_response(format!(
        "the server is not a member of the replica set {wanted:?}: its setName is {:?}",
        hello.set_name.as_deref().unwrap_or_default()
    ));
    replace_by_unknown(draft, id, new, error);
}

/// Replaces a server that is part of the draft by one of which only an error is known.
fn replace_by_unknown(draft: &mut Draft, id: ServerId, old: &ServerDescription, error: Error) {
    let unknown = ServerDescription::failed(old.address.clone(), error, None, old.last_update);
    draft.servers.insert(id, Arc::new(unknown));
}

/// SDAM: "checkIfHasPrimary".
fn check_if_has_primary(draft: &mut Draft) {
    draft.topology_type = if draft.has_primary() {
        TopologyType::ReplicaSetWithPrimary
    } else {
        TopologyType::ReplicaSetNoPrimary
    };
}

/// Takes over the set's name when none is known. False: the server is of another set.
fn accept_set_name(draft: &mut Draft, hello: &HelloReply) -> bool {
    if draft.set_name.is_none() {
        draft.set_name.clone_from(&hello.set_name);
    }
    draft.set_name == hello.set_name
}

/// Why a member of another set is dropped.
fn other_set(hello: &HelloReply) -> String {
    let name = hello.set_name.as_deref().unwrap_or_default();
    format!("its setName is {name:?}")
}

/// The name that the server has for itself, if that is not the one it is known by.
fn mismatched_me<'a>(
    server: &ServerDescription,
    hello: &'a HelloReply,
) -> Option<&'a ServerAddress> {
    hello.me.as_ref().filter(|me| **me != server.address)
}

fn drop_misnamed(draft: &mut Draft, id: ServerId, me: &ServerAddress) {
    draft.drop_server(id, format_args!("it calls itself {me}"));
}

fn members(hello: &HelloReply) -> impl Iterator<Item = &ServerAddress> {
    hello
        .hosts
        .iter()
        .chain(&hello.passives)
        .chain(&hello.arbiters)
}

/// SDAM: "updateRSWithoutPrimary".
fn update_without_primary(
    draft: &mut Draft,
    id: ServerId,
    new: &ServerDescription,
    hello: &HelloReply,
) {
    if !accept_set_name(draft, hello) {
        draft.drop_server(id, other_set(hello));
        return;
    }
    draft.add_members(members(hello));
    if let Some(me) = mismatched_me(new, hello) {
        drop_misnamed(draft, id, me);
    }
}

/// SDAM: "updateRSWithPrimaryFromMember".
fn update_with_primary_from_member(
    draft: &mut Draft,
    id: ServerId,
    new: &ServerDescription,
    hello: &HelloReply,
) {
    if draft.set_name != hello.set_name {
        draft.drop_server(id, other_set(hello));
    } else if let Some(me) = mismatched_me(new, hello) {
        drop_misnamed(draft, id, me);
    }
    check_if_has_primary(draft);
}

/// SDAM: "updateRSFromPrimary".
fn update_from_primary(
    draft: &mut Draft,
    id: ServerId,
    new: &ServerDescription,
    hello: &HelloReply,
) -> Vec<ServerId> {
    if !accept_set_name(draft, hello) {
        draft.drop_server(id, other_set(hello));
        check_if_has_primary(draft);
        return Vec::new();
    }
    if let Some(error) = check_election(draft, hello) {
        marks::reached(Mark::TopologyStalePrimary);
        replace_by_unknown(draft, id, new, error);
        check_if_has_primary(draft);
        return Vec::new();
    }
    let deposed: Vec<ServerId> = draft
        .servers
        .iter()
        .filter(|(other, s)| **other != id && s.server_type == ServerType::RsPrimary)
        .map(|(other, _)| *other)
        .collect();
    for other in &deposed {
        let old = Arc::clone(&draft.servers[other]);
        let error = Error::invalid_response(
            "primary marked stale due to discovery of newer primary".to_owned(),
        );
        replace_by_unknown(draft, *other, &old, error);
    }
    let listed: BTreeSet<_> = members(hello).collect();
    let known = draft.servers.len();
    draft.servers.retain(|_, s| listed.contains(&s.address));
    let kept = draft.servers.len();
    draft.add_members(members(hello));
    for (changed, mark) in [
        (kept < known, Mark::TopologyMemberRemoved),
        (kept < draft.servers.len(), Mark::TopologyMemberAdded),
    ] {
        if changed {
            marks::reached(mark);
        }
    }
    check_if_has_primary(draft);
    deposed
}

/// Remembers the election of a primary, or says why the primary is stale: a later election is known
/// (SDAM: "Using electionId and setVersion to detect stale primaries").
fn check_election(draft: &mut Draft, hello: &HelloReply) -> Option<Error> {
    let (election, version) = (hello.election_id, hello.set_version);
    let (max_election, max_version) = (draft.max_election_id, draft.max_set_version);
    let stale = || {
        Error::invalid_response(format!(
            "primary marked stale due to electionId/setVersion mismatch, ({}, {}) is stale \
             compared to ({}, {})",
            Nullable(election),
            Nullable(version),
            Nullable(max_election),
            Nullable(max_version)
        ))
    };
    if hello.max_wire_version >= ELECTION_ID_FIRST {
        // An absent value is the smallest, which is how `Option` is ordered.
        if (election, version) < (max_election, max_version)
            && !mutants::active(Mutant::ElectionIgnored)
        {
            return Some(stale());
        }
        draft.max_election_id = election;
        draft.max_set_version = version;
        return None;
    }
    if let (Some(election), Some(version)) = (election, version) {
        if let (Some(max_election), Some(max_version)) = (max_election, max_version)
            && (max_version, max_election) > (version, election)
        {
            return Some(stale());
        }
        draft.max_election_id = Some(election);
    }
    draft.max_set_version = max_version.max(version);
    None
}

/// Prints a value or `null`.
struct Nullable<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}
