//! Explicit sessions.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
};

use mongo_client_core::{
    bson::{Document, Timestamp},
    error::Result,
    options::{SessionOptions, TransactionOptions},
    session::ClusterTime,
};
use mongo_client_driver::Session;

use crate::client::Client;

/// A session: groups operations, causally consistent by default.
///
/// Dropping it returns its server session to the client's pool. A session is used by one operation
/// at a time, which the exclusive borrow of `session` setters enforces. Servers forget sessions that
/// rest: one that is not used within a minute after its start may fail when it is.
///
/// In a causally consistent session every operation sees what the ones before it have done; writes
/// that nobody acknowledges (`w: 0`) cannot be used in a session.
#[derive(Debug)]
pub struct ClientSession {
    client: Client,
    session: Session,
}

impl ClientSession {
    /// The client that started the session.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The session's id (`lsid`).
    #[must_use]
    pub fn id(&self) -> &Document {
        self.session.id()
    }

    /// The highest cluster time that the session has seen.
    #[must_use]
    pub fn cluster_time(&self) -> Option<&ClusterTime> {
        self.session.cluster_time()
    }

    /// The operation time of the session's last operation.
    #[must_use]
    pub fn operation_time(&self) -> Option<Timestamp> {
        self.session.operation_time()
    }

    /// What the session was started with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        self.session.options()
    }

    /// The point in time that all reads of a snapshot session see: the one that it was started with,
    /// or that of its first read. `None` before that, and in other sessions.
    #[must_use]
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        self.session.snapshot_time()
    }

    /// Advances the session's cluster time, for causal consistency with another session.
    pub fn advance_cluster_time(&mut self, to: &ClusterTime) {
        self.session.advance_cluster_time(to);
    }

    /// Advances the session's operation time, for causal consistency with another session.
    pub fn advance_operation_time(&mut self, to: Timestamp) {
        self.session.advance_operation_time(to);
    }

    /// Whether the network failed in it, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.session.is_dirty()
    }

    pub(crate) fn driver_session(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Client {
    /// Starts a session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for options that
    /// exclude each other.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub fn start_session(&self) -> StartSession<'_> {
        StartSession {
            client: self,
            options: SessionOptions::default(),
        }
    }
}

/// Starts a session; see [`Client::start_session`].
#[must_use = "nothing happens until it is awaited or run"]
#[derive(Debug)]
pub struct StartSession<'a> {
    client: &'a Client,
    options: SessionOptions,
}

impl StartSession<'_> {
    /// Sets all options.
    pub fn with_options(mut self, options: impl Into<Option<SessionOptions>>) -> Self {
        self.options = options.into().unwrap_or_default();
        self
    }

    /// Whether reads see the session's earlier operations. Default: true, but false for snapshots.
    pub fn causal_consistency(mut self, value: bool) -> Self {
        self.options.causal_consistency = Some(value);
        self
    }

    /// The options of the session's transactions that have none of their own.
    pub fn default_transaction_options(mut self, value: TransactionOptions) -> Self {
        self.options.default_transaction_options = Some(value);
        self
    }

    /// Whether all reads see one point in time. Needs MongoDB 5.0, as a replica set or sharded
    /// cluster; such a session can only `find`, `aggregate` and ask for `distinct` values. Default:
    /// false.
    pub fn snapshot(mut self, value: bool) -> Self {
        self.options.snapshot = Some(value);
        self
    }

    /// The point in time that a snapshot session sees. Default: that of its first read.
    pub fn snapshot_time(mut self, value: Timestamp) -> Self {
        self.options.snapshot_time = Some(value);
        self
    }
}

impl<'a> IntoFuture for StartSession<'a> {
    type Output = Result<ClientSession>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let session = self.client.handle().start_session(self.options).await?;
            Ok(ClientSession {
                client: self.client.clone(),
                session,
            })
        })
    }
}
