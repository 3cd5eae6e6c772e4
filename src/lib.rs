//! A MongoDB client with a sans-IO core and pluggable async runtimes.
//!
//! ```no_run
//! use mongo_client::{Client, bson::doc};
//!
//! # async fn example() -> mongo_client::error::Result<()> {
//! let client = Client::with_uri_str("mongodb://localhost:27017").await?;
//! let people = client.database("app").collection::<mongo_client::bson::Document>("people");
//! people.insert_one(doc! { "name": "Ada" }).await?;
//! let ada = people.find_one(doc! { "name": "Ada" }).await?;
//! assert!(ada.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! Without async code, the feature `sync` adds the same API for threads: `.run()` in place of
//! `.await`.
//!
//! The runtime is the one that the first call runs in (feature `tokio`, on by default), or the one
//! given to [`Client::builder`]. Every future may be dropped at any time; what that means for each
//! is said under "Cancel safety".

/// The examples of the README, one of which is of the blocking API.
#[cfg(all(doctest, feature = "sync"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// The examples of the page on runtimes.
#[cfg(all(doctest, feature = "sync"))]
#[doc = include_str!("../docs/RUNTIMES.md")]
struct RuntimesExamples;

pub mod action;
mod client;
mod collection;
pub mod cursor;
mod database;
mod default_runtime;
mod namespace;
pub mod options;
pub mod results;
pub mod serde_helpers;
mod session;
#[cfg(feature = "sync")]
pub mod sync;

pub use mongo_client_core::{bson, error, event};

/// Cursors that give whole batches, undecoded.
pub mod raw_batch_cursor {
    pub use crate::cursor::{RawBatch, RawBatchCursor, SessionRawBatchCursor};
}

/// What is known of a deployment and its servers.
pub mod topology {
    pub use mongo_client_core::{
        hello::{HelloReply, TopologyVersion},
        id::{OperationId, ServerId, TopologyId},
        topology::{ServerDescription, ServerType, TopologyDescription, TopologyType},
    };
}

/// The async runtimes, and the trait to write another.
///
/// A client that was given no runtime takes tokio inside of a tokio runtime, otherwise smol, otherwise
/// async-std, as far as their features are on.
pub mod runtime {
    pub use mongo_client_driver::runtime::*;
    #[cfg(feature = "async-std")]
    pub use mongo_client_runtime_async_std::AsyncStdRuntime;
    #[cfg(feature = "smol")]
    pub use mongo_client_runtime_smol::SmolRuntime;
    #[cfg(feature = "tokio")]
    pub use mongo_client_runtime_tokio::TokioRuntime;
}

pub use crate::{
    action::BoxFuture,
    client::{Client, ClientBuilder, Shutdown},
    collection::Collection,
    cursor::{Cursor, SessionCursor},
    database::Database,
    namespace::Namespace,
    options::{IndexModel, SearchIndexModel, SearchIndexType},
    session::{ClientSession, StartSession},
    topology::{ServerType, TopologyType},
};
pub use mongo_client_core::session::ClusterTime;
