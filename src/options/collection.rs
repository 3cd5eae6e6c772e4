//! Options of the commands that change collections as a whole.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};

use super::{
    ChangeStreamPreAndPostImages, Collation, ValidationAction, ValidationLevel, option_struct,
};

option_struct! {
    $ rename_collection_setters;
    /// Options of [`Collection::rename`](crate::collection::Collection::rename).
    pub struct RenameCollectionOptions {
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Whether a collection of the new name is removed first. Default: false.
        drop_target: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ modify_collection_setters;
    /// Options of [`Database::modify_collection`](crate::database::Database::modify_collection).
    pub struct ModifyCollectionOptions {
        /// How many documents a capped collection holds at most (MongoDB 6.0).
        capped_max: value u64,
        /// How many bytes a capped collection holds at most (MongoDB 6.0).
        capped_size: value u64,
        /// Whether change streams can see documents before and after a change (MongoDB 6.0).
        change_stream_pre_and_post_images: value ChangeStreamPreAndPostImages,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Whether to look only for what stands in the way of a unique index (MongoDB 6.0).
        dry_run: value bool,
        /// When documents of a time series or clustered collection are removed, in whole seconds.
        expire_after_seconds: value Duration,
        /// What to change of an index: `name` or `keyPattern`, and `hidden`, `expireAfterSeconds`,
        /// `prepareUnique` or `unique`.
        index: value Document,
        /// The pipeline of a view; together with `view_on`.
        pipeline: iter Document,
        /// What to change of a time series: `granularity`, or `bucketMaxSpanSeconds` and
        /// `bucketRoundingSeconds`.
        timeseries: value Document,
        /// What happens to invalid documents.
        validation_action: value ValidationAction,
        /// Which documents are validated.
        validation_level: value ValidationLevel,
        /// The rules that documents must satisfy.
        validator: value Document,
        /// The collection or view that a view shows; together with `pipeline`.
        view_on: into String,
        /// The write concern, in place of the database's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ map_reduce_setters;
    /// Options of the deprecated `map_reduce`.
    pub struct MapReduceOptions {
        /// Whether results that are written skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which documents to take. Default: all.
        filter: value Document,
        /// JavaScript that makes the result of a key of its value.
        finalize: into String,
        /// How many documents to take at most.
        limit: value u64,
        /// How long the server may work on it, in milliseconds on the wire.
        max_time: value Duration,
        /// Where the results go: `{ "inline": 1 }`, or `replace`, `merge` or `reduce` with the name of
        /// a collection. Default: inline.
        out: value Document,
        /// The read concern of inline results, in place of the collection's.
        read_concern: value ReadConcern,
        /// Variables of the JavaScript.
        scope: value Document,
        /// Which servers may give inline results, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
        /// The order in which documents are taken.
        sort: value Document,
        /// Whether the server tells how long it took. Default: false.
        verbose: value bool,
        /// The write concern of results that are written, in place of the collection's.
        write_concern: value WriteConcern,
    }
}
