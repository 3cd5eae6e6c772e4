//! Databases: handles that name one and carry its concerns.

use std::sync::Arc;

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};

use crate::{
    action::{Place, Scope},
    client::Client,
    collection::Collection,
    options::{CollectionOptions, DatabaseOptions},
};

/// A database: a cheap place to clone and share. Making one sends nothing.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Arc<Place>,
}

impl Client {
    /// A database, with the client's concerns and selection criteria.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        self.database_with_options(name, DatabaseOptions::default())
    }

    /// A database; what the options leave out comes from the client.
    #[must_use]
    pub fn database_with_options(&self, name: &str, options: DatabaseOptions) -> Database {
        let scope = Scope {
            db: name.into(),
            name: "".into(),
            read_concern: options
                .read_concern
                .or_else(|| self.read_concern().cloned()),
            write_concern: options
                .write_concern
                .or_else(|| self.write_concern().cloned()),
            criteria: options
                .selection_criteria
                .or_else(|| self.selection_criteria().cloned()),
        };
        Database {
            inner: Arc::new(Place {
                client: self.clone(),
                scope,
            }),
        }
    }

    /// The database that the connection string names.
    #[must_use]
    pub fn default_database(&self) -> Option<Database> {
        self.options()
            .default_database
            .as_deref()
            .map(|name| self.database(name))
    }
}

impl Database {
    pub(crate) fn place(&self) -> &Place {
        &self.inner
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.scope.db
    }

    /// The read concern, the client's included.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.inner.scope.read_concern.as_ref()
    }

    /// The write concern, the client's included.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.scope.write_concern.as_ref()
    }

    /// Which servers may answer reads, the client's criteria included.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.scope.criteria.as_ref()
    }

    /// A collection of documents that are read and written as `T`. Sends nothing.
    #[must_use]
    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.collection_with_options(name, CollectionOptions::default())
    }

    /// A collection; what the options leave out comes from the database.
    #[must_use]
    pub fn collection_with_options<T: Send + Sync>(
        &self,
        name: &str,
        options: CollectionOptions,
    ) -> Collection<T> {
        let inherited = &self.inner.scope;
        let criteria = options.selection_criteria;
        let scope = Scope {
            db: Arc::clone(&inherited.db),
            name: name.into(),
            read_concern: options
                .read_concern
                .or_else(|| inherited.read_concern.clone()),
            write_concern: options
                .write_concern
                .or_else(|| inherited.write_concern.clone()),
            criteria: criteria.or_else(|| inherited.criteria.clone()),
        };
        Collection::new(Place {
            client: self.inner.client.clone(),
            scope,
        })
    }
}
