//! Operations of collections: those that read, and the way to those that write.

use std::sync::Arc;

use bson::{Bson, Document};
use mongo_client::{
    Collection,
    options::{
        AggregateOptions, CountOptions, DistinctOptions, EstimatedDocumentCountOptions,
        FindOneOptions, FindOptions,
    },
};

use super::{
    Done, Output, collect,
    database::{cursor_type, shared_session},
    open_cursor, perform, session, write,
};
use crate::unified::{
    Checked, Stop,
    arguments::{Args, fill},
    case::Run,
    client::ClientEntity,
    entities::{CursorEntity, Entity},
};

pub(super) async fn execute(
    run: &Arc<Run>,
    collection: &Collection<Document>,
    client: &Arc<ClientEntity>,
    name: &str,
    args: Args,
) -> Done {
    match name {
        "find" => find(run, collection, args).await,
        "findOne" => find_one(run, collection, args).await,
        "createFindCursor" => create_find_cursor(run, collection, client, args).await,
        "aggregate" => aggregate(run, collection, args).await,
        "countDocuments" => count_documents(run, collection, args).await,
        "count" => count(run, collection, args).await,
        "estimatedDocumentCount" => estimated_document_count(collection, args).await,
        "distinct" => distinct(run, collection, args).await,
        "mapReduce" => map_reduce(run, collection, args).await,
        _ => write::execute(run, collection, name, args).await,
    }
}

fn find_options(args: &mut Args) -> Checked<FindOptions> {
    let mut options = FindOptions::default();
    fill!(args => options: allow_disk_use, allow_partial_results, batch_size, collation, comment,
        hint, limit, max, max_scan, min, no_cursor_timeout, projection, raw_data, return_key, show_record_id,
        skip, sort);
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    options.max_await_time = args.millis("maxAwaitTimeMS")?;
    options.cursor_type = cursor_type(args)?;
    options.read_concern = args.read_concern()?;
    options.selection_criteria = args.criteria()?;
    Ok(options)
}

async fn find(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let options = find_options(&mut args)?;
    args.finish()?;
    let documents: Vec<Document> = collect!(collection.find(filter).with_options(options), held);
    Ok(Output::Documents(documents))
}

async fn find_one(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let mut options = FindOneOptions::default();
    fill!(args => options: allow_partial_results, collation, comment, hint, max, max_scan, min,
        projection, raw_data, return_key, show_record_id, skip, sort);
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    options.read_concern = args.read_concern()?;
    options.selection_criteria = args.criteria()?;
    args.finish()?;
    let found = perform!(collection.find_one(filter).with_options(options), held);
    Ok(Output::Value(found.map_or(Bson::Null, Bson::Document)))
}

async fn create_find_cursor(
    run: &Run,
    collection: &Collection<Document>,
    client: &Arc<ClientEntity>,
    mut args: Args,
) -> Done {
    let shared = shared_session(run, &mut args)?;
    let filter: Document = args.required("filter")?;
    let options = find_options(&mut args)?;
    args.finish()?;
    let verb = collection.find(filter).with_options(options);
    open_cursor!(verb, shared, client)
}

/// The options of an aggregation, of a collection or a database.
pub(super) fn aggregate_options(args: &mut Args) -> Checked<AggregateOptions> {
    let mut options = AggregateOptions::default();
    fill!(args => options: allow_disk_use, batch_size, bypass_document_validation, collation,
        comment, hint, raw_data);
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    options.max_await_time = args.millis("maxAwaitTimeMS")?;
    options.read_concern = args.read_concern()?;
    options.write_concern = args.write_concern()?;
    options.selection_criteria = args.criteria()?;
    Ok(options)
}

async fn aggregate(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let pipeline: Vec<Document> = args.required("pipeline")?;
    let options = aggregate_options(&mut args)?;
    args.finish()?;
    let documents: Vec<Document> =
        collect!(collection.aggregate(pipeline).with_options(options), held);
    Ok(Output::Documents(documents))
}

fn count_options(args: &mut Args) -> Checked<CountOptions> {
    let mut options = CountOptions::default();
    fill!(args => options: collation, comment, hint, limit, raw_data, skip);
    options.max_time = args.millis("maxTimeMS")?;
    Ok(options)
}

#[expect(deprecated, reason = "the specifications test the old helper too")]
async fn count(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let options = count_options(&mut args)?;
    args.finish()?;
    let count = perform!(collection.count(filter).with_options(options), held);
    Ok(Output::Value(number(count)))
}

async fn count_documents(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let options = count_options(&mut args)?;
    args.finish()?;
    let count = perform!(
        collection.count_documents(filter).with_options(options),
        held
    );
    Ok(Output::Value(number(count)))
}

async fn estimated_document_count(collection: &Collection<Document>, mut args: Args) -> Done {
    let mut options = EstimatedDocumentCountOptions::default();
    fill!(args => options: comment, raw_data);
    options.max_time = args.millis("maxTimeMS")?;
    args.finish()?;
    let count = collection
        .estimated_document_count()
        .with_options(options)
        .await?;
    Ok(Output::Value(number(count)))
}

#[expect(deprecated, reason = "it is what is tested")]
async fn map_reduce(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let [map, reduce] = ["map", "reduce"].map(|name| match args.raw(name) {
        Some(Bson::JavaScriptCode(code)) => Ok(code),
        _ => Err(Stop::from(format!("{name} is not code"))),
    });
    let out: Document = args.required("out")?;
    args.finish()?;
    let results = perform!(collection.map_reduce(map?, reduce?).out(out), held);
    Ok(Output::Documents(results))
}

async fn distinct(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let field: String = args.required("fieldName")?;
    let filter: Document = args.required("filter")?;
    let mut options = DistinctOptions::default();
    fill!(args => options: collation, comment, hint, raw_data);
    options.max_time = args.millis("maxTimeMS")?;
    args.finish()?;
    let values = perform!(
        collection.distinct(&field, filter).with_options(options),
        held
    );
    Ok(Output::Value(Bson::Array(values)))
}

/// A count as a value.
pub(super) fn number(count: u64) -> Bson {
    Bson::Int64(i64::try_from(count).unwrap_or(i64::MAX))
}
