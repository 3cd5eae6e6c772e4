//! `delete_one` and `delete_many` (specification: "CRUD").

use bson::Document;
use mongo_client_core::{
    error::Result,
    op::{CommandSpec, Requirement, Retryability, parse_delete},
};

use super::{
    CommandFuture, Place, Scope, action, body::Body, reply::single_write, running, session_setter,
    update::statement,
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
    fn perform(self) -> CommandFuture<'a, DeleteResult> {
        let options = self.options.as_deref();
        let spec = build(&self.place.scope, &self.query, self.multi, options);
        running(self.place, spec, self.session, (), |(), executed| {
            let deleted_count = match executed.counts {
                Some(counts) => counts.n,
                None => single_write(executed, parse_delete)?.n,
            };
            Ok(DeleteResult { deleted_count })
        })
    }
}

action!(impl ['a] Delete<'a> => DeleteResult; command with ());

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
    let mut delete = Body::empty();
    delete.document("q", query)?;
    delete.int("limit", i64::from(!multi));
    let mut body = Body::new("delete", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        delete.opt("collation", o.collation.as_ref())?;
        delete.opt("hint", o.hint.as_ref())?;
        body.opt_document("let", o.let_vars.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let retryability = if multi {
        Retryability::None
    } else {
        Retryability::Write
    };
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let deletes = statement("deletes", delete)?;
    let mut spec = scope.write_one("delete", body.finish()?, retryability, concern, deletes)?;
    if let Some(o) = options {
        spec.raw_data = o.raw_data == Some(true);
        check_hint(&mut spec, o.hint.as_ref());
    }
    Ok(spec)
}
