//! find, count, distinct and aggregate.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};

use super::{cursors::Found, document, missing, natural, wrong_type};
use crate::{
    failure::{FAILED_TO_PARSE, Failure, Result},
    server::{
        SimServer,
        concern::Level,
        dispatch::{Call, Done},
    },
    store::{
        Namespace,
        aggregate::Pipeline,
        project::Projection,
        query::Filter,
        sort::Sort,
        value::{Key, truthy, whole},
    },
};

const FIRST_BATCH: usize = 101;

/// The documents that match, as far as the read concern shows them.
fn visible(server: &SimServer, call: &Call<'_>, ns: &Namespace, filter: &Filter) -> Vec<Document> {
    let committed;
    let store = if call.level == Level::Majority && server.membership.is_some() {
        committed = server.data.committed_store(ns);
        &committed
    } else {
        &server.data.store
    };
    let Some(collection) = store.collection(ns) else {
        return Vec::new();
    };
    collection
        .find(filter)
        .map(|(_, document)| document.clone())
        .collect()
}

pub(in crate::server) fn find(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let command = call.command;
    let filter = Filter::parse(&document(command, "FindCommandRequest", "filter")?)?;
    let sort = Sort::parse(&document(command, "FindCommandRequest", "sort")?)?;
    let projection = document(command, "FindCommandRequest", "projection")?;
    let projection = Projection::parse(&projection)?;
    let limit = natural(command, "limit")?.filter(|limit| *limit > 0);
    let skip = natural(command, "skip")?.unwrap_or(0);
    let batch_size = natural(command, "batchSize")?.unwrap_or(FIRST_BATCH);
    let single = command.get("singleBatch").is_some_and(truthy);

    let exists = server.data.store.collection(&ns).is_some();
    let mut documents = visible(server, call, &ns, &filter);
    sort.apply(&mut documents);
    let mut documents: Vec<Document> = documents.split_off(skip.min(documents.len()));
    let limited = limit.is_some_and(|limit| documents.len() >= limit);
    documents.truncate(limit.unwrap_or(usize::MAX));
    if let Some(projection) = projection {
        documents = documents.iter().map(|d| projection.apply(d)).collect();
    }
    let found = Found {
        namespace: ns.to_string(),
        documents: documents.into(),
        // A sort by `_id` reads the index, and does not know that it has come to the end.
        knows_end: limited || sort.is_blocking() || filter.id().is_some(),
    };
    if !exists {
        let cursor = doc! { "id": 0_i64, "ns": found.namespace, "firstBatch": [] };
        return Ok(Done::Reply(doc! { "cursor": cursor }));
    }
    Ok(Done::Reply(server.open_cursor(found, batch_size, single)))
}

pub(in crate::server) fn count(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let filter = Filter::parse(&document(call.command, "count", "query")?)?;
    let skip = natural(call.command, "skip")?.unwrap_or(0);
    // A negative limit of count means its absolute value.
    let limit = call.command.get("limit").and_then(whole).unwrap_or(0);
    let limit = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let all = visible(server, call, &ns, &filter).len();
    let n = all.saturating_sub(skip).min(limit);
    Ok(Done::Reply(
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
    let filter = Filter::parse(&document(call.command, "distinct", "query")?)?;
    let path: Vec<&str> = key.split('.').collect();
    let mut values = Vec::new();
    for found in visible(server, call, &ns, &filter) {
        gather(&Bson::Document(found), &path, &mut values);
    }
    let mut seen = BTreeSet::new();
    values.retain(|value| seen.insert(Key(value.clone())));
    Ok(Done::Reply(doc! { "values": values }))
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

pub(in crate::server) fn aggregate(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    if whole(call.command.get("aggregate").unwrap_or(&Bson::Null)).is_some() {
        return Err(Failure::not_simulated("aggregate on a database"));
    }
    let ns = call.namespace()?;
    let stages = match call.command.get("pipeline") {
        Some(Bson::Array(stages)) => stages,
        None => return Err(missing("aggregate", "pipeline")),
        Some(_) => {
            let message = "'pipeline' option must be specified as an array";
            return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
        }
    };
    let cursor = match call.command.get("cursor") {
        Some(Bson::Document(cursor)) => cursor,
        None => {
            let message = "The 'cursor' option is required, except for aggregate with the explain \
                           argument";
            return Err(Failure::new(FAILED_TO_PARSE, message));
        }
        Some(other) => return Err(wrong_type("aggregate", "cursor", other, "object")),
    };
    let batch_size = natural(cursor, "batchSize")?.unwrap_or(FIRST_BATCH);
    let pipeline = Pipeline::parse(stages)?;
    let everything = Filter::parse(&Document::new())?;
    let documents = pipeline.run(visible(server, call, &ns, &everything))?;
    let found = Found {
        namespace: ns.to_string(),
        documents: documents.into(),
        knows_end: false,
    };
    Ok(Done::Reply(server.open_cursor(found, batch_size, false)))
}
