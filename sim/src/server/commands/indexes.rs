//! createIndexes, listIndexes and dropIndexes.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{cursors::Found, statements};
use crate::{
    failure::{
        BAD_VALUE, FAILED_TO_PARSE, Failure, INDEX_KEY_CONFLICT, INDEX_NOT_FOUND,
        INDEX_OPTIONS_CONFLICT, INVALID_OPTIONS, NAMESPACE_NOT_FOUND, Result,
    },
    server::{
        SimServer,
        dispatch::{Call, Done},
    },
    store::{Index, Op, value::show_document},
};

/// What an index may have beside its key and name.
const OPTIONS: &[&str] = &["background", "key", "name", "unique", "v"];

pub(in crate::server) fn create(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let specs = statements(call, "indexes")?;
    if specs.is_empty() {
        let message = "Must specify at least one index to create";
        return Err(Failure::new(BAD_VALUE, message));
    }
    let indexes = specs.into_iter().map(parse).collect::<Result<Vec<_>>>()?;
    let existing = server.data.store.collection(&ns).map(|c| c.indexes.clone());
    let is_new = existing.is_none();
    let mut known = existing.unwrap_or_else(|| vec![Index::new("_id_", &doc! { "_id": 1 })]);
    let before = i32::try_from(known.len()).unwrap_or(i32::MAX);
    let mut added = Vec::new();
    for index in indexes {
        if conflicts(&known, &index)? {
            if let Some(collection) = server.data.store.collection(&ns) {
                collection.check_index(&ns, &index)?;
            }
            known.push(index.clone());
            added.push(index);
        }
    }
    server.ensure(&ns, call);
    let any = !added.is_empty();
    for index in added {
        server.write(Op::CreateIndex(ns.clone(), index), None, call.now);
    }
    let after = i32::try_from(known.len()).unwrap_or(i32::MAX);
    let mut reply = doc! { "numIndexesBefore": before, "numIndexesAfter": after };
    if any {
        reply.insert("createdCollectionAutomatically", is_new);
    } else {
        reply.insert("note", "all indexes already exist");
    }
    Ok(Done::reply(reply))
}

fn parse(spec: &Document) -> Result<Index> {
    let required = |field: &str| {
        let message = format!(
            "Error in specification {} :: caused by :: The '{field}' field is a required property of \
             an index specification",
            show_document(spec)
        );
        Failure::new(FAILED_TO_PARSE, message)
    };
    let key = spec.get_document("key").map_err(|_| required("key"))?;
    let name = spec.get_str("name").map_err(|_| required("name"))?;
    if let Some(option) = spec.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
        return Err(Failure::not_simulated(format_args!(
            "index option {option}"
        )));
    }
    let ordinary = |value: &Bson| super::whole(value).is_some();
    if let Some((path, _)) = key.iter().find(|(_, value)| !ordinary(value)) {
        return Err(Failure::not_simulated(format_args!(
            "kind of index on {path}"
        )));
    }
    let mut index = Index::new(name, key);
    if spec.get("unique").is_some_and(crate::store::value::truthy) {
        index.spec.insert("unique", true);
    }
    Ok(index)
}

/// Whether an index is new; an error if it contradicts one that exists.
fn conflicts(known: &[Index], index: &Index) -> Result<bool> {
    for other in known {
        let (same_key, same_name) = (other.key() == index.key(), other.name == index.name);
        if same_key && same_name && other.spec == index.spec {
            return Ok(false);
        }
        if same_key && !same_name {
            if other.name == "_id_" {
                return Ok(false);
            }
            let message = format!("Index already exists with a different name: {}", other.name);
            return Err(Failure::new(INDEX_OPTIONS_CONFLICT, message));
        }
        if same_name {
            let message = format!(
                "An existing index has the same name as the requested index. When index names are \
                 not specified, they are auto generated and can cause conflicts. Please refer to \
                 our documentation. Requested index: {}, existing index: {}",
                show_document(&shown(index)),
                show_document(&shown(other))
            );
            return Err(Failure::new(INDEX_KEY_CONFLICT, message));
        }
    }
    Ok(true)
}

/// A specification in the order in which messages show it.
fn shown(index: &Index) -> Document {
    let mut out = doc! { "v": 2 };
    if let Some(unique) = index.spec.get("unique") {
        out.insert("unique", unique.clone());
    }
    out.insert("key", index.key());
    out.insert("name", &index.name);
    out
}

pub(in crate::server) fn list(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let Some(collection) = server.data.store.collection(&ns) else {
        let message = format!("ns does not exist: {ns}");
        return Err(Failure::new(NAMESPACE_NOT_FOUND, message));
    };
    let specs: Vec<Document> = collection.indexes.iter().map(|i| i.spec.clone()).collect();
    let size = super::document(call.command, "listIndexes", "cursor")?;
    let size = super::natural(size, "batchSize")?.unwrap_or(usize::MAX);
    let found = Found {
        namespace: ns.to_string(),
        documents: specs.into_iter().map(Arc::new).collect(),
        knows_end: true,
    };
    Ok(server.open_cursor(found, size, false, call))
}

pub(in crate::server) fn drop(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let Some(collection) = server.data.store.collection(&ns) else {
        let message = format!("ns not found {ns}");
        return Err(Failure::new(NAMESPACE_NOT_FOUND, message));
    };
    let indexes = collection.indexes.clone();
    let was = i32::try_from(indexes.len()).unwrap_or(i32::MAX);
    let mut reply = doc! { "nIndexesWas": was };
    let named = |name: &str| {
        if name == "_id_" {
            return Err(Failure::new(INVALID_OPTIONS, "cannot drop _id index"));
        }
        let found = indexes.iter().find(|index| index.name == name);
        found.map(|index| index.name.clone()).ok_or_else(|| {
            let message = format!("index not found with name [{name}]");
            Failure::new(INDEX_NOT_FOUND, message)
        })
    };
    let dropped: Vec<String> = match call.command.get("index") {
        Some(Bson::String(name)) if name == "*" => {
            reply.insert("msg", "non-_id indexes dropped for collection");
            let others = indexes.iter().filter(|index| index.name != "_id_");
            others.map(|index| index.name.clone()).collect()
        }
        Some(Bson::String(name)) => vec![named(name)?],
        Some(Bson::Array(names)) => {
            let names = names.iter().filter_map(Bson::as_str);
            names.map(named).collect::<Result<_>>()?
        }
        Some(Bson::Document(key)) => {
            let found = indexes.iter().find(|index| index.key() == *key);
            let found = found.ok_or_else(|| {
                let message = format!("can't find index with key: {}", show_document(key));
                Failure::new(INDEX_NOT_FOUND, message)
            })?;
            vec![named(&found.name)?]
        }
        _ => return Err(super::missing("dropIndexes", "index")),
    };
    for name in dropped {
        server.write(Op::DropIndex(ns.clone(), name), None, call.now);
    }
    Ok(Done::reply(reply))
}
