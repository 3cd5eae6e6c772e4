//! Options of the verbs that read.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    read_preference::SelectionCriteria,
};
use serde::{Deserialize, Serialize};

use super::{Collation, CursorType, Hint, collation::named, option_struct};

option_struct! {
    $ find_setters;
    /// Options of [`Collection::find`](crate::collection::Collection::find).
    pub struct FindOptions {
        /// Whether the server may write temporary files.
        allow_disk_use: value bool,
        /// Whether a sharded cluster may answer with what the reachable shards have.
        allow_partial_results: value bool,
        /// How many documents each batch holds at most.
        batch_size: value u32,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How the cursor behaves at the end of its results.
        cursor_type: value CursorType,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter.
        let_vars: value Document,
        /// How many documents to return at most; a negative number also asks for a single batch.
        limit: value i64,
        /// The exclusive upper bound of an index.
        max: value Document,
        /// How long the server may wait for new documents (tailable-await cursors).
        max_await_time: value Duration,
        /// How many documents or index keys to look at, at most.
        max_scan: value u64,
        /// How long the server may work on the query.
        max_time: value Duration,
        /// The inclusive lower bound of an index.
        min: value Document,
        /// Whether the cursor outlives the server's idle timeout.
        no_cursor_timeout: value bool,
        /// Whether the filter is a range of the oplog's `ts`; servers since 4.4 see that themselves
        /// and ignore it.
        oplog_replay: value bool,
        /// Which fields to return.
        projection: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the collection's.
        read_concern: value ReadConcern,
        /// Whether to return only the index keys.
        return_key: value bool,
        /// Which servers may answer, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
        /// Whether to return the record's identifier.
        show_record_id: value bool,
        /// How many documents to skip.
        skip: value u64,
        /// The order of the results.
        sort: value Document,
    }
}

option_struct! {
    $ find_one_setters;
    /// Options of [`Collection::find_one`](crate::collection::Collection::find_one).
    pub struct FindOneOptions {
        /// Whether the server may write temporary files. Default: the server's.
        allow_disk_use: value bool,
        /// Whether a sharded cluster may answer with what the reachable shards have.
        allow_partial_results: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter.
        let_vars: value Document,
        /// The exclusive upper bound of an index.
        max: value Document,
        /// How many documents or index keys to look at, at most.
        max_scan: value u64,
        /// How long the server may work on the query.
        max_time: value Duration,
        /// The inclusive lower bound of an index.
        min: value Document,
        /// Which fields to return.
        projection: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the collection's.
        read_concern: value ReadConcern,
        /// Whether to return only the index keys.
        return_key: value bool,
        /// Which servers may answer, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
        /// Whether to return the record's identifier.
        show_record_id: value bool,
        /// How many documents to skip.
        skip: value u64,
        /// The order that decides which document is the first.
        sort: value Document,
    }
}

impl From<FindOneOptions> for FindOptions {
    fn from(one: FindOneOptions) -> Self {
        Self {
            allow_disk_use: one.allow_disk_use,
            allow_partial_results: one.allow_partial_results,
            collation: one.collation,
            comment: one.comment,
            hint: one.hint,
            let_vars: one.let_vars,
            limit: Some(-1),
            max: one.max,
            max_scan: one.max_scan,
            max_time: one.max_time,
            min: one.min,
            projection: one.projection,
            raw_data: one.raw_data,
            read_concern: one.read_concern,
            return_key: one.return_key,
            selection_criteria: one.selection_criteria,
            show_record_id: one.show_record_id,
            skip: one.skip,
            sort: one.sort,
            ..Self::default()
        }
    }
}

option_struct! {
    $ aggregate_setters;
    /// Options of `aggregate`.
    pub struct AggregateOptions {
        /// Whether the server may write temporary files.
        allow_disk_use: value bool,
        /// How many documents each batch holds at most.
        batch_size: value u32,
        /// Whether `$out` and `$merge` skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the pipeline.
        let_vars: value Document,
        /// How long the server may wait for new documents (tailable-await cursors).
        max_await_time: value Duration,
        /// How long the server may work on the pipeline.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the inherited one.
        read_concern: value ReadConcern,
        /// Which servers may answer, in place of the inherited criteria.
        selection_criteria: into SelectionCriteria,
        /// The write concern of `$out` and `$merge`, in place of the inherited one.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ count_setters;
    /// Options of [`Collection::count_documents`](crate::collection::Collection::count_documents).
    pub struct CountOptions {
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// How many documents to count at most; at least 1.
        limit: value u64,
        /// How long the server may work on the count.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the collection's.
        read_concern: value ReadConcern,
        /// Which servers may answer, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
        /// How many documents to skip before counting.
        skip: value u64,
    }
}

option_struct! {
    $ estimated_document_count_setters;
    /// Options of
    /// [`Collection::estimated_document_count`](crate::collection::Collection::estimated_document_count).
    pub struct EstimatedDocumentCountOptions {
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How long the server may work on the count.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the collection's.
        read_concern: value ReadConcern,
        /// Which servers may answer, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
    }
}

option_struct! {
    $ distinct_setters;
    /// Options of [`Collection::distinct`](crate::collection::Collection::distinct).
    pub struct DistinctOptions {
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// How long the server may work on the query.
        max_time: value Duration,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The read concern, in place of the collection's.
        read_concern: value ReadConcern,
        /// Which servers may answer, in place of the collection's criteria.
        selection_criteria: into SelectionCriteria,
    }
}

option_struct! {
    $ explain_setters;
    /// Options of [`Explain`](crate::action::Explain).
    pub struct ExplainOptions {
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// How long the server may work on the explanation, in milliseconds on the wire. Default:
        /// no limit.
        max_time: value Duration,
        /// How much to say. Default: the server's,
        /// [`AllPlansExecution`](Verbosity::AllPlansExecution).
        verbosity: value Verbosity,
    }
}

named! {
    /// How much an explanation says.
    pub enum Verbosity {
        /// The plan that the query planner chose; nothing is executed.
        QueryPlanner = "queryPlanner",
        /// Also how the plan fared: it is executed, without writing anything.
        ExecutionStats = "executionStats",
        /// Also how the plans fared that were not chosen.
        AllPlansExecution = "allPlansExecution",
    }
}
