//! `rename` of collections.

use mongo_client_core::{
    error::Result,
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    collection::Collection,
    namespace,
    options::{RenameCollectionOptions, rename_collection_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Gives the collection another name in the same database. This handle keeps the old name. Not
    /// retried.
    ///
    /// # Errors
    ///
    /// `InvalidName` for a name that no collection may have; `Command` when there is no such
    /// collection (code 26), or one of the new name (48) and
    /// [`drop_target`](RenameCollection::drop_target) is not set. See [the module](crate::action)
    /// for the rest and for cancellation.
    pub fn rename(&self, to: impl Into<String>) -> RenameCollection<'_> {
        RenameCollection {
            place: self.place(),
            to: to.into(),
            options: None,
            session: None,
        }
    }
}

/// Renames a collection; made by [`Collection::rename`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct RenameCollection<'a> {
    place: &'a Place,
    to: String,
    options: Option<Box<RenameCollectionOptions>>,
    session: Option<&'a mut ClientSession>,
}

rename_collection_setters!(impl ['a] RenameCollection<'a>);
session_setter!(impl ['a] RenameCollection<'a>);

impl RenameCollection<'_> {
    async fn perform(self) -> Result<()> {
        let spec = build(&self.place.scope, &self.to, self.options.as_deref())?;
        let client = &self.place.client;
        client.execute(spec, session_arg(self.session)).await?;
        Ok(())
    }
}

action!(impl ['a] RenameCollection<'a> => ());

/// Builds the `renameCollection` command, which is one of the database `admin`.
pub(super) fn build(
    scope: &Scope,
    to: &str,
    options: Option<&RenameCollectionOptions>,
) -> Result<CommandSpec> {
    namespace::check_collection(&scope.db, to)?;
    let from = format!("{}.{}", &*scope.db, scope.name);
    let mut body = Body::new("renameCollection", &from);
    body.str("to", &format!("{}.{to}", &*scope.db));
    if let Some(o) = options {
        body.opt_bool("dropTarget", o.drop_target);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let body = body.finish()?;
    let mut spec = scope.write("renameCollection", body, Retryability::None, concern)?;
    spec.db = "admin".into();
    Ok(spec)
}
