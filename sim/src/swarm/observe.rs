//! What happens in a run, and who looks at it.
//!
//! The vocabulary that the network, the workload and the checks share. An observation borrows all it
//! shows, so that a world that nobody watches pays nothing. Numbers of connections and operations are
//! unique in a run; clients are counted from 0; `server` is an index of
//! [`Deployment::addresses`](crate::Deployment::addresses).

use std::{collections::BTreeMap, fmt, time::Duration};

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    error::Error,
    event::{cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    net::ServerAddress,
    pool::PoolCounts,
    time::Instant,
};

use super::plan::Plan;

/// Told of everything that happens, in its order. It must not call back into the world.
pub type Observer = Box<dyn FnMut(Instant, &Observation<'_>) + Send>;

/// One thing that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A client begins to dial a server.
    Dialled {
        /// The connection-to-be.
        connection: u64,
        /// Who dials.
        client: usize,
        /// Whom; `None` for an address that no server has.
        server: Option<usize>,
    },
    /// The dial failed, or was given up.
    DialFailed {
        /// The connection that did not come to be.
        connection: u64,
    },
    /// The connection is open at the client's end.
    Connected {
        /// The connection.
        connection: u64,
    },
    /// The client wrote bytes: as it wrote them, before any fault.
    ClientBytes {
        /// The connection.
        connection: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The client was given bytes: as it got them, after any fault.
    ServerBytes {
        /// The connection.
        connection: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The connection is over at the client's end: once for each that was connected.
    Closed {
        /// The connection.
        connection: u64,
        /// Whether the client closed it (otherwise it got an error or the end of the stream, and
        /// still has to let go of it).
        by_client: bool,
    },

    /// An operation of the workload begins.
    Began(&'a OpFacts),
    /// An operation ended. Its commands carried `comment: "op-<number>"`.
    Ended {
        /// The operation.
        op: u64,
        /// How.
        outcome: &'a Outcome,
    },
    /// An operation was given up before its end.
    Dropped {
        /// The operation.
        op: u64,
        /// After how many polls (0 in engine mode).
        polls: u32,
    },

    /// A pool event of a client.
    Cmap {
        /// The client.
        client: usize,
        /// The event.
        event: &'a CmapEvent,
    },
    /// A topology or heartbeat event of a client.
    Sdam {
        /// The client.
        client: usize,
        /// The event.
        event: &'a SdamEvent,
    },
    /// A command event of a client.
    Command {
        /// The client.
        client: usize,
        /// The event.
        event: &'a CommandEvent,
    },

    /// A fault took effect.
    Fault {
        /// Its name: one of `FaultKind::name`.
        kind: &'static str,
    },
    /// A phase begins.
    Phase(Phase),
    /// What a client holds; taken when a phase ends and, in between, from time to time.
    Counts(&'a ClientCounts),
    /// A client is closed: from here on it may send nothing.
    ClientClosed {
        /// The client.
        client: usize,
    },
}

/// What an operation of the workload does.
///
/// Data: the collection `things` has one document for each insert (`_id`: the operation's number, as
/// int64). The collection `counters` has a few documents (`_id`: 0, 1, ..) whose array `ops` gets the
/// number of each operation that changes them: in it, an operation that was applied twice is there
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// In a causal session: pushes its number to a counter (majority), then reads the counter from
    /// any member, with read concern majority. The second reply must have the number.
    Causal,
    /// `delete` of one document of `things`, inserted by another operation; nobody else deletes it.
    Delete,
    /// `find` of one counter, read concern local, primary.
    Find,
    /// `findAndModify` that pushes its number to a counter and returns the new document.
    FindAndModify,
    /// `find` over `things` with a batch size of 2, and `getMore` to the end or to where it is
    /// given up (then `killCursors`).
    FindMany,
    /// `update` that pushes its number to a counter, and increments its `n`.
    Increment,
    /// `insert` of one document whose `_id` is the operation's number.
    Insert,
    /// `find` of one counter, read concern majority, read preference nearest or primary.
    MajorityRead,
    /// `ping`, as a user's command.
    Ping,
    /// `update` that pushes its number to a counter, `w: 0`.
    Unacknowledged,
    /// `update` with `$set: {touched: number}` of a document of `things`; may match nothing.
    Update,
}

impl OpKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Causal,
        Self::Delete,
        Self::Find,
        Self::FindAndModify,
        Self::FindMany,
        Self::Increment,
        Self::Insert,
        Self::MajorityRead,
        Self::Ping,
        Self::Unacknowledged,
        Self::Update,
    ];

    /// Whether it pushes its number to a counter.
    #[must_use]
    pub fn pushes(self) -> bool {
        matches!(
            self,
            Self::Causal | Self::FindAndModify | Self::Increment | Self::Unacknowledged
        )
    }

    /// Whether it writes.
    #[must_use]
    pub fn writes(self) -> bool {
        self.pushes() || matches!(self, Self::Delete | Self::Insert | Self::Update)
    }
}

/// What is known of an operation when it begins.
#[derive(Clone, Debug)]
pub struct OpFacts {
    /// Its number.
    pub op: u64,
    /// Who runs it.
    pub client: usize,
    /// What it does.
    pub kind: OpKind,
    /// The `_id` of the counter or the document of `things` that it is about.
    pub document: i64,
    /// Whether a write is answered.
    pub acknowledged: bool,
    /// Whether its writes wait for a majority, so that an acknowledged one survives.
    pub majority: bool,
    /// Whether its writes carry a `txnNumber`, so that they are applied at most once. Without one a
    /// write is sent once.
    pub retryable: bool,
    /// When it must have ended by the client's own time limits; `None`: they bound nothing.
    pub deadline: Option<Instant>,
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Well: the replies to its commands (`find` and each `getMore`), as the caller got them. An
    /// unacknowledged write has none.
    Done {
        /// The replies' documents.
        replies: Vec<RawDocumentBuf>,
    },
    /// With an error.
    Failed(Error),
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No faults, until the first success.
    WarmUp,
    /// Faults and load.
    Safety,
    /// The faults end for ever: the network is whole, all members are up.
    Heal,
    /// Every new operation must succeed, and nothing old may be pending, within a bound.
    Liveness,
    /// The clients are closed, then dropped.
    Shutdown,
}

impl Phase {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Safety => "safety",
            Self::Heal => "heal",
            Self::Liveness => "liveness",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a client holds.
#[derive(Clone, Debug)]
pub struct ClientCounts {
    /// The client.
    pub client: usize,
    /// The phase in which this was counted.
    pub phase: Phase,
    /// Whether no operation of the workload is under way, and has not been for
    /// [`Plan::quiet`](super::Plan::quiet): what was given up has been cleared away.
    pub quiet: bool,
    /// Operations of the workload that are under way.
    pub pending: usize,
    /// The pools.
    pub pools: Vec<(ServerAddress, PoolCounts)>,
    /// Operations that have a server, over all servers.
    pub operations: u32,
    /// Operations that wait for a server or a connection.
    pub waiting: usize,
    /// Server sessions that are not in use.
    pub sessions_idle: usize,
    /// Connections that the client has open, as the network counts them.
    pub sockets: usize,
    /// Tasks that are alive (driver mode; of all clients).
    pub tasks: usize,
    /// Deadlines that are set (engine mode).
    pub timers: usize,
}

/// The end of a run: asked for what only shows then.
#[derive(Debug)]
#[non_exhaustive]
pub struct End<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// The documents that survived, by collection (`things`, `counters`): those of the primary after
    /// all members have caught up.
    pub documents: &'a BTreeMap<&'static str, Vec<Document>>,
    /// How much simulated time has passed.
    pub elapsed: Duration,
    /// Events: queue pops that were delivered.
    pub events: u64,
}

/// An invariant.
pub trait Check: Send {
    /// Its name, like `reply-reaches-its-request`.
    fn name(&self) -> &'static str;

    /// Something happened.
    ///
    /// # Errors
    ///
    /// What violates the invariant.
    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String>;

    /// The run is over.
    ///
    /// # Errors
    ///
    /// What violates the invariant.
    fn finish(&mut self, end: &End<'_>) -> Result<(), String> {
        let _ = end;
        Ok(())
    }
}

/// A violated invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// When.
    pub at: Instant,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.invariant, self.at, self.what)
    }
}
