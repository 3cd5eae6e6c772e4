//! `run_command` and `run_cursor_command` (specification: "runCommand").

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    codec,
    cursor::CursorSpec,
    error::{Error, Result},
    op::{Body, CommandSpec},
};
use mongo_client_driver::buffers;

use super::{
    CommandFuture, ExplicitSession, ImplicitSession, Place, Scope, action,
    open::{open, open_in},
    running, session_setter,
};
use crate::{
    cursor::{Cursor, SessionCursor},
    database::Database,
    options::{
        CursorType, RunCommandOptions, RunCursorCommandOptions, SelectionCriteria,
        run_command_setters, run_cursor_command_setters,
    },
    session::ClientSession,
};

impl Database {
    /// Runs a command as it stands.
    ///
    /// It goes to the primary unless `selection_criteria` says otherwise; read and write concerns
    /// of the database do not apply. Not retried. The reply is given as it came: a document with a
    /// name of Extended JSON (`{"$date": 5}`) stays a document. See [the module](crate::action) for
    /// errors and cancellation.
    pub fn run_command(&self, command: Document) -> RunCommand<'_> {
        let command = encode(&command);
        RunCommand {
            place: self.place(),
            command,
            options: None,
            session: None,
        }
    }

    /// Runs a raw command as it stands; see [`Database::run_command`].
    pub fn run_raw_command(&self, command: RawDocumentBuf) -> RunCommand<'_> {
        RunCommand {
            place: self.place(),
            command: Ok(command.into()),
            options: None,
            session: None,
        }
    }

    /// Runs a command that answers with a cursor; see [`Database::run_command`].
    pub fn run_cursor_command(&self, command: Document) -> RunCursorCommand<'_> {
        let command = encode(&command);
        RunCursorCommand {
            place: self.place(),
            command,
            options: None,
            session: ImplicitSession,
        }
    }

    /// Runs a raw command that answers with a cursor; see [`Database::run_command`].
    pub fn run_raw_cursor_command(&self, command: RawDocumentBuf) -> RunCursorCommand<'_> {
        RunCursorCommand {
            place: self.place(),
            command: Ok(command.into()),
            options: None,
            session: ImplicitSession,
        }
    }
}

/// Runs a command; made by [`Database::run_command`].
#[must_use = "verbs do nothing unless awaited or run"]
pub struct RunCommand<'a> {
    pub(super) place: &'a Place,
    pub(super) command: Result<Body>,
    pub(super) options: Option<Box<RunCommandOptions>>,
    pub(super) session: Option<&'a mut ClientSession>,
}

/// Leaves out the command: it may hold secrets.
impl std::fmt::Debug for RunCommand<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunCommand")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

run_command_setters!(impl ['a] RunCommand<'a>);
session_setter!(impl ['a] RunCommand<'a>);

impl<'a> RunCommand<'a> {
    fn perform(self) -> CommandFuture<'a, Document> {
        let options = self.options.as_ref();
        let criteria = options.and_then(|o| o.selection_criteria.as_ref());
        let spec = self
            .command
            .and_then(|command| build(&self.place.scope, command, criteria));
        running(self.place, spec, self.session, (), |(), executed| {
            codec::to_document(executed.reply.document())
        })
    }
}

action!(impl ['a] RunCommand<'a> => Document; command with ());

/// Runs a command with a cursor; made by [`Database::run_cursor_command`].
#[must_use = "verbs do nothing unless awaited or run"]
pub struct RunCursorCommand<'a, S = ImplicitSession> {
    pub(super) place: &'a Place,
    pub(super) command: Result<Body>,
    pub(super) options: Option<Box<RunCursorCommandOptions>>,
    pub(super) session: S,
}

/// Leaves out the command: it may hold secrets.
impl<S> std::fmt::Debug for RunCursorCommand<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunCursorCommand")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

run_cursor_command_setters!(impl ['a, S] RunCursorCommand<'a, S>);

impl<'a> RunCursorCommand<'a> {
    /// Runs in a session of the caller's; the cursor becomes a [`SessionCursor`].
    pub fn session<'s>(
        self,
        value: impl Into<&'s mut ClientSession>,
    ) -> RunCursorCommand<'a, ExplicitSession<'s>> {
        RunCursorCommand {
            place: self.place,
            command: self.command,
            options: self.options,
            session: ExplicitSession(value.into()),
        }
    }

    async fn perform(self) -> Result<Cursor<Document>> {
        let built = build_cursor(&self.place.scope, self.command?, self.options)?;
        open(self.place, built).await
    }
}

impl RunCursorCommand<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<SessionCursor<Document>> {
        let built = build_cursor(&self.place.scope, self.command?, self.options)?;
        open_in(self.place, built, self.session.0).await
    }
}

action!(impl ['a] RunCursorCommand<'a> => Cursor<Document>);
action!(impl ['a] RunCursorCommand<'a, ExplicitSession<'a>> => SessionCursor<Document>);

/// Encodes a command, mostly into a buffer that was used before.
fn encode(command: &Document) -> Result<Body> {
    Body::of(command, buffers::take())
}

/// The name of a command is its first key.
fn first_key(command: &Body) -> Result<&[u8]> {
    let malformed = || Error::invalid_argument("command: not a valid BSON document");
    let mut first = codec::walk::Elements::new(command.as_bytes()).map_err(|_| malformed())?;
    match first.next() {
        Some(Ok(element)) => Ok(element.key),
        Some(Err(_)) => Err(malformed()),
        None => Err(Error::invalid_argument(
            "command: the document must not be empty",
        )),
    }
}

/// Builds the user's command.
pub(super) fn build(
    scope: &Scope,
    command: Body,
    criteria: Option<&SelectionCriteria>,
) -> Result<CommandSpec> {
    let name = command_name(first_key(&command)?)?;
    scope.user_command(name, command, criteria)
}

pub(super) fn build_cursor(
    scope: &Scope,
    command: Body,
    options: Option<Box<RunCursorCommandOptions>>,
) -> Result<(CommandSpec, CursorSpec)> {
    let o = options.unwrap_or_default();
    let kind = o.cursor_type.unwrap_or_default();
    let spec = build(scope, command, o.selection_criteria.as_ref())?;
    let settings = CursorSpec {
        batch_size: o.batch_size,
        comment: o.comment,
        max_await_time: o.max_time,
        tailable: kind != CursorType::NonTailable,
        await_data: kind == CursorType::TailableAwait,
        ..CursorSpec::default()
    };
    Ok((spec, settings))
}

/// The static name of a command: those that other parts treat in a special way are all here, and
/// common ones for good events; others are called `runCommand`.
fn command_name(name: &[u8]) -> Result<&'static str> {
    let start = match name.first_chunk() {
        Some(start) => u64::from_be_bytes(*start),
        None => prefix(name),
    };
    let first = PREFIXES.partition_point(|prefix| *prefix < start);
    let same = NAMES[first..].iter().zip(&PREFIXES[first..]);
    let mut same = same.take_while(|(_, prefix)| **prefix == start);
    if let Some((known, _)) = same.find(|(known, _)| known.as_bytes() == name) {
        return Ok(known);
    }
    match std::str::from_utf8(name) {
        Ok(_) => Ok("runCommand"),
        Err(_) => Err(Error::invalid_argument(
            "command: not a valid BSON document",
        )),
    }
}

/// The first eight bytes of a name as a number, which orders as the bytes do.
const fn prefix(bytes: &[u8]) -> u64 {
    let (mut number, mut at) = (0, 0);
    while at < 8 {
        number = number << 8
            | if at < bytes.len() {
                bytes[at] as u64
            } else {
                0
            };
        at += 1;
    }
    number
}

/// What is compared first: numbers are found faster than names.
const PREFIXES: [u64; NAMES.len()] = {
    let mut prefixes = [0; NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        prefixes[at] = prefix(NAMES[at].as_bytes());
        at += 1;
    }
    prefixes
};

/// The commands whose names are known, in the order of their bytes.
const NAMES: [&str; 82] = [
    "abortTransaction",
    "aggregate",
    "authenticate",
    "buildInfo",
    "bulkWrite",
    "collMod",
    "collStats",
    "commitTransaction",
    "compact",
    "configureFailPoint",
    "connectionStatus",
    "convertToCapped",
    "copydb",
    "copydbgetnonce",
    "copydbsaslstart",
    "count",
    "create",
    "createIndexes",
    "createRole",
    "createUser",
    "currentOp",
    "dbStats",
    "delete",
    "distinct",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "dropRole",
    "dropUser",
    "enableSharding",
    "endSessions",
    "explain",
    "find",
    "findAndModify",
    "fsync",
    "getLog",
    "getMore",
    "getParameter",
    "getnonce",
    "grantRolesToUser",
    "hello",
    "hostInfo",
    "insert",
    "isMaster",
    "isdbgrid",
    "ismaster",
    "killAllSessions",
    "killCursors",
    "killOp",
    "killSessions",
    "listCollections",
    "listCommands",
    "listDatabases",
    "listIndexes",
    "logRotate",
    "mapReduce",
    "ping",
    "profile",
    "refreshSessions",
    "renameCollection",
    "replSetFreeze",
    "replSetGetConfig",
    "replSetGetStatus",
    "replSetInitiate",
    "replSetReconfig",
    "replSetStepDown",
    "rolesInfo",
    "saslContinue",
    "saslStart",
    "serverStatus",
    "setFeatureCompatibilityVersion",
    "setParameter",
    "shardCollection",
    "shutdown",
    "startSession",
    "top",
    "update",
    "updateRole",
    "updateUser",
    "usersInfo",
    "validate",
    "whatsmyuri",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_commands_have_their_own_names() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert_eq!(command_name(name.as_bytes()).unwrap(), name);
        }
        for name in ["", "Ping", "pin", "pings", "createIndexesX", "zzzzzzzzzzzz"] {
            assert_eq!(
                command_name(name.as_bytes()).unwrap(),
                "runCommand",
                "{name}"
            );
        }
    }
}
