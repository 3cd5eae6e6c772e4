//! `distinct` (specification: "CRUD").

use bson::{Bson, Document};
use mongo_client_core::{
    error::Result,
    op::{CommandSpec, parse_distinct},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    collection::Collection,
    options::{DistinctOptions, distinct_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Finds the distinct values of a field among the documents that match.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn distinct(&self, field_name: impl AsRef<str>, filter: Document) -> Distinct<'_> {
        Distinct {
            place: self.place(),
            field_name: field_name.as_ref().to_owned(),
            filter,
            options: None,
            session: None,
        }
    }
}

/// Finds distinct values; made by [`Collection::distinct`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Distinct<'a> {
    pub(super) place: &'a Place,
    pub(super) field_name: String,
    pub(super) filter: Document,
    pub(super) options: Option<Box<DistinctOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
}

distinct_setters!(impl ['a] Distinct<'a>);
session_setter!(impl ['a] Distinct<'a>);

impl Distinct<'_> {
    async fn perform(self) -> Result<Vec<Bson>> {
        let options = self.options.as_deref();
        let spec = build(&self.place.scope, &self.field_name, &self.filter, options)?;
        let executed = self
            .place
            .client
            .execute(spec, session_arg(self.session))
            .await?;
        Ok(parse_distinct(executed.reply.document())?.try_into()?)
    }
}

action!(impl ['a] Distinct<'a> => Vec<Bson>);

/// Builds the `distinct` command.
pub(super) fn build(
    scope: &Scope,
    field_name: &str,
    filter: &Document,
    options: Option<&DistinctOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("distinct", &scope.name);
    body.str("key", field_name);
    body.document("query", filter)?;
    let Some(o) = options else {
        return scope.read("distinct", body.finish()?, None, None);
    };
    body.opt("collation", o.collation.as_ref())?;
    body.opt_bson("comment", o.comment.as_ref())?;
    body.opt("hint", o.hint.as_ref())?;
    body.opt_max_time(o.max_time)?;
    let (criteria, concern) = (o.selection_criteria.as_ref(), o.read_concern.as_ref());
    let mut spec = scope.read("distinct", body.finish()?, criteria, concern)?;
    spec.raw_data = o.raw_data == Some(true);
    Ok(spec)
}
