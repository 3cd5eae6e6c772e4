//! Arguments of operations, turned into what the client's API takes.
//!
//! Every argument must be taken: one that nobody knows fails the case.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document};
use mongo_client::options::{
    Acknowledgment, HedgedReadOptions, ReadConcern, ReadPreference, ReadPreferenceOptions,
    SelectionCriteria, TagSet, WriteConcern,
};
use serde::de::DeserializeOwned;

use super::{Checked, Stop};

/// Options that the specifications have and this client postpones, with the feature's name.
const POSTPONED: [(&str, &str); 2] = [("timeoutMS", "timeoutMS"), ("timeoutMode", "timeoutMS")];

/// The arguments of an operation that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Args {
    operation: String,
    rest: Document,
}

impl Args {
    pub(super) fn new(operation: &str, arguments: Document) -> Self {
        Self {
            operation: operation.to_owned(),
            rest: arguments,
        }
    }

    fn bad(&self, name: &str, why: impl std::fmt::Display) -> Stop {
        Stop::Failed(format!("{}: argument {name}: {why}", self.operation))
    }

    /// An argument as it is.
    pub(super) fn raw(&mut self, name: &str) -> Option<Bson> {
        self.rest.remove(name)
    }

    /// An argument of a type that reads itself.
    pub(super) fn opt<T: DeserializeOwned>(&mut self, name: &str) -> Checked<Option<T>> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        let read = bson::deserialize_from_bson(value).map_err(|e| self.bad(name, e))?;
        Ok(Some(read))
    }

    /// The same, but it must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Checked<T> {
        self.opt(name)?.ok_or_else(|| self.bad(name, "missing"))
    }

    /// A duration in milliseconds.
    pub(super) fn millis(&mut self, name: &str) -> Checked<Option<Duration>> {
        Ok(self.opt::<u64>(name)?.map(Duration::from_millis))
    }

    /// A duration in seconds.
    pub(super) fn seconds(&mut self, name: &str) -> Checked<Option<Duration>> {
        Ok(self.opt::<u64>(name)?.map(Duration::from_secs))
    }

    pub(super) fn read_concern(&mut self) -> Checked<Option<ReadConcern>> {
        let Some(document) = self.opt::<Document>("readConcern")? else {
            return Ok(None);
        };
        read_concern(&document)
            .map(Some)
            .map_err(|why| self.bad("readConcern", why))
    }

    pub(super) fn write_concern(&mut self) -> Checked<Option<WriteConcern>> {
        let Some(document) = self.opt::<Document>("writeConcern")? else {
            return Ok(None);
        };
        write_concern(&document)
            .map(Some)
            .map_err(|why| self.bad("writeConcern", why))
    }

    pub(super) fn criteria(&mut self) -> Checked<Option<SelectionCriteria>> {
        let Some(document) = self.opt::<Document>("readPreference")? else {
            return Ok(None);
        };
        read_preference(&document)
            .map(|preference| Some(preference.into()))
            .map_err(|why| self.bad("readPreference", why))
    }

    /// Everything that is left, for what reads its own options.
    pub(super) fn options(self) -> Checked<Document> {
        self.refuse_postponed()?;
        Ok(self.rest)
    }

    fn refuse_postponed(&self) -> Checked {
        let found = POSTPONED
            .iter()
            .find(|(name, _)| self.rest.contains_key(name));
        match found {
            Some((_, feature)) => Err(Stop::Skipped(format!("{feature} is postponed"))),
            None => Ok(()),
        }
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Checked {
        self.refuse_postponed()?;
        match self.rest.keys().next() {
            Some(name) => Err(self.bad(name, "it is not supported")),
            None => Ok(()),
        }
    }
}

/// A field's name as tests write it: `batch_size` is `batchSize`.
pub(super) fn camel_case(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut upper = false;
    for c in field.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Fills fields of an options struct from the arguments of the same names.
macro_rules! fill {
    ($args:ident => $options:ident: $($field:ident),* $(,)?) => {
        $( $options.$field = $args.opt(&$crate::unified::arguments::camel_case(stringify!($field)))?; )*
    };
}
pub(super) use fill;

fn no_others(document: &Document, known: &[&str]) -> Result<(), String> {
    match document.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("the field {key:?} is not supported")),
        None => Ok(()),
    }
}

/// A whole number that is not negative.
pub(super) fn natural(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(n) => u64::try_from(*n).ok(),
        Bson::Int64(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

pub(super) fn read_concern(document: &Document) -> Result<ReadConcern, String> {
    no_others(document, &["level"])?;
    let level = document.get_str("level").map_err(|e| e.to_string())?;
    Ok(ReadConcern::custom(level))
}

pub(super) fn write_concern(document: &Document) -> Result<WriteConcern, String> {
    no_others(document, &["w", "journal", "wtimeoutMS"])?;
    let mut concern = WriteConcern::default();
    concern.w = match document.get("w") {
        None => None,
        Some(Bson::String(name)) => Some(Acknowledgment::from(name.as_str())),
        Some(w) => {
            let nodes = natural(w).and_then(|n| u32::try_from(n).ok());
            Some(nodes.ok_or_else(|| format!("w: {w}"))?.into())
        }
    };
    concern.journal = document.get_bool("journal").ok();
    concern.w_timeout = document
        .get("wtimeoutMS")
        .map(|ms| natural(ms).ok_or_else(|| format!("wtimeoutMS: {ms}")))
        .transpose()?
        .map(Duration::from_millis);
    Ok(concern)
}

pub(super) fn read_preference(document: &Document) -> Result<ReadPreference, String> {
    no_others(
        document,
        &["mode", "tagSets", "maxStalenessSeconds", "hedge"],
    )?;
    let mut options = ReadPreferenceOptions::default();
    if let Some(sets) = document.get("tagSets") {
        let sets: Vec<TagSet> =
            bson::deserialize_from_bson::<Vec<BTreeMap<String, String>>>(sets.clone())
                .map_err(|e| format!("tagSets: {e}"))?;
        options.tag_sets = Some(sets);
    }
    if let Some(seconds) = document.get("maxStalenessSeconds") {
        let seconds = natural(seconds).ok_or("maxStalenessSeconds is no natural number")?;
        options.max_staleness = Some(Duration::from_secs(seconds));
    }
    if let Ok(hedge) = document.get_document("hedge") {
        let mut hedged = HedgedReadOptions::default();
        hedged.enabled = hedge.get_bool("enabled").unwrap_or(true);
        options.hedge = Some(hedged);
    }
    let options = (options != ReadPreferenceOptions::default()).then_some(options);
    let mode = document.get_str("mode").map_err(|e| e.to_string())?;
    Ok(match mode.to_ascii_lowercase().as_str() {
        "primary" => ReadPreference::Primary,
        "primarypreferred" => ReadPreference::primary_preferred(options),
        "secondary" => ReadPreference::secondary(options),
        "secondarypreferred" => ReadPreference::secondary_preferred(options),
        "nearest" => ReadPreference::nearest(options),
        _ => return Err(format!("mode: there is no {mode:?}")),
    })
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_argument_that_nobody_takes_fails_the_case() {
        let mut args = Args::new("find", doc! { "filter": {}, "foo": 1 });
        let _filter: Document = args.required("filter").unwrap();
        assert_eq!(
            args.finish(),
            Err(Stop::Failed(
                "find: argument foo: it is not supported".into()
            ))
        );
        let args = Args::new("find", doc! { "timeoutMS": 5 });
        assert_eq!(
            args.finish(),
            Err(Stop::Skipped("timeoutMS is postponed".into()))
        );
    }

    #[test]
    fn a_missing_or_mistyped_argument_is_named() {
        let mut args = Args::new("find", doc! { "limit": "many" });
        let Err(Stop::Failed(why)) = args.required::<Document>("filter") else {
            panic!("the filter is missing");
        };
        assert_eq!(why, "find: argument filter: missing");
        assert!(
            matches!(args.opt::<i64>("limit"), Err(Stop::Failed(why)) if why.contains("limit"))
        );
    }

    #[test]
    fn concerns_are_read_with_all_their_fields() {
        let concern = doc! { "w": "majority", "journal": true, "wtimeoutMS": 5 };
        let concern = write_concern(&concern).unwrap();
        assert_eq!(
            concern.to_document(),
            doc! { "w": "majority", "wtimeout": 5, "j": true }
        );
        assert!(write_concern(&doc! { "w": 1, "x": 1 }).is_err());
        assert_eq!(
            read_concern(&doc! { "level": "local" }),
            Ok(ReadConcern::local())
        );
        let preference =
            doc! { "mode": "Secondary", "maxStalenessSeconds": 90, "tagSets": [{ "a": "b" }] };
        let preference = read_preference(&preference).unwrap();
        assert_eq!(preference.mode(), "secondary");
        assert_eq!(preference.tag_sets().len(), 1);
        assert_eq!(preference.max_staleness(), Some(Duration::from_secs(90)));
    }
}
