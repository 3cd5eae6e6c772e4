//! `create_index` and `create_indexes` (specification: "Index Management").

use std::marker::PhantomData;

use mongo_client_core::{
    error::{Error, Result},
    op::{CommandSpec, Requirement, Retryability},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    collection::Collection,
    options::{CreateIndexOptions, IndexModel, create_index_setters},
    results::{CreateIndexResult, CreateIndexesResult},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Creates an index; fine when it exists already. Not retried.
    ///
    /// An index without a name gets one made from its keys, see [`IndexModel::name`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a `commit_quorum` on servers before 4.4, and for an index without
    /// keys; `Command` when there is another index of that name, or one of these keys with other
    /// options. See [the module](crate::action) for the rest.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the server may go on building the index.
    pub fn create_index(&self, index: IndexModel) -> CreateIndex<'_> {
        CreateIndex::new(self.place(), vec![index])
    }

    /// Creates indexes with one command, all or none; see [`Collection::create_index`].
    pub fn create_indexes(
        &self,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> CreateIndex<'_, Multiple> {
        CreateIndex::new(self.place(), indexes.into_iter().collect())
    }
}

/// Marks [`CreateIndex`] of one index.
#[derive(Debug)]
#[non_exhaustive]
pub struct Single;

/// Marks [`CreateIndex`] of several indexes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Multiple;

/// Creates indexes; made by [`Collection::create_index`] and [`Collection::create_indexes`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct CreateIndex<'a, M = Single> {
    place: &'a Place,
    indexes: Vec<IndexModel>,
    options: Option<Box<CreateIndexOptions>>,
    session: Option<&'a mut ClientSession>,
    mode: PhantomData<fn() -> M>,
}

create_index_setters!(impl ['a, M] CreateIndex<'a, M>);
session_setter!(impl ['a, M] CreateIndex<'a, M>);

impl<'a, M> CreateIndex<'a, M> {
    fn new(place: &'a Place, indexes: Vec<IndexModel>) -> Self {
        Self {
            place,
            indexes,
            options: None,
            session: None,
            mode: PhantomData,
        }
    }

    /// Creates the indexes and gives their names.
    async fn create(self) -> Result<Vec<String>> {
        let spec = build(&self.place.scope, &self.indexes, self.options.as_deref())?;
        let client = &self.place.client;
        client.execute(spec, session_arg(self.session)).await?;
        Ok(self.indexes.iter().map(IndexModel::name).collect())
    }
}

impl CreateIndex<'_> {
    async fn perform(self) -> Result<CreateIndexResult> {
        let mut names = self.create().await?;
        let index_name = names.pop().unwrap_or_default();
        Ok(CreateIndexResult { index_name })
    }
}

impl CreateIndex<'_, Multiple> {
    async fn perform(self) -> Result<CreateIndexesResult> {
        let index_names = self.create().await?;
        Ok(CreateIndexesResult { index_names })
    }
}

action!(impl ['a] CreateIndex<'a> => CreateIndexResult);
action!(impl ['a] CreateIndex<'a, Multiple> => CreateIndexesResult);

/// Builds the `createIndexes` command.
pub(super) fn build(
    scope: &Scope,
    indexes: &[IndexModel],
    options: Option<&CreateIndexOptions>,
) -> Result<CommandSpec> {
    if indexes.is_empty() {
        return Err(Error::invalid_argument(
            "indexes: there must be at least one",
        ));
    }
    if indexes.iter().any(|index| index.keys.is_empty()) {
        return Err(Error::invalid_argument("index: keys must not be empty"));
    }
    let documents = indexes.iter().map(IndexModel::to_document);
    let documents = documents.collect::<Result<Vec<_>>>()?;
    let mut body = Body::new("createIndexes", &scope.name);
    body.put("indexes", &documents)?;
    let mut requirement = None;
    if let Some(o) = options {
        if let Some(quorum) = &o.commit_quorum {
            body.opt_bson("commitQuorum", Some(&quorum.to_bson()?))?;
            requirement = Some(Requirement::CommitQuorum);
        }
        body.opt_max_time(o.max_time)?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("createIndexes", body.finish()?, Retryability::None, concern)?;
    spec.requirement = requirement;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok(spec)
}
