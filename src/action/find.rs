//! `find` and `find_one` (specification: "CRUD", "Find, getMore and killCursors commands").

use std::marker::PhantomData;

use bson::Document;
use mongo_client_core::{
    codec,
    cursor::CursorSpec,
    error::{Error, Result},
    op::{CommandSpec, parse_first_document},
};
use serde::de::DeserializeOwned;

use super::{
    CommandFuture, ExplicitSession, ImplicitSession, Place, Scope, action,
    body::Body,
    open::{open, open_in},
    running, session_setter,
};
use crate::{
    collection::Collection,
    cursor::{Cursor, SessionCursor},
    options::{CursorType, FindOneOptions, FindOptions, find_one_setters, find_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Finds documents.
    ///
    /// Awaiting gives a [`Cursor`], or a [`SessionCursor`] after
    /// [`session`](Find::session). See [the module](crate::action) for errors and cancellation.
    pub fn find(&self, filter: Document) -> Find<'_, T> {
        Find {
            place: self.place(),
            filter,
            options: None,
            session: ImplicitSession,
            item: PhantomData,
        }
    }

    /// Finds the first document that matches.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn find_one(&self, filter: Document) -> FindOne<'_, T> {
        FindOne {
            place: self.place(),
            filter,
            options: None,
            session: None,
            item: PhantomData,
        }
    }
}

/// Finds documents; made by [`Collection::find`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Find<'a, T, S = ImplicitSession> {
    pub(super) place: &'a Place,
    pub(super) filter: Document,
    pub(super) options: Option<Box<FindOptions>>,
    pub(super) session: S,
    item: PhantomData<fn() -> T>,
}

find_setters!(impl ['a, T, S] Find<'a, T, S>);

impl<'a, T> Find<'a, T> {
    /// Runs in a session of the caller's; the cursor becomes a [`SessionCursor`].
    pub fn session<'s>(
        self,
        value: impl Into<&'s mut ClientSession>,
    ) -> Find<'a, T, ExplicitSession<'s>> {
        Find {
            place: self.place,
            filter: self.filter,
            options: self.options,
            session: ExplicitSession(value.into()),
            item: PhantomData,
        }
    }

    async fn perform(self) -> Result<Cursor<T>> {
        let built = build(&self.place.scope, &self.filter, self.options.as_deref())?;
        open(self.place, built).await
    }
}

impl<T> Find<'_, T, ExplicitSession<'_>> {
    async fn perform(self) -> Result<SessionCursor<T>> {
        let built = build(&self.place.scope, &self.filter, self.options.as_deref())?;
        open_in(self.place, built, self.session.0).await
    }
}

action!(impl ['a, T: 'a] Find<'a, T, ImplicitSession> => Cursor<T>);
action!(impl ['a, T: 'a] Find<'a, T, ExplicitSession<'a>> => SessionCursor<T>);

/// Finds one document; made by [`Collection::find_one`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct FindOne<'a, T> {
    pub(super) place: &'a Place,
    pub(super) filter: Document,
    pub(super) options: Option<Box<FindOneOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
    item: PhantomData<fn() -> T>,
}

find_one_setters!(impl ['a, T] FindOne<'a, T>);
session_setter!(impl ['a, T] FindOne<'a, T>);

impl<'a, T: DeserializeOwned + 'a> FindOne<'a, T> {
    fn perform(self) -> CommandFuture<'a, Option<T>> {
        let spec = build_one(&self.place.scope, &self.filter, self.options.as_deref());
        running(
            self.place,
            spec,
            self.session,
            (),
            |(), executed| match parse_first_document(executed.reply.as_bytes())? {
                Some(document) => codec::from_slice(document).map(Some),
                None => Ok(None),
            },
        )
    }
}

action!(impl ['a, T: DeserializeOwned + 'a] FindOne<'a, T> => Option<T>; command with ());

/// How many documents to ask for, as the `find` command wants it said.
struct Limits {
    limit: Option<i64>,
    batch_size: Option<i64>,
    single_batch: bool,
}

impl Limits {
    fn new(limit: Option<i64>, batch_size: Option<u32>) -> Self {
        let limit = limit.unwrap_or(0);
        let single_batch = limit < 0;
        let limit = limit.saturating_abs();
        let batch_size = match i64::from(batch_size.unwrap_or(0)) {
            // One batch holds 101 documents unless it is told otherwise.
            _ if single_batch => limit,
            // A batch that ends at the limit leaves the cursor open on the server.
            size if size == limit && size != 0 => size + 1,
            size => size,
        };
        Self {
            limit: (limit != 0).then_some(limit),
            batch_size: (batch_size != 0).then_some(batch_size),
            single_batch,
        }
    }
}

/// Builds the `find` command of a cursor.
pub(super) fn build(
    scope: &Scope,
    filter: &Document,
    options: Option<&FindOptions>,
) -> Result<(CommandSpec, CursorSpec)> {
    let mut body = Body::new("find", &scope.name);
    body.document("filter", filter)?;
    let mut settings = CursorSpec::default();
    let Some(o) = options else {
        return Ok((scope.read("find", body.finish()?, None, None)?, settings));
    };
    let kind = o.cursor_type.unwrap_or_default();
    if o.max_await_time.is_some() && kind != CursorType::TailableAwait {
        return Err(Error::invalid_argument(
            "max_await_time: only for cursors of type TailableAwait",
        ));
    }
    body.opt_document("sort", o.sort.as_ref())?;
    body.opt_document("projection", o.projection.as_ref())?;
    body.opt("hint", o.hint.as_ref())?;
    body.opt_count("skip", o.skip)?;
    let limits = Limits::new(o.limit, o.batch_size);
    if let Some(limit) = limits.limit {
        body.int("limit", limit);
    }
    if let Some(size) = limits.batch_size {
        body.int("batchSize", size);
    }
    if limits.single_batch {
        body.bool("singleBatch", true);
    }
    body.opt_bson("comment", o.comment.as_ref())?;
    body.opt_max_time(o.max_time)?;
    body.opt_document("max", o.max.as_ref())?;
    body.opt_document("min", o.min.as_ref())?;
    body.opt_count("maxScan", o.max_scan)?;
    body.opt_bool("returnKey", o.return_key);
    body.opt_bool("showRecordId", o.show_record_id);
    body.opt_bool("allowDiskUse", o.allow_disk_use);
    body.opt_bool("allowPartialResults", o.allow_partial_results);
    body.opt_bool("noCursorTimeout", o.no_cursor_timeout);
    body.opt_bool("oplogReplay", o.oplog_replay);
    if kind != CursorType::NonTailable {
        body.bool("tailable", true);
    }
    if kind == CursorType::TailableAwait {
        body.bool("awaitData", true);
    }
    body.opt("collation", o.collation.as_ref())?;
    body.opt_document("let", o.let_vars.as_ref())?;
    settings.batch_size = o.batch_size;
    settings.limit = limits.limit;
    settings.tailable = kind != CursorType::NonTailable;
    settings.await_data = kind == CursorType::TailableAwait;
    settings.max_await_time = o.max_await_time;
    settings.comment.clone_from(&o.comment);
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    let mut spec = scope.read("find", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok((spec, settings))
}

/// Builds the `find` command for one document.
pub(super) fn build_one(
    scope: &Scope,
    filter: &Document,
    options: Option<&FindOneOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("find", &scope.name);
    body.document("filter", filter)?;
    body.int("limit", 1);
    body.bool("singleBatch", true);
    let Some(o) = options else {
        return scope.read("find", body.finish()?, None, None);
    };
    body.opt_document("sort", o.sort.as_ref())?;
    body.opt_document("projection", o.projection.as_ref())?;
    body.opt("hint", o.hint.as_ref())?;
    body.opt_count("skip", o.skip)?;
    body.opt_bson("comment", o.comment.as_ref())?;
    body.opt_max_time(o.max_time)?;
    body.opt_document("max", o.max.as_ref())?;
    body.opt_document("min", o.min.as_ref())?;
    body.opt_count("maxScan", o.max_scan)?;
    body.opt_bool("returnKey", o.return_key);
    body.opt_bool("showRecordId", o.show_record_id);
    body.opt_bool("allowDiskUse", o.allow_disk_use);
    body.opt_bool("allowPartialResults", o.allow_partial_results);
    body.opt("collation", o.collation.as_ref())?;
    body.opt_document("let", o.let_vars.as_ref())?;
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    let mut spec = scope.read("find", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok(spec)
}
