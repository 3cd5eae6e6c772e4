//! The blocking API, for threads without an async runtime (feature `sync`).
//!
//! ```no_run
//! use mongo_client::{bson::{Document, doc}, sync::Client};
//!
//! # fn main() -> mongo_client::error::Result<()> {
//! let client = Client::with_uri_str("mongodb://localhost:27017")?;
//! let people = client.database("app").collection::<Document>("people");
//! people.insert_one(doc! { "name": "Ada" }).run()?;
//! for person in people.find(doc! {}).sort(doc! { "name": 1 }).run()? {
//!     println!("{}", person?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # One builder, two finishers
//!
//! The handles here wrap the async ones and have the same methods. Verbs are the very same builders
//! (see [`action`](crate::action)), with the same options; they end in `.run()` where async code
//! writes `.await`. What `.run()` returns is plain, or the cursor or session of this module. So there
//! is no option to keep in step, and the type of a builder says nothing of who finishes it: the
//! alternative, a type parameter for the way of finishing, would stand in every signature of every
//! async user. The price is that `.run()` can also be called on a verb of an async client: it blocks
//! the same, and is for threads that the client's runtime does not need.
//!
//! # Threads
//!
//! `.run()` polls the operation on the calling thread, which parks until the reply can be read; no
//! task is spawned for it. Clients made here share one background thread per process, which is never
//! the caller's runtime: they can be used on any thread, on workers of tokio, smol and others too.
//! There, `.run()` holds up whatever else the worker would do, as every blocking call does. Event
//! handlers may be called on the background thread, so they must not wait for a client of this module
//! themselves.
//!
//! Handles are cheap to clone and can be shared between threads. An operation waits for a free
//! connection in the order of the calls.
//!
//! # What stays behind
//!
//! A blocking call cannot be cancelled; `max_time`, `server_selection_timeout` and the other time
//! limits bound it. A cursor that is dropped before its end is removed from the server in the
//! background.

mod client;
mod collection;
mod cursor;
mod database;
mod raw_batch;
mod reactor;
mod session;
#[cfg(test)]
mod tests;
mod wait;

pub(crate) use self::wait::wait;
pub use self::{
    client::{Client, ClientBuilder},
    collection::Collection,
    cursor::{Cursor, SessionCursor, SessionCursorIter},
    database::Database,
    raw_batch::{RawBatchCursor, SessionRawBatchCursor},
    session::ClientSession,
};
