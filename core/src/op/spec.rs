//! What an operation asks for: fixed before the first attempt, the same for every attempt.

use std::fmt;

use super::{Body, Name, Pieces, Sequences};
use crate::{
    concern::{ReadConcern, WriteConcern},
    id::ServerId,
    read_preference::ReadPreference,
};

/// Which retry rules apply to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryability {
    /// None (but an overloaded server may ask for a retry of any command).
    None,
    /// Those of reads (specification: "Retryable Reads").
    Read,
    /// Those of writes (specification: "Retryable Writes"): the command gets a `txnNumber`.
    Write,
}

/// Which server an operation goes to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server that suits the read preference.
    Read(ReadPreference),
    /// A writable server.
    Write,
    /// An aggregation that writes: a server that suits the read preference, or the primary while any
    /// available server is older than MongoDB 5.0 (CRUD: "Read preferences and server selection").
    Output(Box<ReadPreference>),
    /// The server that holds a cursor.
    Server(ServerId),
}

/// A kind-1 section of OP_MSG: documents that travel beside the command.
///
/// `Debug` shows no document.
#[derive(Clone)]
pub struct DocumentSequence {
    /// The field that the documents belong to (`documents`, `updates`, `deletes`).
    pub identifier: &'static str,
    /// The documents.
    pub documents: Pieces,
}

/// A command with everything that decides how it is executed.
///
/// `body` holds the command without generic fields: `$db`, `lsid`, `txnNumber`, `$clusterTime`,
/// `$readPreference`, `readConcern`, `writeConcern` and API parameters are added for each attempt.
///
/// `Debug` shows nothing of the body: commands such as `createUser` carry passwords.
#[derive(Clone)]
pub struct CommandSpec {
    /// The name of the command: the first key of `body`.
    pub name: &'static str,
    /// The database.
    pub db: Name,
    /// The command.
    pub body: Body,
    /// Documents beside the command.
    pub sequences: Sequences,
    /// Which server it goes to.
    pub target: Target,
    /// Which retry rules apply.
    pub retryability: Retryability,
    /// The read concern, for commands that take one.
    pub read_concern: Option<ReadConcern>,
    /// The write concern, for commands that take one; `w: 0` sends without a reply.
    pub write_concern: Option<WriteConcern>,
    /// Whether the command may carry a session (`lsid`).
    pub supports_session: bool,
    /// Whether a `writeConcernError` in an `ok: 1` reply is an error of the operation.
    pub check_write_concern_error: bool,
    /// Whether the command is the caller's own (`run_command`): it gets a session, API parameters
    /// and a read preference, but no read concern, and is retried for overload only when both
    /// reads and writes may be retried.
    pub user_command: bool,
    /// What the server must be able to do; others are not asked.
    pub requirement: Option<Requirement>,
    /// Whether the body's `comment` is left out where the server is older than MongoDB 4.4
    /// (`getMore`).
    pub comment_is_optional: bool,
    /// Whether to ask for the raw documents of a time series (`rawData`), where the server knows
    /// that option.
    pub raw_data: bool,
}

/// What a command needs of the server, where older ones would do something else in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The option `commitQuorum` of `createIndexes`.
    CommitQuorum,
    /// The option `hint` of deletes and find-and-modify commands that nobody acknowledges.
    UnacknowledgedHint,
}

impl Requirement {
    /// The lowest wire version that will do.
    pub(super) fn wire_version(self) -> i32 {
        match self {
            Self::CommitQuorum | Self::UnacknowledgedHint => 9,
        }
    }

    /// The option and the version of MongoDB that it needs.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::CommitQuorum => "commit_quorum: needs MongoDB 4.4 or later",
            Self::UnacknowledgedHint => {
                "hint: unacknowledged writes need MongoDB 4.4 or later for it"
            }
        }
    }
}

impl fmt::Debug for DocumentSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentSequence")
            .field("identifier", &self.identifier)
            .field("len", &self.documents.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSpec")
            .field("name", &self.name)
            .field("db", &self.db)
            .field("sequences", &self.sequences)
            .field("target", &self.target)
            .field("retryability", &self.retryability)
            .finish_non_exhaustive()
    }
}

impl CommandSpec {
    /// A command with no special rules: to a writable server, not retried, with a session.
    #[inline]
    #[must_use]
    pub fn new(name: &'static str, db: impl Into<Name>, body: impl Into<Body>) -> Self {
        Self {
            name,
            db: db.into(),
            body: body.into(),
            sequences: Sequences::None,
            target: Target::Write,
            retryability: Retryability::None,
            read_concern: None,
            write_concern: None,
            supports_session: true,
            check_write_concern_error: false,
            user_command: false,
            requirement: None,
            comment_is_optional: false,
            raw_data: false,
        }
    }

    /// Whether the server answers: false for writes with `w: 0`.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.write_concern
            .as_ref()
            .is_none_or(WriteConcern::is_acknowledged)
    }
}
