//! The table of commands: their names and fields, and what kind of server they need.

use super::{
    SimServer,
    commands::{admin, aggregate, crud, cursors, indexes, read, status},
    dispatch::{Call, Done},
    hello, scram,
};
use crate::failure::Result;

/// What kind of server a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any, in any state.
    Any,
    Read,
    Write,
}

type Handler = fn(&mut SimServer, &Call<'_>) -> Result<Done>;

/// A command of the table.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) admin: bool,
    /// Whether the real server ignores fields that it does not know.
    pub(super) lenient: bool,
    /// The fields of its own.
    pub(crate) fields: &'static [&'static str],
    /// Fields of the real server that are not simulated.
    pub(crate) left_out: &'static [&'static str],
    pub(super) run: Handler,
}

const fn spec(
    name: &'static str,
    kind: Kind,
    fields: &'static [&'static str],
    run: Handler,
) -> Spec {
    Spec {
        name,
        aliases: &[],
        kind,
        admin: false,
        lenient: false,
        fields,
        left_out: &[],
        run,
    }
}

impl Spec {
    pub(crate) fn is_write(&self) -> bool {
        self.kind == Kind::Write
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn admin(mut self) -> Self {
        self.admin = true;
        self
    }

    const fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    const fn left_out(mut self, fields: &'static [&'static str]) -> Self {
        self.left_out = fields;
        self
    }
}

/// Fields that every command may have.
pub(super) const COMMON: &[&str] = &[
    "$clusterTime",
    "$db",
    "$readPreference",
    "comment",
    "lsid",
    "maxTimeMS",
    "readConcern",
    "txnNumber",
    "writeConcern",
];

/// Fields that any command may have in the real server, and that are not simulated.
pub(super) const COMMON_LEFT_OUT: &[&str] = &[
    "apiDeprecationErrors",
    "apiStrict",
    "apiVersion",
    "autocommit",
    "startTransaction",
    "stmtIds",
];

/// All commands.
pub(crate) const SPECS: &[Spec] = &[
    spec(
        "aggregate",
        Kind::Read,
        &[
            "allowDiskUse",
            "bypassDocumentValidation",
            "collation",
            "cursor",
            "hint",
            "let",
            "pipeline",
        ],
        aggregate::run,
    )
    .left_out(&["explain"]),
    spec("buildInfo", Kind::Any, &[], admin::build_info)
        .aliases(&["buildinfo"])
        .lenient(),
    spec(
        "configureFailPoint",
        Kind::Any,
        &["data", "mode"],
        admin::configure_fail_point,
    )
    .admin(),
    spec(
        "count",
        Kind::Read,
        &["collation", "hint", "limit", "query", "skip"],
        read::count,
    )
    .left_out(&["fields"]),
    spec("create", Kind::Write, &[], admin::create).left_out(&[
        "autoIndexId",
        "capped",
        "changeStreamPreAndPostImages",
        "clusteredIndex",
        "collation",
        "encryptedFields",
        "expireAfterSeconds",
        "indexOptionDefaults",
        "max",
        "pipeline",
        "size",
        "storageEngine",
        "timeseries",
        "validationAction",
        "validationLevel",
        "validator",
        "viewOn",
    ]),
    spec(
        "createIndexes",
        Kind::Write,
        &["commitQuorum", "indexes"],
        indexes::create,
    ),
    spec(
        "delete",
        Kind::Write,
        &["deletes", "let", "ordered", "stmtId"],
        crud::delete,
    ),
    spec(
        "distinct",
        Kind::Read,
        &["collation", "key", "query"],
        read::distinct,
    ),
    spec("drop", Kind::Write, &[], admin::drop),
    spec("dropDatabase", Kind::Write, &[], admin::drop_database),
    spec("dropIndexes", Kind::Write, &["index"], indexes::drop),
    spec("endSessions", Kind::Any, &[], admin::end_sessions),
    spec(
        "find",
        Kind::Read,
        &[
            "allowDiskUse",
            "batchSize",
            "collation",
            "filter",
            "hint",
            "let",
            "limit",
            "noCursorTimeout",
            "projection",
            "singleBatch",
            "skip",
            "sort",
        ],
        read::find,
    )
    .left_out(&[
        "allowPartialResults",
        "awaitData",
        "max",
        "min",
        "oplogReplay",
        "returnKey",
        "showRecordId",
        "tailable",
    ]),
    spec(
        "findAndModify",
        Kind::Write,
        &[
            "arrayFilters",
            "bypassDocumentValidation",
            "collation",
            "fields",
            "hint",
            "let",
            "new",
            "query",
            "remove",
            "sort",
            "stmtId",
            "update",
            "upsert",
        ],
        crud::find_and_modify,
    )
    .aliases(&["findandmodify"]),
    spec(
        "getMore",
        Kind::Any,
        &["batchSize", "collection"],
        cursors::get_more,
    )
    .left_out(&["lastKnownCommittedOpTime", "term"]),
    spec("getParameter", Kind::Any, &[], status::get_parameter)
        .admin()
        .lenient(),
    spec(
        "hello",
        Kind::Any,
        &[
            "client",
            "compression",
            "helloOk",
            "hostInfo",
            "loadBalanced",
            "maxAwaitTimeMS",
            "saslSupportedMechs",
            "speculativeAuthenticate",
            "topologyVersion",
        ],
        hello::run,
    )
    .aliases(&["isMaster", "ismaster"])
    .lenient(),
    spec(
        "insert",
        Kind::Write,
        &["bypassDocumentValidation", "documents", "ordered", "stmtId"],
        crud::insert,
    ),
    spec(
        "killAllSessions",
        Kind::Any,
        &[],
        status::acknowledge_sessions,
    ),
    spec("killCursors", Kind::Any, &["cursors"], cursors::kill),
    spec(
        "listCollections",
        Kind::Read,
        &["authorizedCollections", "cursor", "filter", "nameOnly"],
        admin::list_collections,
    ),
    spec(
        "listDatabases",
        Kind::Read,
        &["authorizedDatabases", "filter", "nameOnly"],
        admin::list_databases,
    )
    .admin(),
    spec("listIndexes", Kind::Read, &["cursor"], indexes::list),
    spec("ping", Kind::Any, &[], admin::ping),
    spec(
        "refreshSessions",
        Kind::Any,
        &[],
        status::acknowledge_sessions,
    ),
    spec("replSetGetConfig", Kind::Any, &[], admin::get_config).admin(),
    spec("replSetReconfig", Kind::Any, &["force"], admin::reconfigure).admin(),
    spec(
        "replSetStepDown",
        Kind::Any,
        &["force", "secondaryCatchUpPeriodSecs"],
        admin::step_down,
    )
    .admin(),
    spec(
        "saslContinue",
        Kind::Any,
        &["conversationId", "payload"],
        scram::go_on,
    ),
    spec(
        "saslStart",
        Kind::Any,
        &["autoAuthorize", "db", "mechanism", "options", "payload"],
        scram::start,
    ),
    spec(
        "update",
        Kind::Write,
        &[
            "bypassDocumentValidation",
            "let",
            "ordered",
            "stmtId",
            "updates",
        ],
        crud::update,
    ),
];

/// Commands of the real server that this one leaves out; any other name is unknown to both.
pub(super) const LEFT_OUT: &[&str] = &[
    "abortTransaction",
    "authenticate",
    "collMod",
    "collStats",
    "commitTransaction",
    "compact",
    "connectionStatus",
    "convertToCapped",
    "createRole",
    "createUser",
    "currentOp",
    "dataSize",
    "dbHash",
    "dbStats",
    "dropUser",
    "explain",
    "fsync",
    "getCmdLineOpts",
    "getLog",
    "grantRolesToUser",
    "hostInfo",
    "killOp",
    "killSessions",
    "listCommands",
    "logout",
    "mapReduce",
    "profile",
    "renameCollection",
    "replSetFreeze",
    "replSetGetStatus",
    "replSetInitiate",
    "serverStatus",
    "setParameter",
    "shutdown",
    "startSession",
    "top",
    "usersInfo",
    "validate",
    "whatsmyuri",
];

/// The command of a name.
pub(crate) fn lookup(name: &str) -> Option<&'static Spec> {
    let named = SPECS.iter().find(|spec| spec.name == name);
    named.or_else(|| SPECS.iter().find(|spec| spec.aliases.contains(&name)))
}
