//! Options of the verbs that write.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client_core::concern::WriteConcern;

use super::{Collation, Hint, ReturnDocument, option_struct};

option_struct! {
    $ insert_one_setters;
    /// Options of [`insert_one`](crate::collection::Collection::insert_one).
    pub struct InsertOneOptions {
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ insert_many_setters;
    /// Options of [`insert_many`](crate::collection::Collection::insert_many).
    pub struct InsertManyOptions {
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Whether to stop at the first error; by default yes.
        ordered: value bool,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ update_setters;
    /// Options of `update_one` and `update_many`.
    pub struct UpdateOptions {
        /// Which array elements an update with `$[name]` changes.
        array_filters: iter Document,
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The order that decides which document is the first (one document only, MongoDB 8.0).
        sort: value Document,
        /// Whether to insert a document when none matches.
        upsert: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ replace_setters;
    /// Options of [`replace_one`](crate::collection::Collection::replace_one).
    pub struct ReplaceOptions {
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The order that decides which document is the first (one document only, MongoDB 8.0).
        sort: value Document,
        /// Whether to insert a document when none matches.
        upsert: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ delete_setters;
    /// Options of `delete_one` and `delete_many`.
    pub struct DeleteOptions {
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ find_one_and_delete_setters;
    /// Options of `find_one_and_delete`.
    pub struct FindOneAndDeleteOptions {
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// How long the server may work on the operation.
        max_time: value Duration,
        /// Which fields to return.
        projection: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// The order that decides which document is the first.
        sort: value Document,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ find_one_and_replace_setters;
    /// Options of `find_one_and_replace`.
    pub struct FindOneAndReplaceOptions {
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// How long the server may work on the operation.
        max_time: value Duration,
        /// Which fields to return.
        projection: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// Which version of the document to return; by default the one before the change.
        return_document: value ReturnDocument,
        /// The order that decides which document is the first.
        sort: value Document,
        /// Whether to insert a document when none matches.
        upsert: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}

option_struct! {
    $ find_one_and_update_setters;
    /// Options of `find_one_and_update`.
    pub struct FindOneAndUpdateOptions {
        /// Which array elements an update with `$[name]` changes.
        array_filters: iter Document,
        /// Whether to skip the validation of documents.
        bypass_document_validation: value bool,
        /// The rules for comparing strings.
        collation: value Collation,
        /// A value that shows up in the server's logs and profiles.
        comment: into Bson,
        /// Which index to use.
        hint: into Hint,
        /// Variables for the filter and the update.
        let_vars: value Document,
        /// How long the server may work on the operation.
        max_time: value Duration,
        /// Which fields to return.
        projection: value Document,
        /// Whether to name the raw documents of a time series; for internal use. Sent to MongoDB
        /// 8.2 and later.
        raw_data: value bool,
        /// Which version of the document to return; by default the one before the change.
        return_document: value ReturnDocument,
        /// The order that decides which document is the first.
        sort: value Document,
        /// Whether to insert a document when none matches.
        upsert: value bool,
        /// The write concern, in place of the collection's.
        write_concern: value WriteConcern,
    }
}
