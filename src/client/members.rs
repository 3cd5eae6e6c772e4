//! What a client knows of its deployment and of itself.
//!
//! The properties look at the view of this moment. Only those that PyMongo documents as waiting for
//! a server are futures; the others answer at once, also before the client has started.

use std::{collections::BTreeSet, time::Duration};

use mongo_client_core::{
    error::{Error, ErrorKind, Result},
    hello::HelloReply,
    net::ServerAddress,
    options::{DEFAULT_LOCAL_THRESHOLD, DEFAULT_MAX_POOL_SIZE},
    read_preference::{ReadPreference, SelectionCriteria},
    topology::{ServerType, TopologyType},
};

use super::Client;
use crate::database::Database;

/// The page's 16 MB: what every server accepts.
const MAX_BSON_SIZE: usize = 16 * 1024 * 1024;
/// The page's 32 MB.
const MAX_MESSAGE_SIZE: usize = 33_554_432;
/// The specification's value for servers that do not say.
const MAX_WRITE_BATCH_SIZE: usize = 100_000;

impl Client {
    /// The address of the current standalone, primary or router; `None` while none is known.
    ///
    /// Never waits. (PyMongo 3 does not either; since its version 4.7 it waits for a server.)
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOperation`] when operations are spread over several routers, so that no
    /// single address is current. Use [`nodes`](Self::nodes) then.
    pub fn address(&self) -> Result<Option<ServerAddress>> {
        let Some(topology) = self.handle.latest() else {
            return Ok(None);
        };
        if topology.topology_type == TopologyType::Sharded && topology.servers.len() > 1 {
            return Err(Error::new(ErrorKind::InvalidOperation {
                message: "address: operations are spread over several routers; use nodes".into(),
            }));
        }
        Ok(topology.current().map(|s| s.address.clone()))
    }

    /// The addresses of all servers that are known to be up, in the order of the addresses. Empty
    /// until the first server has answered, and while all are unreachable. Never waits.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<ServerAddress> {
        let topology = self.handle.latest();
        topology.map_or_else(BTreeSet::new, |t| t.known().cloned().collect())
    }

    /// The address of the replica set's primary; `None` outside of replica sets, while there is no
    /// primary, and in a direct connection. Never waits.
    #[must_use]
    pub fn primary(&self) -> Option<ServerAddress> {
        let topology = self.handle.latest()?;
        topology.members(ServerType::RsPrimary).next().cloned()
    }

    /// The addresses of the replica set's secondaries that can be read from; hidden members are
    /// not among them. Empty outside of replica sets. Never waits.
    #[must_use]
    pub fn secondaries(&self) -> BTreeSet<ServerAddress> {
        self.members(ServerType::RsSecondary)
    }

    /// The addresses of the replica set's arbiters. Empty outside of replica sets. Never waits.
    #[must_use]
    pub fn arbiters(&self) -> BTreeSet<ServerAddress> {
        self.members(ServerType::RsArbiter)
    }

    fn members(&self, of: ServerType) -> BTreeSet<ServerAddress> {
        let topology = self.handle.latest();
        topology.map_or_else(BTreeSet::new, |t| t.members(of).cloned().collect())
    }

    /// Whether the current server takes writes: a standalone, a router, a load balancer or a
    /// primary. False in a direct connection to a secondary.
    ///
    /// Waits for a server, at most for the server selection timeout (default: 30 s).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ServerSelection`] when none is found in time,
    /// [`ErrorKind::Shutdown`] after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn is_primary(&self) -> Result<bool> {
        Ok(self.handle.writable().await?.is_writable())
    }

    /// Whether the current server is a router of a sharded cluster.
    ///
    /// Waits for a server, at most for the server selection timeout (default: 30 s).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ServerSelection`] when none is found in time,
    /// [`ErrorKind::Shutdown`] after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn is_mongos(&self) -> Result<bool> {
        Ok(self.handle.writable().await?.server_type == ServerType::Mongos)
    }

    /// How many connections each server's pool may have at the same time (`maxPoolSize`, default:
    /// 100); `None` without a limit (`maxPoolSize=0`). Operations beyond it wait for a connection.
    #[must_use]
    pub fn max_pool_size(&self) -> Option<u32> {
        let size = self.options().max_pool_size;
        Some(size.unwrap_or(DEFAULT_MAX_POOL_SIZE)).filter(|size| *size != 0)
    }

    /// The largest document that the current server accepts, in bytes; 16 MiB while none is known.
    /// Never waits.
    #[must_use]
    pub fn max_bson_size(&self) -> usize {
        self.limit(|hello| hello.max_bson_object_size)
            .unwrap_or(MAX_BSON_SIZE)
    }

    /// The largest message that the current server accepts, in bytes; 33,554,432 while none is
    /// known. Never waits.
    #[must_use]
    pub fn max_message_size(&self) -> usize {
        self.limit(|hello| hello.max_message_size_bytes)
            .unwrap_or(MAX_MESSAGE_SIZE)
    }

    /// How many writes the current server accepts in one command; 100,000 while none is known.
    /// Never waits. (PyMongo says 1000 while none is known, for servers before 2.6.)
    #[must_use]
    pub fn max_write_batch_size(&self) -> usize {
        self.limit(|hello| hello.max_write_batch_size)
            .unwrap_or(MAX_WRITE_BATCH_SIZE)
    }

    /// A limit that the current server's hello reply names.
    fn limit(&self, of: impl FnOnce(&HelloReply) -> usize) -> Option<usize> {
        let topology = self.handle.latest()?;
        topology.current()?.hello.as_deref().map(of)
    }

    /// How much slower than the nearest a server may answer and still be chosen
    /// (`localThresholdMS`, default: 15 ms).
    #[must_use]
    pub fn local_threshold(&self) -> Duration {
        self.options()
            .local_threshold
            .unwrap_or(DEFAULT_LOCAL_THRESHOLD)
    }

    /// The default read preference: that of [`selection_criteria`](Self::selection_criteria), or
    /// the primary.
    #[must_use]
    pub fn read_preference(&self) -> ReadPreference {
        self.selection_criteria()
            .and_then(SelectionCriteria::as_read_pref)
            .cloned()
            .unwrap_or_default()
    }

    /// The database that the connection string names, or else `default`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] when there is neither (PyMongo: `ConfigurationError`).
    pub fn get_default_database(&self, default: Option<&str>) -> Result<Database> {
        self.default_database()
            .or_else(|| default.map(|name| self.database(name)))
            .ok_or_else(|| {
                Error::invalid_argument(
                    "default database: the connection string names none, and no default was given",
                )
            })
    }
}
