//! `list_collections` and `list_collection_names` (specification: "Enumerating Collections").

use mongo_client_core::{
    cursor::CursorSpec,
    error::Result,
    op::{CommandSpec, Retryability, Target},
    read_preference::ReadPreference,
};

use super::{
    ExplicitSession, ImplicitSession, Place, Scope, action,
    body::Body,
    listing::{listing, names, names_in},
    open::{open, open_in},
};
use crate::{
    cursor::{Cursor, SessionCursor},
    database::Database,
    options::{ListCollectionsOptions, list_collections_setters},
    results::CollectionSpecification,
    session::ClientSession,
};

impl Database {
    /// Lists the collections and views of the database.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_collections(&self) -> ListCollections<'_> {
        ListCollections::new(self.place())
    }

    /// Lists the names of the collections and views of the database.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_collection_names(&self) -> ListCollectionNames<'_> {
        ListCollectionNames::new(self.place())
    }
}

listing! {
    /// Lists collections; made by [`Database::list_collections`].
    ListCollections, ListCollectionsOptions, list_collections_setters
}
listing! {
    /// Lists the names of collections; made by [`Database::list_collection_names`].
    ListCollectionNames, ListCollectionsOptions, list_collections_setters
}

impl ListCollections<'_> {
    async fn perform(self) -> Result<Cursor<CollectionSpecification>> {
        open(
            self.place,
            build(&self.place.scope, false, self.options.as_deref())?,
        )
        .await
    }
}

impl ListCollections<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<SessionCursor<CollectionSpecification>> {
        let built = build(&self.place.scope, false, self.options.as_deref())?;
        open_in(self.place, built, self.session.0).await
    }
}

impl ListCollectionNames<'_> {
    async fn perform(self) -> Result<Vec<String>> {
        let built = build(&self.place.scope, true, self.options.as_deref())?;
        names(open(self.place, built).await?).await
    }
}

impl ListCollectionNames<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<Vec<String>> {
        let session = self.session.0;
        let built = build(&self.place.scope, true, self.options.as_deref())?;
        names_in(open_in(self.place, built, session).await?, session).await
    }
}

action!(impl ['a] ListCollections<'a> => Cursor<CollectionSpecification>);
action!(
    impl ['a] ListCollections<'a, ExplicitSession<'a>> => SessionCursor<CollectionSpecification>
);
action!(impl ['a] ListCollectionNames<'a> => Vec<String>);
action!(impl ['a] ListCollectionNames<'a, ExplicitSession<'a>> => Vec<String>);

/// Builds the `listCollections` command.
pub(super) fn build(
    scope: &Scope,
    names_only: bool,
    options: Option<&ListCollectionsOptions>,
) -> Result<(CommandSpec, CursorSpec)> {
    let mut body = Body::with_one("listCollections");
    let mut settings = CursorSpec::default();
    // With `nameOnly` a filter sees nothing but the name.
    let filter = options.and_then(|o| o.filter.as_ref());
    if names_only && filter.is_none_or(|filter| filter.keys().all(|key| key == "name")) {
        body.bool("nameOnly", true);
    }
    let mut cursor = Body::empty();
    if let Some(o) = options {
        body.opt_document("filter", o.filter.as_ref())?;
        body.opt_bool("authorizedCollections", o.authorized_collections);
        body.opt_bson("comment", o.comment.as_ref())?;
        settings.batch_size = o.batch_size;
        // The server keeps the comment for later batches (Enumerating Collections: "comment").
        if let Some(size) = o.batch_size {
            cursor.int("batchSize", i64::from(size));
        }
    }
    body.raw("cursor", &cursor.finish()?);
    let mut spec = scope.command("listCollections", body.finish()?)?;
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok((spec, settings))
}
