//! aggregate: pipelines over a collection or the server's sessions, and what `$out` and `$merge`
//! write.

use std::sync::Arc;

use bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};

use super::{
    cursors::Found,
    missing, natural,
    read::{FIRST_BATCH, check_hint, visible},
    wrong_type,
};
use crate::{
    failure::{
        DUPLICATE_KEY, FAILED_TO_PARSE, Failure, INVALID_NAMESPACE, INVALID_OPTIONS, NOT_SIMULATED,
        Result,
    },
    server::{
        SimServer,
        concern::Level,
        dispatch::{Call, Done},
    },
    store::{
        Namespace, Op,
        aggregate::{Pipeline, named},
        query::Filter,
        scope::Scope,
        target::{Matched, Merge, NotMatched, Target},
        value::whole,
    },
};

pub(in crate::server) fn run(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let stages = match call.command.get("pipeline") {
        Some(Bson::Array(stages)) => stages,
        None => return Err(missing("aggregate", "pipeline")),
        Some(_) => {
            let message = "'pipeline' option must be specified as an array";
            return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
        }
    };
    let ns = source(call, stages)?;
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
    let scope = Scope::of(call.command, "aggregate", server.wall(call.now))?;
    let pipeline = Pipeline::parse(stages, &scope)?;
    let (name, documents) = match &ns {
        None => (
            format!("{}.$cmd.aggregate", call.database),
            sessions(server, call),
        ),
        Some(ns) => {
            let everything = Filter::parse(&Document::new(), &scope)?;
            let collation = "Collation: { locale: \"simple\" }\n";
            check_hint(server, ns, call.command, &Document::new(), collation)?;
            let found = visible(server, call, ns, &everything)?.into_iter();
            (ns.to_string(), found.map(Arc::unwrap_or_clone).collect())
        }
    };
    let mut documents = pipeline.run(documents).map_err(by_executor)?;
    if let Some(target) = &pipeline.target {
        write(server, call, target, std::mem::take(&mut documents))?;
    }
    let found = Found {
        namespace: name,
        documents: documents.into_iter().map(Arc::new).collect(),
        knows_end: false,
    };
    Ok(server.open_cursor(found, batch_size, false, call))
}

/// The collection that the command names; `None` for the database as a whole.
fn source(call: &Call<'_>, stages: &[Bson]) -> Result<Option<Namespace>> {
    let of_database = whole(call.command.get("aggregate").unwrap_or(&Bson::Null));
    let first = named(stages)?.first().map(|(name, _)| *name);
    let refuse = |message: String| Err(Failure::new(INVALID_NAMESPACE, message));
    match (of_database, first) {
        (Some(1), Some("$listLocalSessions")) => Ok(None),
        (Some(1), Some(name)) => refuse(format!(
            "{{aggregate: 1}} is not valid for '{name}'; a collection is required."
        )),
        (Some(1), None) => refuse("{aggregate: 1} is not valid for an empty pipeline.".to_owned()),
        (Some(_), _) => {
            let message = "Invalid command format: the 'aggregate' field must specify a collection \
                           name or 1";
            Err(Failure::new(FAILED_TO_PARSE, message))
        }
        (None, Some("$listLocalSessions")) => refuse(
            "$listLocalSessions must be run against the database with {aggregate: 1}, not a \
             collection"
                .to_owned(),
        ),
        (None, _) => Ok(Some(call.namespace()?)),
    }
}

/// The sessions that the server knows of: that of the command itself.
fn sessions(server: &SimServer, call: &Call<'_>) -> Vec<Document> {
    let Some(id) = call.command.get_document("lsid").and_then(|l| l.get("id")) else {
        return Vec::new();
    };
    // Without users a session belongs to the hash of an empty name.
    let uid = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 32],
    };
    let last_use = DateTime::from_millis(server.wall(call.now));
    vec![doc! { "_id": { "id": id.clone(), "uid": uid }, "lastUse": last_use }]
}

/// A failure of the pipeline while it runs.
fn by_executor(failure: Failure) -> Failure {
    if failure.code == NOT_SIMULATED {
        return failure;
    }
    let message = format!(
        "PlanExecutor error during aggregation :: caused by :: {}",
        failure.message
    );
    Failure { message, ..failure }
}

fn write(
    server: &mut SimServer,
    call: &Call<'_>,
    target: &Target,
    documents: Vec<Document>,
) -> Result<()> {
    let stage = if target.merge.is_some() {
        "$merge"
    } else {
        "$out"
    };
    if call.level == Level::Linearizable {
        let mut shown = call
            .command
            .get_document("readConcern")
            .cloned()
            .unwrap_or_default();
        shown.insert("provenance", "clientSupplied");
        let message = format!(
            "Command aggregate does not support {{ readConcern: {} }} :: caused by :: {stage} cannot \
             be used with a 'linearizable' read concern level",
            crate::store::value::show_document(&shown)
        );
        return Err(Failure::new(INVALID_OPTIONS, message));
    }
    if !server.is_writable() {
        return Err(Failure::not_simulated(format_args!(
            "{stage} on a secondary"
        )));
    }
    let database = target.database.as_deref().unwrap_or(call.database);
    let ns = Namespace::new(database, target.collection.as_str());
    if target.collection.is_empty() || target.collection.contains(['$', '\0']) {
        let message = format!("Invalid {stage} target namespace, {ns}");
        return Err(Failure::new(INVALID_NAMESPACE, message));
    }
    match target.merge {
        None => replace(server, call, &ns, documents),
        Some(merge) => merge_all(server, call, &ns, merge, documents),
    }
}

/// Puts documents in the place of a collection, whose indexes stay.
fn replace(
    server: &mut SimServer,
    call: &Call<'_>,
    ns: &Namespace,
    documents: Vec<Document>,
) -> Result<()> {
    let indexes = server.data.store.collection(ns).map(|c| c.indexes.clone());
    // Tried first on a store aside: a failure leaves everything as it was.
    let mut aside = crate::store::Store::default();
    aside.apply(&Op::Create(ns.clone(), [0; 16], Document::new()));
    for index in indexes.iter().flatten().skip(1) {
        aside.apply(&Op::CreateIndex(ns.clone(), index.clone()));
    }
    for document in &documents {
        let planned = aside.plan_insert(ns, super::crud::with_id(server, document.clone()).into());
        aside.apply(&planned.map_err(by_executor)?);
    }
    if indexes.is_some() {
        server.write(Op::Drop(ns.clone()), None, call.now);
    }
    server.create_collection(ns, Document::new(), call);
    for index in indexes.into_iter().flatten().skip(1) {
        server.write(Op::CreateIndex(ns.clone(), index), None, call.now);
    }
    let found = aside
        .collection(ns)
        .map(|c| c.documents().cloned().collect::<Vec<_>>());
    for document in found.into_iter().flatten() {
        let op = server.data.store.plan_insert(ns, document)?;
        server.write(op, None, call.now);
    }
    Ok(())
}

fn merge_all(
    server: &mut SimServer,
    call: &Call<'_>,
    ns: &Namespace,
    merge: Merge,
    documents: Vec<Document>,
) -> Result<()> {
    server.ensure(ns, call);
    for document in documents {
        let document = Arc::new(super::crud::with_id(server, document));
        let id = doc! { "_id": document.get("_id").cloned().unwrap_or(Bson::Null) };
        let filter = Filter::parse(&id, &Scope::default())?;
        let collection = server.data.store.collection(ns);
        let found = collection.and_then(|c| {
            let mut found = c.find(&filter);
            found
                .next()
                .map(|(record, before)| (record, before.clone()))
        });
        let planned = match (found, merge.matched, merge.not_matched) {
            (Some((_, _)), Matched::KeepExisting, _) | (None, _, NotMatched::Discard) => continue,
            (Some((record, _)), Matched::Replace, _) => {
                server.data.store.plan_replace(ns, record, document)
            }
            (Some((record, unchanged)), Matched::Merge, _) => {
                let mut before = Document::clone(&unchanged);
                before.extend(Arc::unwrap_or_clone(document));
                if before == *unchanged {
                    continue;
                }
                server.data.store.plan_replace(ns, record, before.into())
            }
            (Some(_), Matched::Fail, _) | (None, _, NotMatched::Insert) => {
                server.data.store.plan_insert(ns, document)
            }
            (None, _, NotMatched::Fail) => {
                return Err(Failure::not_simulated("$merge.whenNotMatched that fails"));
            }
        };
        let op = planned.map_err(|failure| {
            let fails = merge.matched == Matched::Fail && failure.code == DUPLICATE_KEY;
            let message = format!(
                "$merge with whenMatched: fail found an existing document with the same values for \
                 the 'on' fields :: caused by :: {}",
                failure.message
            );
            by_executor(if fails {
                Failure { message, ..failure }
            } else {
                failure
            })
        })?;
        server.write(op, None, call.now);
    }
    Ok(())
}
