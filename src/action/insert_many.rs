//! `insert_many`: batches of documents, and what became of each (specification: "CRUD").

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    ops::Range,
};

use bson::{Bson, RawDocumentBuf};
use mongo_client_core::{
    error::{Error, ErrorKind, IndexedWriteError, InsertManyError, Result},
    net::ServerAddress,
    op::{
        BatchLimits, CommandSpec, DocumentSequence, Pieces, Retryability, parse_insert,
        split_batches,
    },
};
use serde::Serialize;

use super::{
    Place, Scope, action, body::Body, documents::Documents, reply::labelled, session_arg,
    session_setter,
};
use crate::{
    client::Executed,
    collection::Collection,
    options::{InsertManyOptions, insert_many_setters},
    results::InsertManyResult,
    session::ClientSession,
};

impl<T: Send + Sync + Serialize> Collection<T> {
    /// Inserts documents, in as many commands as their number and size need.
    ///
    /// Each command is retried once when the network fails. With `ordered(false)` the server goes
    /// on after a refused document. Documents without `_id` get one before the first attempt.
    ///
    /// # Errors
    ///
    /// `InsertMany` says which documents were refused and which were inserted; a failure of the
    /// network or of a whole command ends the verb with its own error; when earlier commands were
    /// answered, its source is an `InsertMany` error that says what they did. See
    /// [the module](crate::action) for the rest.
    ///
    /// # Cancel safety
    ///
    /// As with a failure, commands that were sent before may have been executed.
    pub fn insert_many(&self, docs: impl IntoIterator<Item = impl Borrow<T>>) -> InsertMany<'_> {
        let place = self.place();
        let documents = Documents::encode(docs, || Ok(place.client.next_object_id()));
        InsertMany {
            place,
            documents,
            options: None,
            session: None,
        }
    }
}

/// Inserts documents; made by [`Collection::insert_many`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct InsertMany<'a> {
    place: &'a Place,
    documents: Result<Documents>,
    options: Option<Box<InsertManyOptions>>,
    session: Option<&'a mut ClientSession>,
}

insert_many_setters!(impl ['a] InsertMany<'a>);
session_setter!(impl ['a] InsertMany<'a>);

impl InsertMany<'_> {
    async fn perform(mut self) -> Result<InsertManyResult> {
        let documents = self.documents?;
        let options = self.options.as_deref();
        let ordered = options.and_then(|o| o.ordered).unwrap_or(true);
        let mut outcome = Outcome::new(ordered);
        for batch in split_batches(&documents.ends, &BatchLimits::default())? {
            let spec = build(&self.place.scope, documents.slice(&batch), options)?;
            let session = self.session.as_deref_mut();
            let sent = self.place.client.execute(spec, session_arg(session)).await;
            let goes_on = match sent.and_then(|executed| outcome.record(&batch, &executed)) {
                Ok(goes_on) => goes_on,
                Err(error) => return Err(outcome.interrupted(documents.ids, error)),
            };
            if !goes_on {
                break;
            }
        }
        outcome.finish(documents.ids)
    }
}

action!(impl ['a] InsertMany<'a> => InsertManyResult);

/// What became of the documents so far.
#[derive(Debug)]
struct Outcome {
    ordered: bool,
    /// Documents before this index were sent, in batches that were answered.
    attempted: usize,
    /// What went wrong, with the server and its reply.
    failure: Option<(InsertManyError, ServerAddress, RawDocumentBuf)>,
}

impl Outcome {
    fn new(ordered: bool) -> Self {
        Self {
            ordered,
            attempted: 0,
            failure: None,
        }
    }

    /// Takes the reply for a batch; false when no further batch may be sent.
    fn record(&mut self, batch: &Range<usize>, executed: &Executed) -> Result<bool> {
        let reply = parse_insert(executed.reply.document())?;
        self.attempted = batch.end;
        let failed = !reply.write_errors.is_empty();
        if failed || reply.write_concern_error.is_some() {
            let (error, ..) = self.failure.get_or_insert_with(|| {
                let response = executed.reply.document().to_owned();
                (
                    InsertManyError::default(),
                    (*executed.address).clone(),
                    response,
                )
            });
            let errors = error.write_errors.get_or_insert_default();
            errors.extend(
                reply
                    .write_errors
                    .into_iter()
                    .map(|(i, e)| IndexedWriteError::new(batch.start.saturating_add(i), e)),
            );
            if reply.write_concern_error.is_some() {
                error.write_concern_error = reply.write_concern_error;
            }
        }
        Ok(!(failed && self.ordered))
    }

    /// The error of a batch that was not answered, with what the batches before did as its source.
    fn interrupted(self, ids: HashMap<usize, Bson>, error: Error) -> Error {
        if self.attempted == 0 {
            return error;
        }
        let attempted = self.attempted;
        let partial = match self.finish(ids) {
            Err(partial) => partial,
            Ok(all) => {
                let mut partial = InsertManyError::default();
                partial.inserted_ids = all.inserted_ids;
                partial.inserted_ids.retain(|index, _| *index < attempted);
                Error::new(ErrorKind::InsertMany(partial))
            }
        };
        let cause = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<Error>())
            .cloned();
        error.with_source(partial.with_source(cause))
    }

    fn finish(self, mut ids: HashMap<usize, Bson>) -> Result<InsertManyResult> {
        let Some((mut error, server, response)) = self.failure else {
            return Ok(InsertManyResult { inserted_ids: ids });
        };
        let refused = error.write_errors.take().unwrap_or_default();
        let end = match refused.first() {
            Some(first) if self.ordered => first.index,
            _ => self.attempted,
        };
        let skipped: HashSet<usize> = refused.iter().map(|e| e.index).collect();
        ids.retain(|index, _| *index < end && !skipped.contains(index));
        error.inserted_ids = ids;
        error.write_errors = (!refused.is_empty()).then_some(refused);
        let out = labelled(Error::new(ErrorKind::InsertMany(error)), &response);
        Err(out.with_server(server).with_response(response))
    }
}

/// Builds the `insert` command of one batch.
fn build(
    scope: &Scope,
    documents: Pieces,
    options: Option<&InsertManyOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("insert", &scope.name);
    body.bool("ordered", options.and_then(|o| o.ordered).unwrap_or(true));
    if let Some(o) = options {
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("insert", body.finish()?, Retryability::Write, concern)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    // Failures of the write itself are read together with its write concern error.
    spec.check_write_concern_error = false;
    spec.sequences.push(DocumentSequence {
        identifier: "documents",
        documents,
    });
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};
    use mongo_client_core::{id::ServerId, wire::Reply};

    use super::*;

    fn documents(count: i32) -> Documents {
        Documents::encode::<bson::Document>((0..count).map(|n| doc! { "_id": n }), || {
            panic!("every document has an id")
        })
        .unwrap()
    }

    fn executed(reply: RawDocumentBuf) -> Executed {
        Executed {
            reply: Reply::from_document(reply),
            server: ServerId(1),
            address: ServerAddress::default().into(),
            counts: None,
        }
    }

    #[test]
    fn every_batch_that_was_answered_without_errors_is_a_success() {
        let mut outcome = Outcome::new(true);
        assert!(
            outcome
                .record(&(0..2), &executed(rawdoc! { "n": 2, "ok": 1 }))
                .unwrap()
        );
        let result = outcome.finish(documents(2).ids).unwrap();
        assert_eq!(result.inserted_ids.len(), 2);
        assert_eq!(result.inserted_ids[&1], Bson::Int32(1));
    }

    fn refused() -> RawDocumentBuf {
        rawdoc! {
            "n": 1, "ok": 1, "errorLabels": ["L"],
            "writeErrors": [{ "index": 1, "code": 11000, "errmsg": "dup" }],
        }
    }

    fn failure(outcome: Outcome) -> (InsertManyError, Error) {
        let error = outcome.finish(documents(6).ids).unwrap_err();
        match *error.kind.clone() {
            ErrorKind::InsertMany(e) => (e, error),
            other => panic!("{other}"),
        }
    }

    fn inserted(error: &InsertManyError) -> Vec<usize> {
        let mut indices: Vec<_> = error.inserted_ids.keys().copied().collect();
        indices.sort_unstable();
        indices
    }

    #[test]
    fn an_ordered_insert_ends_at_the_first_refused_document() {
        let mut outcome = Outcome::new(true);
        assert!(
            outcome
                .record(&(0..2), &executed(rawdoc! { "n": 2, "ok": 1 }))
                .unwrap()
        );
        assert!(!outcome.record(&(2..5), &executed(refused())).unwrap());
        let (failed, error) = failure(outcome);
        assert_eq!(
            failed.write_errors.as_ref().unwrap()[0].index,
            3,
            "the caller's index"
        );
        assert_eq!(inserted(&failed), [0, 1, 2]);
        assert!(error.is_duplicate_key() && error.contains_label("L"));
        assert!(error.server_address().is_some() && error.server_response().is_some());
    }

    #[test]
    fn an_unordered_insert_goes_on() {
        let mut outcome = Outcome::new(false);
        assert!(outcome.record(&(0..3), &executed(refused())).unwrap());
        assert!(outcome.record(&(3..6), &executed(refused())).unwrap());
        let (failed, _) = failure(outcome);
        let indices: Vec<_> = failed
            .write_errors
            .iter()
            .flatten()
            .map(|e| e.index)
            .collect();
        assert_eq!(indices, [1, 4]);
        assert_eq!(inserted(&failed), [0, 2, 3, 5]);
    }

    #[test]
    fn a_write_concern_error_does_not_stop_an_ordered_insert() {
        let reply = rawdoc! {
            "n": 3, "ok": 1, "writeConcernError": { "code": 64, "errmsg": "w" },
        };
        let mut outcome = Outcome::new(true);
        assert!(outcome.record(&(0..3), &executed(reply)).unwrap());
        assert!(
            outcome
                .record(&(3..6), &executed(rawdoc! { "n": 3, "ok": 1 }))
                .unwrap()
        );
        let (failed, _) = failure(outcome);
        assert_eq!(failed.write_concern_error.as_ref().unwrap().code, 64);
        assert_eq!(failed.write_errors, None);
        assert_eq!(inserted(&failed).len(), 6);
    }

    #[test]
    fn many_refused_documents_are_told_apart_in_linear_time() {
        const COUNT: usize = 200_000;
        let mut outcome = Outcome::new(false);
        outcome.attempted = COUNT;
        let refused = InsertManyError::default();
        outcome.failure = Some((refused, ServerAddress::default(), rawdoc! {}));
        if let Some((error, ..)) = &mut outcome.failure {
            let all = (0..COUNT).map(|i| IndexedWriteError::new(i, Default::default()));
            error.write_errors = Some(all.collect());
        }
        let error = outcome
            .finish((0..COUNT).map(|i| (i, Bson::Null)).collect())
            .unwrap_err();
        let ErrorKind::InsertMany(failed) = *error.kind else {
            panic!("{error}");
        };
        assert!(failed.inserted_ids.is_empty());
    }

    #[test]
    fn an_interrupted_insert_says_what_the_batches_before_did() {
        let source = |outcome: Outcome| {
            let cause = Error::authentication("first");
            let error = Error::io(std::io::ErrorKind::ConnectionReset.into()).with_source(cause);
            let error = outcome.interrupted(documents(6).ids, error);
            assert!(error.is_network(), "{error}");
            let source = std::error::Error::source(&error).unwrap();
            source.downcast_ref::<Error>().unwrap().clone()
        };
        let mut outcome = Outcome::new(false);
        let nothing_was_sent = source(Outcome::new(false));
        assert!(nothing_was_sent.is_authentication());
        outcome
            .record(&(0..2), &executed(rawdoc! { "n": 2, "ok": 1 }))
            .unwrap();
        let partial = source(outcome);
        let ErrorKind::InsertMany(failed) = &*partial.kind else {
            panic!("{partial}");
        };
        assert_eq!(inserted(failed), [0, 1]);
        let cause = std::error::Error::source(&partial).unwrap().to_string();
        assert!(cause.contains("first"), "{cause}");

        let mut outcome = Outcome::new(false);
        outcome.record(&(0..3), &executed(refused())).unwrap();
        let partial = source(outcome);
        let ErrorKind::InsertMany(failed) = &*partial.kind else {
            panic!("{partial}");
        };
        assert_eq!(inserted(failed), [0, 2]);
        assert!(partial.is_duplicate_key());
    }
}
