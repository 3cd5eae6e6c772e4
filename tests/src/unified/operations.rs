//! Operations: what a case does, on entities or with the runner itself.

mod client;
mod collection;
mod cursor;
mod database;
mod index;
mod runner;
mod search;
mod session;
pub(super) mod thread;
mod write;

use std::{pin::Pin, sync::Arc};

use bson::{Bson, Document, doc};
use mongo_client::{
    ClientSession,
    error::{Error, ErrorKind},
};
use tokio::sync::OwnedMutexGuard;
use tracing::instrument::WithSubscriber;

use super::{
    Checked, Stop, arguments::Args, case::Run, entities::Entity, errors, format::Operation,
    matching::Matcher,
};

/// What an operation gives.
#[derive(Debug)]
pub(super) enum Output {
    /// Nothing.
    Nothing,
    /// A value; a document is a root.
    Value(Bson),
    /// What an iterable gave: each document is a root.
    Documents(Vec<Document>),
    /// Something to save.
    Entity(Entity),
}

/// Why an operation gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client said so, which a test may expect.
    Client(Error),
    /// The case ends.
    Stop(Stop),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

pub(super) type Done = Result<Output, Failure>;

/// Operations of the specifications that the client does not offer, with the feature that brings
/// them.
const MISSING: [(&str, &str); 11] = [
    ("abortTransaction", "transactions are postponed"),
    ("assertSessionPinned", "transactions are postponed"),
    (
        "assertSessionTransactionState",
        "transactions are postponed",
    ),
    ("assertSessionUnpinned", "transactions are postponed"),
    ("bulkWrite", "bulkWrite is postponed"),
    ("clientBulkWrite", "bulkWrite is postponed"),
    ("commitTransaction", "transactions are postponed"),
    ("createChangeStream", "change streams are postponed"),
    ("startTransaction", "transactions are postponed"),
    ("targetedFailPoint", "transactions are postponed"),
    ("withTransaction", "transactions are postponed"),
];

/// The reason why a case with this operation does not even start.
pub(super) fn waits_for(operation: &Operation) -> Option<String> {
    let missing = MISSING.iter().find(|(name, _)| *name == operation.name);
    missing.map(|(_, feature)| (*feature).to_owned())
}

/// Ends a case because of an operation that is not there.
pub(super) fn missing(name: &str, of: &str) -> Stop {
    match MISSING.iter().find(|(known, _)| *known == name) {
        Some((_, feature)) => Stop::Skipped((*feature).to_owned()),
        None => Stop::Failed(format!("there is no operation {name:?} of a {of}")),
    }
}

/// A session that an operation holds.
pub(super) type HeldSession = Option<OwnedMutexGuard<Option<ClientSession>>>;

/// Takes the session that the arguments name.
pub(super) async fn session(run: &Run, args: &mut Args) -> Checked<HeldSession> {
    let Some(name) = args.opt::<String>("session")? else {
        return Ok(None);
    };
    let entity = run.entities.session(&name)?;
    let held = entity.session.lock_owned().await;
    if held.is_none() {
        return Err(Stop::Failed(format!("the session {name} was ended")));
    }
    Ok(Some(held))
}

/// The session inside of the guard.
pub(super) fn inside(held: &mut HeldSession) -> Option<&mut ClientSession> {
    held.as_mut().and_then(|guard| guard.as_mut())
}

/// Awaits a verb, in the session if there is one.
macro_rules! perform {
    ($verb:expr, $held:ident) => {
        match $crate::unified::operations::inside(&mut $held) {
            Some(session) => $verb.session(session).await?,
            None => $verb.await?,
        }
    };
}
use perform;

/// Opens a cursor that is saved, in a session that the cursor keeps or without one.
macro_rules! open_cursor {
    ($verb:expr, $shared:expr, $client:expr) => {{
        let cursor = match $shared {
            None => CursorEntity::Plain($verb.await?),
            Some(shared) => {
                let mut guard = shared.lock().await;
                let session = guard.as_mut().ok_or(Stop::from("the session was ended"))?;
                let cursor = $verb.session(session).await?;
                drop(guard);
                CursorEntity::InSession(cursor, shared)
            }
        };
        let cursor = Arc::new(tokio::sync::Mutex::new(cursor));
        Ok(Output::Entity(Entity::Cursor(cursor, Arc::clone($client))))
    }};
}
use open_cursor;

/// Awaits a verb that gives a cursor and reads it to its end.
macro_rules! collect {
    ($verb:expr, $held:ident) => {
        match $crate::unified::operations::inside(&mut $held) {
            Some(session) => {
                let mut cursor = $verb.session(&mut *session).await?;
                let mut all = Vec::new();
                while let Some(document) = cursor.next(session).await {
                    all.push(document?);
                }
                all
            }
            None => futures_util::TryStreamExt::try_collect(&mut $verb.await?).await?,
        }
    };
}
use collect;

/// Runs an operation and checks what came of it. Boxed, because operations hold operations.
pub(super) fn execute<'a>(
    run: &'a Arc<Run>,
    operation: &'a Operation,
) -> Pin<Box<dyn Future<Output = Checked> + Send + 'a>> {
    Box::pin(async move {
        let args = Args::new(&operation.name, operation.arguments.clone());
        if operation.object == "testRunner" {
            return runner::execute(run, &operation.name, args).await;
        }
        let entity = run.entities.get(&operation.object)?;
        let dispatch = entity
            .client()
            .and_then(|client| client.logs.as_ref())
            .map(|logs| logs.dispatch().clone());
        let work = dispatched(run, operation, entity, args);
        let done = match dispatch {
            Some(dispatch) => work.with_subscriber(dispatch).await,
            None => work.await,
        };
        check(run, operation, done)
    })
}

async fn dispatched(run: &Arc<Run>, operation: &Operation, entity: Entity, args: Args) -> Done {
    let name = operation.name.as_str();
    match entity {
        Entity::Client(client) => client::execute(run, &client, name, args).await,
        Entity::Database(database, client) => {
            database::execute(run, &database, &client, name, args).await
        }
        Entity::Collection(collection, client) => {
            collection::execute(run, &collection, &client, name, args).await
        }
        Entity::Session(session) => session::execute(&session, name, args).await,
        Entity::Cursor(cursor, _) => cursor::execute(&cursor, name, args).await,
        Entity::Thread(_) | Entity::Topology(_) | Entity::Bson(_) => {
            Err(missing(name, "value").into())
        }
    }
}

/// Compares what an operation gave with what the test expects.
fn check(run: &Run, operation: &Operation, done: Done) -> Checked {
    // Such an error must not pass for one that the case expects.
    if let Err(Failure::Client(error)) = &done
        && let Some(what) = errors::left_out(run, error)
    {
        return Err(Stop::Skipped(what));
    }
    let output = match done {
        Err(Failure::Stop(stop)) => return Err(stop),
        _ if operation.ignore_result_and_error => return Ok(()),
        Err(Failure::Client(error)) => {
            let Some(expected) = &operation.expect_error else {
                return Err(Stop::Failed(format!("unexpected error: {error}")));
            };
            let partial = partial_result(&error);
            return errors::check(&run.entities, expected, &error, partial.as_ref())
                .map_err(Stop::Failed);
        }
        Ok(output) => output,
    };
    if operation.expect_error.is_some() {
        return Err(Stop::Failed(format!(
            "an error was expected, got {output:?}"
        )));
    }
    if let Some(expected) = &operation.expect_result {
        matches(run, expected, &output)
            .map_err(|why| Stop::Failed(format!("expectResult: {why}; the result: {output:?}")))?;
    }
    match (&operation.save_result_as_entity, output) {
        (None, _) => Ok(()),
        (Some(_), Output::Nothing) => Err("saveResultAsEntity: there is no result".into()),
        (Some(name), Output::Value(value)) => run.entities.insert(name, Entity::Bson(value)),
        (Some(name), Output::Documents(documents)) => {
            let list = documents.into_iter().map(Bson::Document).collect();
            run.entities.insert(name, Entity::Bson(Bson::Array(list)))
        }
        (Some(name), Output::Entity(entity)) => run.entities.insert(name, entity),
    }
}

fn matches(run: &Run, expected: &Bson, output: &Output) -> Result<(), String> {
    let mut matcher = Matcher::new(&run.entities);
    match output {
        Output::Nothing => matcher.check(expected, None, true),
        Output::Value(value) => matcher.check(expected, Some(value), true),
        Output::Entity(_) => Err("the result is an entity".into()),
        Output::Documents(documents) => match expected {
            Bson::Array(wanted) if wanted.len() == documents.len() => {
                for (index, (wanted, actual)) in wanted.iter().zip(documents).enumerate() {
                    let actual = Bson::Document(actual.clone());
                    matcher
                        .check(wanted, Some(&actual), true)
                        .map_err(|why| format!("[{index}]: {why}"))?;
                }
                Ok(())
            }
            other => {
                let list = documents.iter().cloned().map(Bson::Document).collect();
                matcher.check(other, Some(&Bson::Array(list)), true)
            }
        },
    }
}

/// What an error says of the part that was done.
fn partial_result(error: &Error) -> Option<Bson> {
    let ErrorKind::InsertMany(failed) = &*error.kind else {
        return None;
    };
    Some(inserted(&failed.inserted_ids).into())
}

/// The result of `insertMany` in the words of the specification: one of a bulk write.
pub(super) fn inserted(ids: &std::collections::HashMap<usize, Bson>) -> Document {
    let mut ids: Vec<_> = ids.iter().collect();
    ids.sort_by_key(|(index, _)| **index);
    let ids: Document = ids
        .into_iter()
        .map(|(index, id)| (index.to_string(), id.clone()))
        .collect();
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    doc! {
        "insertedCount": count,
        "insertedIds": ids,
        "matchedCount": 0,
        "modifiedCount": 0,
        "deletedCount": 0,
        "upsertedCount": 0,
        "upsertedIds": {},
    }
}
