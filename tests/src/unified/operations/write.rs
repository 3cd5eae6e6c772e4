//! Operations of collections that write.

use bson::{Bson, Document, doc};
use mongo_client::{
    Collection,
    options::{
        DeleteOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
        InsertManyOptions, InsertOneOptions, ReplaceOptions, ReturnDocument, UpdateModifications,
        UpdateOptions,
    },
    results::UpdateResult,
};

use super::{Done, Output, collection::number, index, inserted, perform, session};
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
        "insertOne" => insert_one(run, collection, args).await,
        "insertMany" => insert_many(run, collection, args).await,
        "updateOne" => update(run, collection, false, args).await,
        "updateMany" => update(run, collection, true, args).await,
        "replaceOne" => replace_one(run, collection, args).await,
        "deleteOne" => delete(run, collection, false, args).await,
        "deleteMany" => delete(run, collection, true, args).await,
        "findOneAndDelete" => find_one_and_delete(run, collection, args).await,
        "findOneAndReplace" => find_one_and_replace(run, collection, args).await,
        "findOneAndUpdate" => find_one_and_update(run, collection, args).await,
        _ => index::execute(run, collection, name, args).await,
    }
}

async fn insert_one(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let document: Document = args.required("document")?;
    let mut options = InsertOneOptions::default();
    fill!(args => options: bypass_document_validation, comment, raw_data);
    args.finish()?;
    let result = perform!(collection.insert_one(document).with_options(options), held);
    Ok(Output::Value(
        doc! { "insertedId": result.inserted_id }.into(),
    ))
}

async fn insert_many(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let documents: Vec<Document> = args.required("documents")?;
    let mut options = InsertManyOptions::default();
    fill!(args => options: bypass_document_validation, comment, ordered, raw_data);
    args.finish()?;
    let result = perform!(
        collection.insert_many(documents).with_options(options),
        held
    );
    Ok(Output::Value(inserted(&result.inserted_ids).into()))
}

fn updated(result: UpdateResult) -> Output {
    let mut out = doc! {
        "matchedCount": number(result.matched_count),
        "modifiedCount": number(result.modified_count),
        "upsertedCount": i32::from(result.upserted_id.is_some()),
    };
    if let Some(id) = result.upserted_id {
        out.insert("upsertedId", id);
    }
    Output::Value(out.into())
}

async fn update(run: &Run, collection: &Collection<Document>, many: bool, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let modifications: UpdateModifications = args.required("update")?;
    let mut options = UpdateOptions::default();
    fill!(args => options: array_filters, bypass_document_validation, collation, comment, hint,
        raw_data, upsert, sort);
    options.let_vars = args.opt("let")?;
    args.finish()?;
    let verb = if many {
        collection.update_many(filter, modifications)
    } else {
        collection.update_one(filter, modifications)
    };
    Ok(updated(perform!(verb.with_options(options), held)))
}

async fn replace_one(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let replacement: Document = args.required("replacement")?;
    let mut options = ReplaceOptions::default();
    fill!(args => options: bypass_document_validation, collation, comment, hint, raw_data, sort,
        upsert);
    options.let_vars = args.opt("let")?;
    args.finish()?;
    let verb = collection.replace_one(filter, replacement);
    Ok(updated(perform!(verb.with_options(options), held)))
}

async fn delete(run: &Run, collection: &Collection<Document>, many: bool, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let mut options = DeleteOptions::default();
    fill!(args => options: collation, comment, hint, raw_data);
    options.let_vars = args.opt("let")?;
    args.finish()?;
    let verb = if many {
        collection.delete_many(filter)
    } else {
        collection.delete_one(filter)
    };
    let result = perform!(verb.with_options(options), held);
    let count = number(result.deleted_count);
    Ok(Output::Value(doc! { "deletedCount": count }.into()))
}

fn return_document(args: &mut Args) -> Checked<Option<ReturnDocument>> {
    let Some(name) = args.opt::<String>("returnDocument")? else {
        return Ok(None);
    };
    Ok(Some(match name.to_ascii_lowercase().as_str() {
        "after" => ReturnDocument::After,
        "before" => ReturnDocument::Before,
        _ => {
            return Err(Stop::Failed(format!(
                "returnDocument: there is no {name:?}"
            )));
        }
    }))
}

fn found(document: Option<Document>) -> Output {
    Output::Value(document.map_or(Bson::Null, Bson::Document))
}

async fn find_one_and_delete(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let mut options = FindOneAndDeleteOptions::default();
    fill!(args => options: collation, comment, hint, projection, raw_data, sort);
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    args.finish()?;
    let verb = collection.find_one_and_delete(filter);
    Ok(found(perform!(verb.with_options(options), held)))
}

async fn find_one_and_replace(
    run: &Run,
    collection: &Collection<Document>,
    mut args: Args,
) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let replacement: Document = args.required("replacement")?;
    let mut options = FindOneAndReplaceOptions::default();
    fill!(args => options: bypass_document_validation, collation, comment, hint, projection, raw_data, sort,
        upsert);
    options.return_document = return_document(&mut args)?;
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    args.finish()?;
    let verb = collection.find_one_and_replace(filter, replacement);
    Ok(found(perform!(verb.with_options(options), held)))
}

async fn find_one_and_update(run: &Run, collection: &Collection<Document>, mut args: Args) -> Done {
    let mut held = session(run, &mut args).await?;
    let filter: Document = args.required("filter")?;
    let modifications: UpdateModifications = args.required("update")?;
    let mut options = FindOneAndUpdateOptions::default();
    fill!(args => options: array_filters, bypass_document_validation, collation, comment, hint,
        projection, raw_data, sort, upsert);
    options.return_document = return_document(&mut args)?;
    options.let_vars = args.opt("let")?;
    options.max_time = args.millis("maxTimeMS")?;
    args.finish()?;
    let verb = collection.find_one_and_update(filter, modifications);
    Ok(found(perform!(verb.with_options(options), held)))
}
