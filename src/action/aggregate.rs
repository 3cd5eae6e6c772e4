//! `aggregate` on a collection or a database (specification: "CRUD").

use std::marker::PhantomData;

use bson::Document;
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
    scope::read_preference,
};
use crate::{
    collection::Collection,
    cursor::{Cursor, SessionCursor},
    database::Database,
    options::{AggregateOptions, aggregate_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Runs an aggregation pipeline.
    ///
    /// Awaiting gives a cursor of documents; see [`Aggregate::with_type`] for other types and
    /// [the module](crate::action) for errors and cancellation. A pipeline that ends in `$out` or
    /// `$merge` runs where the selection criteria say if all servers are of MongoDB 5.0 or later,
    /// otherwise on the primary.
    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate<'_> {
        Aggregate::new(self.place(), pipeline)
    }
}

impl Database {
    /// Runs an aggregation pipeline that needs no collection, such as `$currentOp`.
    ///
    /// See [`Collection::aggregate`].
    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate<'_> {
        Aggregate::new(self.place(), pipeline)
    }
}

/// Runs an aggregation pipeline; made by [`Collection::aggregate`] and [`Database::aggregate`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Aggregate<'a, S = ImplicitSession, T = Document> {
    pub(super) place: &'a Place,
    pub(super) pipeline: Vec<Document>,
    pub(super) options: Option<Box<AggregateOptions>>,
    pub(super) session: S,
    item: PhantomData<fn() -> T>,
}

aggregate_setters!(impl ['a, S, T] Aggregate<'a, S, T>);

impl<'a> Aggregate<'a> {
    fn new(place: &'a Place, pipeline: impl IntoIterator<Item = Document>) -> Self {
        Self {
            place,
            pipeline: pipeline.into_iter().collect(),
            options: None,
            session: ImplicitSession,
            item: PhantomData,
        }
    }
}

impl<'a, S, T> Aggregate<'a, S, T> {
    /// Decodes the results into another type.
    pub fn with_type<U>(self) -> Aggregate<'a, S, U> {
        Aggregate {
            place: self.place,
            pipeline: self.pipeline,
            options: self.options,
            session: self.session,
            item: PhantomData,
        }
    }

    fn build(&self) -> Result<(CommandSpec, CursorSpec)> {
        build(&self.place.scope, &self.pipeline, self.options.as_deref())
    }
}

impl<'a, T> Aggregate<'a, ImplicitSession, T> {
    /// Runs in a session of the caller's; the cursor becomes a [`SessionCursor`].
    pub fn session<'s>(
        self,
        value: impl Into<&'s mut ClientSession>,
    ) -> Aggregate<'a, ExplicitSession<'s>, T> {
        Aggregate {
            place: self.place,
            pipeline: self.pipeline,
            options: self.options,
            session: ExplicitSession(value.into()),
            item: PhantomData,
        }
    }

    async fn perform(self) -> Result<Cursor<T>> {
        let built = self.build()?;
        open(self.place, built).await
    }
}

impl<T> Aggregate<'_, ExplicitSession<'_>, T> {
    async fn perform(self) -> Result<SessionCursor<T>> {
        let built = self.build()?;
        open_in(self.place, built, self.session.0).await
    }
}

action!(impl ['a, T: 'a] Aggregate<'a, ImplicitSession, T> => Cursor<T>);
action!(impl ['a, T: 'a] Aggregate<'a, ExplicitSession<'a>, T> => SessionCursor<T>);

/// Whether a pipeline writes: its last stage is `$out` or `$merge`.
fn writes(pipeline: &[Document]) -> bool {
    pipeline
        .last()
        .and_then(|stage| stage.keys().next())
        .is_some_and(|name| name == "$out" || name == "$merge")
}

/// Builds the `aggregate` command.
pub(super) fn build(
    scope: &Scope,
    pipeline: &[Document],
    options: Option<&AggregateOptions>,
) -> Result<(CommandSpec, CursorSpec)> {
    let mut body = if scope.name.is_empty() {
        Body::with_one("aggregate")
    } else {
        Body::new("aggregate", &scope.name)
    };
    body.put("pipeline", pipeline)?;
    let writes = writes(pipeline);
    // An empty first batch would keep a pipeline that writes from running.
    let batch_size = options
        .and_then(|o| o.batch_size)
        .filter(|&size| !writes || size != 0);
    let mut cursor = Body::empty();
    if let Some(size) = batch_size {
        cursor.int("batchSize", i64::from(size));
    }
    body.raw("cursor", &cursor.finish()?);
    let mut settings = CursorSpec {
        batch_size,
        ..CursorSpec::default()
    };
    if let Some(o) = options {
        body.opt_bool("allowDiskUse", o.allow_disk_use);
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt("collation", o.collation.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
        body.opt("hint", o.hint.as_ref())?;
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_max_time(o.max_time)?;
        settings.comment.clone_from(&o.comment);
        settings.max_await_time = o.max_await_time;
    }
    let read_concern = options.and_then(|o| o.read_concern.as_ref());
    let criteria = options.and_then(|o| o.selection_criteria.as_ref());
    let mut spec = if writes {
        let concern = options.and_then(|o| o.write_concern.as_ref());
        let body = body.finish()?;
        let mut spec = scope.write("aggregate", body, Retryability::None, concern)?;
        spec.read_concern = read_concern.or(scope.read_concern()).cloned();
        match read_preference(criteria.or(scope.criteria())) {
            ReadPreference::Primary => {}
            preference => spec.target = Target::Output(preference.into()),
        }
        spec
    } else {
        scope.read("aggregate", body.finish()?, criteria, read_concern)?
    };
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok((spec, settings))
}
