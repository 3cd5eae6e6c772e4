//! `delete_one` and `delete_many` (specification: "CRUD").

use bson::Document;
use mongo_client_core::{
    error::Result,
    op::{CommandSpec, Requirement, Retryability, parse_delete},
};

use super::{
    Place, Scope, action, body::Body, reply::single_write, running, session_setter,
    update::with_statement,
};
use crate::{
    collection::Collection,
    options::{DeleteOptions, Hint, delete_setters},
    results::DeleteResult,
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Deletes the first document that matches. Retried once when the network fails.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn delete_one(&self, query: Document) -> Delete<'_> {
        Delete {
            place: self.place(),
            query,
            multi: false,
            options: None,
            session: None,
        }
    }

    /// Deletes all documents that match. Not retried.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn delete_many(&self, query: Document) -> Delete<'_> {
        Delete {
            place: self.place(),
            query,
            multi: true,
            options: None,
            session: None,
        }
    }
}

/// Deletes documents; made by [`Collection::delete_one`] and [`Collection::delete_many`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Delete<'a> {
    pub(super) place: &'a Place,
    pub(super) query: Document,
    pub(super) multi: bool,
    pub(super) options: Option<Box<DeleteOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
}

delete_setters!(impl ['a] Delete<'a>);
session_setter!(impl ['a] Delete<'a>);

impl<'a> Delete<'a> {
    fn perform(self) -> impl Future<Output = Result<DeleteResult>> + Send + 'a {
        let options = self.options.as_deref();
        let spec = build(&self.place.scope, &self.query, self.multi, options);
        running(self.place, spec, self.session, |executed| {
            let reply = single_write(executed, parse_delete)?;
            Ok(DeleteResult {
                deleted_count: reply.n,
            })
        })
    }
}

action!(impl ['a] Delete<'a> => DeleteResult);

/// Sees to it that a hint counts or is refused (CRUD: "hint" of deletes and find-and-modify verbs).
pub(super) fn check_hint(spec: &mut CommandSpec, hint: Option<&Hint>) {
    if hint.is_some() && !spec.is_acknowledged() {
        spec.requirement = Some(Requirement::UnacknowledgedHint);
    }
}

/// Builds the `delete` command.
pub(super) fn build(
    scope: &Scope,
    query: &Document,
    multi: bool,
    options: Option<&DeleteOptions>,
) -> Result<CommandSpec> {
    let mut statement = Body::empty();
    statement.document("q", query)?;
    statement.int("limit", i64::from(!multi));
    let mut body = Body::new("delete", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        statement.opt("collation", o.collation.as_ref())?;
        statement.opt("hint", o.hint.as_ref())?;
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let retryability = if multi {
        Retryability::None
    } else {
        Retryability::Write
    };
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("delete", body.finish()?, retryability, concern)?;
    if let Some(o) = options {
        spec.raw_data = o.raw_data == Some(true);
        check_hint(&mut spec, o.hint.as_ref());
    }
    with_statement(spec, "deletes", statement)
}
