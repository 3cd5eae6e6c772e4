//! Operations of collections on their search indexes. Servers outside of Atlas refuse all of them.

use bson::Document;
use mongo_client::{
    Collection,
    options::{AggregateOptions, SearchIndexModel, SearchIndexType},
};

use super::{Done, Output, missing};
use crate::unified::{Checked, arguments::Args};

pub(super) async fn execute(collection: &Collection<Document>, name: &str, mut args: Args) -> Done {
    match name {
        "createSearchIndex" => {
            let model = model(args.required("model")?)?;
            args.finish()?;
            let name = collection.create_search_index(model).await?;
            Ok(Output::Value(name.into()))
        }
        "createSearchIndexes" => {
            let models: Vec<Document> = args.required("models")?;
            args.finish()?;
            let models: Vec<_> = models.into_iter().map(model).collect::<Checked<_>>()?;
            let names = collection.create_search_indexes(models).await?;
            Ok(Output::Value(names.into()))
        }
        "updateSearchIndex" => {
            let name: String = args.required("name")?;
            let definition: Document = args.required("definition")?;
            args.finish()?;
            collection.update_search_index(name, definition).await?;
            Ok(Output::Nothing)
        }
        "dropSearchIndex" => {
            let name: String = args.required("name")?;
            args.finish()?;
            collection.drop_search_index(name).await?;
            Ok(Output::Nothing)
        }
        "listSearchIndexes" => list(collection, args).await,
        _ => Err(missing(name, "collection").into()),
    }
}

async fn list(collection: &Collection<Document>, mut args: Args) -> Done {
    let mut verb = collection.list_search_indexes();
    if let Some(name) = args.opt::<String>("name")? {
        verb = verb.name(name);
    }
    if let Some(given) = args.opt::<Document>("aggregationOptions")? {
        let mut given = Args::new("aggregationOptions", given);
        let mut options = AggregateOptions::default();
        options.batch_size = given.opt("batchSize")?;
        given.finish()?;
        verb = verb.aggregate_options(options);
    }
    args.finish()?;
    let found = futures_util::TryStreamExt::try_collect(&mut verb.await?).await?;
    Ok(Output::Documents(found))
}

fn model(described: Document) -> Checked<SearchIndexModel> {
    let mut args = Args::new("model", described);
    let definition: Document = args.required("definition")?;
    let name: Option<String> = args.opt("name")?;
    let kind: Option<String> = args.opt("type")?;
    args.finish()?;
    let kind = kind.map(|kind| match kind.as_str() {
        "search" => SearchIndexType::Search,
        "vectorSearch" => SearchIndexType::VectorSearch,
        _ => SearchIndexType::Other(kind),
    });
    let model = SearchIndexModel::builder().definition(definition);
    Ok(model.name(name).index_type(kind).build())
}
