//! Connection pool events (specification: "Connection Monitoring and Pooling").

use std::time::Duration;

use bson::oid::ObjectId;

use crate::{error::Error, net::ServerAddress};

/// Something happened in a connection pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CmapEvent {
    /// A pool was created.
    PoolCreated(PoolCreatedEvent),
    /// A pool may hand out connections.
    PoolReady(PoolEvent),
    /// A pool was cleared: its connections are stale.
    PoolCleared(PoolClearedEvent),
    /// A pool was closed.
    PoolClosed(PoolEvent),
    /// A connection is about to be established.
    ConnectionCreated(ConnectionEvent),
    /// A connection is established.
    ConnectionReady(ConnectionReadyEvent),
    /// A connection was closed.
    ConnectionClosed(ConnectionClosedEvent),
    /// Somebody wants a connection.
    ConnectionCheckoutStarted(PoolEvent),
    /// Nobody got a connection.
    ConnectionCheckoutFailed(ConnectionCheckoutFailedEvent),
    /// A connection was handed out.
    ConnectionCheckedOut(ConnectionCheckedOutEvent),
    /// A connection was returned.
    ConnectionCheckedIn(ConnectionEvent),
}

/// A pool was created.
#[derive(Clone, Debug)]
pub struct PoolCreatedEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The options that differ from their defaults.
    pub options: PoolEventOptions,
}

/// The pool options that differ from their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolEventOptions {
    /// The largest number of connections.
    pub max_pool_size: Option<u32>,
    /// The number of connections that the pool keeps open.
    pub min_pool_size: Option<u32>,
    /// How long a connection may be idle.
    pub max_idle_time: Option<Duration>,
    /// How many connections may be established at once.
    pub max_connecting: Option<u32>,
    /// How long a checkout may wait.
    pub wait_queue_timeout: Option<Duration>,
    /// How many checkouts may wait, as a multiple of the largest number of connections.
    pub wait_queue_multiple: Option<u32>,
}

/// An event of a pool as a whole.
#[derive(Clone, Debug)]
pub struct PoolEvent {
    /// The server of the pool.
    pub address: ServerAddress,
}

/// A pool was cleared.
#[derive(Clone, Debug)]
pub struct PoolClearedEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The only service whose connections are stale, behind a load balancer.
    pub service_id: Option<ObjectId>,
    /// Whether connections in use are closed at once.
    pub interrupt_in_use_connections: bool,
}

/// An event of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The connection's id in its pool.
    pub connection_id: u32,
}

/// A connection is established.
#[derive(Clone, Debug)]
pub struct ConnectionReadyEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The connection's id in its pool.
    pub connection_id: u32,
    /// How long it took to establish.
    pub duration: Duration,
}

/// A connection was closed.
#[derive(Clone, Debug)]
pub struct ConnectionClosedEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The connection's id in its pool.
    pub connection_id: u32,
    /// Why.
    pub reason: ConnectionClosedReason,
    /// The error, where `reason` is [`ConnectionClosedReason::Error`] and it is known.
    pub error: Option<Error>,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionClosedReason {
    /// An operation was dropped and its reply could not be consumed in time.
    Dropped,
    /// The network or the handshake failed.
    Error,
    /// It was idle for longer than maxIdleTimeMS.
    Idle,
    /// The pool was closed.
    PoolClosed,
    /// The pool was cleared since it was created.
    Stale,
}

/// Nobody got a connection.
#[derive(Clone, Debug)]
pub struct ConnectionCheckoutFailedEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// Why.
    pub reason: ConnectionCheckoutFailedReason,
    /// The error, where `reason` is [`ConnectionCheckoutFailedReason::ConnectionError`].
    pub error: Option<Error>,
    /// How long it was waited for.
    pub duration: Duration,
}

/// Why a checkout failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionCheckoutFailedReason {
    /// A connection could not be established, or the pool is paused.
    ConnectionError,
    /// The pool is closed.
    PoolClosed,
    /// No connection became free in time.
    Timeout,
}

/// A connection was handed out.
#[derive(Clone, Debug)]
pub struct ConnectionCheckedOutEvent {
    /// The server of the pool.
    pub address: ServerAddress,
    /// The connection's id in its pool.
    pub connection_id: u32,
    /// How long it was waited for.
    pub duration: Duration,
}
