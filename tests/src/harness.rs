//! One face for the two compositions of the client, so that the same scenarios run against both.

mod driver;
mod engine;

use bson::{Document, rawdoc};
use mongo_client_core::{
    error::{Error, ErrorKind, Result},
    id::ServerId,
    net::ServerAddress,
    op::{CommandSpec, Retryability, Target},
    options::ClientOptions,
    pool::PoolCounts,
    read_preference::ReadPreference,
};
use mongo_client_driver::runtime::BoxFuture;

pub use self::{driver::DriverHarness, engine::EngineHarness};
use crate::sim::Servers;

/// What an execution gave, whoever executed it.
#[derive(Debug)]
pub struct Ran {
    /// The reply.
    pub reply: Document,
    /// The server.
    pub server: ServerId,
    /// Its address.
    pub address: ServerAddress,
}

/// A composition of the client on scripted servers.
pub trait Harness: Clone + Send + 'static {
    /// Its name in messages.
    const NAME: &'static str;

    /// Starts a client.
    fn start(servers: &Servers, options: ClientOptions) -> Self;

    /// Executes a command; dropping the future cancels it.
    fn execute(&self, spec: CommandSpec) -> BoxFuture<'static, Result<Ran>>;

    /// Executes commands one after the other in one explicit session.
    fn in_session(&self, specs: Vec<CommandSpec>) -> BoxFuture<'static, Result<Vec<Ran>>>;

    /// Kills a cursor in the background.
    fn kill_cursor(&self, spec: CommandSpec);

    /// The pools of the servers.
    fn pools(&self) -> Vec<(ServerAddress, PoolCounts)>;

    /// Operations that have a server.
    fn operations(&self) -> u32;

    /// Server sessions that are not in use.
    fn sessions(&self) -> usize;

    /// Ends the client.
    fn shutdown(&self) -> BoxFuture<'static, ()>;
}

/// Nothing is used by an operation.
pub fn assert_idle(harness: &impl Harness) {
    for (address, counts) in harness.pools() {
        let busy = counts.leased + counts.draining + counts.opening + counts.waiting;
        assert_eq!(busy, 0, "{address}: {counts:?}");
    }
    assert_eq!(harness.operations(), 0);
}

/// A `find` by `_id` on the primary.
#[must_use]
pub fn find(id: i32) -> CommandSpec {
    let body = rawdoc! { "find": "c", "filter": { "_id": id } };
    let mut spec = CommandSpec::new("find", "db", body);
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    spec
}

/// An `insert` of one document.
#[must_use]
pub fn insert(id: i32) -> CommandSpec {
    let body = rawdoc! { "insert": "c", "documents": [{ "_id": id }] };
    let mut spec = CommandSpec::new("insert", "db", body);
    spec.retryability = Retryability::Write;
    spec
}

/// What a result says that must not depend on the composition.
#[must_use]
pub fn describe(result: &Result<Ran>) -> String {
    match result {
        Ok(ran) => format!("{} said {}", ran.address, ran.reply),
        Err(error) => format!(
            "{} labels {:?} timeout {} from {:?}",
            kind(error),
            error.labels(),
            error.is_network_timeout(),
            error.server_address().map(ToString::to_string),
        ),
    }
}

fn kind(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => format!("Command {}", command.code),
        ErrorKind::Io(io) => format!("Io {:?}", io.kind()),
        // The name of the variant.
        other => {
            let text = format!("{other:?}");
            let end = text.find(|c: char| !c.is_alphanumeric());
            text[..end.unwrap_or(text.len())].to_owned()
        }
    }
}
