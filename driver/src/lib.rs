//! The runtime-neutral driver of mongo-client: futures over the sans-IO core.
//!
//! It composes core's machines with locks and futures, and knows no socket, clock or executor:
//! these come through the trait [`runtime::Runtime`]. Applications use the facade crate
//! `mongo-client`; this crate is for runtime adapters and simulations.

pub mod buffers;
mod cluster_time;
mod command_events;
mod current;
mod cursor_manager;
mod dial;
pub mod environment;
mod exec;
mod guarded;
mod handle;
mod incarnation;
mod lease;
mod link;
mod outbox;
mod pinned;
pub mod runtime;
mod server;
mod session;
mod settings;
mod shared;
mod signal;
mod srv;
mod tasks;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "trace/off.rs"]
mod trace;
mod view_cell;
mod wait;
mod watch;

/// Warns through `tracing`, where the feature is on.
pub fn warn(message: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "mongo_client", "{message}");
    #[cfg(not(feature = "tracing"))]
    let _ = message;
}

pub use mongo_client_core as core;
pub use mongo_client_core::time::{Instant, UnixMillis};

#[doc(hidden)]
pub use self::shared::Census;
pub use self::{
    cursor_manager::{ClosedCursor, CursorManager},
    exec::{Executed, Execution, SessionArg},
    handle::{Ambient, Handle, RandomSource},
    incarnation::RuntimeSource,
    pinned::Pinned,
    session::{ImplicitSession, Session},
    settings::WallClock,
};
