//! The deprecated `map_reduce`.

use bson::{Bson, Document};
use mongo_client_core::{
    codec,
    error::Result,
    op::{CommandSpec, Retryability},
};

use super::{Place, Scope, action, body::Body, reply, session_arg, session_setter};
use crate::{
    collection::Collection,
    options::{MapReduceOptions, map_reduce_setters},
    session::ClientSession,
};

impl<T: Send + Sync> Collection<T> {
    /// Runs JavaScript over the documents: `map` emits keys and values for each, `reduce` makes one
    /// value of those of a key. Gives the documents `{ _id, value }`; none where
    /// [`out`](MapReduce::out) names a collection, which then holds them. Never retried.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    #[deprecated(note = "servers recommend an aggregation instead")]
    pub fn map_reduce(&self, map: impl Into<String>, reduce: impl Into<String>) -> MapReduce<'_> {
        MapReduce {
            place: self.place(),
            map: map.into(),
            reduce: reduce.into(),
            options: None,
            session: None,
        }
    }
}

/// Runs JavaScript over documents; made by the deprecated [`Collection::map_reduce`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct MapReduce<'a> {
    place: &'a Place,
    map: String,
    reduce: String,
    options: Option<Box<MapReduceOptions>>,
    session: Option<&'a mut ClientSession>,
}

map_reduce_setters!(impl ['a] MapReduce<'a>);
session_setter!(impl ['a] MapReduce<'a>);

impl MapReduce<'_> {
    async fn perform(self) -> Result<Vec<Document>> {
        let options = self.options.as_deref();
        let spec = build(&self.place.scope, self.map, self.reduce, options)?;
        let client = &self.place.client;
        let executed = client.execute(spec, session_arg(self.session)).await?;
        let reply = executed.reply.document();
        if reply.get("results")?.is_none() {
            return Ok(Vec::new());
        }
        reply::array("results", reply::field(reply, "results")?)?
            .into_iter()
            .map(|result| codec::to_document(reply::document("results", result?)?))
            .collect()
    }
}

action!(impl ['a] MapReduce<'a> => Vec<Document>);

/// Builds the `mapReduce` command.
pub(super) fn build(
    scope: &Scope,
    map: String,
    reduce: String,
    options: Option<&MapReduceOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("mapReduce", &scope.name);
    body.opt_bson("map", Some(&Bson::JavaScriptCode(map)))?;
    body.opt_bson("reduce", Some(&Bson::JavaScriptCode(reduce)))?;
    let inline = bson::doc! { "inline": 1 };
    let out = options.and_then(|o| o.out.as_ref()).unwrap_or(&inline);
    body.document("out", out)?;
    let mut concern = None;
    if let Some(o) = options {
        body.opt_document("query", o.filter.as_ref())?;
        body.opt_document("sort", o.sort.as_ref())?;
        body.opt_count("limit", o.limit)?;
        let finalize = o.finalize.clone().map(Bson::JavaScriptCode);
        body.opt_bson("finalize", finalize.as_ref())?;
        body.opt_document("scope", o.scope.as_ref())?;
        body.opt_bool("verbose", o.verbose);
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt("collation", o.collation.as_ref())?;
        body.opt_max_time(o.max_time)?;
        body.opt_bson("comment", o.comment.as_ref())?;
        concern = o.write_concern.as_ref();
    }
    let body = body.finish()?;
    let mut spec = if out.contains_key("inline") {
        let criteria = options.and_then(|o| o.selection_criteria.as_ref());
        let concern = options.and_then(|o| o.read_concern.as_ref());
        scope.read("mapReduce", body, criteria, concern)?
    } else {
        scope.write("mapReduce", body, Retryability::None, concern)?
    };
    // Retryable Reads: "Unsupported Read Operations".
    spec.retryability = Retryability::None;
    // The server's own error is the result also where the results are inline.
    spec.check_write_concern_error = true;
    Ok(spec)
}
