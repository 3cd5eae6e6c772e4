//! What checks read in replies and in the documents that survive.

use bson::{Bson, RawBsonRef, RawDocument};

use crate::swarm::observe::End;

/// An integer of either width.
pub(super) fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

/// An integer of either width, in a reply.
pub(super) fn number_of(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(n) => Some(i64::from(n)),
        RawBsonRef::Int64(n) => Some(n),
        _ => None,
    }
}

/// The counters that survive: the id of each, if it has one, and the operations that changed it, in
/// their order.
pub(super) fn counters<'a>(
    end: &End<'a>,
) -> impl Iterator<Item = (Option<i64>, impl Iterator<Item = i64> + 'a)> {
    let counters = end.documents.get("counters").into_iter().flatten();
    counters.map(|counter| {
        let ops = counter.get_array("ops").into_iter().flatten();
        (counter.get("_id").and_then(number), ops.filter_map(number))
    })
}

/// Whether a write changed something.
pub(super) fn has_effect(reply: &RawDocument) -> bool {
    reply.get_i32("n").is_ok_and(|n| n > 0)
}

/// Whether the majority is not sure to have a write: it may be rolled back.
pub(super) fn is_unsure(reply: &RawDocument) -> bool {
    reply.get_document("writeConcernError").is_ok()
}
