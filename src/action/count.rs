//! `count_documents` and `estimated_document_count` (specification: "CRUD").

use bson::{Document, RawDocument, doc};
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
    /// Counts the documents that match, exactly, by an aggregation.
    ///
    /// The filter is a `$match` stage, so it cannot have `$where` (use `$expr`), `$near` and
    /// `$nearSphere` (use `$geoWithin`). An empty filter reads the whole collection; see
    /// [`Collection::estimated_document_count`] for something faster.
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

    /// Counts the documents that match, with the command `count`: not exact in sharded clusters while
    /// documents move, and no more than an estimate without a filter.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    #[deprecated(note = "use count_documents or estimated_document_count")]
    pub fn count(&self, filter: Document) -> Count<'_> {
        Count {
            place: self.place(),
            filter,
            options: None,
            session: None,
        }
    }

    /// Estimates the number of all documents from the collection's metadata; fast.
    ///
    /// Uses the command `count`, whose manual page says how good the estimate is. Servers 5.0.0 to
    /// 5.0.8 do not have that command in their stable API: with `strict` they refuse it.
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
    pub(super) place: &'a Place,
    pub(super) filter: Document,
    pub(super) options: Option<Box<CountOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
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
        match parse_first_document(executed.reply.as_bytes())? {
            None => Ok(0),
            Some(group) => parse_count(RawDocument::from_bytes(group)?),
        }
    }
}

action!(impl ['a] CountDocuments<'a> => u64);

/// Counts documents; made by the deprecated [`Collection::count`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Count<'a> {
    place: &'a Place,
    filter: Document,
    options: Option<Box<CountOptions>>,
    session: Option<&'a mut ClientSession>,
}

count_setters!(impl ['a] Count<'a>);
session_setter!(impl ['a] Count<'a>);

impl Count<'_> {
    async fn perform(self) -> Result<u64> {
        let spec = build_count(&self.place.scope, &self.filter, self.options.as_deref())?;
        let client = &self.place.client;
        let executed = client.execute(spec, session_arg(self.session)).await?;
        parse_count(executed.reply.document())
    }
}

action!(impl ['a] Count<'a> => u64);

/// Estimates the number of documents; made by [`Collection::estimated_document_count`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct EstimatedDocumentCount<'a> {
    pub(super) place: &'a Place,
    pub(super) options: Option<Box<EstimatedDocumentCountOptions>>,
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
    let mut spec = scope.read("aggregate", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok(spec)
}

/// Builds the `count` command with a filter.
pub(super) fn build_count(
    scope: &Scope,
    filter: &Document,
    options: Option<&CountOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("count", &scope.name);
    body.document("query", filter)?;
    let Some(o) = options else {
        return scope.read("count", body.finish()?, None, None);
    };
    body.opt_count("limit", o.limit)?;
    body.opt_count("skip", o.skip)?;
    body.opt("hint", o.hint.as_ref())?;
    body.opt("collation", o.collation.as_ref())?;
    body.opt_max_time(o.max_time)?;
    body.opt_bson("comment", o.comment.as_ref())?;
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    let mut spec = scope.read("count", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok(spec)
}

/// Builds the `count` command that estimates.
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
    let mut spec = scope.read("count", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok(spec)
}
