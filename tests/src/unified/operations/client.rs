//! Operations of clients.

use std::sync::Arc;

use bson::{Bson, Document};
use mongo_client::options::{DropDatabaseOptions, ListDatabasesOptions};

use super::{Done, Output, missing};
use crate::unified::{
    Stop,
    arguments::{Args, fill},
    case::Run,
    client::ClientEntity,
};

pub(super) async fn execute(
    _run: &Arc<Run>,
    entity: &ClientEntity,
    name: &str,
    mut args: Args,
) -> Done {
    let client = &entity.client;
    match name {
        "close" => {
            args.finish()?;
            client.close().await;
            Ok(Output::Nothing)
        }
        "listDatabases" => {
            if args.raw("session").is_some() {
                return Err(unsupported_session(name));
            }
            let mut options = ListDatabasesOptions::default();
            fill!(args => options: filter, comment, authorized_databases);
            args.finish()?;
            let databases = client.list_databases().with_options(options).await?;
            let documents = databases.iter().map(|database| {
                bson::serialize_to_document(database).map_err(|e| Stop::Failed(e.to_string()))
            });
            Ok(Output::Documents(documents.collect::<Result<_, _>>()?))
        }
        "listDatabaseNames" => {
            let mut options = ListDatabasesOptions::default();
            fill!(args => options: filter, comment, authorized_databases);
            args.finish()?;
            let names = client.list_database_names().with_options(options).await?;
            Ok(Output::Value(Bson::Array(
                names.into_iter().map(Bson::String).collect(),
            )))
        }
        "listDatabaseObjects" => {
            // Databases are objects as soon as they are named: the helper is a loop over names.
            args.finish()?;
            let names = client.list_database_names().await?;
            let documents = names
                .iter()
                .map(|name| bson::doc! { "name": client.database(name).name() });
            Ok(Output::Documents(documents.collect::<Vec<Document>>()))
        }
        "dropDatabase" => {
            if args.raw("session").is_some() {
                return Err(unsupported_session(name));
            }
            let database: String = args.required("database")?;
            let mut options = DropDatabaseOptions::default();
            options.write_concern = args.write_concern()?;
            args.finish()?;
            client.drop_database(database).with_options(options).await?;
            Ok(Output::Nothing)
        }
        _ => Err(missing(name, "client").into()),
    }
}

/// The verb takes no session yet.
pub(super) fn unsupported_session(name: &str) -> super::Failure {
    Stop::Skipped(format!("operation {name} with a session not offered yet")).into()
}
