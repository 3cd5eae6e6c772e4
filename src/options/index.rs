//! Options of index management, and the description of an index.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::{
    concern::WriteConcern,
    error::{Error, Result},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Collation, option_struct};

/// An index: its keys, and what else is said of it.
///
/// Serde reads and writes the document that servers know an index by (`key`, `name`, ..).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct IndexModel {
    /// The fields and for each its direction (1 or -1) or kind (`"text"`, `"2dsphere"`, ..).
    pub keys: Document,
    /// The options.
    pub options: Option<IndexOptions>,
}

impl IndexModel {
    /// Starts with nothing set; see the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the fields and for each its direction (1 or -1) or kind (`"text"`, `"2dsphere"`, ..).
    #[must_use]
    pub fn keys(mut self, value: impl Into<Document>) -> Self {
        self.keys = value.into();
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, value: impl Into<Option<IndexOptions>>) -> Self {
        self.options = value.into();
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }

    /// The index's name: the one in the options, or the one that is made from the keys
    /// (`{ "a": 1, "b": -1 }` becomes `a_1_b_-1`).
    #[must_use]
    pub fn name(&self) -> String {
        match self.options.as_ref().and_then(|o| o.name.as_ref()) {
            Some(name) => name.clone(),
            None => generated_name(&self.keys),
        }
    }

    /// The document that servers know the index by, with its name.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when a number is too large for the server.
    pub(crate) fn to_document(&self) -> Result<Document> {
        let mut out = Document::new();
        out.insert("key", self.keys.clone());
        out.insert("name", self.name());
        if let Some(options) = &self.options {
            options.append_to(&mut out)?;
        }
        Ok(out)
    }
}

/// `_id` has an index of its own, whose name has no direction.
fn generated_name(keys: &Document) -> String {
    if keys.len() == 1 && keys.get("_id").is_some_and(|v| number(v) == Some(1.0)) {
        return "_id_".to_owned();
    }
    let parts = keys.iter().map(|(key, value)| match value {
        Bson::String(kind) => format!("{key}_{kind}"),
        // Directions may be of any type; -1.0 is -1.
        Bson::Double(n) => format!("{key}_{n}"),
        other => format!("{key}_{other}"),
    });
    parts.collect::<Vec<_>>().join("_")
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    }
}

impl Serialize for IndexModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let document = self.to_document().map_err(ser::Error::custom)?;
        document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for IndexModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut document = Document::deserialize(deserializer)?;
        let Some(Bson::Document(keys)) = document.remove("key") else {
            return Err(de::Error::custom("an index: key is not a document"));
        };
        let options = IndexOptions::read(document).map_err(de::Error::custom)?;
        Ok(Self {
            keys,
            options: Some(options),
        })
    }
}

option_struct! {
    /// What can be said of an index besides its keys.
    pub struct IndexOptions {
        /// Whether to build the index in the background; servers since 4.2 always do something
        /// better and ignore it.
        background: value bool,
        /// The precision of a `2d` index in bits, 1 to 32. Default: 26.
        bits: value u32,
        /// The width of a bucket of a `geoHaystack` index (servers before 5.0).
        bucket_size: value u32,
        /// Whether it is the clustered index of its collection: told by `list_indexes`, refused by
        /// `create_index`.
        clustered: value bool,
        /// The rules for comparing strings. Default: those of the collection.
        collation: value Collation,
        /// The language of a text index. Default: English.
        default_language: into String,
        /// How long after the time in the indexed field a document is removed, in whole seconds.
        expire_after: value Duration,
        /// Whether the query planner takes no notice of the index. Default: false.
        hidden: value bool,
        /// The field of a document that overrides the language of a text index. Default:
        /// `language`.
        language_override: into String,
        /// The exclusive upper bound of a `2d` index. Default: 180.
        max: value f64,
        /// The inclusive lower bound of a `2d` index. Default: -180.
        min: value f64,
        /// The name. Default: made from the keys, see [`IndexModel::name`].
        name: into String,
        /// Only documents that match this filter are in the index.
        partial_filter_expression: value Document,
        /// Whether documents without the indexed field are left out. Default: false.
        sparse: value bool,
        /// The version of a `2dsphere` index.
        sphere_2d_index_version: value Sphere2DIndexVersion,
        /// Options of the storage engine.
        storage_engine: value Document,
        /// The version of a text index.
        text_index_version: value TextIndexVersion,
        /// Whether no two documents may have the same keys. Default: false.
        unique: value bool,
        /// The version of the index.
        version: value IndexVersion,
        /// How much each field counts in a text index. Default: 1 each.
        weights: value Document,
        /// Which fields a wildcard index has, or has not.
        wildcard_projection: value Document,
    }
}

/// The options under the names of the server. The name and the keys are written by the model.
macro_rules! fields {
    ($($field:ident = $wire:literal, $put:ident, $get:ident;)*) => {
        impl IndexOptions {
            fn append_to(&self, out: &mut Document) -> Result<()> {
                $(
                    if let Some(value) = &self.$field {
                        out.insert($wire, $put($wire, value)?);
                    }
                )*
                Ok(())
            }

            fn read(mut document: Document) -> std::result::Result<Self, String> {
                let mut out = Self {
                    name: document.remove("name").and_then(get_string),
                    ..Self::default()
                };
                $(
                    if let Some(value) = document.remove($wire) {
                        let read = $get(value);
                        out.$field = Some(read.ok_or_else(|| wrong_type($wire))?);
                    }
                )*
                Ok(out)
            }
        }
    };
}

fields! {
    background = "background", put, get_bool;
    sparse = "sparse", put, get_bool;
    unique = "unique", put, get_bool;
    hidden = "hidden", put, get_bool;
    clustered = "clustered", put, get_bool;
    expire_after = "expireAfterSeconds", put_seconds, get_seconds;
    version = "v", put_version, get_version;
    storage_engine = "storageEngine", put, get_document;
    default_language = "default_language", put, get_string;
    language_override = "language_override", put, get_string;
    text_index_version = "textIndexVersion", put_version, get_version;
    weights = "weights", put, get_document;
    sphere_2d_index_version = "2dsphereIndexVersion", put_version, get_version;
    bits = "bits", put_u32, get_u32;
    max = "max", put, get_f64;
    min = "min", put, get_f64;
    bucket_size = "bucketSize", put_u32, get_u32;
    partial_filter_expression = "partialFilterExpression", put, get_document;
    collation = "collation", put_collation, get_collation;
    wildcard_projection = "wildcardProjection", put, get_document;
}

fn wrong_type(name: &str) -> String {
    format!("an index: {name} has a wrong type")
}

fn put<T: Clone + Into<Bson>>(_: &str, value: &T) -> Result<Bson> {
    Ok(value.clone().into())
}

fn put_u32(name: &str, value: &u32) -> Result<Bson> {
    let value = i32::try_from(*value);
    let value = value.map_err(|_| Error::invalid_argument(format!("{name} is too large")))?;
    Ok(value.into())
}

fn put_version<T: Copy + Into<u32>>(name: &str, value: &T) -> Result<Bson> {
    put_u32(name, &(*value).into())
}

fn put_seconds(name: &str, value: &Duration) -> Result<Bson> {
    let seconds = i32::try_from(value.as_secs());
    let seconds = seconds.map_err(|_| Error::invalid_argument(format!("{name} is too large")))?;
    Ok(seconds.into())
}

fn put_collation(_: &str, value: &Collation) -> Result<Bson> {
    Ok(value.to_document().into())
}

/// Servers keep what a client of any age has sent, so that `true` may be 1.
fn get_bool(value: Bson) -> Option<bool> {
    match value {
        Bson::Boolean(value) => Some(value),
        other => number(&other).map(|n| n != 0.0),
    }
}

fn get_u32(value: Bson) -> Option<u32> {
    number(&value).map(|n| n as u32)
}

fn get_f64(value: Bson) -> Option<f64> {
    number(&value)
}

fn get_version<T: From<u32>>(value: Bson) -> Option<T> {
    get_u32(value).map(T::from)
}

/// A time that is no number of seconds (old servers kept NaN) counts as 0.
fn get_seconds(value: Bson) -> Option<Duration> {
    number(&value).map(|n| Duration::from_secs(n as u64))
}

fn get_string(value: Bson) -> Option<String> {
    match value {
        Bson::String(value) => Some(value),
        _ => None,
    }
}

fn get_document(value: Bson) -> Option<Document> {
    match value {
        Bson::Document(value) => Some(value),
        _ => None,
    }
}

fn get_collation(value: Bson) -> Option<Collation> {
    Collation::read(&get_document(value)?)
}

/// The version of something, with names for those that are known.
macro_rules! versions {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$doc])* $variant, )*
            /// One that this client does not know.
            Custom(u32),
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                match number {
                    $( $number => Self::$variant, )*
                    other => Self::Custom(other),
                }
            }
        }

        impl From<$name> for u32 {
            fn from(version: $name) -> Self {
                match version {
                    $( $name::$variant => $number, )*
                    $name::Custom(number) => number,
                }
            }
        }
    };
}

versions! {
    /// The version of an index.
    IndexVersion {
        /// Version 0, which servers make no more.
        V0 = 0,
        /// Version 1.
        V1 = 1,
        /// Version 2: the default.
        V2 = 2,
    }
}

versions! {
    /// The version of a text index.
    TextIndexVersion {
        /// Version 1.
        V1 = 1,
        /// Version 2.
        V2 = 2,
        /// Version 3: the default.
        V3 = 3,
    }
}

versions! {
    /// The version of a `2dsphere` index.
    Sphere2DIndexVersion {
        /// Version 2.
        V2 = 2,
        /// Version 3: the default.
        V3 = 3,
    }
}

/// How many members of a replica set must have built an index before it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitQuorum {
    /// This many that hold data, the primary among them.
    Nodes(u32),
    /// All that hold data and vote.
    VotingMembers,
    /// A majority of those that hold data and vote.
    Majority,
    /// Those that a tag set of the replica set's configuration names.
    Custom(String),
}

impl CommitQuorum {
    pub(crate) fn to_bson(&self) -> Result<Bson> {
        Ok(match self {
            Self::Nodes(nodes) => return put_u32("commit_quorum", nodes),
            Self::VotingMembers => "votingMembers".into(),
            Self::Majority => "majority".into(),
            Self::Custom(name) => name.as_str().into(),
        })
    }
}

impl From<u32> for CommitQuorum {
    fn from(nodes: u32) -> Self {
        Self::Nodes(nodes)
    }
}

impl From<&str> for CommitQuorum {
    fn from(name: &str) -> Self {
        match name {
            "votingMembers" => Self::VotingMembers,
            "majority" => Self::Majority,
            other => Self::Custom(other.to_owned()),
        }
    }
}

impl From<String> for CommitQuorum {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

option_struct! {
    $ create_index_setters;
    /// Options of `create_index` and `create_indexes`.
    pub struct CreateIndexOptions {
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How many members must have built the indexes before they can be used. Default: the
        /// server's, all that vote. Needs MongoDB 4.4; older servers are not asked.
        commit_quorum: into CommitQuorum,
        /// How long the server may work on the indexes, in milliseconds on the wire.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ drop_index_setters;
    /// Options of `drop_index` and `drop_indexes`.
    pub struct DropIndexOptions {
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How long the server may work on it, in milliseconds on the wire.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ list_indexes_setters;
    /// Options of `list_indexes` and `list_index_names`.
    pub struct ListIndexesOptions {
        /// How many documents each batch holds at most. Default: the server's.
        batch_size: value u32,
        /// A value that shows up in the server's logs and profiles, also with later batches.
        comment: into Bson,
        /// How long the server may work on it, in milliseconds on the wire.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_name_is_made_of_the_keys_and_their_directions() {
        let table = [
            (doc! { "a": 1 }, "a_1"),
            (doc! { "name": 1, "dob": -1 }, "name_1_dob_-1"),
            (
                doc! { "t": "text", "n": -1.0, "l": 1_i64 },
                "t_text_n_-1_l_1",
            ),
            (doc! { "_id": 1 }, "_id_"),
            (doc! { "_id": -1 }, "_id_-1"),
            (doc! { "_id": 1, "a": 1 }, "_id_1_a_1"),
        ];
        for (keys, name) in table {
            assert_eq!(IndexModel::builder().keys(keys).build().name(), name);
        }
        let options = IndexOptions::builder().name("mine".to_owned()).build();
        let index = IndexModel::builder().keys(doc! { "a": 1 }).options(options);
        assert_eq!(index.build().name(), "mine");
    }

    fn full() -> IndexModel {
        let options = IndexOptions::builder()
            .background(true)
            .bits(26)
            .bucket_size(5)
            .clustered(false)
            .collation(Collation::builder().locale("de").build())
            .default_language("german".to_owned())
            .expire_after(Duration::from_secs(60))
            .hidden(true)
            .language_override("lang".to_owned())
            .max(180.0)
            .min(-180.0)
            .name("full".to_owned())
            .partial_filter_expression(doc! { "a": { "$gt": 1 } })
            .sparse(false)
            .sphere_2d_index_version(Sphere2DIndexVersion::V3)
            .storage_engine(doc! { "wiredTiger": {} })
            .text_index_version(TextIndexVersion::Custom(9))
            .unique(true)
            .version(IndexVersion::V2)
            .weights(doc! { "a": 3 })
            .wildcard_projection(doc! { "b": 0 })
            .build();
        IndexModel::builder().keys(doc! { "a": 1 }).options(options)
    }

    #[test]
    fn every_option_has_the_servers_name_and_is_read_back() {
        let document = full().to_document().unwrap();
        let expected = doc! {
            "key": { "a": 1 }, "name": "full", "background": true, "sparse": false, "unique": true,
            "hidden": true, "clustered": false, "expireAfterSeconds": 60, "v": 2,
            "storageEngine": { "wiredTiger": {} }, "default_language": "german",
            "language_override": "lang", "textIndexVersion": 9, "weights": { "a": 3 },
            "2dsphereIndexVersion": 3, "bits": 26, "max": 180.0, "min": -180.0, "bucketSize": 5,
            "partialFilterExpression": { "a": { "$gt": 1 } }, "collation": { "locale": "de" },
            "wildcardProjection": { "b": 0 },
        };
        assert_eq!(document, expected);
        let read: IndexModel = bson::deserialize_from_document(document.clone()).unwrap();
        assert_eq!(read, full());
        assert_eq!(bson::serialize_to_document(&read).unwrap(), document);
    }

    #[test]
    fn what_old_clients_left_behind_is_read() {
        let document = doc! {
            "v": 1.0, "key": { "a": 1.0 }, "name": "a_1", "unique": 1, "ns": "db.coll",
            "expireAfterSeconds": f64::NAN,
        };
        let read: IndexModel = bson::deserialize_from_document(document).unwrap();
        let options = read.options.unwrap();
        assert_eq!(options.version, Some(IndexVersion::V1));
        assert_eq!(options.unique, Some(true));
        assert_eq!(options.expire_after, Some(Duration::ZERO));
        for broken in [doc! { "name": "a" }, doc! { "key": {}, "unique": "yes" }] {
            let error = bson::deserialize_from_document::<IndexModel>(broken).unwrap_err();
            assert!(error.to_string().contains("an index"), "{error}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_by_name() {
        let options = IndexOptions::builder().expire_after(Duration::MAX).build();
        let index = IndexModel::builder().keys(doc! { "a": 1 }).options(options);
        let error = index.to_document().unwrap_err();
        assert!(error.to_string().contains("expireAfterSeconds"), "{error}");
    }
}
