//! `count_documents` and `estimated_document_count` (specification: "CRUD").

use bson::{Document, doc};
use mongo_client_core::{
    error::{Error, Result},
    op::{CommandSpec, parse_count, parse_first_document},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    client::SessionArg,
    collection::Collection,
    options::{
        CountOptions, EstimatedDocumentCountOptions, count_setters,
        estimated_document_count_setters,
    },
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Counts the documents that match, exactly.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn count_documents(&self, filter: Document) -> CountDocuments<'_> {
        CountDocuments {
            place: self.place(),
            filter,
            options: None,
            session: None,
        }
    }

    /// Estimates the number of all documents from the collection's metadata; fast.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn estimated_document_count(&self) -> EstimatedDocumentCount<'_> {
        EstimatedDocumentCount {
            place: self.place(),
            options: None,
        }
    }
}

/// Counts documents; made by [`Collection::count_documents`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct CountDocuments<'a> {
    place: &'a Place,
    filter: Document,
    options: Option<Box<CountOptions>>,
    session: Option<&'a mut ClientSession>,
}

count_setters!(impl ['a] CountDocuments<'a>);
session_setter!(impl ['a] CountDocuments<'a>);

impl CountDocuments<'_> {
    async fn perform(self) -> Result<u64> {
        let spec = build(&self.place.scope, self.filter, self.options.as_deref())?;
        let executed = self
            .place
            .client
            .execute(spec, session_arg(self.session))
            .await?;
        // No document matched: no group was made.
        match parse_first_document(executed.reply.document())? {
            None => Ok(0),
            Some(group) => parse_count(group),
        }
    }
}

action!(impl ['a] CountDocuments<'a> => u64);

/// Estimates the number of documents; made by [`Collection::estimated_document_count`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct EstimatedDocumentCount<'a> {
    place: &'a Place,
    options: Option<Box<EstimatedDocumentCountOptions>>,
}

estimated_document_count_setters!(impl ['a] EstimatedDocumentCount<'a>);

impl EstimatedDocumentCount<'_> {
    async fn perform(self) -> Result<u64> {
        let spec = build_estimated(&self.place.scope, self.options.as_deref())?;
        let executed = self
            .place
            .client
            .execute(spec, SessionArg::Implicit)
            .await?;
        parse_count(executed.reply.document())
    }
}

action!(impl ['a] EstimatedDocumentCount<'a> => u64);

/// Builds the `aggregate` command that counts.
pub(super) fn build(
    scope: &Scope,
    filter: Document,
    options: Option<&CountOptions>,
) -> Result<CommandSpec> {
    let mut pipeline = vec![doc! { "$match": filter }];
    if let Some(o) = options {
        for (stage, value) in [("$skip", o.skip), ("$limit", o.limit)] {
            if let Some(value) = value {
                let value = i64::try_from(value).map_err(|_| {
                    Error::invalid_argument(format!("{} is too large", &stage[1..]))
                })?;
                pipeline.push(doc! { stage: value });
            }
        }
    }
    pipeline.push(doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } });
    let mut body = Body::new("aggregate", &scope.name);
    body.put("pipeline", &pipeline)?;
    body.document("cursor", &Document::new())?;
    let Some(o) = options else {
        return scope.read("aggregate", body.finish()?, None, None);
    };
    body.opt("hint", o.hint.as_ref())?;
    body.opt("collation", o.collation.as_ref())?;
    body.opt_max_time(o.max_time)?;
    body.opt_bson("comment", o.comment.as_ref())?;
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    scope.read("aggregate", body.finish()?, criteria, concern)
}

/// Builds the `count` command.
pub(super) fn build_estimated(
    scope: &Scope,
    options: Option<&EstimatedDocumentCountOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("count", &scope.name);
    let Some(o) = options else {
        return scope.read("count", body.finish()?, None, None);
    };
    body.opt_max_time(o.max_time)?;
    body.opt_bson("comment", o.comment.as_ref())?;
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    scope.read("count", body.finish()?, criteria, concern)
}
