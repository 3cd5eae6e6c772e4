//! Every verb that takes a session.

use bson::{Document, doc};
use mongo_client::{BoxFuture, ClientSession, Database, IndexModel, error::Result};

/// Runs a verb on the collection `things` of a database, in a session or without one.
type Run = for<'a> fn(&'a Database, Option<&'a mut ClientSession>) -> BoxFuture<'a, Result<()>>;

/// One verb.
pub(super) struct Verb {
    /// The command that it sends.
    pub(super) command: &'static str,
    /// Whether servers take `afterClusterTime` for it.
    pub(super) causal: bool,
    pub(super) run: Run,
}

macro_rules! verbs {
    ($db:ident, $things:ident; $($command:literal $causal:literal => $verb:expr;)*) => {
        vec![$(
            Verb {
                command: $command,
                causal: $causal,
                run: |$db, session| Box::pin(async move {
                    let $things = &$db.collection::<Document>("things");
                    let _ = $things;
                    match session {
                        Some(session) => $verb.session(session).await.map(drop),
                        None => $verb.await.map(drop),
                    }
                }),
            },
        )*]
    };
}

fn index() -> IndexModel {
    IndexModel::builder().keys(doc! { "a": 1 }).build()
}

/// Those that read.
pub(super) fn reads() -> Vec<Verb> {
    verbs! { db, things;
        "find" true => things.find(doc! {});
        "find" true => things.find_one(doc! {});
        "aggregate" true => things.aggregate([doc! { "$match": {} }]);
        "aggregate" true => things.count_documents(doc! {});
        "distinct" true => things.distinct("a", doc! {});
        "explain" false => things.find_one(doc! {}).explain();
        "listIndexes" false => things.list_indexes();
        "listIndexes" false => things.list_index_names();
        "listCollections" false => db.list_collections();
        "listCollections" false => db.list_collection_names();
        "listDatabases" false => db.client().list_databases();
        "listDatabases" false => db.client().list_database_names();
        "aggregate" true => db.client().database("admin").aggregate([doc! { "$currentOp": {} }]);
        "ping" false => db.run_command(doc! { "ping": 1 });
        "listCollections" false => db.run_cursor_command(doc! { "listCollections": 1 });
    }
}

/// Those that write; they leave the collection there.
pub(super) fn writes() -> Vec<Verb> {
    verbs! { db, things;
        "insert" true => things.insert_one(doc! {});
        "insert" true => things.insert_many([doc! {}, doc! {}]);
        "update" true => things.update_one(doc! {}, doc! { "$set": { "a": 1 } });
        "update" true => things.update_many(doc! {}, doc! { "$set": { "a": 2 } });
        "update" true => things.replace_one(doc! {}, doc! { "a": 3 });
        "delete" true => things.delete_one(doc! {});
        "findAndModify" true => things.find_one_and_update(doc! {}, doc! { "$inc": { "a": 1 } });
        "findAndModify" true => things.find_one_and_replace(doc! {}, doc! { "a": 3 });
        "findAndModify" true => things.find_one_and_delete(doc! {});
        "delete" true => things.delete_many(doc! {});
        "createIndexes" true => things.create_index(index());
        "createIndexes" true => things.create_indexes([index()]);
        "dropIndexes" true => things.drop_index("a_1");
        "dropIndexes" true => things.drop_indexes();
        "collMod" false => db.modify_collection("things").validator(doc! {});
        "drop" true => things.drop();
        "create" true => db.create_collection("other");
        "renameCollection" false => db.collection::<Document>("other").rename("things");
        "dropDatabase" true => db.drop();
        "create" true => db.create_collection("things");
    }
}
