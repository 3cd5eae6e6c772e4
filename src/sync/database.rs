//! The blocking database handle.

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};

use super::{Client, Collection};
use crate::{
    action::{
        Aggregate, CreateCollection, DropDatabase, ListCollectionNames, ListCollections,
        ModifyCollection, RunCommand, RunCursorCommand,
    },
    options::CollectionOptions,
};

/// A database for blocking code: a cheap place to clone and share. Making one sends nothing. The
/// blocking form of [`mongo_client::Database`](crate::Database).
#[derive(Clone, Debug)]
pub struct Database {
    inner: crate::Database,
}

impl Database {
    pub(super) fn new(inner: crate::Database) -> Self {
        Self { inner }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.inner.client().clone().into()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The read concern, the client's included.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.inner.read_concern()
    }

    /// The write concern, the client's included.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.write_concern()
    }

    /// Which servers may answer reads, the client's criteria included.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.selection_criteria()
    }

    /// A collection of documents that are read and written as `T`. Sends nothing.
    #[must_use]
    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        Collection::new(self.inner.collection(name))
    }

    /// A collection; what the options leave out comes from the database.
    #[must_use]
    pub fn collection_with_options<T: Send + Sync>(
        &self,
        name: &str,
        options: CollectionOptions,
    ) -> Collection<T> {
        Collection::new(self.inner.collection_with_options(name, options))
    }
}

/// A database's name is what it stands for where a name is asked for.
impl AsRef<str> for Database {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// The verbs; see [the module](crate::action) for their errors.
impl Database {
    /// Runs an aggregation pipeline that needs no collection, such as `$currentOp`.
    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate<'_> {
        self.inner.aggregate(pipeline)
    }

    /// Creates a collection, view or time series; collections also appear with the first insert.
    pub fn create_collection(&self, name: impl Into<String>) -> CreateCollection<'_> {
        self.inner.create_collection(name)
    }

    /// Removes the database with its collections; fine when it does not exist.
    pub fn drop(&self) -> DropDatabase<'_> {
        self.inner.drop()
    }

    /// Lists the collections and views of the database; `.run()` gives a cursor.
    pub fn list_collections(&self) -> ListCollections<'_> {
        self.inner.list_collections()
    }

    /// Lists the names of the collections and views of the database.
    pub fn list_collection_names(&self) -> ListCollectionNames<'_> {
        self.inner.list_collection_names()
    }

    /// Changes the options of a collection, view or index; see
    /// [`Database::modify_collection`](crate::Database::modify_collection).
    pub fn modify_collection(&self, name: impl Into<String>) -> ModifyCollection<'_> {
        self.inner.modify_collection(name)
    }

    /// Runs a command as it stands, on the primary unless `selection_criteria` says otherwise. See
    /// [`Database::run_command`](crate::Database::run_command).
    pub fn run_command(&self, command: Document) -> RunCommand<'_> {
        self.inner.run_command(command)
    }

    /// Runs a raw command as it stands; see [`Database::run_command`].
    pub fn run_raw_command(&self, command: RawDocumentBuf) -> RunCommand<'_> {
        self.inner.run_raw_command(command)
    }

    /// Runs a command that answers with a cursor; see [`Database::run_command`].
    pub fn run_cursor_command(&self, command: Document) -> RunCursorCommand<'_> {
        self.inner.run_cursor_command(command)
    }

    /// Runs a raw command that answers with a cursor; see [`Database::run_command`].
    pub fn run_raw_cursor_command(&self, command: RawDocumentBuf) -> RunCursorCommand<'_> {
        self.inner.run_raw_cursor_command(command)
    }
}
