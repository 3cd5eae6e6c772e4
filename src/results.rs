//! What the verbs return.

use std::collections::HashMap;

use bson::{Binary, Bson, Document, RawBsonRef, RawDocument};
use mongo_client_core::{
    codec,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};

use crate::action::reply;

/// What `insert_one` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InsertOneResult {
    /// The `_id` of the document.
    pub inserted_id: Bson,
}

/// What `insert_many` did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InsertManyResult {
    /// The `_id` of each document, by its index.
    pub inserted_ids: HashMap<usize, Bson>,
}

/// What an update or replacement did. All zero when the write concern is `w: 0`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UpdateResult {
    /// How many documents matched the filter.
    pub matched_count: u64,
    /// How many documents were changed.
    pub modified_count: u64,
    /// The `_id` of the document that an upsert inserted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upserted_id: Option<Bson>,
}

/// What a delete did. Zero when the write concern is `w: 0`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeleteResult {
    /// How many documents were deleted.
    pub deleted_count: u64,
}

/// What `create_index` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CreateIndexResult {
    /// The name of the index.
    pub index_name: String,
}

/// What `create_indexes` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CreateIndexesResult {
    /// The names of the indexes, in the order that they were given in.
    pub index_names: Vec<String>,
}

/// What `list_databases` says of a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DatabaseSpecification {
    /// The name.
    pub name: String,
    /// How many bytes its files take.
    #[serde(default, deserialize_with = "number")]
    pub size_on_disk: u64,
    /// Whether it has no data.
    #[serde(default)]
    pub empty: bool,
    /// Its size on each shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<Document>,
}

impl DatabaseSpecification {
    /// Reads what `listDatabases` says of one database.
    ///
    /// Without serde: a decoder is generated anew for each type that is read with it, and whoever
    /// compiles this crate would wait for it.
    pub(crate) fn read(document: &RawDocument) -> Result<Self> {
        let mut spec = Self {
            name: reply::name(document)?,
            ..Self::default()
        };
        if let Some(size) = optional(document, "sizeOnDisk")? {
            spec.size_on_disk = match size {
                RawBsonRef::Int32(n) => u64::try_from(n).unwrap_or(0),
                RawBsonRef::Int64(n) => u64::try_from(n).unwrap_or(0),
                RawBsonRef::Double(n) => n as u64,
                _ => return Err(Error::invalid_response("sizeOnDisk is not a number")),
            };
        }
        if let Some(empty) = optional(document, "empty")? {
            spec.empty = empty
                .as_bool()
                .ok_or_else(|| Error::invalid_response("empty is not a bool"))?;
        }
        spec.shards = match optional(document, "shards")? {
            None | Some(RawBsonRef::Null) => None,
            Some(shards) => Some(codec::to_document(reply::document("shards", shards)?)?),
        };
        Ok(spec)
    }
}

fn optional<'a>(document: &'a RawDocument, name: &str) -> Result<Option<RawBsonRef<'a>>> {
    document
        .get(name)
        .map_err(|e| Error::invalid_response(format!("{name}: {e}")))
}

/// Servers send sizes as `double`, `int32` or `int64`.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<u64, D::Error> {
    Ok(match Bson::deserialize(deserializer)? {
        Bson::Int32(n) => u64::try_from(n).unwrap_or(0),
        Bson::Int64(n) => u64::try_from(n).unwrap_or(0),
        Bson::Double(n) => n as u64,
        _ => return Err(serde::de::Error::custom("a size is not a number")),
    })
}

/// What `list_collections` says of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CollectionSpecification {
    /// The name.
    pub name: String,
    /// Whether it is a collection, a view or a time series.
    #[serde(rename = "type")]
    pub collection_type: CollectionType,
    /// The options that it was created with, as the server reports them.
    #[serde(default)]
    pub options: Document,
    /// Further facts.
    #[serde(default)]
    pub info: CollectionSpecificationInfo,
    /// The index on `_id`; views have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_index: Option<Document>,
}

/// Further facts of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CollectionSpecificationInfo {
    /// Whether the data cannot be changed (views).
    #[serde(default)]
    pub read_only: bool,
    /// The collection's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Binary>,
}

/// What a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CollectionType {
    /// A collection.
    Collection,
    /// A time series.
    Timeseries,
    /// A view.
    View,
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;

    #[test]
    fn a_database_of_a_reply_is_read_as_serde_reads_it() {
        let good = [
            rawdoc! { "name": "a" },
            rawdoc! { "name": "a", "sizeOnDisk": 8, "empty": false, "other": 1 },
            rawdoc! { "name": "a", "sizeOnDisk": 8_i64, "empty": true },
            rawdoc! { "name": "a", "sizeOnDisk": 8.5 },
            rawdoc! { "name": "a", "sizeOnDisk": -1, "shards": { "s": 8, "t": [1] } },
            rawdoc! { "name": "a", "sizeOnDisk": -1_i64, "shards": null },
        ];
        for document in good {
            let serde: DatabaseSpecification =
                bson::deserialize_from_slice(document.as_bytes()).unwrap();
            assert_eq!(DatabaseSpecification::read(&document).unwrap(), serde);
        }
        let bad = [
            rawdoc! {},
            rawdoc! { "name": 1 },
            rawdoc! { "name": "a", "sizeOnDisk": "8" },
            rawdoc! { "name": "a", "sizeOnDisk": null },
            rawdoc! { "name": "a", "empty": 1 },
            rawdoc! { "name": "a", "shards": [] },
        ];
        for document in bad {
            let serde = bson::deserialize_from_slice::<DatabaseSpecification>(document.as_bytes());
            assert!(serde.is_err(), "{document:?}");
            assert!(
                DatabaseSpecification::read(&document).is_err(),
                "{document:?}"
            );
        }
    }

    #[test]
    fn a_database_is_read_from_the_servers_document() {
        for size in [Bson::Int32(8), Bson::Int64(8), Bson::Double(8.0)] {
            let document = doc! { "name": "a", "sizeOnDisk": size, "empty": true };
            let spec: DatabaseSpecification = bson::deserialize_from_document(document).unwrap();
            assert_eq!(
                (spec.name.as_str(), spec.size_on_disk, spec.empty),
                ("a", 8, true)
            );
        }
        let spec: DatabaseSpecification =
            bson::deserialize_from_document(doc! { "name": "a" }).unwrap();
        assert_eq!(spec.size_on_disk, 0);
    }

    #[test]
    fn a_collection_is_read_from_the_servers_document() {
        let document = doc! {
            "name": "v", "type": "view", "options": { "viewOn": "c" },
            "info": { "readOnly": true },
        };
        let spec: CollectionSpecification = bson::deserialize_from_document(document).unwrap();
        assert_eq!(spec.collection_type, CollectionType::View);
        assert!(spec.info.read_only);
        assert_eq!(spec.options, doc! { "viewOn": "c" });
    }
}
