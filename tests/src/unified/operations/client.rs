//! Operations of clients.

use bson::{Bson, Document};
use mongo_client::options::{DriverInfo, DropDatabaseOptions, ListDatabasesOptions};

use super::{Done, Output, missing, perform, session};
use crate::unified::{
    Stop,
    arguments::{Args, fill},
    case::Run,
    client::ClientEntity,
};

pub(super) async fn execute(run: &Run, entity: &ClientEntity, name: &str, mut args: Args) -> Done {
    let client = &entity.client;
    match name {
        "close" => {
            args.finish()?;
            client.close().await;
            Ok(Output::Nothing)
        }
        "listDatabases" => {
            let mut held = session(run, &mut args).await?;
            let mut options = ListDatabasesOptions::default();
            fill!(args => options: filter, comment, authorized_databases);
            args.finish()?;
            let databases = perform!(client.list_databases().with_options(options), held);
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
            let mut held = session(run, &mut args).await?;
            let database: String = args.required("database")?;
            let mut options = DropDatabaseOptions::default();
            options.write_concern = args.write_concern()?;
            args.finish()?;
            let database = client.database(&database);
            perform!(database.drop().with_options(options), held);
            Ok(Output::Nothing)
        }
        "appendMetadata" => {
            let given: Document = args.required("driverInfoOptions")?;
            args.finish()?;
            let field = |name: &str| given.get_str(name).ok().map(str::to_owned);
            let mut info = DriverInfo::default();
            info.name = field("name").unwrap_or_default();
            info.version = field("version");
            info.platform = field("platform");
            client.append_metadata(info)?;
            Ok(Output::Nothing)
        }
        _ => Err(missing(name, "client").into()),
    }
}
