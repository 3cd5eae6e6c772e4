//! The blocking collection handle.

use std::{borrow::Borrow, fmt};

use bson::Document;
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};
use serde::{Serialize, de::DeserializeOwned};

use super::Client;
use crate::{
    action::{
        Aggregate, Count, CountDocuments, CreateIndex, CreateSearchIndex, Delete, Distinct,
        DropCollection, DropIndex, DropSearchIndex, EstimatedDocumentCount, Find, FindOne,
        FindOneAndDelete, FindOneAndReplace, FindOneAndUpdate, InsertMany, InsertOne,
        ListIndexNames, ListIndexes, ListSearchIndexes, MapReduce, Multiple, RenameCollection,
        ReplaceOne, Update, UpdateSearchIndex,
    },
    namespace::Namespace,
    options::{IndexModel, SearchIndexModel, UpdateModifications},
};

/// A collection of documents that are read and written as `T`, for blocking code: a cheap place to
/// clone and share. The blocking form of [`mongo_client::Collection`](crate::Collection).
///
/// `T` is [`Serialize`] to insert and [`DeserializeOwned`] to read; use [`Document`] where documents
/// have no fixed shape.
pub struct Collection<T: Send + Sync> {
    inner: crate::Collection<T>,
}

impl<T: Send + Sync> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<T: Send + Sync> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: Send + Sync> Collection<T> {
    pub(super) fn new(inner: crate::Collection<T>) -> Self {
        Self { inner }
    }

    /// The same collection with documents of another type.
    #[must_use]
    pub fn clone_with_type<U: Send + Sync>(&self) -> Collection<U> {
        Collection::new(self.inner.clone_with_type())
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.inner.client().clone().into()
    }

    /// The name, without the database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The full name.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.inner.namespace()
    }

    /// The read concern, the inherited one included.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.inner.read_concern()
    }

    /// The write concern, the inherited one included.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.write_concern()
    }

    /// Which servers may answer reads, the inherited criteria included.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.selection_criteria()
    }
}

/// The verbs; see [the module](crate::action) for their errors.
impl<T: Send + Sync> Collection<T> {
    /// Runs an aggregation pipeline; `.run()` gives a cursor of documents.
    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate<'_> {
        self.inner.aggregate(pipeline)
    }

    /// Counts the documents that match, exactly.
    pub fn count_documents(&self, filter: Document) -> CountDocuments<'_> {
        self.inner.count_documents(filter)
    }

    /// Counts the documents that match, with the command `count`; see
    /// [`Collection::count`](crate::Collection::count).
    #[deprecated(note = "use count_documents or estimated_document_count")]
    pub fn count(&self, filter: Document) -> Count<'_> {
        #[expect(deprecated, reason = "the blocking form of it")]
        self.inner.count(filter)
    }

    /// Runs JavaScript over the documents; see
    /// [`Collection::map_reduce`](crate::Collection::map_reduce).
    #[deprecated(note = "servers recommend an aggregation instead")]
    pub fn map_reduce(&self, map: impl Into<String>, reduce: impl Into<String>) -> MapReduce<'_> {
        #[expect(deprecated, reason = "the blocking form of it")]
        self.inner.map_reduce(map, reduce)
    }

    /// Estimates the number of all documents from the collection's metadata; fast.
    pub fn estimated_document_count(&self) -> EstimatedDocumentCount<'_> {
        self.inner.estimated_document_count()
    }

    /// Deletes the first document that matches. Retried once when the network fails.
    pub fn delete_one(&self, query: Document) -> Delete<'_> {
        self.inner.delete_one(query)
    }

    /// Deletes all documents that match. Not retried.
    pub fn delete_many(&self, query: Document) -> Delete<'_> {
        self.inner.delete_many(query)
    }

    /// Finds the distinct values of a field among the documents that match.
    pub fn distinct(&self, field_name: impl AsRef<str>, filter: Document) -> Distinct<'_> {
        self.inner.distinct(field_name, filter)
    }

    /// Removes the collection with its documents and indexes; fine when it does not exist.
    pub fn drop(&self) -> DropCollection<'_> {
        self.inner.drop()
    }

    /// Gives the collection another name in the same database. This handle keeps the old name.
    pub fn rename(&self, to: impl Into<String>) -> RenameCollection<'_> {
        self.inner.rename(to)
    }

    /// Finds documents; `.run()` gives a [`Cursor`](super::Cursor), or a
    /// [`SessionCursor`](super::SessionCursor) after [`session`](Find::session).
    pub fn find(&self, filter: Document) -> Find<'_, T> {
        self.inner.find(filter)
    }

    /// Finds the first document that matches.
    pub fn find_one(&self, filter: Document) -> FindOne<'_, T> {
        self.inner.find_one(filter)
    }

    /// Updates the first document that matches. Retried once when the network fails.
    pub fn update_one(
        &self,
        query: Document,
        update: impl Into<UpdateModifications>,
    ) -> Update<'_> {
        self.inner.update_one(query, update)
    }

    /// Updates all documents that match. Not retried: a repetition could change more.
    pub fn update_many(
        &self,
        query: Document,
        update: impl Into<UpdateModifications>,
    ) -> Update<'_> {
        self.inner.update_many(query, update)
    }
}

/// The verbs on indexes; see [the module](crate::action) for their errors.
impl<T: Send + Sync> Collection<T> {
    /// Creates an index; fine when it exists already. See
    /// [`Collection::create_index`](crate::Collection::create_index).
    pub fn create_index(&self, index: IndexModel) -> CreateIndex<'_> {
        self.inner.create_index(index)
    }

    /// Creates indexes with one command, all or none.
    pub fn create_indexes(
        &self,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> CreateIndex<'_, Multiple> {
        self.inner.create_indexes(indexes)
    }

    /// Removes an index by its name. Fine when the collection does not exist.
    pub fn drop_index(&self, name: impl AsRef<str>) -> DropIndex<'_> {
        self.inner.drop_index(name)
    }

    /// Removes the index with these keys, in this order.
    pub fn drop_index_by_keys(&self, keys: Document) -> DropIndex<'_> {
        self.inner.drop_index_by_keys(keys)
    }

    /// Removes all indexes but the one on `_id`. Fine when the collection does not exist.
    pub fn drop_indexes(&self) -> DropIndex<'_> {
        self.inner.drop_indexes()
    }

    /// Lists the indexes of the collection; `.run()` gives a cursor.
    pub fn list_indexes(&self) -> ListIndexes<'_> {
        self.inner.list_indexes()
    }

    /// Lists the names of the collection's indexes.
    pub fn list_index_names(&self) -> ListIndexNames<'_> {
        self.inner.list_index_names()
    }
}

/// The verbs on search indexes; see [the module](crate::action) for their errors.
impl<T: Send + Sync> Collection<T> {
    /// Creates a search index, in the background of the server, and gives its name.
    pub fn create_search_index(&self, model: SearchIndexModel) -> CreateSearchIndex<'_> {
        self.inner.create_search_index(model)
    }

    /// Creates search indexes with one command.
    pub fn create_search_indexes(
        &self,
        models: impl IntoIterator<Item = SearchIndexModel>,
    ) -> CreateSearchIndex<'_, Multiple> {
        self.inner.create_search_indexes(models)
    }

    /// Gives the search index of this name another definition.
    pub fn update_search_index(
        &self,
        name: impl Into<String>,
        definition: Document,
    ) -> UpdateSearchIndex<'_> {
        self.inner.update_search_index(name, definition)
    }

    /// Removes the search index of this name; fine when the collection does not exist.
    pub fn drop_search_index(&self, name: impl Into<String>) -> DropSearchIndex<'_> {
        self.inner.drop_search_index(name)
    }

    /// Lists the search indexes of the collection; `.run()` gives a cursor.
    pub fn list_search_indexes(&self) -> ListSearchIndexes<'_> {
        self.inner.list_search_indexes()
    }
}

impl<T: Send + Sync + DeserializeOwned> Collection<T> {
    /// Deletes the first document that matches, and returns it. Retried once.
    pub fn find_one_and_delete(&self, filter: Document) -> FindOneAndDelete<'_, T> {
        self.inner.find_one_and_delete(filter)
    }

    /// Updates the first document that matches, and returns it as it was before, or after. Retried
    /// once.
    pub fn find_one_and_update(
        &self,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> FindOneAndUpdate<'_, T> {
        self.inner.find_one_and_update(filter, update)
    }
}

impl<T: Send + Sync + Serialize + DeserializeOwned> Collection<T> {
    /// Replaces the first document that matches, and returns it as it was before, or after. Retried
    /// once.
    pub fn find_one_and_replace(
        &self,
        filter: Document,
        replacement: impl Borrow<T>,
    ) -> FindOneAndReplace<'_, T> {
        self.inner.find_one_and_replace(filter, replacement)
    }
}

impl<T: Send + Sync + Serialize> Collection<T> {
    /// Inserts documents, in as many commands as their number and size need. See
    /// [`Collection::insert_many`](crate::Collection::insert_many) for its errors.
    pub fn insert_many(&self, docs: impl IntoIterator<Item = impl Borrow<T>>) -> InsertMany<'_> {
        self.inner.insert_many(docs)
    }

    /// Inserts a document. Retried once when the network fails.
    pub fn insert_one(&self, doc: impl Borrow<T>) -> InsertOne<'_> {
        self.inner.insert_one(doc)
    }

    /// Replaces the first document that matches. Retried once when the network fails.
    pub fn replace_one(&self, query: Document, replacement: impl Borrow<T>) -> ReplaceOne<'_> {
        self.inner.replace_one(query, replacement)
    }
}
