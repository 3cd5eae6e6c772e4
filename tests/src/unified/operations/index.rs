//! Operations of collections on their indexes and their name.

use bson::{Bson, Document};
use mongo_client::{
    Collection,
    options::{
        CreateIndexOptions, DropIndexOptions, IndexModel, ListIndexesOptions,
        RenameCollectionOptions,
    },
};

use super::{Done, Output, collect, perform, search, session};
use crate::unified::{
    Checked, Stop,
    arguments::{Args, fill},
    case::Run,
};

pub(super) async fn execute(
    run: &Run,
    collection: &Collection<Document>,
    name: &str,
    args: Args,
) -> Done {
    match name {
        "createIndex" => create_index(run, collection, args).await,
        "dropIndex" | "dropIndexes" => drop_index(run, collection, name, args).await,
        "listIndexes" => list_indexes(run, collection, args).await,
        "listIndexNames" => list_index_names(run, collection, args).await,
        "rename" => rename(run, collection, args).await,
        _ => search::execute(collection, name, args).await,
    }
}

async fn create_index(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let keys: Document = args.required("keys")?;
    let mut options = CreateIndexOptions::default();
    fill!(args => options: comment, raw_data);
    options.commit_quorum = args.opt::<String>("commitQuorum")?.map(Into::into);
    options.max_time = args.millis("maxTimeMS")?;
    options.write_concern = args.write_concern()?;
    // What is left describes the index, as servers know it.
    let mut described = args.options()?;
    described.insert("key", keys);
    let index: IndexModel = bson::deserialize_from_document(described)
        .map_err(|e| Stop::Failed(format!("createIndex: {e}")))?;
    let created = perform!(collection.create_index(index).with_options(options), held);
    Ok(Output::Value(created.index_name.into()))
}

async fn drop_index(
    run: &Run,
    collection: &Collection<Document>,
    name: &str,
    mut args: Args,
) -> Done {
    let mut held = session(run, &mut args).await?;
    let mut options = DropIndexOptions::default();
    fill!(args => options: comment, raw_data);
    options.max_time = args.millis("maxTimeMS")?;
    options.write_concern = args.write_concern()?;
    let verb = if name == "dropIndex" {
        collection.drop_index(args.required::<String>("name")?)
    } else {
        collection.drop_indexes()
    };
    args.finish()?;
    perform!(verb.with_options(options), held);
    Ok(Output::Nothing)
}

async fn rename(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let to: String = args.required("to")?;
    let mut options = RenameCollectionOptions::default();
    fill!(args => options: comment, drop_target);
    options.write_concern = args.write_concern()?;
    args.finish()?;
    perform!(collection.rename(to).with_options(options), held);
    Ok(Output::Nothing)
}

fn list_options(args: &mut Args) -> Checked<ListIndexesOptions> {
    let mut options = ListIndexesOptions::default();
    fill!(args => options: batch_size, comment, raw_data);
    options.max_time = args.millis("maxTimeMS")?;
    Ok(options)
}

async fn list_indexes(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let options = list_options(&mut args)?;
    args.finish()?;
    let indexes: Vec<IndexModel> = collect!(collection.list_indexes().with_options(options), held);
    let documents = indexes
        .iter()
        .map(|index| bson::serialize_to_document(index).map_err(|e| Stop::Failed(e.to_string())));
    Ok(Output::Documents(documents.collect::<Result<_, _>>()?))
}

async fn list_index_names(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let options = list_options(&mut args)?;
    args.finish()?;
    let names = perform!(collection.list_index_names().with_options(options), held);
    Ok(Output::Value(Bson::Array(
        names.into_iter().map(Bson::String).collect(),
    )))
}
