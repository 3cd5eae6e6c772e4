//! `modify_collection` (specification: "Collection Management").

use bson::Document;
use mongo_client_core::{
    codec,
    error::Result,
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    database::Database,
    namespace,
    options::{ModifyCollectionOptions, modify_collection_setters},
    session::ClientSession,
};

impl Database {
    /// Changes the options of a collection, view or index (`collMod`); options that are not set
    /// stay as they are. Gives the server's reply, which tells the old and new values of an index.
    /// Not retried.
    ///
    /// # Errors
    ///
    /// `Command` when there is no such collection (code 26) or a change is not possible; what
    /// stands in the way may be said in
    /// [`Error::server_response`](crate::error::Error::server_response). See
    /// [the module](crate::action) for the rest and for cancellation.
    pub fn modify_collection(&self, name: impl Into<String>) -> ModifyCollection<'_> {
        ModifyCollection {
            place: self.place(),
            name: name.into(),
            options: None,
            session: None,
        }
    }
}

/// Changes the options of a collection; made by [`Database::modify_collection`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct ModifyCollection<'a> {
    place: &'a Place,
    name: String,
    options: Option<Box<ModifyCollectionOptions>>,
    session: Option<&'a mut ClientSession>,
}

modify_collection_setters!(impl ['a] ModifyCollection<'a>);
session_setter!(impl ['a] ModifyCollection<'a>);

impl ModifyCollection<'_> {
    async fn perform(self) -> Result<Document> {
        let spec = build(&self.place.scope, &self.name, self.options.as_deref())?;
        let client = &self.place.client;
        let executed = client.execute(spec, session_arg(self.session)).await?;
        codec::to_document(executed.reply.document())
    }
}

action!(impl ['a] ModifyCollection<'a> => Document);

/// Builds the `collMod` command.
pub(super) fn build(
    scope: &Scope,
    name: &str,
    options: Option<&ModifyCollectionOptions>,
) -> Result<CommandSpec> {
    namespace::check_collection(&scope.db, name)?;
    let mut body = Body::new("collMod", name);
    if let Some(o) = options {
        body.opt_document("validator", o.validator.as_ref())?;
        body.opt("validationLevel", o.validation_level.as_ref())?;
        body.opt("validationAction", o.validation_action.as_ref())?;
        body.opt_document("index", o.index.as_ref())?;
        body.opt("viewOn", o.view_on.as_ref())?;
        body.opt("pipeline", o.pipeline.as_ref())?;
        body.opt_count("cappedSize", o.capped_size)?;
        body.opt_count("cappedMax", o.capped_max)?;
        body.opt_count(
            "expireAfterSeconds",
            o.expire_after_seconds.map(|d| d.as_secs()),
        )?;
        body.opt_document("timeseries", o.timeseries.as_ref())?;
        let images = o.change_stream_pre_and_post_images.as_ref();
        body.opt("changeStreamPreAndPostImages", images)?;
        body.opt_bool("dryRun", o.dry_run);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    scope.write("collMod", body.finish()?, Retryability::None, concern)
}
