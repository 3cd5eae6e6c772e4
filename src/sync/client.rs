//! The blocking client handle and its builder.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bson::Document;

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::Result,
    net::ServerAddress,
    options::{ClientOptions, DriverInfo},
    read_preference::{ReadPreference, SelectionCriteria},
    topology::TopologyDescription,
};
use mongo_client_driver::{Handle, runtime::Runtime};

use super::{Database, reactor, wait};
use crate::{
    action::{DropDatabase, Fsync, ListDatabaseNames, ListDatabases},
    client::Shutdown,
    cursor::CursorManager,
    options::DatabaseOptions,
    session::StartSession,
};

/// A client of a MongoDB deployment for blocking code: a cheap handle to clone and share between
/// threads. The blocking form of [`mongo_client::Client`](crate::Client).
///
/// The first clone starts monitors and pools in the background; the last one to be dropped ends
/// them. Nothing fails for unreachable servers until an operation needs one.
#[derive(Clone, Debug)]
pub struct Client {
    inner: crate::Client,
}

/// The client as a blocking one. It stays on its runtime, which has to run on other threads than
/// those that wait: not on the calling one of a single-threaded tokio runtime.
impl From<crate::Client> for Client {
    fn from(inner: crate::Client) -> Self {
        Self { inner }
    }
}

/// The same client for async code. It stays on the background thread of blocking clients.
impl From<Client> for crate::Client {
    fn from(client: Client) -> Self {
        client.inner
    }
}

impl Client {
    /// Creates a client from a connection string.
    ///
    /// Blocks only to resolve a `mongodb+srv` host, so that its errors show here; servers are
    /// contacted in the background.
    ///
    /// # Errors
    ///
    /// Those of [`Client::with_uri_str`](crate::Client::with_uri_str), and
    /// [`ErrorKind::Io`](crate::error::ErrorKind::Io) when the background thread cannot be started.
    pub fn with_uri_str(uri: impl AsRef<str>) -> Result<Self> {
        let client = Self::builder().uri(uri.as_ref())?.build()?;
        if client.inner.options().srv_host.is_some() {
            wait(client.inner.handle().ready())?;
        }
        Ok(client)
    }

    /// Creates a client from options.
    ///
    /// # Errors
    ///
    /// Those of [`Client::with_options`](crate::Client::with_options), and
    /// [`ErrorKind::Io`](crate::error::ErrorKind::Io) when the background thread cannot be started.
    pub fn with_options(options: ClientOptions) -> Result<Self> {
        Self::builder().options(options).build()
    }

    /// Starts a builder.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            inner: crate::Client::builder(),
            runtime: None,
        }
    }

    /// The default read concern.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.inner.read_concern()
    }

    /// The default write concern.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.inner.write_concern()
    }

    /// The default selection criteria.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.inner.selection_criteria()
    }

    /// What is known of the deployment at this moment. Does not block, except for the DNS records
    /// of a `mongodb+srv` host.
    ///
    /// # Errors
    ///
    /// When the client cannot start without DNS records.
    pub fn topology_description(&self) -> Result<Arc<TopologyDescription>> {
        wait(self.inner.topology_description())
    }

    /// A database, with the client's concerns and selection criteria.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.inner.database(name))
    }

    /// A database; what the options leave out comes from the client.
    #[must_use]
    pub fn database_with_options(&self, name: &str, options: DatabaseOptions) -> Database {
        Database::new(self.inner.database_with_options(name, options))
    }

    /// The database that the connection string names.
    #[must_use]
    pub fn default_database(&self) -> Option<Database> {
        self.inner.default_database().map(Database::new)
    }

    /// See [`Client::get_default_database`](crate::Client::get_default_database).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when there is neither a database in the connection string nor a default.
    pub fn get_default_database(&self, default: Option<&str>) -> Result<Database> {
        self.inner.get_default_database(default).map(Database::new)
    }

    /// See [`Client::address`](crate::Client::address).
    ///
    /// # Errors
    ///
    /// `InvalidOperation` when operations are spread over several routers.
    pub fn address(&self) -> Result<Option<ServerAddress>> {
        self.inner.address()
    }

    /// See [`Client::nodes`](crate::Client::nodes).
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<ServerAddress> {
        self.inner.nodes()
    }

    /// See [`Client::primary`](crate::Client::primary).
    #[must_use]
    pub fn primary(&self) -> Option<ServerAddress> {
        self.inner.primary()
    }

    /// See [`Client::secondaries`](crate::Client::secondaries).
    #[must_use]
    pub fn secondaries(&self) -> BTreeSet<ServerAddress> {
        self.inner.secondaries()
    }

    /// See [`Client::arbiters`](crate::Client::arbiters).
    #[must_use]
    pub fn arbiters(&self) -> BTreeSet<ServerAddress> {
        self.inner.arbiters()
    }

    /// See [`Client::is_primary`](crate::Client::is_primary). Blocks until a server is found.
    ///
    /// # Errors
    ///
    /// `ServerSelection` when none is found in time.
    pub fn is_primary(&self) -> Result<bool> {
        wait(self.inner.is_primary())
    }

    /// See [`Client::is_mongos`](crate::Client::is_mongos). Blocks until a server is found.
    ///
    /// # Errors
    ///
    /// `ServerSelection` when none is found in time.
    pub fn is_mongos(&self) -> Result<bool> {
        wait(self.inner.is_mongos())
    }

    /// See [`Client::max_pool_size`](crate::Client::max_pool_size).
    #[must_use]
    pub fn max_pool_size(&self) -> Option<u32> {
        self.inner.max_pool_size()
    }

    /// See [`Client::max_bson_size`](crate::Client::max_bson_size).
    #[must_use]
    pub fn max_bson_size(&self) -> usize {
        self.inner.max_bson_size()
    }

    /// See [`Client::max_message_size`](crate::Client::max_message_size).
    #[must_use]
    pub fn max_message_size(&self) -> usize {
        self.inner.max_message_size()
    }

    /// See [`Client::max_write_batch_size`](crate::Client::max_write_batch_size).
    #[must_use]
    pub fn max_write_batch_size(&self) -> usize {
        self.inner.max_write_batch_size()
    }

    /// See [`Client::local_threshold`](crate::Client::local_threshold).
    #[must_use]
    pub fn local_threshold(&self) -> Duration {
        self.inner.local_threshold()
    }

    /// See [`Client::read_preference`](crate::Client::read_preference).
    #[must_use]
    pub fn read_preference(&self) -> ReadPreference {
        self.inner.read_preference()
    }

    /// See [`Client::drop_database`](crate::Client::drop_database).
    pub fn drop_database(&self, database: impl AsRef<str>) -> DropDatabase<'static> {
        self.inner.drop_database(database)
    }

    /// See [`Client::server_info`](crate::Client::server_info).
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    pub fn server_info(&self) -> Result<Document> {
        wait(self.inner.server_info())
    }

    /// See [`Client::is_locked`](crate::Client::is_locked).
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    pub fn is_locked(&self) -> Result<bool> {
        wait(self.inner.is_locked())
    }

    /// See [`Client::fsync`](crate::Client::fsync).
    pub fn fsync(&self) -> Fsync<'_> {
        self.inner.fsync()
    }

    /// See [`Client::unlock`](crate::Client::unlock).
    ///
    /// # Errors
    ///
    /// Those of every command, see [the module](crate::action).
    pub fn unlock(&self) -> Result<()> {
        wait(self.inner.unlock())
    }

    /// Lists the databases of the deployment.
    pub fn list_databases(&self) -> ListDatabases<'_> {
        self.inner.list_databases()
    }

    /// Lists the names of the databases of the deployment.
    pub fn list_database_names(&self) -> ListDatabaseNames<'_> {
        self.inner.list_database_names()
    }

    /// Starts a session; `.run()` gives a [`ClientSession`](super::ClientSession).
    pub fn start_session(&self) -> StartSession<'_> {
        self.inner.start_session()
    }

    /// See [`Client::kill_cursors`](crate::Client::kill_cursors).
    pub fn kill_cursors(&self, ids: &[i64], address: Option<&ServerAddress>) {
        self.inner.kill_cursors(ids, address);
    }

    /// See [`Client::close_cursor`](crate::Client::close_cursor).
    pub fn close_cursor(&self, id: i64, address: Option<&ServerAddress>) {
        self.inner.close_cursor(id, address);
    }

    /// See [`Client::set_cursor_manager`](crate::Client::set_cursor_manager).
    pub fn set_cursor_manager(&self, manager: Option<Arc<dyn CursorManager>>) {
        self.inner.set_cursor_manager(manager);
    }

    /// Closes all connections until the next use; see [`Client::close`](crate::Client::close).
    pub fn close(&self) {
        wait(self.inner.close());
    }

    /// Ends the client for all its clones. See [`Shutdown`].
    #[must_use = "nothing happens until it is awaited or run"]
    pub fn shutdown(self) -> Shutdown {
        self.inner.shutdown()
    }

    /// See [`Client::append_metadata`](crate::Client::append_metadata).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a `|`, and for more than there is room for.
    pub fn append_metadata(&self, driver_info: DriverInfo) -> Result<()> {
        self.inner.append_metadata(driver_info)
    }

    /// The driver's handle, for tests.
    #[doc(hidden)]
    pub fn handle(&self) -> &Handle {
        self.inner.handle()
    }
}

/// Builds a [`Client`] from options or a connection string.
#[derive(Debug)]
pub struct ClientBuilder {
    inner: crate::ClientBuilder,
    runtime: Option<Arc<dyn Runtime>>,
}

impl ClientBuilder {
    /// Takes options.
    #[must_use]
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.inner = self.inner.options(options);
        self
    }

    /// Takes the options of a connection string.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// offending part.
    pub fn uri(mut self, uri: &str) -> Result<Self> {
        self.inner = self.inner.uri(uri)?;
        Ok(self)
    }

    /// See [`ClientBuilder::hosts`](crate::ClientBuilder::hosts).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// offending entry or part.
    pub fn hosts<I>(mut self, hosts: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.inner = self.inner.hosts(hosts)?;
        Ok(self)
    }

    /// See [`ClientBuilder::port`](crate::ClientBuilder::port).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.inner = self.inner.port(port);
        self
    }

    /// See [`ClientBuilder::connect`](crate::ClientBuilder::connect).
    #[must_use]
    pub fn connect(mut self, connect: bool) -> Self {
        self.inner = self.inner.connect(connect);
        self
    }

    /// Runs the client on this runtime in place of the background thread of blocking clients. It
    /// has to run on other threads than those that wait.
    #[must_use]
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Creates the client. Files that TLS options name are read here.
    ///
    /// # Errors
    ///
    /// Those of [`ClientBuilder::build`](crate::ClientBuilder::build), and
    /// [`ErrorKind::Io`](crate::error::ErrorKind::Io) when the background thread cannot be started.
    pub fn build(self) -> Result<Client> {
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => reactor::runtime()?,
        };
        let inner = self.inner.runtime(runtime).build()?;
        Ok(Client { inner })
    }
}

impl Shutdown {
    /// Ends the client, and blocks this thread until it is done.
    pub fn run(self) {
        wait(self.into_future());
    }
}
