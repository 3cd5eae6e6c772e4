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

use super::{
    CommandFuture, Place, Scope, action, body::Body, reply::single_write, running, session_setter,
};
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

    fn perform(self) -> CommandFuture<'a, UpdateResult> {
        let options = self.options.as_deref();
        let spec = build(
            &self.place.scope,
            &self.query,
            &self.update,
            self.multi,
            options,
        );
        running(self.place, spec, self.session, (), updated)
    }
}

action!(impl ['a] Update<'a> => UpdateResult; command with ());

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
    fn perform(self) -> CommandFuture<'a, UpdateResult> {
        let options = self.options.as_deref();
        let spec = self.replacement.and_then(|replacement| {
            let spec = build_replace(&self.place.scope, &self.query, &replacement, options);
            buffers::keep(replacement.into_bytes());
            spec
        });
        running(self.place, spec, self.session, (), updated)
    }
}

action!(impl ['a] ReplaceOne<'a> => UpdateResult; command with ());

fn updated((): (), executed: &Executed) -> Result<UpdateResult> {
    if let Some(counts) = executed.counts {
        return Ok(UpdateResult {
            matched_count: counts.n,
            modified_count: counts.n_modified,
            upserted_id: None,
        });
    }
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

/// One statement, in a sequence of its own.
pub(super) fn statement(identifier: &'static str, statement: Body) -> Result<DocumentSequence> {
    Ok(DocumentSequence {
        identifier,
        documents: statement.finish()?.take_buffer().into(),
    })
}

/// Builds the `update` command of an update.
pub(super) fn build(
    scope: &Scope,
    query: &Document,
    update: &UpdateModifications,
    multi: bool,
    options: Option<&UpdateOptions>,
) -> Result<CommandSpec> {
    let mut change = Body::empty();
    change.document("q", query)?;
    put_update(&mut change, "u", update)?;
    if multi {
        change.bool("multi", true);
    }
    let mut body = Body::new("update", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        if multi && o.sort.is_some() {
            return Err(Error::invalid_argument("sort: not for update_many"));
        }
        change.opt_bool("upsert", o.upsert);
        change.opt("arrayFilters", o.array_filters.as_ref())?;
        change.opt("collation", o.collation.as_ref())?;
        change.opt("hint", o.hint.as_ref())?;
        change.opt_document("sort", o.sort.as_ref())?;
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
    let updates = statement("updates", change)?;
    let mut spec = scope.write_one("update", body.finish()?, retryability, concern, updates)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok(spec)
}

/// Builds the `update` command of a replacement.
pub(super) fn build_replace(
    scope: &Scope,
    query: &Document,
    replacement: &RawDocumentBuf,
    options: Option<&ReplaceOptions>,
) -> Result<CommandSpec> {
    let mut change = Body::empty();
    change.document("q", query)?;
    change.raw("u", replacement);
    let mut body = Body::new("update", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        change.opt_bool("upsert", o.upsert);
        change.opt("collation", o.collation.as_ref())?;
        change.opt("hint", o.hint.as_ref())?;
        change.opt_document("sort", o.sort.as_ref())?;
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let updates = statement("updates", change)?;
    let retryability = Retryability::Write;
    let mut spec = scope.write_one("update", body.finish()?, retryability, concern, updates)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok(spec)
}
