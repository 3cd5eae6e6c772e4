//! `drop_index` and `drop_indexes` (specification: "Index Management").

use bson::Document;
use mongo_client_core::{
    error::{Error, Result},
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, drop::existing, session_arg, session_setter};
use crate::{
    collection::Collection,
    options::{DropIndexOptions, drop_index_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Removes an index by its name. Fine when the collection does not exist. Not retried.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for `*`, which would remove all: use [`Collection::drop_indexes`];
    /// `Command` (code 27) when there is no such index. See [the module](crate::action) for the
    /// rest and for cancellation.
    pub fn drop_index(&self, name: impl AsRef<str>) -> DropIndex<'_> {
        DropIndex::new(self.place(), Which::Name(name.as_ref().to_owned()))
    }

    /// Removes the index with these keys, in this order; see [`Collection::drop_index`]. Text
    /// indexes can only be removed by their names.
    pub fn drop_index_by_keys(&self, keys: Document) -> DropIndex<'_> {
        DropIndex::new(self.place(), Which::Keys(keys))
    }

    /// Removes all indexes but the one on `_id`. Fine when the collection does not exist. Not
    /// retried.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn drop_indexes(&self) -> DropIndex<'_> {
        DropIndex::new(self.place(), Which::All)
    }
}

/// What to remove.
#[derive(Debug)]
pub(super) enum Which {
    Name(String),
    Keys(Document),
    All,
}

/// Removes indexes; made by [`Collection::drop_index`], [`Collection::drop_index_by_keys`] and
/// [`Collection::drop_indexes`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct DropIndex<'a> {
    place: &'a Place,
    which: Which,
    options: Option<Box<DropIndexOptions>>,
    session: Option<&'a mut ClientSession>,
}

drop_index_setters!(impl ['a] DropIndex<'a>);
session_setter!(impl ['a] DropIndex<'a>);

impl<'a> DropIndex<'a> {
    fn new(place: &'a Place, which: Which) -> Self {
        Self {
            place,
            which,
            options: None,
            session: None,
        }
    }

    async fn perform(self) -> Result<()> {
        let spec = build(&self.place.scope, &self.which, self.options.as_deref())?;
        let client = &self.place.client;
        let result = client.execute(spec, session_arg(self.session)).await;
        existing(result).map(drop)
    }
}

action!(impl ['a] DropIndex<'a> => ());

/// Builds the `dropIndexes` command.
pub(super) fn build(
    scope: &Scope,
    which: &Which,
    options: Option<&DropIndexOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("dropIndexes", &scope.name);
    match which {
        Which::Name(name) if name == "*" => {
            return Err(Error::invalid_argument(
                "name: '*' stands for all indexes; use drop_indexes",
            ));
        }
        Which::Name(name) => body.str("index", name),
        Which::Keys(keys) => body.document("index", keys)?,
        Which::All => body.str("index", "*"),
    }
    if let Some(o) = options {
        body.opt_max_time(o.max_time)?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = scope.write("dropIndexes", body.finish()?, Retryability::None, concern)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok(spec)
}
