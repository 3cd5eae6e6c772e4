//! Cursors that give whole batches, undecoded.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bson::{RawArray, RawDocument};
use bytes::Bytes;
use futures_core::Stream;
use mongo_client_core::error::Result;

use super::{Cursor, SessionCursor, implicit::empty_document};
use crate::{action::reply, session::ClientSession};

/// A batch as the server sent it.
#[derive(Clone)]
pub struct RawBatch {
    reply: Bytes,
}

/// Shows no document.
impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBatch")
            .field("len", &self.reply.len())
            .finish_non_exhaustive()
    }
}

impl RawBatch {
    pub(crate) fn new(reply: Bytes) -> Self {
        Self { reply }
    }

    /// The server's whole reply.
    #[must_use]
    pub fn as_raw_document(&self) -> &RawDocument {
        // It was read as a document before it became a batch.
        RawDocument::from_bytes(&self.reply).unwrap_or_else(|_| empty_document())
    }

    /// The documents of the batch, none of which was looked into.
    ///
    /// # Errors
    ///
    /// `InvalidResponse` when the batch is no array.
    pub fn doc_slices(&self) -> Result<&RawArray> {
        let cursor = reply::field(self.as_raw_document(), "cursor")?;
        let cursor = reply::document("cursor", cursor)?;
        let name = match cursor.get("firstBatch") {
            Ok(Some(_)) => "firstBatch",
            _ => "nextBatch",
        };
        reply::array(name, reply::field(cursor, name)?)
    }
}

/// The results of a verb in batches as they come from the server, nothing of them decoded; made by
/// `batch` of the verbs that give cursors.
///
/// Read it as a [`Stream`] of `Result<RawBatch>`, or with [`next`](Self::next). A batch may be empty.
/// Dropping a cursor that is not exhausted removes it from the server in the background.
///
/// # Cancel safety
///
/// Dropping a future of `next()` loses nothing: the exchange that fetches a batch belongs to the
/// cursor and goes on with the next call.
#[must_use = "a cursor does nothing until it is read"]
#[derive(Debug)]
pub struct RawBatchCursor {
    cursor: Cursor<()>,
}

impl RawBatchCursor {
    pub(crate) fn new(cursor: Cursor<()>) -> Self {
        Self { cursor }
    }

    /// The next batch, or `None` when there are no more.
    ///
    /// # Errors
    ///
    /// Those of the exchange that fetches a batch; see [the module](crate::action).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn next(&mut self) -> Option<Result<RawBatch>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RawBatch>>> {
        self.cursor
            .poll_batch(cx)
            .map(|batch| batch.map(|batch| batch.map(RawBatch::new)))
    }
}

impl Stream for RawBatchCursor {
    type Item = Result<RawBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

/// A [`RawBatchCursor`] of a verb that ran in an explicit session.
///
/// # Cancel safety
///
/// As with a [`SessionCursor`], a batch that was being fetched when a future was dropped is lost,
/// and the next call says so with an error.
#[must_use = "a cursor does nothing until it is read"]
#[derive(Debug)]
pub struct SessionRawBatchCursor {
    cursor: SessionCursor<()>,
}

impl SessionRawBatchCursor {
    pub(crate) fn new(cursor: SessionCursor<()>) -> Self {
        Self { cursor }
    }

    /// The next batch, or `None` when there are no more.
    ///
    /// # Errors
    ///
    /// Those of the exchange that fetches a batch; see [the module](crate::action).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn next(&mut self, session: &mut ClientSession) -> Option<Result<RawBatch>> {
        let batch = self.cursor.next_batch(session).await.transpose()?;
        Some(batch.map(RawBatch::new))
    }
}
