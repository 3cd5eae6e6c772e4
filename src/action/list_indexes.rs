//! `list_indexes` and `list_index_names` (specification: "Index Management", "Enumerate Indexes").

use mongo_client_core::{
    cursor::CursorSpec,
    error::Result,
    op::{CommandSpec, Retryability, Target},
    read_preference::ReadPreference,
};

use super::{
    ExplicitSession, ImplicitSession, Place, Scope, action,
    body::Body,
    drop::existing,
    listing::{listing, names, names_in},
    open::{open, open_in},
};
use crate::{
    collection::Collection,
    cursor::{Cursor, SessionCursor},
    options::{IndexModel, ListIndexesOptions, list_indexes_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Lists the indexes of the collection; none when it does not exist. Retried once.
    ///
    /// Awaiting gives a [`Cursor`], or a [`SessionCursor`] after
    /// [`session`](ListIndexes::session). See [the module](crate::action) for errors and
    /// cancellation.
    pub fn list_indexes(&self) -> ListIndexes<'_> {
        ListIndexes::new(self.place())
    }

    /// Lists the names of the collection's indexes; none when it does not exist. Retried once.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_index_names(&self) -> ListIndexNames<'_> {
        ListIndexNames::new(self.place())
    }
}

listing! {
    /// Lists indexes; made by [`Collection::list_indexes`].
    ListIndexes, ListIndexesOptions, list_indexes_setters
}
listing! {
    /// Lists the names of indexes; made by [`Collection::list_index_names`].
    ListIndexNames, ListIndexesOptions, list_indexes_setters
}

/// A cursor over the indexes, or none where there is no collection.
async fn cursor<T>(place: &Place, options: Option<&ListIndexesOptions>) -> Result<Cursor<T>> {
    let opened = open(place, build(&place.scope, options)?).await;
    Ok(existing(opened)?.unwrap_or_else(|| Cursor::empty(place.client.clone())))
}

/// As [`cursor`], in a session of the caller's.
async fn cursor_in<T>(
    place: &Place,
    options: Option<&ListIndexesOptions>,
    session: &mut ClientSession,
) -> Result<SessionCursor<T>> {
    let opened = open_in(place, build(&place.scope, options)?, session).await;
    Ok(existing(opened)?.unwrap_or_else(|| SessionCursor::empty(place.client.clone())))
}

impl ListIndexes<'_> {
    async fn perform(self) -> Result<Cursor<IndexModel>> {
        cursor(self.place, self.options.as_deref()).await
    }
}

impl ListIndexes<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<SessionCursor<IndexModel>> {
        cursor_in(self.place, self.options.as_deref(), self.session.0).await
    }
}

impl ListIndexNames<'_> {
    async fn perform(self) -> Result<Vec<String>> {
        names(cursor(self.place, self.options.as_deref()).await?).await
    }
}

impl ListIndexNames<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<Vec<String>> {
        let (options, session) = (self.options.as_deref(), self.session.0);
        names_in(cursor_in(self.place, options, session).await?, session).await
    }
}

action!(impl ['a] ListIndexes<'a> => Cursor<IndexModel>);
action!(impl ['a] ListIndexes<'a, ExplicitSession<'a>> => SessionCursor<IndexModel>);
action!(impl ['a] ListIndexNames<'a> => Vec<String>);
action!(impl ['a] ListIndexNames<'a, ExplicitSession<'a>> => Vec<String>);

/// Builds the `listIndexes` command.
pub(super) fn build(
    scope: &Scope,
    options: Option<&ListIndexesOptions>,
) -> Result<(CommandSpec, CursorSpec)> {
    let mut body = Body::new("listIndexes", &scope.name);
    let mut settings = CursorSpec::default();
    let mut cursor = Body::empty();
    if let Some(o) = options {
        body.opt_max_time(o.max_time)?;
        body.opt_bson("comment", o.comment.as_ref())?;
        settings.batch_size = o.batch_size;
        settings.comment.clone_from(&o.comment);
        if let Some(size) = o.batch_size {
            cursor.int("batchSize", i64::from(size));
        }
    }
    body.raw("cursor", &cursor.finish()?);
    let mut spec = scope.command("listIndexes", body.finish()?)?;
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok((spec, settings))
}
