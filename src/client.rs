//! The client handle, its builder and its end.

mod admin;
mod cursors;
mod members;

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
};

use mongo_client_core::{
    bson::oid::ObjectId,
    concern::{ReadConcern, WriteConcern},
    error::Result,
    op::CommandSpec,
    options::{ClientOptions, DriverInfo},
    read_preference::SelectionCriteria,
    topology::TopologyDescription,
};
use mongo_client_driver::{Ambient, Execution, Handle, RuntimeSource, runtime::Runtime};

use crate::{action::Concerns, default_runtime, session::ClientSession};

pub use self::admin::Fsync;

pub(crate) use mongo_client_driver::{Executed, ImplicitSession, Pinned};

/// A client of a MongoDB deployment: a cheap handle to clone and share between tasks.
///
/// The first clone starts monitors and pools on its runtime; the last one to be dropped ends them.
/// Nothing blocks and nothing fails for unreachable servers until an operation needs one.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Handle,
    /// What databases inherit.
    concerns: Option<Arc<Concerns>>,
}

/// Which session an execution uses.
pub(crate) enum SessionArg<'a> {
    /// One of its own, returned when the operation ends.
    Implicit,
    /// The caller's.
    Explicit(&'a mut ClientSession),
    /// One that outlives the operation (cursors): taken from the option, or put there.
    Keep(&'a mut Option<ImplicitSession>),
}

impl<'a> SessionArg<'a> {
    #[inline]
    fn of_driver(self) -> mongo_client_driver::SessionArg<'a> {
        match self {
            Self::Implicit => mongo_client_driver::SessionArg::Implicit,
            Self::Explicit(session) => {
                mongo_client_driver::SessionArg::Explicit(session.driver_session())
            }
            Self::Keep(slot) => mongo_client_driver::SessionArg::Keep(slot),
        }
    }
}

impl Client {
    /// Creates a client from a connection string.
    ///
    /// A `mongodb+srv` host is resolved here, so that its errors show here; servers are contacted
    /// in the background.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) and
    /// [`ErrorKind::InvalidTlsConfig`](crate::error::ErrorKind::InvalidTlsConfig) that name the
    /// option; [`ErrorKind::DnsResolve`](crate::error::ErrorKind::DnsResolve).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn with_uri_str(uri: impl AsRef<str>) -> Result<Self> {
        let client = Self::builder().uri(uri.as_ref())?.build()?;
        if client.options().srv_host.is_some() {
            client.handle.ready().await?;
        }
        Ok(client)
    }

    /// Creates a client from options.
    ///
    /// Outside every runtime the client starts at its first operation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) and
    /// [`ErrorKind::InvalidTlsConfig`](crate::error::ErrorKind::InvalidTlsConfig) that name the
    /// option.
    pub fn with_options(options: ClientOptions) -> Result<Self> {
        Self::builder().options(options).build()
    }

    /// Starts a builder, which can also set the runtime.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            options: ClientOptions::default(),
            port: None,
            connect: None,
            runtime: None,
        }
    }

    /// The options that the client was built with.
    pub(crate) fn options(&self) -> &ClientOptions {
        self.handle.options()
    }

    /// What databases inherit, unless that is nothing.
    #[inline]
    pub(crate) fn concerns(&self) -> Option<&Arc<Concerns>> {
        self.concerns.as_ref()
    }

    /// The default read concern.
    #[must_use]
    pub fn read_concern(&self) -> Option<&ReadConcern> {
        self.options().read_concern.as_ref()
    }

    /// The default write concern.
    #[must_use]
    pub fn write_concern(&self) -> Option<&WriteConcern> {
        self.options().write_concern.as_ref()
    }

    /// The default selection criteria.
    #[must_use]
    pub fn selection_criteria(&self) -> Option<&SelectionCriteria> {
        self.options().selection_criteria.as_ref()
    }

    /// What is known of the deployment at this moment.
    ///
    /// # Errors
    ///
    /// When the client cannot start: outside every runtime, or without DNS records.
    pub async fn topology_description(&self) -> Result<Arc<TopologyDescription>> {
        self.handle.topology().await
    }

    /// Closes all connections and stops the monitors, for all clones; sessions are ended at the
    /// server (best effort, at most 2 s). The next use opens the client again: with a new topology,
    /// whose events carry another id.
    ///
    /// Operations under way finish with the reply that they wait for; those that need a server or
    /// a connection fail with [`ErrorKind::Closed`](crate::error::ErrorKind::Closed), and so do
    /// cursors with more to fetch. Does nothing on a client that has not started, is closed
    /// already, or was [shut down](Self::shutdown), which is for good.
    ///
    /// # Cancel safety
    ///
    /// When dropped before its end, the client is closed at once, without telling the servers of
    /// the rest of the sessions.
    pub async fn close(&self) {
        self.handle.close().await;
    }

    /// Ends the client for all its clones. See [`Shutdown`].
    #[must_use = "nothing happens until it is awaited or run"]
    pub fn shutdown(self) -> Shutdown {
        Shutdown { client: self }
    }

    /// Adds a library that wraps this client to what its connections say of it, for all clones.
    /// Applies to connections that are made from now on; one that was added before changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for a `|` in the
    /// name, version or platform, and for more than fits into the 512 bytes of a handshake.
    pub fn append_metadata(&self, driver_info: DriverInfo) -> Result<()> {
        self.handle.append_metadata(driver_info)
    }

    /// The driver's handle, for tests.
    #[doc(hidden)]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Executes a command: selection, lease, exchange, retries.
    #[inline]
    pub(crate) fn execute<'a>(
        &'a self,
        spec: CommandSpec,
        session: SessionArg<'a>,
    ) -> Execution<'a> {
        self.handle.execute(spec, session.of_driver())
    }

    /// Executes a command that opens a cursor or belongs to one: behind a load balancer it keeps
    /// its connection.
    pub(crate) fn execute_pinned<'a>(
        &'a self,
        spec: CommandSpec,
        session: SessionArg<'a>,
        pinned: &'a mut Pinned,
    ) -> Execution<'a> {
        self.handle
            .execute_pinned(spec, session.of_driver(), pinned)
    }

    /// Sends `killCursors` and waits for its end. Best effort: the server times the cursor out by
    /// itself. Nothing is sent once the connection of a cursor behind a load balancer is broken.
    pub(crate) async fn kill_cursor_and_wait(
        &self,
        spec: CommandSpec,
        session: SessionArg<'_>,
        mut pinned: Pinned,
    ) {
        if !pinned.is_lost() {
            drop(self.execute_pinned(spec, session, &mut pinned).await);
        }
    }

    /// Sends `killCursors` in the background, best effort; never blocks and never fails.
    pub(crate) fn kill_cursor(
        &self,
        spec: CommandSpec,
        session: Option<ImplicitSession>,
        pinned: Pinned,
    ) {
        self.handle.kill_cursor(spec, session, pinned);
    }

    /// A new document id.
    pub(crate) fn next_object_id(&self) -> ObjectId {
        self.handle.next_object_id()
    }
}

/// Builds a [`Client`] from options or a connection string, on a chosen runtime.
#[derive(Debug)]
pub struct ClientBuilder {
    options: ClientOptions,
    port: Option<u16>,
    connect: Option<bool>,
    runtime: Option<Arc<dyn Runtime>>,
}

impl ClientBuilder {
    /// Takes options.
    #[must_use]
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// Takes the options of a connection string.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// offending part.
    pub fn uri(mut self, uri: &str) -> Result<Self> {
        let parsed = ClientOptions::parse_uri(uri)?;
        self.options = parsed.options;
        self.options.warnings = parsed.warnings;
        Ok(self)
    }

    /// Takes a list of hosts and connection strings, and the options of the latter. All hosts
    /// together are the seed list; the last database, user name and password present count, and the
    /// last value of an option.
    ///
    /// ```
    /// # fn example() -> mongo_client::error::Result<()> {
    /// use mongo_client::Client;
    ///
    /// let hosts = ["a.example", "b.example:27018", "[::1]", "mongodb://c.example/?replicaSet=r"];
    /// let client = Client::builder().hosts(hosts)?.port(27017).connect(false).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// # example().expect("the options are valid");
    /// ```
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
        let parsed = ClientOptions::parse_hosts(hosts)?;
        self.options = parsed.options;
        self.options.warnings = parsed.warnings;
        Ok(self)
    }

    /// Sets the port of hosts that were given without one. Default: 27017.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Whether the client connects in the background as soon as it is built (the default), or with
    /// its first operation. Wins over the option `connect`.
    #[must_use]
    pub fn connect(mut self, connect: bool) -> Self {
        self.connect = Some(connect);
        self
    }

    /// Runs the client on this runtime, wherever its operations are called. After it has been shut
    /// down, the client goes on in its [successor](Runtime::successor).
    #[must_use]
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Creates the client. Files that TLS options name are read here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) and
    /// [`ErrorKind::InvalidTlsConfig`](crate::error::ErrorKind::InvalidTlsConfig) that name the
    /// option.
    pub fn build(mut self) -> Result<Client> {
        if let Some(port) = self.port {
            self.options.set_default_port(port)?;
        }
        self.options.connect = self.connect.or(self.options.connect);
        self.options.warn_of_the_ineffective();
        let concerns = Concerns {
            read_concern: self.options.read_concern.clone(),
            write_concern: self.options.write_concern.clone(),
            criteria: self.options.selection_criteria.clone(),
        };
        let concerns = concerns.share();
        let handle = match self.runtime {
            None => Handle::new(
                self.options,
                default_runtime::source(),
                default_runtime::ambient(),
            )?,
            Some(runtime) => {
                let ambient = Ambient::of(&runtime);
                let source = RuntimeSource::given(runtime);
                Handle::new(self.options, source, ambient)?
            }
        };
        Ok(Client { handle, concerns })
    }
}

/// Ends a client for all its clones: sessions are ended at the server (best effort, at most 2 s),
/// monitors and pools are closed. Operations that follow fail with
/// [`ErrorKind::Shutdown`](crate::error::ErrorKind::Shutdown).
///
/// # Cancel safety
///
/// When dropped before its end, the client ends with its last clone.
#[must_use = "nothing happens until it is awaited or run"]
#[derive(Debug)]
pub struct Shutdown {
    client: Client,
}

impl IntoFuture for Shutdown {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.handle.shutdown().await })
    }
}
