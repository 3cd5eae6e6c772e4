//! find, count and distinct.

use std::{collections::BTreeMap, sync::Arc};

use bson::{Bson, Document, doc};

use super::{cursors::Found, document, missing, natural, wrong_type};
use crate::{
    failure::{BAD_VALUE, FAILED_TO_PARSE, Failure, Result},
    server::{
        SimServer,
        concern::Level,
        dispatch::{Call, Done},
    },
    store::{
        Namespace,
        project::Projection,
        query::Filter,
        scope::{Scope, folded},
        sort::Sort,
        value::{Key, show, show_document, truthy, whole},
    },
    wire::Fields,
};

pub(super) const FIRST_BATCH: usize = 101;

/// The documents that match, as far as the read concern shows them.
pub(super) fn visible(
    server: &SimServer,
    call: &Call<'_>,
    ns: &Namespace,
    filter: &Filter,
) -> Result<Vec<Arc<Document>>> {
    let view = match call.level {
        Level::Majority if server.membership.is_some() => {
            if let Some(before) = server.data.committed_documents(ns) {
                let collection = server.data.store.collection(ns);
                return Ok(collection.map_or_else(Vec::new, |c| c.find_before(filter, &before)));
            }
            Some(server.data.committed_store(ns))
        }
        Level::Snapshot(at) => Some(server.data.store_at(ns, at)?),
        _ => None,
    };
    let store = view.as_ref().unwrap_or(&server.data.store);
    let Some(collection) = store.collection(ns) else {
        return Ok(Vec::new());
    };
    let found = collection.find(filter);
    Ok(found.map(|(_, document)| Arc::clone(document)).collect())
}

/// Fails for a hint that names no index; the plan itself does not depend on it. `extra` is what the
/// server's message says after the projection.
pub(super) fn check_hint(
    server: &SimServer,
    ns: &Namespace,
    command: &dyn Fields,
    filter: &Document,
    extra: &str,
) -> Result<()> {
    let Some(collection) = server.data.store.collection(ns) else {
        return Ok(());
    };
    let known = match command.get("hint") {
        None => true,
        Some(Bson::String(name)) => collection.indexes.iter().any(|index| index.name == *name),
        Some(Bson::Document(key)) if key.is_empty() => true,
        Some(Bson::Document(key)) if key.contains_key("$natural") => {
            if key.get("$natural").and_then(whole) != Some(1) {
                return Err(Failure::not_simulated("hint of another order"));
            }
            true
        }
        Some(Bson::Document(key)) => collection.indexes.iter().any(|index| index.key() == *key),
        Some(_) => {
            let message = "Hint must be a string or an object";
            return Err(Failure::new(FAILED_TO_PARSE, message));
        }
    };
    if known {
        return Ok(());
    }
    let tree = match filter.iter().next() {
        Some((path, value)) if filter.len() == 1 => format!("{path} $eq {}", show(value)),
        _ => "$and".to_owned(),
    };
    let shown = |field: &str| {
        let value = command.get_document(field).cloned().unwrap_or_default();
        show_document(&value)
    };
    let message = format!(
        "error processing query: ns={ns}Tree: {tree}\nSort: {}\nProj: {}\n{extra} planner returned \
         error :: caused by :: hint provided does not correspond to an existing index",
        shown("sort"),
        shown("projection"),
    );
    Err(Failure::new(BAD_VALUE, message))
}

pub(in crate::server) fn find(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let command = call.command;
    let scope = Scope::of(command, "FindCommandRequest", server.wall(call.now))?;
    let condition = document(command, "FindCommandRequest", "filter")?;
    let filter = Filter::parse(condition, &scope)?;
    let sort = Sort::parse(document(command, "FindCommandRequest", "sort")?, &scope)?;
    let projection = document(command, "FindCommandRequest", "projection")?;
    let projection = Projection::parse(projection, &scope)?;
    let limit = natural(command, "limit")?.filter(|limit| *limit > 0);
    let skip = natural(command, "skip")?.unwrap_or(0);
    let batch_size = natural(command, "batchSize")?.unwrap_or(FIRST_BATCH);
    let single = command.get("singleBatch").is_some_and(truthy);

    check_hint(server, &ns, command, condition, "")?;
    let exists = server.data.store.collection(&ns).is_some();
    let mut documents = visible(server, call, &ns, &filter)?;
    sort.apply(&mut documents);
    documents.drain(..skip.min(documents.len()));
    let limited = limit.is_some_and(|limit| documents.len() >= limit);
    documents.truncate(limit.unwrap_or(usize::MAX));
    if let Some(projection) = projection {
        let shown = documents.iter().map(|d| Arc::new(projection.apply(d)));
        documents = shown.collect();
    }
    let found = Found {
        namespace: ns.to_string(),
        documents: documents.into(),
        // A sort by `_id` reads the index, and does not know that it has come to the end.
        knows_end: limited || sort.is_blocking() || filter.id().is_some(),
    };
    if !exists {
        let cursor = doc! { "id": 0_i64, "ns": found.namespace, "firstBatch": [] };
        return Ok(Done::reply(doc! { "cursor": cursor }));
    }
    Ok(server.open_cursor(found, batch_size, single, call))
}

pub(in crate::server) fn count(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let scope = Scope::of(call.command, "count", server.wall(call.now))?;
    let condition = document(call.command, "count", "query")?;
    let filter = Filter::parse(condition, &scope)?;
    check_hint(server, &ns, call.command, condition, "")?;
    let skip = natural(call.command, "skip")?.unwrap_or(0);
    // A negative limit of count means its absolute value.
    let limit = call.command.get("limit").and_then(whole).unwrap_or(0);
    let limit = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let all = visible(server, call, &ns, &filter)?.len();
    let n = all.saturating_sub(skip).min(limit);
    Ok(Done::reply(
        doc! { "n": i32::try_from(n).unwrap_or(i32::MAX) },
    ))
}

pub(in crate::server) fn distinct(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let key = match call.command.get("key") {
        Some(Bson::String(key)) => key,
        None => return Err(missing("distinct", "key")),
        Some(other) => return Err(wrong_type("distinct", "key", other, "string")),
    };
    let scope = Scope::of(call.command, "distinct", server.wall(call.now))?;
    let filter = Filter::parse(document(call.command, "distinct", "query")?, &scope)?;
    let path: Vec<&str> = key.split('.').collect();
    let mut values = Vec::new();
    for found in visible(server, call, &ns, &filter)? {
        gather(
            &Bson::Document(Arc::unwrap_or_clone(found)),
            &path,
            &mut values,
        );
    }
    // In their order, each once: the first of those that are equal.
    let mut distinct = BTreeMap::new();
    for value in values {
        let key = if scope.folds() {
            folded(&value)
        } else {
            value.clone()
        };
        distinct.entry(Key(key)).or_insert(value);
    }
    let values: Vec<Bson> = distinct.into_values().collect();
    let mut reply = doc! { "values": values };
    if let Level::Snapshot(at) = call.level {
        reply.insert("atClusterTime", at);
    }
    Ok(Done::reply(reply))
}

/// Collects the values at a path, the elements of arrays one by one.
fn gather(value: &Bson, path: &[&str], values: &mut Vec<Bson>) {
    match (value, path.split_first()) {
        (Bson::Array(elements), None) => values.extend(elements.iter().cloned()),
        (value, None) => values.push(value.clone()),
        (Bson::Document(document), Some((first, rest))) => {
            if let Some(value) = document.get(first) {
                gather(value, rest, values);
            }
        }
        (Bson::Array(elements), Some((first, rest))) => {
            if let Some(element) = first.parse::<usize>().ok().and_then(|i| elements.get(i)) {
                gather(element, rest, values);
            }
            for element in elements.iter().filter(|e| e.as_document().is_some()) {
                gather(element, path, values);
            }
        }
        _ => {}
    }
}
