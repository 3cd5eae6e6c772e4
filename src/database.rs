//! Databases: handles that name one and carry its concerns.

use std::sync::Arc;

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};

use crate::{
    action::{Concerns, Place, Scope},
    client::Client,
    collection::Collection,
    namespace,
    options::{CollectionOptions, DatabaseOptions},
};

/// A database: a cheap place to clone and share. Making one sends nothing.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Place,
}

impl Client {
    /// A database, with the client's concerns and selection criteria.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        self.place(name, self.concerns().cloned())
    }

    /// A database; what the options leave out comes from the client.
    #[must_use]
    pub fn database_with_options(&self, name: &str, options: DatabaseOptions) -> Database {
        let own = Concerns {
            read_concern: options.read_concern,
            write_concern: options.write_concern,
            criteria: options.selection_criteria,
        };
        self.place(name, own.over(self.concerns()))
    }

    #[inline]
    fn place(&self, name: &str, concerns: Option<Arc<Concerns>>) -> Database {
        let scope = Scope {
            db: name.into(),
            name: Box::default(),
            invalid: namespace::check_database(name).err().map(Box::new),
            concerns,
        };
        let client = self.clone();
        Database {
            inner: Place { client, scope },
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
        self.inner.scope.read_concern()
    }

    /// The write concern, the client's included.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.scope.write_concern()
    }

    /// Which servers may answer reads, the client's criteria included.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.scope.criteria()
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
        let own = Concerns {
            read_concern: options.read_concern,
            write_concern: options.write_concern,
            criteria: options.selection_criteria,
        };
        let inherited = &self.inner.scope;
        let scope = Scope {
            db: inherited.db.clone(),
            name: name.into(),
            invalid: inherited.invalid.clone().or_else(|| {
                let checked = namespace::check_collection(&inherited.db, name);
                checked.err().map(Box::new)
            }),
            concerns: own.over(inherited.concerns.as_ref()),
        };
        Collection::new(Place {
            client: self.inner.client.clone(),
            scope,
        })
    }
}
