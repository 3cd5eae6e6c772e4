//! Options of every verb, and the values that they are made of.
//!
//! Option structs are `#[non_exhaustive]`, all their fields are public and `Option`, and
//! `XOptions::builder().field(value).build()` makes one. `None` means that nothing is sent and the
//! server's default (or the inherited concern) applies.

mod collation;
mod collection;
mod common;
mod database;
mod index;
mod macros;
mod read;
mod search_index;
mod write;

/// The types that fields of option structs have, for the setters of actions.
pub(crate) mod types {
    pub(crate) use std::time::Duration;

    pub(crate) use bson::{Bson, Document};

    pub(crate) use super::*;
}

pub use mongo_client_core::{
    concern::{Acknowledgment, ReadConcern, ReadConcernLevel, WriteConcern},
    dns::ResolverConfig,
    net::ServerAddress,
    options::*,
    read_preference::{
        HedgedReadOptions, ReadPreference, ReadPreferenceOptions, SelectionCriteria, TagSet,
    },
    uri::{ConnectionString, ParsedUri, UriWarning},
};

pub use self::{
    collation::{
        Collation, CollationAlternate, CollationCaseFirst, CollationMaxVariable, CollationStrength,
    },
    collection::{MapReduceOptions, ModifyCollectionOptions, RenameCollectionOptions},
    common::{CursorType, Hint, ReturnDocument, UpdateModifications},
    database::{
        ChangeStreamPreAndPostImages, ClusteredIndex, CollectionOptions, CreateCollectionOptions,
        DatabaseOptions, DropCollectionOptions, DropDatabaseOptions, FsyncOptions,
        IndexOptionDefaults, ListCollectionsOptions, ListDatabasesOptions, RunCommandOptions,
        RunCursorCommandOptions, TimeseriesGranularity, TimeseriesOptions, ValidationAction,
        ValidationLevel,
    },
    index::{
        CommitQuorum, CreateIndexOptions, DropIndexOptions, IndexModel, IndexOptions, IndexVersion,
        ListIndexesOptions, Sphere2DIndexVersion, TextIndexVersion,
    },
    read::{
        AggregateOptions, CountOptions, DistinctOptions, EstimatedDocumentCountOptions,
        ExplainOptions, FindOneOptions, FindOptions, Verbosity,
    },
    search_index::{SearchIndexModel, SearchIndexType},
    write::{
        DeleteOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
        InsertManyOptions, InsertOneOptions, ReplaceOptions, UpdateOptions,
    },
};
pub(crate) use self::{
    collection::{map_reduce_setters, modify_collection_setters, rename_collection_setters},
    database::{
        create_collection_setters, drop_collection_setters, drop_database_setters, fsync_setters,
        list_collections_setters, list_databases_setters, run_command_setters,
        run_cursor_command_setters,
    },
    index::{create_index_setters, drop_index_setters, list_indexes_setters},
    macros::{option_setter, option_struct, option_type},
    read::{
        aggregate_setters, count_setters, distinct_setters, estimated_document_count_setters,
        explain_setters, find_one_setters, find_setters,
    },
    write::{
        delete_setters, find_one_and_delete_setters, find_one_and_replace_setters,
        find_one_and_update_setters, insert_many_setters, insert_one_setters, replace_setters,
        update_setters,
    },
};
