//! `list_databases` and `list_database_names` (specification: "Enumerating Databases").

use mongo_client_core::{
    error::Result,
    op::{CommandSpec, Retryability, Target},
    read_preference::ReadPreference,
};

use super::{action, body::Body, reply, session_arg, session_setter};
use crate::{
    client::Client,
    options::{ListDatabasesOptions, list_databases_setters},
    results::DatabaseSpecification,
    session::ClientSession,
};

impl Client {
    /// Lists the databases of the deployment.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_databases(&self) -> ListDatabases<'_> {
        ListDatabases {
            client: self,
            options: None,
            session: None,
        }
    }

    /// Lists the names of the databases of the deployment.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn list_database_names(&self) -> ListDatabaseNames<'_> {
        ListDatabaseNames {
            client: self,
            options: None,
            session: None,
        }
    }
}

/// One of the two verbs: they differ in what they make of each database.
macro_rules! list_databases {
    ($(#[$doc:meta])* $name:ident, $names_only:literal, $output:ty, $decode:expr) => {
        $(#[$doc])*
        #[must_use = "verbs do nothing unless awaited or run"]
        #[derive(Debug)]
        pub struct $name<'a> {
            client: &'a Client,
            options: Option<Box<ListDatabasesOptions>>,
            session: Option<&'a mut ClientSession>,
        }

        list_databases_setters!(impl ['a] $name<'a>);
        session_setter!(impl ['a] $name<'a>);
        action!(impl ['a] $name<'a> => Vec<$output>);

        impl $name<'_> {
            async fn perform(self) -> Result<Vec<$output>> {
                let spec = build($names_only, self.options.as_deref())?;
                let executed = self.client.execute(spec, session_arg(self.session)).await?;
                let list = reply::field(executed.reply.document(), "databases")?;
                reply::array("databases", list)?
                    .into_iter()
                    .map(|item| $decode(reply::document("databases", item?)?))
                    .collect()
            }
        }
    };
}

list_databases! {
    /// Lists databases; made by [`Client::list_databases`].
    ListDatabases, false, DatabaseSpecification, DatabaseSpecification::read
}
list_databases! {
    /// Lists the names of databases; made by [`Client::list_database_names`].
    ListDatabaseNames, true, String, reply::name
}

/// Builds the `listDatabases` command.
pub(super) fn build(
    names_only: bool,
    options: Option<&ListDatabasesOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::with_one("listDatabases");
    if names_only {
        body.bool("nameOnly", true);
    }
    if let Some(o) = options {
        body.opt_document("filter", o.filter.as_ref())?;
        body.opt_bool("authorizedDatabases", o.authorized_databases);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let mut spec = CommandSpec::new("listDatabases", "admin", body.finish()?);
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    Ok(spec)
}
