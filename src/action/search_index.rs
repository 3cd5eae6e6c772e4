//! Search indexes (specification: "Index Management"): those of Atlas.
//!
//! They are kept by another process than the server, so read and write concerns do not apply.

use std::marker::PhantomData;

use bson::{Document, doc};
use mongo_client_core::{
    cursor::CursorSpec,
    error::{Error, Result},
    op::CommandSpec,
};

use super::{
    Multiple, Place, Scope, Single, action, aggregate, body::Body, drop::existing, open::open,
    reply, session_arg, session_setter,
};
use crate::{
    collection::Collection,
    cursor::Cursor,
    options::{AggregateOptions, SearchIndexModel},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Creates a search index, in the background of the server, and gives its name.
    ///
    /// See [the module](crate::action) for errors and cancellation; servers outside of Atlas refuse
    /// the command.
    pub fn create_search_index(&self, model: SearchIndexModel) -> CreateSearchIndex<'_> {
        CreateSearchIndex::new(self.place(), vec![model])
    }

    /// Creates search indexes with one command; see [`Collection::create_search_index`].
    pub fn create_search_indexes(
        &self,
        models: impl IntoIterator<Item = SearchIndexModel>,
    ) -> CreateSearchIndex<'_, Multiple> {
        CreateSearchIndex::new(self.place(), models.into_iter().collect())
    }

    /// Gives the search index of this name another definition.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn update_search_index(
        &self,
        name: impl Into<String>,
        definition: Document,
    ) -> UpdateSearchIndex<'_> {
        UpdateSearchIndex {
            place: self.place(),
            name: name.into(),
            definition,
            session: None,
        }
    }

    /// Removes the search index of this name; fine when the collection does not exist.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn drop_search_index(&self, name: impl Into<String>) -> DropSearchIndex<'_> {
        DropSearchIndex {
            place: self.place(),
            name: name.into(),
            session: None,
        }
    }

    /// Lists the search indexes of the collection.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_search_indexes(&self) -> ListSearchIndexes<'_> {
        ListSearchIndexes {
            place: self.place(),
            name: None,
            options: None,
        }
    }
}

/// Creates search indexes; made by [`Collection::create_search_index`] and
/// [`Collection::create_search_indexes`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct CreateSearchIndex<'a, M = Single> {
    place: &'a Place,
    models: Vec<SearchIndexModel>,
    session: Option<&'a mut ClientSession>,
    mode: PhantomData<fn() -> M>,
}

session_setter!(impl ['a, M] CreateSearchIndex<'a, M>);

impl<'a, M> CreateSearchIndex<'a, M> {
    fn new(place: &'a Place, models: Vec<SearchIndexModel>) -> Self {
        Self {
            place,
            models,
            session: None,
            mode: PhantomData,
        }
    }

    async fn create(self) -> Result<Vec<String>> {
        let spec = build_create(&self.place.scope, &self.models)?;
        let client = &self.place.client;
        let executed = client.execute(spec, session_arg(self.session)).await?;
        let created = reply::field(executed.reply.document(), "indexesCreated")?;
        reply::array("indexesCreated", created)?
            .into_iter()
            .map(|index| reply::name(reply::document("indexesCreated", index?)?))
            .collect()
    }
}

impl CreateSearchIndex<'_> {
    async fn perform(self) -> Result<String> {
        let name = self.create().await?.pop();
        name.ok_or_else(|| Error::invalid_response("indexesCreated is empty"))
    }
}

impl CreateSearchIndex<'_, Multiple> {
    async fn perform(self) -> Result<Vec<String>> {
        self.create().await
    }
}

action!(impl ['a] CreateSearchIndex<'a> => String);
action!(impl ['a] CreateSearchIndex<'a, Multiple> => Vec<String>);

/// Redefines a search index; made by [`Collection::update_search_index`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct UpdateSearchIndex<'a> {
    place: &'a Place,
    name: String,
    definition: Document,
    session: Option<&'a mut ClientSession>,
}

session_setter!(impl ['a] UpdateSearchIndex<'a>);

impl UpdateSearchIndex<'_> {
    async fn perform(self) -> Result<()> {
        let spec = build_update(&self.place.scope, &self.name, &self.definition)?;
        let client = &self.place.client;
        client.execute(spec, session_arg(self.session)).await?;
        Ok(())
    }
}

action!(impl ['a] UpdateSearchIndex<'a> => ());

/// Removes a search index; made by [`Collection::drop_search_index`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct DropSearchIndex<'a> {
    place: &'a Place,
    name: String,
    session: Option<&'a mut ClientSession>,
}

session_setter!(impl ['a] DropSearchIndex<'a>);

impl DropSearchIndex<'_> {
    async fn perform(self) -> Result<()> {
        let spec = build_drop(&self.place.scope, &self.name)?;
        let client = &self.place.client;
        let result = client.execute(spec, session_arg(self.session)).await;
        existing(result).map(drop)
    }
}

action!(impl ['a] DropSearchIndex<'a> => ());

/// Lists search indexes; made by [`Collection::list_search_indexes`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct ListSearchIndexes<'a> {
    place: &'a Place,
    name: Option<String>,
    options: Option<AggregateOptions>,
}

impl ListSearchIndexes<'_> {
    /// Lists only the index of this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the options of the aggregation that lists them; its concerns do not count.
    pub fn aggregate_options(mut self, value: AggregateOptions) -> Self {
        self.options = Some(value);
        self
    }

    async fn perform(self) -> Result<Cursor<Document>> {
        let name = self.name.as_deref();
        open(
            self.place,
            build_list(&self.place.scope, name, self.options.as_ref())?,
        )
        .await
    }
}

action!(impl ['a] ListSearchIndexes<'a> => Cursor<Document>);

/// Builds the `createSearchIndexes` command.
pub(super) fn build_create(scope: &Scope, models: &[SearchIndexModel]) -> Result<CommandSpec> {
    let indexes: Vec<_> = models.iter().map(SearchIndexModel::to_document).collect();
    let mut body = Body::new("createSearchIndexes", &scope.name);
    body.put("indexes", &indexes)?;
    scope.command("createSearchIndexes", body.finish()?)
}

/// Builds the `updateSearchIndex` command.
pub(super) fn build_update(
    scope: &Scope,
    name: &str,
    definition: &Document,
) -> Result<CommandSpec> {
    let mut body = Body::new("updateSearchIndex", &scope.name);
    body.str("name", name);
    body.document("definition", definition)?;
    scope.command("updateSearchIndex", body.finish()?)
}

/// Builds the `dropSearchIndex` command.
pub(super) fn build_drop(scope: &Scope, name: &str) -> Result<CommandSpec> {
    let mut body = Body::new("dropSearchIndex", &scope.name);
    body.str("name", name);
    scope.command("dropSearchIndex", body.finish()?)
}

/// Builds the `aggregate` command that lists search indexes.
pub(super) fn build_list(
    scope: &Scope,
    name: Option<&str>,
    options: Option<&AggregateOptions>,
) -> Result<(CommandSpec, CursorSpec)> {
    let stage = match name {
        Some(name) => doc! { "name": name },
        None => doc! {},
    };
    let pipeline = [doc! { "$listSearchIndexes": stage }];
    let (mut spec, settings) = aggregate::build(scope, &pipeline, options)?;
    spec.read_concern = None;
    Ok((spec, settings))
}
