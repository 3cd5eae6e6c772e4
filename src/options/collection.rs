//! Options of the commands that change collections as a whole.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::concern::WriteConcern;

use super::{ChangeStreamPreAndPostImages, ValidationAction, ValidationLevel, option_struct};

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
