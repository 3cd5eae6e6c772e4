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
    open::{open, open_in},
    reply,
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
        ListCollections {
            place: self.place(),
            options: None,
            session: ImplicitSession,
        }
    }

    /// Lists the names of the collections and views of the database.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_collection_names(&self) -> ListCollectionNames<'_> {
        ListCollectionNames {
            place: self.place(),
            options: None,
            session: ImplicitSession,
        }
    }
}

/// One of the two verbs: names are read to the end, specifications through a cursor.
macro_rules! list_collections {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "verbs do nothing unless awaited or run"]
        #[derive(Debug)]
        pub struct $name<'a, S = ImplicitSession> {
            pub(super) place: &'a Place,
            pub(super) options: Option<Box<ListCollectionsOptions>>,
            pub(super) session: S,
        }

        list_collections_setters!(impl ['a, S] $name<'a, S>);

        impl<'a> $name<'a> {
            /// Runs in a session of the caller's.
            pub fn session<'s>(
                self,
                value: impl Into<&'s mut ClientSession>,
            ) -> $name<'a, ExplicitSession<'s>> {
                $name {
                    place: self.place,
                    options: self.options,
                    session: ExplicitSession(value.into()),
                }
            }
        }
    };
}

list_collections! {
    /// Lists collections; made by [`Database::list_collections`].
    ListCollections
}
list_collections! {
    /// Lists the names of collections; made by [`Database::list_collection_names`].
    ListCollectionNames
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
        let mut cursor: Cursor<()> = open(self.place, built).await?;
        let mut names = Vec::new();
        while cursor.advance().await? {
            names.push(reply::name(cursor.current())?);
        }
        Ok(names)
    }
}

impl ListCollectionNames<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<Vec<String>> {
        let session = self.session.0;
        let built = build(&self.place.scope, true, self.options.as_deref())?;
        let mut cursor: SessionCursor<()> = open_in(self.place, built, session).await?;
        let mut names = Vec::new();
        while cursor.advance(session).await? {
            names.push(reply::name(cursor.current())?);
        }
        Ok(names)
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
