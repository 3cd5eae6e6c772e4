//! `create_collection`.

use mongo_client_core::{
    error::{Error, Result},
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, session_arg, session_setter};
use crate::{
    database::Database,
    namespace,
    options::{CreateCollectionOptions, create_collection_setters},
    session::ClientSession,
};

impl Database {
    /// Creates a collection, view or time series; collections also appear with the first insert.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn create_collection(&self, name: impl Into<String>) -> CreateCollection<'_> {
        CreateCollection {
            place: self.place(),
            name: name.into(),
            options: None,
            session: None,
        }
    }
}

/// Creates a collection; made by [`Database::create_collection`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct CreateCollection<'a> {
    place: &'a Place,
    name: String,
    options: Option<Box<CreateCollectionOptions>>,
    session: Option<&'a mut ClientSession>,
}

create_collection_setters!(impl ['a] CreateCollection<'a>);
session_setter!(impl ['a] CreateCollection<'a>);

impl CreateCollection<'_> {
    async fn perform(self) -> Result<()> {
        let spec = build(&self.place.scope, &self.name, self.options.as_deref())?;
        self.place
            .client
            .execute(spec, session_arg(self.session))
            .await?;
        Ok(())
    }
}

action!(impl ['a] CreateCollection<'a> => ());

/// Builds the `create` command.
pub(super) fn build(
    scope: &Scope,
    name: &str,
    options: Option<&CreateCollectionOptions>,
) -> Result<CommandSpec> {
    namespace::check_collection(&scope.db, name)?;
    let mut body = Body::new("create", name);
    if let Some(o) = options {
        body.opt_bool("capped", o.capped);
        body.opt_count("size", o.size)?;
        body.opt_count("max", o.max)?;
        body.opt_document("storageEngine", o.storage_engine.as_ref())?;
        body.opt_document("validator", o.validator.as_ref())?;
        body.opt("validationLevel", o.validation_level.as_ref())?;
        body.opt("validationAction", o.validation_action.as_ref())?;
        body.opt("viewOn", o.view_on.as_ref())?;
        body.opt("pipeline", o.pipeline.as_ref())?;
        body.opt("collation", o.collation.as_ref())?;
        body.opt("indexOptionDefaults", o.index_option_defaults.as_ref())?;
        if o.timeseries
            .as_ref()
            .is_some_and(|t| t.time_field.is_empty())
        {
            return Err(Error::invalid_argument(
                "timeseries: time_field must not be empty",
            ));
        }
        body.opt("timeseries", o.timeseries.as_ref())?;
        body.opt_count(
            "expireAfterSeconds",
            o.expire_after_seconds.map(|d| d.as_secs()),
        )?;
        let images = o.change_stream_pre_and_post_images.as_ref();
        body.opt("changeStreamPreAndPostImages", images)?;
        body.opt("clusteredIndex", o.clustered_index.as_ref())?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    scope.write("create", body.finish()?, Retryability::None, concern)
}
