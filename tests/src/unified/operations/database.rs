//! Operations of databases.

use std::sync::Arc;

use bson::{Bson, Document};
use mongo_client::{
    Database,
    options::{
        AggregateOptions, CreateCollectionOptions, CursorType, ListCollectionsOptions,
        ModifyCollectionOptions, RunCommandOptions, RunCursorCommandOptions,
    },
};

use super::{
    Done, Output, collect, collection::aggregate_options, missing, open_cursor, perform, session,
};
use crate::unified::{
    Checked, Stop,
    arguments::{Args, fill},
    case::Run,
    client::ClientEntity,
    entities::{CursorEntity, Entity, SharedSession},
};

pub(super) async fn execute(
    run: &Arc<Run>,
    database: &Database,
    client: &Arc<ClientEntity>,
    name: &str,
    args: Args,
) -> Done {
    match name {
        "runCommand" => run_command(run, database, args).await,
        "runCursorCommand" => run_cursor_command(run, database, args).await,
        "createCommandCursor" => create_command_cursor(run, database, client, args).await,
        "aggregate" => aggregate(run, database, args).await,
        "listCollections" => list_collections(run, database, args).await,
        "listCollectionNames" | "listCollectionObjects" => {
            list_collection_names(run, database, name, args).await
        }
        "createCollection" => create_collection(run, database, client, args).await,
        "modifyCollection" => modify_collection(run, database, args).await,
        "dropCollection" => drop_collection(run, database, args).await,
        _ => Err(missing(name, "database").into()),
    }
}

async fn run_command(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let command: Document = args.required("command")?;
    args.raw("commandName");
    let mut options = RunCommandOptions::default();
    options.selection_criteria = args.criteria()?;
    args.finish()?;
    let reply = perform!(database.run_command(command).with_options(options), held);
    Ok(Output::Value(reply.into()))
}

fn cursor_command(args: &mut Args) -> Checked<(Document, RunCursorCommandOptions)> {
    let command = args.required("command")?;
    args.raw("commandName");
    let mut options = RunCursorCommandOptions::default();
    fill!(args => options: batch_size, comment);
    options.max_time = args.millis("maxTimeMS")?;
    options.cursor_type = cursor_type(args)?;
    options.selection_criteria = args.criteria()?;
    Ok((command, options))
}

/// Reads `cursorType`.
pub(super) fn cursor_type(args: &mut Args) -> Checked<Option<CursorType>> {
    let Some(name) = args.opt::<String>("cursorType")? else {
        return Ok(None);
    };
    Ok(Some(match name.as_str() {
        "nonTailable" => CursorType::NonTailable,
        "tailable" => CursorType::Tailable,
        "tailableAwait" => CursorType::TailableAwait,
        other => return Err(Stop::Failed(format!("there is no cursor type {other:?}"))),
    }))
}

async fn run_cursor_command(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let (command, options) = cursor_command(&mut args)?;
    args.finish()?;
    let documents: Vec<Document> = collect!(
        database.run_cursor_command(command).with_options(options),
        held
    );
    Ok(Output::Documents(documents))
}

async fn create_command_cursor(
    run: &Run,
    database: &Database,
    client: &Arc<ClientEntity>,
    mut args: Args,
) -> Done {
    let shared = shared_session(run, &mut args)?;
    let (command, options) = cursor_command(&mut args)?;
    args.finish()?;
    let verb = database.run_cursor_command(command).with_options(options);
    open_cursor!(verb, shared, client)
}

/// The session that the arguments name, for a cursor that outlives the operation.
pub(super) fn shared_session(run: &Run, args: &mut Args) -> Checked<Option<SharedSession>> {
    let name: Option<String> = args.opt("session")?;
    let entity = name.map(|name| run.entities.session(&name)).transpose()?;
    Ok(entity.map(|entity| entity.session))
}

async fn aggregate(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let pipeline: Vec<Document> = args.required("pipeline")?;
    let options: AggregateOptions = aggregate_options(&mut args)?;
    args.finish()?;
    let documents: Vec<Document> =
        collect!(database.aggregate(pipeline).with_options(options), held);
    Ok(Output::Documents(documents))
}

fn list_options(args: &mut Args) -> Checked<ListCollectionsOptions> {
    let mut options = ListCollectionsOptions::default();
    fill!(args => options: filter, batch_size, comment, authorized_collections, raw_data);
    Ok(options)
}

async fn list_collections(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let options = list_options(&mut args)?;
    args.finish()?;
    let collections: Vec<mongo_client::results::CollectionSpecification> =
        collect!(database.list_collections().with_options(options), held);
    let documents = collections.iter().map(|collection| {
        bson::serialize_to_document(collection).map_err(|e| Stop::Failed(e.to_string()))
    });
    Ok(Output::Documents(documents.collect::<Result<_, _>>()?))
}

async fn list_collection_names(run: &Run, database: &Database, name: &str, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let options = list_options(&mut args)?;
    args.finish()?;
    let names = perform!(database.list_collection_names().with_options(options), held);
    if name == "listCollectionNames" {
        let names = names.into_iter().map(Bson::String).collect();
        return Ok(Output::Value(Bson::Array(names)));
    }
    // Collections are objects as soon as they are named: the helper is a loop over names.
    let documents = names
        .iter()
        .map(|name| bson::doc! { "name": database.collection::<Document>(name).name() });
    Ok(Output::Documents(documents.collect()))
}

async fn create_collection(
    run: &Run,
    database: &Database,
    client: &Arc<ClientEntity>,
    mut args: Args,
) -> Done {
    let mut held = session(run, &mut args).await?;
    let name: String = args.required("collection")?;
    let mut options = CreateCollectionOptions::default();
    fill!(args => options: capped, change_stream_pre_and_post_images, clustered_index, collation,
        comment, index_option_defaults, max, pipeline, size, storage_engine, timeseries,
        validation_action, validation_level, validator, view_on);
    options.expire_after_seconds = args.seconds("expireAfterSeconds")?;
    options.write_concern = args.write_concern()?;
    args.finish()?;
    perform!(
        database.create_collection(&name).with_options(options),
        held
    );
    // Tests may save the collection.
    let collection = database.collection(&name);
    Ok(Output::Entity(Entity::Collection(
        collection,
        Arc::clone(client),
    )))
}

async fn modify_collection(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let name: String = args.required("collection")?;
    let mut options = ModifyCollectionOptions::default();
    fill!(args => options: capped_max, capped_size, change_stream_pre_and_post_images, comment,
        dry_run, index, pipeline, timeseries, validation_action, validation_level, validator,
        view_on);
    options.expire_after_seconds = args.seconds("expireAfterSeconds")?;
    options.write_concern = args.write_concern()?;
    args.finish()?;
    perform!(database.modify_collection(name).with_options(options), held);
    Ok(Output::Nothing)
}

async fn drop_collection(run: &Run, database: &Database, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let name: String = args.required("collection")?;
    args.finish()?;
    perform!(database.collection::<Document>(&name).drop(), held);
    Ok(Output::Nothing)
}
