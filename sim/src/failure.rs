//! Errors of the simulated server, with the codes and names of the real one.

use bson::{Bson, Document, doc};

/// Why a command or a statement failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// Further fields of the error, such as `keyPattern`.
    pub(crate) extra: Document,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

pub(crate) const BAD_VALUE: i32 = 2;
pub(crate) const HOST_UNREACHABLE: i32 = 6;
pub(crate) const FAILED_TO_PARSE: i32 = 9;
pub(crate) const UNAUTHORIZED: i32 = 13;
pub(crate) const TYPE_MISMATCH: i32 = 14;
pub(crate) const AUTHENTICATION_FAILED: i32 = 18;
pub(crate) const ILLEGAL_OPERATION: i32 = 20;
pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
pub(crate) const INDEX_NOT_FOUND: i32 = 27;
pub(crate) const PATH_NOT_VIABLE: i32 = 28;
pub(crate) const CONFLICTING_UPDATE_OPERATORS: i32 = 40;
pub(crate) const CURSOR_NOT_FOUND: i32 = 43;
pub(crate) const NAMESPACE_EXISTS: i32 = 48;
pub(crate) const MAX_TIME_MS_EXPIRED: i32 = 50;
pub(crate) const DOLLAR_PREFIXED_FIELD: i32 = 52;
pub(crate) const INVALID_ID_FIELD: i32 = 53;
pub(crate) const NOT_SINGLE_VALUE_FIELD: i32 = 54;
pub(crate) const EMPTY_FIELD_NAME: i32 = 56;
pub(crate) const COMMAND_NOT_FOUND: i32 = 59;
pub(crate) const WRITE_CONCERN_TIMEOUT: i32 = 64;
pub(crate) const IMMUTABLE_FIELD: i32 = 66;
pub(crate) const INVALID_OPTIONS: i32 = 72;
pub(crate) const INVALID_NAMESPACE: i32 = 73;
pub(crate) const NO_REPLICATION: i32 = 76;
pub(crate) const UNKNOWN_WRITE_CONCERN: i32 = 79;
pub(crate) const INDEX_OPTIONS_CONFLICT: i32 = 85;
pub(crate) const INDEX_KEY_CONFLICT: i32 = 86;
pub(crate) const UNSATISFIABLE_WRITE_CONCERN: i32 = 100;
pub(crate) const NOT_A_REPLICA_SET: i32 = 123;
pub(crate) const UNSATISFIED_PREFERENCE: i32 = 133;
pub(crate) const PRIMARY_STEPPED_DOWN: i32 = 189;
pub(crate) const TRANSACTION_TOO_OLD: i32 = 225;
pub(crate) const SNAPSHOT_UNAVAILABLE: i32 = 246;
pub(crate) const NOT_SIMULATED: i32 = 238;
pub(crate) const EXCEEDED_TIME_LIMIT: i32 = 262;
pub(crate) const FAIL_POINT_SET_FAILED: i32 = 266;
pub(crate) const NOT_WRITABLE_PRIMARY: i32 = 10107;
pub(crate) const DUPLICATE_KEY: i32 = 11000;
pub(crate) const NOT_PRIMARY_OR_SECONDARY: i32 = 13436;
pub(crate) const NOT_PRIMARY_NO_SECONDARY_OK: i32 = 13435;
pub(crate) const MISSING_FIELD: i32 = 40414;
pub(crate) const UNKNOWN_FIELD: i32 = 40415;

/// Names that differ from `Location<code>`; error codes of the server, version 6.0.
const NAMES: &[(i32, &str)] = &[
    (1, "InternalError"),
    (2, "BadValue"),
    (6, "HostUnreachable"),
    (7, "HostNotFound"),
    (8, "UnknownError"),
    (9, "FailedToParse"),
    (11, "UserNotFound"),
    (13, "Unauthorized"),
    (14, "TypeMismatch"),
    (16, "InvalidLength"),
    (17, "ProtocolError"),
    (18, "AuthenticationFailed"),
    (20, "IllegalOperation"),
    (24, "LockTimeout"),
    (26, "NamespaceNotFound"),
    (27, "IndexNotFound"),
    (28, "PathNotViable"),
    (40, "ConflictingUpdateOperators"),
    (43, "CursorNotFound"),
    (48, "NamespaceExists"),
    (50, "MaxTimeMSExpired"),
    (52, "DollarPrefixedFieldName"),
    (53, "InvalidIdField"),
    (54, "NotSingleValueField"),
    (56, "EmptyFieldName"),
    (59, "CommandNotFound"),
    (63, "StaleShardVersion"),
    (64, "WriteConcernFailed"),
    (66, "ImmutableField"),
    (67, "CannotCreateIndex"),
    (72, "InvalidOptions"),
    (73, "InvalidNamespace"),
    (74, "NodeNotFound"),
    (76, "NoReplicationEnabled"),
    (79, "UnknownReplWriteConcern"),
    (85, "IndexOptionsConflict"),
    (86, "IndexKeySpecsConflict"),
    (89, "NetworkTimeout"),
    (91, "ShutdownInProgress"),
    (93, "InvalidReplicaSetConfig"),
    (94, "NotYetInitialized"),
    (100, "UnsatisfiableWriteConcern"),
    (103, "NewReplicaSetConfigurationIncompatible"),
    (104, "NodeNotElectable"),
    (112, "WriteConflict"),
    (123, "NotAReplicaSet"),
    (133, "FailedToSatisfyReadPreference"),
    (134, "ReadConcernMajorityNotAvailableYet"),
    (136, "CappedPositionLost"),
    (150, "StaleEpoch"),
    (168, "InvalidPipelineOperator"),
    (175, "QueryPlanKilled"),
    (189, "PrimarySteppedDown"),
    (225, "TransactionTooOld"),
    (234, "RetryChangeStream"),
    (237, "CursorKilled"),
    (238, "NotImplemented"),
    (246, "SnapshotUnavailable"),
    (251, "NoSuchTransaction"),
    (262, "ExceededTimeLimit"),
    (266, "FailPointSetFailed"),
    (280, "ChangeStreamFatalError"),
    (286, "ChangeStreamHistoryLost"),
    (314, "ObjectIsBusy"),
    (334, "UnsupportedOpQueryCommand"),
    (358, "InternalTransactionNotSupported"),
    (391, "ReauthenticationRequired"),
    (9001, "SocketException"),
    (10003, "CannotGrowDocumentInCappedNamespace"),
    (10107, "NotWritablePrimary"),
    (10334, "BSONObjectTooLarge"),
    (11000, "DuplicateKey"),
    (11600, "InterruptedAtShutdown"),
    (11601, "Interrupted"),
    (11602, "InterruptedDueToReplStateChange"),
    (13388, "StaleConfig"),
    (13435, "NotPrimaryNoSecondaryOk"),
    (13436, "NotPrimaryOrSecondary"),
];

/// Codes after which a retryable write may be sent again.
const RETRYABLE_WRITE: [i32; 12] = [
    6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
];

/// Codes that tell that the server's state has changed: they carry its topologyVersion.
const STATE_CHANGE: [i32; 7] = [91, 189, 10107, 11600, 11602, 13435, 13436];

impl Failure {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            extra: Document::new(),
        }
    }

    /// What this server leaves out: a name of the real server's language.
    pub(crate) fn not_simulated(what: impl std::fmt::Display) -> Self {
        Self::new(NOT_SIMULATED, format!("not simulated: {what}"))
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Bson>) -> Self {
        self.extra.insert(key, value);
        self
    }

    /// The reply of a command that failed.
    pub(crate) fn reply(&self) -> Document {
        let mut reply = doc! { "ok": 0.0, "errmsg": &self.message };
        if self.code != 0 {
            reply.insert("code", self.code);
            reply.insert("codeName", code_name(self.code));
        }
        reply.extend(self.extra.clone());
        reply
    }

    /// The entry of `writeErrors` for the statement at an index.
    pub(crate) fn write_error(&self, index: i32) -> Document {
        let mut error = doc! { "index": index, "code": self.code, "errmsg": &self.message };
        error.extend(self.extra.clone());
        error
    }

    /// Whether it says that the server is not, or no longer, what the client takes it for.
    pub(crate) fn is_state_change(&self) -> bool {
        STATE_CHANGE.contains(&self.code)
    }
}

/// Whether a write that fails with this code gets the label `RetryableWriteError`.
pub(crate) fn is_retryable_write(code: i32) -> bool {
    RETRYABLE_WRITE.contains(&code)
}

/// The server's name of a code.
pub(crate) fn code_name(code: i32) -> String {
    NAMES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or_else(|| format!("Location{code}"), |(_, name)| (*name).to_owned())
}
