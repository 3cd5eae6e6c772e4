//! What a peer is: something that runs operations of a case.

use std::future::Future;

use crate::Case;

/// Whatever went wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of whatever can fail.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// How many documents `find` reads and `insert_many` writes.
pub const MANY: i64 = 10_000;

/// A client, or what stands for one.
pub trait Peer: Sized + Send + Sync + 'static {
    /// What a task of the caller owns.
    type Worker: Worker;

    /// Makes a client of a server, with this many connections at most.
    fn connect(uri: &str, pool: usize) -> impl Future<Output = Result<Self>> + Send;

    /// Makes workers for `concurrency` callers of one case, with whatever the case needs.
    fn workers(
        &self,
        case: Case,
        concurrency: usize,
    ) -> impl Future<Output = Result<Vec<Self::Worker>>> + Send;
}

/// One caller of operations.
pub trait Worker: Send + 'static {
    /// Runs the operation number `n`.
    fn run(&mut self, n: i64) -> impl Future<Output = Result> + Send;
}

/// A connection string with this `maxPoolSize`.
#[must_use]
pub fn with_pool(uri: &str, pool: usize) -> String {
    let separator = match (uri.contains('?'), uri.ends_with('/')) {
        (true, _) => "&",
        (false, true) => "?",
        (false, false) => "/?",
    };
    format!("{uri}{separator}maxPoolSize={pool}")
}

/// Fails unless `find_one` found a document.
///
/// # Errors
///
/// When it is missing.
pub fn found<T>(document: &Option<T>) -> Result {
    match document {
        Some(_) => Ok(()),
        None => Err("the document is missing".into()),
    }
}

/// Fails unless a cursor gave [`MANY`] documents.
///
/// # Errors
///
/// When it gave another number.
pub fn all(count: i64) -> Result {
    if count == MANY {
        Ok(())
    } else {
        Err(format!("{count} documents instead of {MANY}").into())
    }
}
