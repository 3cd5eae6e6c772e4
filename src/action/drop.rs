//! `drop` of collections and databases.

use mongo_client_core::{
    concern::WriteConcern,
    error::{ErrorKind, Result},
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    collection::Collection,
    database::Database,
    options::{
        DropCollectionOptions, DropDatabaseOptions, drop_collection_setters, drop_database_setters,
    },
    session::ClientSession,
};

/// The server's code for a collection that does not exist.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Turns the error that says that there is no such collection into nothing.
pub(super) fn existing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(e) if matches!(&*e.kind, ErrorKind::Command(c) if c.code == NAMESPACE_NOT_FOUND) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

impl<T: Send + Sync> Collection<T> {
    /// Removes the collection with its documents and indexes; fine when it does not exist.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn drop(&self) -> DropCollection<'_> {
        DropCollection {
            place: self.place(),
            options: None,
            session: None,
        }
    }
}

impl Database {
    /// Removes the database with its collections; fine when it does not exist.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn drop(&self) -> DropDatabase<'_> {
        DropDatabase::owned(self.clone())
    }
}

/// Removes a collection; made by [`Collection::drop`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct DropCollection<'a> {
    place: &'a Place,
    options: Option<Box<DropCollectionOptions>>,
    session: Option<&'a mut ClientSession>,
}

drop_collection_setters!(impl ['a] DropCollection<'a>);
session_setter!(impl ['a] DropCollection<'a>);

impl DropCollection<'_> {
    async fn perform(self) -> Result<()> {
        let concern = self.options.as_ref().and_then(|o| o.write_concern.as_ref());
        let spec = build_collection(&self.place.scope, concern)?;
        let client = &self.place.client;
        // Servers before 7.0 report a missing collection as an error.
        existing(client.execute(spec, session_arg(self.session)).await).map(drop)
    }
}

action!(impl ['a] DropCollection<'a> => ());

/// Removes a database; made by [`Database::drop`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct DropDatabase<'a> {
    database: Database,
    options: Option<Box<DropDatabaseOptions>>,
    session: Option<&'a mut ClientSession>,
}

drop_database_setters!(impl ['a] DropDatabase<'a>);
session_setter!(impl ['a] DropDatabase<'a>);

impl DropDatabase<'_> {
    pub(crate) fn owned(database: Database) -> Self {
        Self {
            database,
            options: None,
            session: None,
        }
    }

    async fn perform(self) -> Result<()> {
        let concern = self.options.as_ref().and_then(|o| o.write_concern.as_ref());
        let place = self.database.place();
        let spec = build_database(&place.scope, concern)?;
        place
            .client
            .execute(spec, session_arg(self.session))
            .await?;
        Ok(())
    }
}

action!(impl ['a] DropDatabase<'a> => ());

/// Builds the `drop` command.
pub(super) fn build_collection(
    scope: &Scope,
    concern: Option<&WriteConcern>,
) -> Result<CommandSpec> {
    scope.write(
        "drop",
        Body::new("drop", &scope.name).finish()?,
        Retryability::None,
        concern,
    )
}

/// Builds the `dropDatabase` command.
pub(super) fn build_database(scope: &Scope, concern: Option<&WriteConcern>) -> Result<CommandSpec> {
    let body = Body::with_one("dropDatabase").finish()?;
    scope.write("dropDatabase", body, Retryability::None, concern)
}
