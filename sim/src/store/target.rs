//! Where `$out` and `$merge` write.

use bson::{Bson, Document};

use super::value::type_name;
use crate::failure::{BAD_VALUE, Failure, MISSING_FIELD, Result, TYPE_MISMATCH, UNKNOWN_FIELD};

/// The collection, and what happens to documents that are there already.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The command's own database without one.
    pub(crate) database: Option<String>,
    pub(crate) collection: String,
    /// `None` for `$out`, which replaces the whole collection.
    pub(crate) merge: Option<Merge>,
}

/// How `$merge` treats a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    pub(crate) matched: Matched,
    pub(crate) not_matched: NotMatched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    Fail,
    KeepExisting,
    Merge,
    Replace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotMatched {
    Discard,
    Fail,
    Insert,
}

impl Target {
    pub(super) fn parse(name: &str, spec: &Bson) -> Result<Self> {
        if name == "$out" {
            out(spec)
        } else {
            merge(spec)
        }
    }
}

fn out(spec: &Bson) -> Result<Target> {
    let (database, collection) = match spec {
        Bson::String(collection) => (None, collection.clone()),
        Bson::Document(names) => place(names, "$out")?,
        other => {
            let found = type_name(other);
            let message =
                format!("$out only supports a string or object argument, but found {found}");
            return Err(Failure::new(16990, message));
        }
    };
    Ok(Target {
        database,
        collection,
        merge: None,
    })
}

/// A database and a collection.
fn place(names: &Document, stage: &str) -> Result<(Option<String>, String)> {
    if let Some(field) = names
        .keys()
        .find(|key| !["db", "coll"].contains(&key.as_str()))
    {
        let message = format!("BSON field '{stage}.{field}' is an unknown field.");
        return Err(Failure::new(UNKNOWN_FIELD, message));
    }
    match (names.get_str("db"), names.get_str("coll")) {
        (Ok(database), Ok(collection)) => Ok((Some(database.to_owned()), collection.to_owned())),
        _ => Err(Failure::not_simulated(format_args!(
            "{stage} without db or coll"
        ))),
    }
}

fn merge(spec: &Bson) -> Result<Target> {
    let defaults = Merge {
        matched: Matched::Merge,
        not_matched: NotMatched::Insert,
    };
    let fields = match spec {
        Bson::String(collection) => {
            return Ok(Target {
                database: None,
                collection: collection.clone(),
                merge: Some(defaults),
            });
        }
        Bson::Document(fields) => fields,
        other => {
            let found = type_name(other);
            let message = format!("$merge requires a string or object argument, but found {found}");
            return Err(Failure::new(TYPE_MISMATCH, message));
        }
    };
    let known = ["into", "on", "let", "whenMatched", "whenNotMatched"];
    if let Some(field) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        let message = format!("BSON field '$merge.{field}' is an unknown field.");
        return Err(Failure::new(UNKNOWN_FIELD, message));
    }
    let (database, collection) = match fields.get("into") {
        Some(Bson::String(collection)) => (None, collection.clone()),
        Some(Bson::Document(names)) => place(names, "$merge.into")?,
        Some(_) => return Err(Failure::not_simulated("$merge.into of this type")),
        None => {
            let message = "BSON field '$merge.into' is missing but a required field";
            return Err(Failure::new(MISSING_FIELD, message));
        }
    };
    if fields.contains_key("let") {
        return Err(Failure::not_simulated("$merge.let"));
    }
    if fields.get("on").is_some_and(|on| *on != Bson::from("_id")) {
        return Err(Failure::not_simulated("$merge.on other than _id"));
    }
    let merge = Merge {
        matched: match fields.get("whenMatched") {
            None => defaults.matched,
            Some(Bson::String(mode)) => match mode.as_str() {
                "fail" => Matched::Fail,
                "keepExisting" => Matched::KeepExisting,
                "merge" => Matched::Merge,
                "replace" => Matched::Replace,
                _ => return Err(no_such("whenMatched", mode)),
            },
            Some(_) => return Err(Failure::not_simulated("$merge.whenMatched by pipeline")),
        },
        not_matched: match fields.get("whenNotMatched").and_then(Bson::as_str) {
            None => defaults.not_matched,
            Some("discard") => NotMatched::Discard,
            Some("fail") => NotMatched::Fail,
            Some("insert") => NotMatched::Insert,
            Some(mode) => return Err(no_such("whenNotMatched", mode)),
        },
    };
    let message = match (merge.matched, merge.not_matched) {
        (Matched::KeepExisting, NotMatched::Discard) => {
            "whenMatched: keepExisting' and 'whenNotMatched: discard"
        }
        (Matched::KeepExisting, NotMatched::Fail) => {
            "whenMatched: keepExisting' and 'whenNotMatched: fail"
        }
        (Matched::Fail, NotMatched::Discard) => "whenMatched: fail' and 'whenNotMatched: discard",
        (Matched::Fail, NotMatched::Fail) => "whenMatched: fail' and 'whenNotMatched: fail",
        _ => {
            return Ok(Target {
                database,
                collection,
                merge: Some(merge),
            });
        }
    };
    let message = format!("Combination of $merge modes '{message}' is not supported");
    Err(Failure::new(51181, message))
}

fn no_such(field: &str, mode: &str) -> Failure {
    let message = format!("Enumeration value '{mode}' for field '{field}' is not a valid value.");
    Failure::new(BAD_VALUE, message)
}
