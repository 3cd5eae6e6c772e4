//! What goes into a pool and what comes out of it.

use std::{fmt, time::Duration};

use crate::{
    error::{Error, ErrorKind},
    event::cmap::{CmapEvent, ConnectionClosedReason, PoolEventOptions},
    id::{ConnId, Generation, Ticket},
    net::ServerAddress,
};

/// The options of a pool; the same for its whole life.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The server that the connections lead to.
    pub address: ServerAddress,
    /// The largest number of connections, those being opened included; 0: unlimited.
    pub max_pool_size: u32,
    /// The number of connections that a ready pool keeps.
    pub min_pool_size: u32,
    /// How many connections may be opened at once; 0 counts as 1.
    pub max_connecting: u32,
    /// How long a connection may be available without being used; `None` or zero: for ever.
    pub max_idle_time: Option<Duration>,
    /// How many checkouts may wait, as a multiple of `max_pool_size`; `None` or 0: any number.
    pub wait_queue_multiple: Option<u32>,
    /// Behind a load balancer: a connection's generation is that of its service.
    pub load_balanced: bool,
    /// The options for the event of the pool's creation.
    pub options: PoolEventOptions,
    /// Whether events are returned at all.
    pub events: bool,
}

impl PoolConfig {
    /// The default options: at most 100 connections, 2 of them being opened; no events.
    #[must_use]
    pub fn new(address: ServerAddress) -> Self {
        Self {
            address,
            max_pool_size: 100,
            min_pool_size: 0,
            max_connecting: 2,
            max_idle_time: None,
            wait_queue_multiple: None,
            load_balanced: false,
            options: PoolEventOptions::default(),
            events: false,
        }
    }
}

/// Names a lease: proves to the pool that it handed the connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The connection.
    pub id: ConnId,
    /// The generation of the connection: of its service behind a load balancer.
    pub generation: Generation,
    /// Where the pool keeps the connection's record.
    pub(super) slot: u32,
}

/// A connection that was handed out, with its payload.
#[derive(Debug)]
pub struct Lease<C> {
    /// Names the lease when the connection comes back.
    pub token: LeaseToken,
    /// The connection.
    pub conn: C,
}

/// The immediate answer to a checkout.
#[must_use]
#[derive(Debug)]
pub enum Checkout<C> {
    /// A connection was available.
    Ready(Lease<C>),
    /// The ticket settles later, by [`PoolAction::Grant`], [`PoolAction::Fail`] or
    /// [`cancel`](super::Pool::cancel).
    Wait(Ticket),
    /// The pool hands out nothing at present.
    Refused(PoolError),
}

/// Why a waiting checkout is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The caller lost interest; the ticket settles without an action.
    Dropped,
    /// The deadline passed; the ticket settles by [`PoolAction::Fail`].
    Timeout,
}

/// What the owner of a pool has to do.
#[must_use]
#[derive(Debug)]
pub enum PoolAction<C> {
    /// Destroy a connection.
    Close {
        /// The connection.
        id: ConnId,
        /// Its payload.
        conn: Option<C>,
        /// Why.
        why: ConnectionClosedReason,
    },
    /// Hand an event to the listeners.
    Event(CmapEvent),
    /// A waiting checkout failed.
    Fail {
        /// The checkout.
        ticket: Ticket,
        /// Why.
        error: PoolError,
    },
    /// A waiting checkout has its connection.
    Grant {
        /// The checkout.
        ticket: Ticket,
        /// The connection.
        lease: Lease<C>,
    },
    /// Stop what a connection does, wherever it is: one in use comes back by `discard`, one being
    /// opened needs no report.
    Interrupt {
        /// The connection.
        id: ConnId,
    },
    /// Open a connection, and report by `opened` or `open_failed`.
    Open {
        /// The connection.
        id: ConnId,
        /// The generation that it belongs to.
        generation: Generation,
    },
}

/// Why a pool wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolTimer {
    /// An available connection has been idle for too long.
    Idle,
    /// After a failure, it is time to try again to reach the minimum size.
    Populate,
}

/// How many connections there are in each state, and how many checkouts wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Ready to be handed out.
    pub available: usize,
    /// Handed out to operations.
    pub leased: usize,
    /// Handed out to cursors, behind a load balancer.
    pub pinned: usize,
    /// Handed out, and only still consuming a reply that nobody waits for.
    pub draining: usize,
    /// Being opened.
    pub opening: usize,
    /// Checkouts that wait.
    pub waiting: usize,
}

impl PoolCounts {
    /// All connections, as maxPoolSize counts them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.available + self.leased + self.pinned + self.draining + self.opening
    }
}

/// Why a checkout failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// The pool was cleared, and its server is not known to be back.
    Cleared {
        /// Why it was cleared; `None` before the first successful check.
        cause: Option<Error>,
    },
    /// The pool was closed.
    Closed,
    /// The connection that was opened for this checkout failed.
    ConnectionFailed {
        /// Why.
        error: Error,
    },
    /// Too many checkouts wait already (waitQueueMultiple).
    WaitQueueFull,
    /// No connection became free in time.
    WaitQueueTimeout {
        /// The largest number of connections.
        max_pool_size: u32,
        /// The state of the pool.
        counts: PoolCounts,
        /// Whether the connections lead to a load balancer: then cursors keep theirs.
        load_balanced: bool,
    },
}

impl PoolError {
    /// The public form of the error.
    #[must_use]
    pub fn into_error(&self, address: &ServerAddress) -> Error {
        let error = match self {
            Self::ConnectionFailed { error } => return error.clone(),
            Self::Cleared { cause } => Error::new(ErrorKind::ConnectionPoolCleared {
                message: self.to_string(),
            })
            .with_source(cause.clone()),
            // A pool is closed when its server left the deployment: another one may serve.
            Self::Closed => Error::new(ErrorKind::ConnectionPoolCleared {
                message: self.to_string(),
            }),
            Self::WaitQueueFull => Error::new(ErrorKind::ConnectionCheckout {
                message: self.to_string(),
            }),
            Self::WaitQueueTimeout { .. } => Error::new(ErrorKind::ConnectionCheckout {
                message: self.to_string(),
            })
            .with_timeout(),
        };
        error.with_server(address.clone())
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cleared { cause: Some(cause) } => {
                write!(f, "the connection pool was cleared because of: {cause}")
            }
            Self::Cleared { cause: None } => {
                f.write_str("the connection pool is paused: its server is not known to be usable")
            }
            Self::Closed => {
                f.write_str("attempted to check out a connection from closed connection pool")
            }
            Self::ConnectionFailed { error } => write!(f, "{error}"),
            Self::WaitQueueFull => {
                f.write_str("too many operations wait for a connection (waitQueueMultiple)")
            }
            Self::WaitQueueTimeout {
                max_pool_size,
                counts,
                load_balanced,
            } => {
                write!(
                    f,
                    "timed out while checking out a connection from connection pool; \
                     maxPoolSize: {max_pool_size}, "
                )?;
                if *load_balanced {
                    write!(
                        f,
                        "connections in use by cursors: {}, connections in use by transactions: \
                         0, connections in use by other operations: {}, ",
                        counts.pinned, counts.leased
                    )?;
                } else {
                    write!(f, "in use: {}, ", counts.leased)?;
                }
                write!(
                    f,
                    "draining: {}, being opened: {}, available: {}, other checkouts waiting: {}",
                    counts.draining, counts.opening, counts.available, counts.waiting
                )
            }
        }
    }
}
