//! `update_one`, `update_many` and `replace_one` (specification: "CRUD").

use std::borrow::Borrow;

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    codec,
    error::{Error, Result},
    op::{CommandSpec, DocumentSequence, Retryability, WriteReply, parse_update},
};
use mongo_client_driver::buffers;
use serde::Serialize;

use super::{Place, Scope, action, body::Body, reply::single_write, running, session_setter};
use crate::{
    client::Executed,
    collection::Collection,
    options::{
        ReplaceOptions, UpdateModifications, UpdateOptions, replace_setters, update_setters,
    },
    results::UpdateResult,
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Updates the first document that matches. Retried once when the network fails.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn update_one(
        &self,
        query: Document,
        update: impl Into<UpdateModifications>,
    ) -> Update<'_> {
        Update::new(self.place(), query, update.into(), false)
    }

    /// Updates all documents that match. Not retried: a repetition could change more.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn update_many(
        &self,
        query: Document,
        update: impl Into<UpdateModifications>,
    ) -> Update<'_> {
        Update::new(self.place(), query, update.into(), true)
    }
}

impl<T: Send + Sync + Serialize> Collection<T> {
    /// Replaces the first document that matches. Retried once when the network fails.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn replace_one(&self, query: Document, replacement: impl Borrow<T>) -> ReplaceOne<'_> {
        ReplaceOne {
            place: self.place(),
            query,
            replacement: encode_replacement(replacement.borrow()),
            options: None,
            session: None,
        }
    }
}

/// Updates documents; made by [`Collection::update_one`] and [`Collection::update_many`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Update<'a> {
    pub(super) place: &'a Place,
    pub(super) query: Document,
    pub(super) update: UpdateModifications,
    pub(super) multi: bool,
    pub(super) options: Option<Box<UpdateOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
}

update_setters!(impl ['a] Update<'a>);
session_setter!(impl ['a] Update<'a>);

impl<'a> Update<'a> {
    fn new(place: &'a Place, query: Document, update: UpdateModifications, multi: bool) -> Self {
        Self {
            place,
            query,
            update,
            multi,
            options: None,
            session: None,
        }
    }

    fn perform(self) -> impl Future<Output = Result<UpdateResult>> + Send + 'a {
        let options = self.options.as_deref();
        let spec = build(
            &self.place.scope,
            &self.query,
            &self.update,
            self.multi,
            options,
        );
        running(self.place, spec, self.session, updated)
    }
}

action!(impl ['a] Update<'a> => UpdateResult);

/// Replaces a document; made by [`Collection::replace_one`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct ReplaceOne<'a> {
    pub(super) place: &'a Place,
    pub(super) query: Document,
    pub(super) replacement: Result<RawDocumentBuf>,
    pub(super) options: Option<Box<ReplaceOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
}

replace_setters!(impl ['a] ReplaceOne<'a>);
session_setter!(impl ['a] ReplaceOne<'a>);

impl<'a> ReplaceOne<'a> {
    fn perform(self) -> impl Future<Output = Result<UpdateResult>> + Send + 'a {
        let options = self.options.as_deref();
        let spec = self.replacement.and_then(|replacement| {
            let spec = build_replace(&self.place.scope, &self.query, &replacement, options);
            buffers::keep(replacement.into_bytes());
            spec
        });
        running(self.place, spec, self.session, updated)
    }
}

action!(impl ['a] ReplaceOne<'a> => UpdateResult);

fn updated(executed: &Executed) -> Result<UpdateResult> {
    single_write(executed, parse_update).map(into_result)
}

/// An upsert counts as `n`, but it matched nothing.
fn into_result(reply: WriteReply) -> UpdateResult {
    let upserted = u64::try_from(reply.upserted.len()).unwrap_or(u64::MAX);
    UpdateResult {
        matched_count: reply.n.saturating_sub(upserted),
        modified_count: reply.n_modified,
        upserted_id: reply.upserted.into_iter().next().map(|u| u.id),
    }
}

/// What an encoded replacement starts with: enough for small ones.
const REPLACEMENT_CAPACITY: usize = 512;

/// Encodes a replacement, which must not look like an update.
pub(super) fn encode_replacement<R: Serialize>(replacement: &R) -> Result<RawDocumentBuf> {
    let mut bytes = buffers::take();
    bytes.reserve(REPLACEMENT_CAPACITY);
    codec::append(replacement, &mut bytes)?;
    let replacement = RawDocumentBuf::from_bytes(bytes)?;
    let mut elements = codec::walk::Elements::new(replacement.as_bytes())?;
    if let Some(first) = elements.next()
        && first?.key.starts_with(b"$")
    {
        return Err(Error::invalid_argument(
            "replacement: the first key must not start with '$'",
        ));
    }
    Ok(replacement)
}

/// Writes an update; operators must start with `$`.
pub(super) fn put_update(
    body: &mut Body,
    key: &'static str,
    update: &UpdateModifications,
) -> Result<()> {
    match update {
        UpdateModifications::Document(update) => {
            if !update
                .keys()
                .next()
                .is_some_and(|first| first.starts_with('$'))
            {
                return Err(Error::invalid_argument(
                    "update: the first key must start with '$'",
                ));
            }
            body.document(key, update)
        }
        UpdateModifications::Pipeline(stages) if stages.is_empty() => Err(Error::invalid_argument(
            "update: the pipeline must not be empty",
        )),
        UpdateModifications::Pipeline(stages) => body.put(key, stages),
    }
}

/// A command with one statement in a sequence of its own.
pub(super) fn with_statement(
    mut spec: CommandSpec,
    identifier: &'static str,
    statement: Body,
) -> Result<CommandSpec> {
    // Failures of the write itself are read together with its write concern error.
    spec.check_write_concern_error = false;
    let documents = statement.finish()?.into_bytes().into();
    spec.sequences = vec![DocumentSequence {
        identifier,
        documents,
    }];
    Ok(spec)
}

/// Builds the `update` command of an update.
pub(super) fn build(
    scope: &Scope,
    query: &Document,
    update: &UpdateModifications,
    multi: bool,
    options: Option<&UpdateOptions>,
) -> Result<CommandSpec> {
    let mut statement = Body::empty();
    statement.document("q", query)?;
    put_update(&mut statement, "u", update)?;
    if multi {
        statement.bool("multi", true);
    }
    let mut body = Body::new("update", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        if multi && o.sort.is_some() {
            return Err(Error::invalid_argument("sort: not for update_many"));
        }
        statement.opt_bool("upsert", o.upsert);
        statement.opt("arrayFilters", o.array_filters.as_ref())?;
        statement.opt("collation", o.collation.as_ref())?;
        statement.opt("hint", o.hint.as_ref())?;
        statement.opt_document("sort", o.sort.as_ref())?;
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let retryability = if multi {
        Retryability::None
    } else {
        Retryability::Write
    };
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("update", body.finish()?, retryability, concern)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    with_statement(spec, "updates", statement)
}

/// Builds the `update` command of a replacement.
pub(super) fn build_replace(
    scope: &Scope,
    query: &Document,
    replacement: &RawDocumentBuf,
    options: Option<&ReplaceOptions>,
) -> Result<CommandSpec> {
    let mut statement = Body::empty();
    statement.document("q", query)?;
    statement.raw("u", replacement);
    let mut body = Body::new("update", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        statement.opt_bool("upsert", o.upsert);
        statement.opt("collation", o.collation.as_ref())?;
        statement.opt("hint", o.hint.as_ref())?;
        statement.opt_document("sort", o.sort.as_ref())?;
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("update", body.finish()?, Retryability::Write, concern)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    with_statement(spec, "updates", statement)
}
