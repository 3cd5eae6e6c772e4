//! insert, update, delete and findAndModify, with the deduplication of retried statements.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{missing, read::check_hint, statements};
use crate::{
    failure::{FAILED_TO_PARSE, Failure, INVALID_OPTIONS, NOT_SIMULATED, Result, UNKNOWN_FIELD},
    server::{
        OpTime, Retry, SimServer,
        dispatch::{Call, Done},
    },
    store::{
        Namespace, Op,
        aggregate::named,
        project::Projection,
        query::Filter,
        scope::Scope,
        sort::Sort,
        update::Update,
        value::{truthy, whole},
    },
    wire::Fields,
};

/// What the statements of a command add up to.
#[derive(Default)]
struct Tally {
    n: i32,
    modified: i32,
    upserted: Vec<Document>,
    errors: Vec<Document>,
    retried: Vec<i32>,
    at: Option<OpTime>,
}

impl Tally {
    /// Counts the outcome of the statement at an index.
    fn add(&mut self, index: i32, outcome: &Document) {
        self.n += outcome.get_i32("n").unwrap_or(0);
        self.modified += outcome.get_i32("nModified").unwrap_or(0);
        if let Some(id) = outcome.get("upserted") {
            self.upserted
                .push(doc! { "index": index, "_id": id.clone() });
        }
    }

    fn reply(mut self, server: &SimServer, call: &Call<'_>, is_update: bool) -> Document {
        if call.is_unacknowledged {
            // Who does not want to know is not told.
            self = Self::default();
        }
        let mut reply = doc! { "n": self.n };
        if let Some(member) = &server.membership {
            let at = self.at.unwrap_or_else(|| server.data.last());
            reply.insert("electionId", member.election_id());
            reply.insert("opTime", doc! { "ts": at.timestamp(), "t": at.term });
        }
        if !self.errors.is_empty() {
            reply.insert("writeErrors", self.errors);
        }
        if !self.retried.is_empty() {
            reply.insert("retriedStmtIds", self.retried);
        }
        if !self.upserted.is_empty() {
            reply.insert("upserted", self.upserted);
        }
        if is_update {
            reply.insert("nModified", self.modified);
        }
        reply
    }
}

/// Runs each statement that is not already done, until one fails if they are ordered.
fn each<T>(
    server: &mut SimServer,
    call: &Call<'_>,
    items: Vec<T>,
    run: impl Fn(&mut SimServer, &Call<'_>, T, i32) -> Result<Arc<Document>>,
) -> Tally {
    let ordered = call.command.get("ordered").is_none_or(truthy);
    let first = first_statement(call);
    let mut tally = Tally::default();
    for (index, item) in (0..).zip(items) {
        let statement = first + index;
        if let Some((outcome, at)) = done(server, call, statement) {
            tally.add(index, &outcome);
            tally.retried.push(statement);
            tally.at = Some(at);
            continue;
        }
        let before = server.data.last();
        match run(server, call, item, statement) {
            Ok(outcome) => tally.add(index, &outcome),
            Err(failure) => {
                tally.errors.push(failure.write_error(index));
                if ordered {
                    break;
                }
            }
        }
        let last = server.data.last();
        if last != before {
            tally.at = Some(last);
        }
    }
    tally
}

fn first_statement(call: &Call<'_>) -> i32 {
    let given = call.command.get("stmtId").and_then(whole);
    given.and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
}

/// What an earlier attempt of a retryable write has done.
fn done(server: &SimServer, call: &Call<'_>, statement: i32) -> Option<(Arc<Document>, OpTime)> {
    let (session, number) = call.retry.as_ref()?;
    let writes = server.data.sessions.get(session)?;
    (writes.number == *number)
        .then(|| writes.done.get(&statement).cloned())
        .flatten()
}

/// Writes with the record that makes a retry of the statement a repetition.
fn write(
    server: &mut SimServer,
    call: &Call<'_>,
    op: Op,
    statement: i32,
    outcome: Arc<Document>,
) -> Result<()> {
    if let Some((_, number)) = &call.retry
        && let Some((close, code)) = server.transactional_write.enter_write()
    {
        if let Some(connection) = server.connections.get_mut(&call.connection) {
            connection.cut = close;
        }
        if let Some(code) = code {
            let message = format!(
                "Failing write for the session - :{number} due to failpoint. The write must not be \
                 reflected."
            );
            return Err(Failure::new(code, message));
        }
    }
    let retry = call.retry.clone().map(|(session, number)| Retry {
        session,
        number,
        statement,
        outcome,
    });
    server.write(op, retry, call.now);
    Ok(())
}

pub(in crate::server) fn insert(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let documents = statements(call, "documents")?;
    check_batch(documents.len())?;
    let tally = each(
        server,
        call,
        documents,
        |server, call, document, statement| {
            let document = Arc::new(with_id(server, document.clone()));
            let planned = server.data.store.plan_insert(&ns, Arc::clone(&document))?;
            let op = if server.ensure(&ns, call) {
                server.data.store.plan_insert(&ns, document)?
            } else {
                planned
            };
            let outcome = Arc::new(doc! { "n": 1 });
            write(server, call, op, statement, Arc::clone(&outcome))?;
            Ok(outcome)
        },
    );
    Ok(Done::reply(tally.reply(server, call, false)))
}

fn check_batch(length: usize) -> Result<()> {
    if (1..=100_000).contains(&length) {
        return Ok(());
    }
    let message =
        format!("Write batch sizes must be between 1 and 100000. Got {length} operations.");
    Err(Failure::new(16, message))
}

/// The document with its `_id` in front, made up if it has none.
pub(super) fn with_id(server: &mut SimServer, mut document: Document) -> Document {
    if document.keys().next().is_some_and(|first| first == "_id") {
        return document;
    }
    let id = match document.remove("_id") {
        Some(id) => id,
        None => Bson::ObjectId(bson::oid::ObjectId::from_bytes(server.draw_bytes("_id"))),
    };
    let mut out = doc! { "_id": id };
    out.extend(document);
    out
}

fn check_fields(
    statement: &Document,
    prefix: &str,
    known: &[&str],
    left_out: &[&str],
) -> Result<()> {
    for field in statement.keys() {
        if left_out.contains(&field.as_str()) {
            return Err(Failure::not_simulated(format_args!("{prefix}.{field}")));
        }
        if !known.contains(&field.as_str()) {
            let message = format!("BSON field '{prefix}.{field}' is an unknown field.");
            return Err(Failure::new(UNKNOWN_FIELD, message));
        }
    }
    Ok(())
}

struct Updating<'a> {
    /// The statement itself.
    whole: &'a Document,
    filter: &'a Document,
    update: &'a Bson,
    array_filters: Option<Vec<Document>>,
    multi: bool,
    upsert: bool,
    scope: Scope,
}

/// The list of array filters that a statement or command may have.
fn array_filters(statement: &dyn Fields, prefix: &str) -> Result<Option<Vec<Document>>> {
    let values = match statement.get("arrayFilters") {
        None => return Ok(None),
        Some(Bson::Array(values)) => values,
        Some(other) => return Err(super::wrong_type(prefix, "arrayFilters", other, "array")),
    };
    let each = values.iter().enumerate().map(|(index, value)| match value {
        Bson::Document(filter) => Ok(filter.clone()),
        other => {
            let field = format!("arrayFilters.{index}");
            Err(super::wrong_type(prefix, &field, other, "object"))
        }
    });
    each.collect::<Result<_>>().map(Some)
}

/// What messages about the plan of a modification say of its collation.
const SIMPLE: &str = "Collation: { locale: \"simple\" }\n";

pub(in crate::server) fn update(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let left_out = ["c", "upsertSupplied"];
    let known = [
        "arrayFilters",
        "collation",
        "hint",
        "multi",
        "q",
        "u",
        "upsert",
    ];
    let scope = Scope::of(call.command, "update", server.wall(call.now))?;
    let mut parsed = Vec::new();
    for statement in statements(call, "updates")? {
        check_fields(statement, "update.updates", &known, &left_out)?;
        let filter = statement.get_document("q");
        let filter = filter.map_err(|_| missing("update.updates", "q"))?;
        let update = statement.get("u");
        let update = update.ok_or_else(|| missing("update.updates", "u"))?;
        if !matches!(update, Bson::Document(_) | Bson::Array(_)) {
            let message = "Update argument must be either an object or an array";
            return Err(Failure::new(FAILED_TO_PARSE, message));
        }
        if let Bson::Array(stages) = update {
            // A stage without a name that is known fails the whole command.
            named(stages)?;
        }
        parsed.push(Updating {
            array_filters: array_filters(statement, "update.updates")?,
            scope: scope.collated(statement, "update.updates")?,
            filter,
            update,
            multi: statement.get("multi").is_some_and(truthy),
            upsert: statement.get("upsert").is_some_and(truthy),
            whole: statement,
        });
    }
    check_batch(parsed.len())?;
    let tally = each(server, call, parsed, |server, call, updating, statement| {
        update_one(server, call, &ns, &updating, statement)
    });
    Ok(Done::reply(tally.reply(server, call, true)))
}

fn update_one(
    server: &mut SimServer,
    call: &Call<'_>,
    ns: &Namespace,
    updating: &Updating<'_>,
    statement: i32,
) -> Result<Arc<Document>> {
    if updating.multi && call.retry.is_some() {
        let message = "Cannot use (or request) retryable writes with multi=true";
        return Err(Failure::new(INVALID_OPTIONS, message));
    }
    let filters = updating.array_filters.as_deref();
    let scope = &updating.scope;
    let update = Update::parse(updating.update, updating.multi, filters, scope)?;
    let filter = Filter::parse(updating.filter, scope)?;
    check_hint(server, ns, updating.whole, updating.filter, SIMPLE)?;
    let found = matching(server, ns, &filter, updating.multi);
    if found.is_empty() {
        if !updating.upsert {
            return Ok(Arc::new(doc! { "n": 0, "nModified": 0 }));
        }
        let document = Arc::new(with_id(server, update.insert(&filter)?));
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        server.data.store.plan_insert(ns, document.clone())?;
        server.ensure(ns, call);
        let op = server.data.store.plan_insert(ns, document)?;
        let outcome = Arc::new(doc! { "n": 1, "nModified": 0, "upserted": id });
        write(server, call, op, statement, Arc::clone(&outcome))?;
        return Ok(outcome);
    }
    let (mut matched, mut modified) = (0, 0);
    for (record, before) in found {
        matched += 1;
        let after = update.apply(&before, &filter)?;
        if after == *before {
            continue;
        }
        modified += 1;
        let op = server.data.store.plan_replace(ns, record, after.into())?;
        let outcome = doc! { "n": matched, "nModified": modified };
        write(server, call, op, statement, outcome.into())?;
    }
    Ok(Arc::new(doc! { "n": matched, "nModified": modified }))
}

fn matching(
    server: &SimServer,
    ns: &Namespace,
    filter: &Filter,
    multi: bool,
) -> Vec<(u64, Arc<Document>)> {
    let limit = if multi { usize::MAX } else { 1 };
    let Some(collection) = server.data.store.collection(ns) else {
        return Vec::new();
    };
    let found = collection.find(filter).take(limit);
    found
        .map(|(record, document)| (record, Arc::clone(document)))
        .collect()
}

pub(in crate::server) fn delete(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let mut parsed = Vec::new();
    let scope = Scope::of(call.command, "delete", server.wall(call.now))?;
    for statement in statements(call, "deletes")? {
        check_fields(
            statement,
            "delete.deletes",
            &["collation", "hint", "limit", "q"],
            &[],
        )?;
        let filter = statement.get_document("q");
        let filter = filter.map_err(|_| missing("delete.deletes", "q"))?;
        let limit = statement.get("limit");
        let limit = limit.ok_or_else(|| missing("delete.deletes", "limit"))?;
        match whole(limit) {
            Some(limit @ 0..=1) => {
                let scope = scope.collated(statement, "delete.deletes")?;
                parsed.push((statement, filter, scope, limit == 0));
            }
            other => {
                let got = other.unwrap_or(0);
                let message =
                    format!("The limit field in delete objects must be 0 or 1. Got {got}");
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
        }
    }
    check_batch(parsed.len())?;
    let tally = each(
        server,
        call,
        parsed,
        |server, call, (whole, condition, scope, multi), statement| {
            if multi && call.retry.is_some() {
                let message = "Cannot use (or request) retryable writes with limit=0";
                return Err(Failure::new(INVALID_OPTIONS, message));
            }
            let filter = Filter::parse(condition, &scope)?;
            check_hint(server, &ns, whole, condition, "")?;
            let mut n = 0;
            for (record, _) in matching(server, &ns, &filter, multi) {
                n += 1;
                write(
                    server,
                    call,
                    Op::Put(ns.clone(), record, None),
                    statement,
                    doc! { "n": n }.into(),
                )?;
            }
            Ok(doc! { "n": n }.into())
        },
    );
    Ok(Done::reply(tally.reply(server, call, false)))
}

pub(in crate::server) fn find_and_modify(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let command = call.command;
    let statement = first_statement(call);
    let flag = |name: &str| command.get(name).is_some_and(truthy);
    let (remove, new, upsert) = (flag("remove"), flag("new"), flag("upsert"));
    let refuse = |message: &str| Err(Failure::new(FAILED_TO_PARSE, message));
    match (remove, command.get("update")) {
        (true, Some(_)) => return refuse("Cannot specify both an update and remove=true"),
        (false, None) => return refuse("Either an update or remove=true must be specified"),
        _ => {}
    }
    if remove && upsert {
        return refuse("Cannot specify both upsert=true and remove=true ");
    }
    if remove && new {
        return refuse(
            "Cannot specify both new=true and remove=true; 'remove' always returns the deleted \
             document",
        );
    }
    let filters = array_filters(command, call.name)?;
    if remove && filters.is_some() {
        return refuse("Cannot specify arrayFilters and remove=true");
    }
    if let Some((outcome, _)) = done(server, call, statement) {
        let mut outcome = Arc::unwrap_or_clone(outcome);
        outcome.insert("retriedStmtId", statement);
        return Ok(Done::reply(outcome));
    }
    let scope = Scope::of(command, call.name, server.wall(call.now))?;
    let condition = super::document(command, call.name, "query")?;
    let filter = Filter::parse(condition, &scope)?;
    let sort = Sort::parse(super::document(command, call.name, "sort")?, &scope)?;
    let fields = Projection::parse(super::document(command, call.name, "fields")?, &scope)?;
    let update = command.get("update");
    let update = update.map(|update| Update::parse(update, false, filters.as_deref(), &scope));
    let update = update.transpose()?;
    let collation = if remove { "" } else { SIMPLE };
    check_hint(server, &ns, command, condition, collation)?;
    let shown = |document: &Document| match &fields {
        Some(projection) => projection.apply(document),
        None => document.clone(),
    };
    let found = chosen(server, &ns, &filter, &sort);
    let (op, outcome) = match (update, found) {
        (None, None) => return Ok(Done::reply(outcome(doc! { "n": 0 }, None))),
        (None, Some((record, before))) => {
            let outcome = outcome(doc! { "n": 1 }, Some(shown(&before)));
            (Op::Put(ns, record, None), outcome)
        }
        (Some(update), Some((record, before))) => {
            let after = update.apply(&before, &filter).map_err(by_executor)?;
            let value = shown(if new { &after } else { &before });
            let outcome = outcome(doc! { "n": 1, "updatedExisting": true }, Some(value));
            if after == *before {
                return Ok(Done::reply(outcome));
            }
            let op = server.data.store.plan_replace(&ns, record, after.into());
            (op.map_err(by_executor)?, outcome)
        }
        (Some(update), None) => {
            if !upsert {
                let last = doc! { "n": 0, "updatedExisting": false };
                return Ok(Done::reply(outcome(last, None)));
            }
            let document = Arc::new(with_id(
                server,
                update.insert(&filter).map_err(by_executor)?,
            ));
            let id = document.get("_id").cloned().unwrap_or(Bson::Null);
            let last = doc! { "n": 1, "updatedExisting": false, "upserted": id };
            let outcome = outcome(last, new.then(|| shown(&document)));
            let planned = server.data.store.plan_insert(&ns, document.clone());
            planned.map_err(by_executor)?;
            server.ensure(&ns, call);
            (server.data.store.plan_insert(&ns, document)?, outcome)
        }
    };
    let reply = outcome.clone();
    write(server, call, op, statement, outcome.into()).map_err(by_executor)?;
    Ok(Done::reply(reply))
}

/// A failure of findAndModify while it touches documents.
fn by_executor(failure: Failure) -> Failure {
    if failure.code == NOT_SIMULATED {
        return failure;
    }
    let message = format!(
        "Plan executor error during findAndModify :: caused by :: {}",
        failure.message
    );
    Failure { message, ..failure }
}

fn outcome(last: Document, value: Option<Document>) -> Document {
    doc! { "lastErrorObject": last, "value": value.map_or(Bson::Null, Bson::Document) }
}

/// The first document in the sort's order that matches.
fn chosen(
    server: &SimServer,
    ns: &Namespace,
    filter: &Filter,
    sort: &Sort,
) -> Option<(u64, Arc<Document>)> {
    let all = matching(server, ns, filter, !sort.is_empty());
    if sort.is_empty() {
        return all.into_iter().next();
    }
    let mut documents: Vec<Arc<Document>> = all.iter().map(|(_, d)| Arc::clone(d)).collect();
    sort.apply(&mut documents);
    let first = documents.into_iter().next()?;
    all.into_iter().find(|(_, document)| *document == first)
}
