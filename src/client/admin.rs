//! Administration of the server that a client is connected to.

use bson::Document;
use mongo_client_core::{
    codec,
    error::{CommandError, Error, ErrorKind, Result},
    op::{CommandSpec, Retryability, Target},
    read_preference::ReadPreference,
};

use super::{Client, SessionArg};
use crate::{
    action::{Body, DropDatabase, action},
    database::Database,
    options::{FsyncOptions, fsync_setters},
};

/// Whether there was no lock to take back. Old servers say so with code 125, others without a code.
fn is_not_locked(error: &CommandError) -> bool {
    error.code == 125 || (error.code == 0 && error.message.contains("not locked"))
}

/// A database's name is what it stands for where a name is asked for.
impl AsRef<str> for Database {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl Client {
    /// Removes a database with its collections, by its name or by a [`Database`] (whose own options
    /// do not count); fine when it does not exist. The client's write concern applies.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn drop_database(&self, database: impl AsRef<str>) -> DropDatabase<'static> {
        DropDatabase::owned(self.database(database.as_ref()))
    }

    /// What the server says of itself (`buildInfo`): its version, modules and compile flags.
    ///
    /// Asks the primary, or the only server of a direct connection.
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the exchange; the client stays usable.
    pub async fn server_info(&self) -> Result<Document> {
        let mut spec = admin("buildInfo", Body::with_one("buildInfo"))?;
        spec.retryability = Retryability::Read;
        self.ask(spec).await
    }

    /// Whether the server is locked by [`fsync`](Self::fsync): it takes no writes then, but reads
    /// as long as no write waits.
    ///
    /// Asks the primary, or the only server of a direct connection; needs the privilege `inprog`.
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the exchange; the client stays usable.
    pub async fn is_locked(&self) -> Result<bool> {
        let mut body = Body::with_one("currentOp");
        // The lock is told beside the operations, of which none is asked for.
        body.int("opid", -1);
        let reply = self.ask(admin("currentOp", body)?).await?;
        Ok(reply.get_bool("fsyncLock").unwrap_or(false))
    }

    /// Writes everything that is pending to the data files; see the setters of [`Fsync`].
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn fsync(&self) -> Fsync<'_> {
        Fsync {
            client: self,
            options: None,
        }
    }

    /// Takes back one lock of [`fsync`](Self::fsync); fine when there is none. The server counts
    /// locks: after two it takes two calls.
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the exchange: the server may have been unlocked.
    pub async fn unlock(&self) -> Result<()> {
        let spec = admin("fsyncUnlock", Body::with_one("fsyncUnlock"))?;
        match self.ask(spec).await {
            Err(e) if matches!(&*e.kind, ErrorKind::Command(c) if is_not_locked(c)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn ask(&self, spec: CommandSpec) -> Result<Document> {
        let executed = self.execute(spec, SessionArg::Implicit).await?;
        codec::to_document(executed.reply.document())
    }
}

/// A command on the database `admin`.
fn admin(name: &'static str, body: Body) -> Result<CommandSpec> {
    let mut spec = CommandSpec::new(name, "admin", body.finish()?);
    spec.target = Target::Read(ReadPreference::Primary);
    Ok(spec)
}

/// Writes everything that is pending to the data files, and may lock the server; made by
/// [`Client::fsync`]. Gives the server's reply.
#[must_use = "verbs do nothing unless awaited"]
#[derive(Debug)]
pub struct Fsync<'a> {
    client: &'a Client,
    options: Option<Box<FsyncOptions>>,
}

fsync_setters!(impl ['a] Fsync<'a>);

impl Fsync<'_> {
    async fn perform(self) -> Result<Document> {
        let spec = build_fsync(self.options.as_deref())?;
        self.client.ask(spec).await
    }
}

action!(impl ['a] Fsync<'a> => Document);

/// Builds the `fsync` command.
fn build_fsync(options: Option<&FsyncOptions>) -> Result<CommandSpec> {
    let mut body = Body::with_one("fsync");
    if let Some(o) = options {
        if o.lock == Some(true) && o.async_ == Some(true) {
            return Err(Error::invalid_argument(
                "fsync: lock and async can not be used together",
            ));
        }
        body.opt_bool("lock", o.lock);
        body.opt_bool("async", o.async_);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    admin("fsync", body)
}
