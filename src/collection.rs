//! Collections: handles that name one and carry its concerns and the type of its documents.

use std::{fmt, marker::PhantomData, sync::Arc};

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};

use crate::{action::Place, client::Client, namespace::Namespace};

/// A collection of documents that are read and written as `T`: a cheap place to clone and share.
///
/// `T` is [`Serialize`](serde::Serialize) to insert and
/// [`DeserializeOwned`](serde::de::DeserializeOwned) to read; use
/// [`Document`](bson::Document) where documents have no fixed shape.
pub struct Collection<T: Send + Sync> {
    inner: Arc<Place>,
    item: PhantomData<fn() -> T>,
}

impl<T: Send + Sync> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            item: PhantomData,
        }
    }
}

impl<T: Send + Sync> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field(
                "namespace",
                &format_args!("{}.{}", self.inner.scope.db, self.name()),
            )
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Collection<T> {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            inner: Arc::new(place),
            item: PhantomData,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.inner
    }

    /// The same collection with documents of another type.
    #[must_use]
    pub fn clone_with_type<U: Send + Sync>(&self) -> Collection<U> {
        Collection {
            inner: Arc::clone(&self.inner),
            item: PhantomData,
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The name, without the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.scope.name
    }

    /// The full name.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        Namespace::new(&*self.inner.scope.db, self.name())
    }

    /// The read concern, the inherited one included.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.inner.scope.read_concern()
    }

    /// The write concern, the inherited one included.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.scope.write_concern()
    }

    /// Which servers may answer reads, the inherited criteria included.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.scope.criteria()
    }
}
