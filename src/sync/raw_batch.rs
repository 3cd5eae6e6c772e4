//! The blocking forms of the cursors that give whole batches.

use mongo_client_core::error::Result;

use super::{ClientSession, wait};
use crate::cursor::RawBatch;

/// The results of a verb in batches as they come from the server, nothing of them decoded. The
/// blocking form of [`mongo_client::cursor::RawBatchCursor`](crate::cursor::RawBatchCursor): an
/// [`Iterator`] of `Result<RawBatch>`.
///
/// Dropping a cursor that is not exhausted removes it from the server in the background.
#[must_use = "a cursor does nothing until it is read"]
#[derive(Debug)]
pub struct RawBatchCursor {
    inner: crate::cursor::RawBatchCursor,
}

impl From<crate::cursor::RawBatchCursor> for RawBatchCursor {
    fn from(inner: crate::cursor::RawBatchCursor) -> Self {
        Self { inner }
    }
}

impl Iterator for RawBatchCursor {
    type Item = Result<RawBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        wait(self.inner.next())
    }
}

/// A [`RawBatchCursor`] of a verb that ran in an explicit session.
#[must_use = "a cursor does nothing until it is read"]
#[derive(Debug)]
pub struct SessionRawBatchCursor {
    inner: crate::cursor::SessionRawBatchCursor,
}

impl From<crate::cursor::SessionRawBatchCursor> for SessionRawBatchCursor {
    fn from(inner: crate::cursor::SessionRawBatchCursor) -> Self {
        Self { inner }
    }
}

impl SessionRawBatchCursor {
    /// The next batch, or `None` when there are no more.
    ///
    /// # Errors
    ///
    /// Those of the exchange that fetches a batch; see [the module](crate::action).
    pub fn next(&mut self, session: &mut ClientSession) -> Option<Result<RawBatch>> {
        wait(self.inner.next(session.inner()))
    }
}
