//! Options of databases, collections and the commands on them.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};
use serde::{Deserialize, Serialize};

use super::{Collation, CursorType, collation::named, option_struct};

option_struct! {
    /// What a [`Database`](crate::database::Database) has of its own.
    pub struct DatabaseOptions {
        /// The read concern, in place of the client's.
        read_concern: value ReadConcern,
        /// Which servers may answer reads, in place of the client's criteria.
        selection_criteria: into SelectionCriteria,
        /// The write concern, in place of the client's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    /// What a [`Collection`](crate::collection::Collection) has of its own.
    pub struct CollectionOptions {
        /// The read concern, in place of the database's.
        read_concern: value ReadConcern,
        /// Which servers may answer reads, in place of the database's criteria.
        selection_criteria: into SelectionCriteria,
        /// The write concern, in place of the database's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ create_collection_setters;
    /// Options of [`Database::create_collection`](crate::database::Database::create_collection).
    pub struct CreateCollectionOptions {
        /// Whether the collection has a fixed size.
        capped: value bool,
        /// Whether change streams can see documents before and after a change.
        change_stream_pre_and_post_images: value ChangeStreamPreAndPostImages,
        /// The clustered index.
        clustered_index: value ClusteredIndex,
        /// The default rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// When documents of a time series or clustered collection are removed.
        expire_after_seconds: value Duration,
        /// Defaults for the indexes.
        index_option_defaults: value IndexOptionDefaults,
        /// How many documents a capped collection holds at most.
        max: value u64,
        /// The pipeline of a view.
        pipeline: iter Document,
        /// How many bytes a capped collection holds at most.
        size: value u64,
        /// Options of the storage engine.
        storage_engine: value Document,
        /// Makes it a time series collection.
        timeseries: value TimeseriesOptions,
        /// What happens to invalid documents.
        validation_action: value ValidationAction,
        /// Which documents are validated.
        validation_level: value ValidationLevel,
        /// The rules that documents must satisfy.
        validator: value Document,
        /// The collection or view that a view shows.
        view_on: into String,
        /// The write concern, in place of the database's.
        write_concern: value WriteConcern,
    }
}

/// Whether change streams can see documents before and after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeStreamPreAndPostImages {
    /// Whether they can.
    pub enabled: bool,
}

impl ChangeStreamPreAndPostImages {
    /// Images are kept, or not.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    pub(crate) fn to_document(self) -> Document {
        bson::doc! { "enabled": self.enabled }
    }
}

/// A clustered index: documents are stored in the order of their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClusteredIndex {
    /// The keys; must be `{ _id: 1 }`.
    pub key: Document,
    /// Whether the keys are unique; must be true.
    pub unique: bool,
    /// The name of the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version of the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<i32>,
}

impl Default for ClusteredIndex {
    fn default() -> Self {
        Self {
            key: bson::doc! { "_id": 1 },
            unique: true,
            name: None,
            v: None,
        }
    }
}

impl ClusteredIndex {
    pub(crate) fn to_document(&self) -> Document {
        let mut document = bson::doc! { "key": &self.key, "unique": self.unique };
        if let Some(name) = &self.name {
            document.insert("name", name.as_str());
        }
        if let Some(v) = self.v {
            document.insert("v", v);
        }
        document
    }
}

/// Defaults for the indexes of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct IndexOptionDefaults {
    /// Options of the storage engine.
    pub storage_engine: Document,
}

impl IndexOptionDefaults {
    pub(crate) fn to_document(&self) -> Document {
        bson::doc! { "storageEngine": &self.storage_engine }
    }
}

/// How a time series collection groups its documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TimeseriesOptions {
    /// The field with the time of each document.
    pub time_field: String,
    /// The field that tells series apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_field: Option<String>,
    /// The distance between documents of one series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granularity: Option<TimeseriesGranularity>,
    /// The longest time span in one bucket.
    #[serde(
        rename = "bucketMaxSpanSeconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "seconds"
    )]
    pub bucket_max_span: Option<Duration>,
    /// What the start of a bucket is rounded down to.
    #[serde(
        rename = "bucketRoundingSeconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "seconds"
    )]
    pub bucket_rounding: Option<Duration>,
}

impl TimeseriesOptions {
    /// A time series whose time stands in `time_field`.
    #[must_use]
    pub fn new(time_field: impl Into<String>) -> Self {
        Self {
            time_field: time_field.into(),
            ..Self::default()
        }
    }
}

impl TimeseriesOptions {
    pub(crate) fn to_document(&self) -> Document {
        let mut document = bson::doc! { "timeField": self.time_field.as_str() };
        if let Some(meta_field) = &self.meta_field {
            document.insert("metaField", meta_field.as_str());
        }
        if let Some(granularity) = self.granularity {
            document.insert("granularity", granularity.as_str());
        }
        if let Some(span) = self.bucket_max_span {
            document.insert("bucketMaxSpanSeconds", seconds::whole(span));
        }
        if let Some(rounding) = self.bucket_rounding {
            document.insert("bucketRoundingSeconds", seconds::whole(rounding));
        }
        document
    }
}

/// Durations as whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(value.map_or(0, whole))
    }

    pub(super) fn whole(value: Duration) -> i64 {
        i64::try_from(value.as_secs()).unwrap_or(i64::MAX)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Some(Duration::from_secs(u64::deserialize(deserializer)?)))
    }
}

named! {
    /// The distance between documents of one series.
    pub enum TimeseriesGranularity {
        /// Seconds.
        Seconds = "seconds",
        /// Minutes.
        Minutes = "minutes",
        /// Hours.
        Hours = "hours",
    }
}

named! {
    /// Which documents are validated.
    pub enum ValidationLevel {
        /// Inserts, and updates of documents that are valid already.
        Moderate = "moderate",
        /// None.
        Off = "off",
        /// All inserts and updates.
        Strict = "strict",
    }
}

named! {
    /// What happens to invalid documents.
    pub enum ValidationAction {
        /// They are refused.
        Error = "error",
        /// They are written, and the server logs a warning.
        Warn = "warn",
    }
}

option_struct! {
    $ drop_collection_setters;
    /// Options of [`Collection::drop`](crate::collection::Collection::drop).
    pub struct DropCollectionOptions {
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ drop_database_setters;
    /// Options of [`Database::drop`](crate::database::Database::drop).
    pub struct DropDatabaseOptions {
        /// The write concern, in place of the database's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ fsync_setters;
    /// Options of [`Client::fsync`](crate::Client::fsync).
    pub struct FsyncOptions {
        /// Whether the server returns at once, without waiting for the disk (PyMongo: `async`). Not
        /// together with `lock`. Default: false. Servers of today accept it and wait anyway.
        async_: value bool,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Whether to lock the server, so that it takes no writes until
        /// [`Client::unlock`](crate::Client::unlock). Default: false.
        lock: value bool,
    }
}

option_struct! {
    $ list_collections_setters;
    /// Options of `list_collections` and `list_collection_names`.
    pub struct ListCollectionsOptions {
        /// Whether to return only what the user may access (names only).
        authorized_collections: value bool,
        /// How many documents each batch holds at most.
        batch_size: value u32,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which collections to return.
        filter: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
    }
}

option_struct! {
    $ list_databases_setters;
    /// Options of `list_databases` and `list_database_names`.
    pub struct ListDatabasesOptions {
        /// Whether to return only what the user may access.
        authorized_databases: value bool,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which databases to return.
        filter: value Document,
    }
}

option_struct! {
    $ run_command_setters;
    /// Options of [`Database::run_command`](crate::database::Database::run_command).
    pub struct RunCommandOptions {
        /// Which servers may answer; by default the primary, whatever the database says.
        selection_criteria: into SelectionCriteria,
    }
}

option_struct! {
    $ run_cursor_command_setters;
    /// Options of
    /// [`Database::run_cursor_command`](crate::database::Database::run_cursor_command).
    pub struct RunCursorCommandOptions {
        /// How many documents each further batch holds at most.
        batch_size: value u32,
        /// A value for the `getMore` commands that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How the cursor behaves at the end of its results; has to say what the command says with
        /// `tailable` and `awaitData`. Default: it is closed.
        cursor_type: value CursorType,
        /// The time limit of each further batch, in milliseconds on the wire: how long the server
        /// may wait for new documents. Servers refuse it for cursors that do not await data.
        max_time: value Duration,
        /// Which servers may answer; by default the primary, whatever the database says.
        selection_criteria: into SelectionCriteria,
    }
}
