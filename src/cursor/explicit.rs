//! The cursor that runs in a caller's session.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bson::{Document, RawDocument, RawDocumentBuf, raw::cstr};
use bytes::Bytes;
use futures_core::Stream;
use mongo_client_core::{
    cursor::{CursorSpec, CursorWant},
    error::{Error, Result},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Remote, implicit::empty_document};
use crate::{
    action::{BoxFuture, reply},
    client::{Client, Executed, Pinned, SessionArg},
    session::ClientSession,
};

/// The results of a verb that ran in an explicit session; every call that may fetch takes the
/// session.
///
/// Behind a load balancer it keeps a connection of the pool until it is exhausted, closed or
/// dropped.
///
/// # Cancel safety
///
/// The exchange that fetches a batch borrows the session, so it ends when a future of
/// [`advance`](Self::advance) or [`next`](Self::next) is dropped. Buffered documents are not lost;
/// if a batch was being fetched, its documents are, and the next call says so with an error
/// instead of leaving them out in silence.
#[must_use = "a cursor does nothing until it is read"]
pub struct SessionCursor<T> {
    client: Client,
    /// `None` for the result of a write that nobody acknowledged.
    remote: Option<Remote>,
    /// The id of the session that made the cursor: it is killed in no other.
    lsid: Document,
    /// Whether a batch is being fetched, or was when the future was dropped.
    fetching: bool,
    item: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for SessionCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCursor")
            .field("id", &self.remote.as_ref().map_or(0, |r| r.machine.id()))
            .finish_non_exhaustive()
    }
}

impl<T> SessionCursor<T> {
    /// Of a verb that ran in `session`.
    pub(crate) fn new(
        client: Client,
        executed: Executed,
        spec: CursorSpec,
        session: &ClientSession,
        pinned: Pinned,
    ) -> Result<Self> {
        let remote = Some(Remote::new(executed, spec, pinned)?);
        Ok(Self {
            client,
            remote,
            lsid: session.id().clone(),
            fetching: false,
            item: PhantomData,
        })
    }

    /// A cursor without results.
    pub(crate) fn empty(client: Client) -> Self {
        Self {
            client,
            remote: None,
            lsid: Document::new(),
            fetching: false,
            item: PhantomData,
        }
    }

    fn kill(&mut self) {
        let Some((mut spec, pinned)) = self.remote.as_mut().and_then(Remote::kill) else {
            return;
        };
        // Sessions: a cursor is killed in the session that made it. The caller has that one, maybe
        // in use, so only its id is sent; no command that is serialised by the server goes with it.
        if let Ok(lsid) = RawDocumentBuf::try_from(&self.lsid) {
            let mut body = (*spec.body).to_owned();
            body.append(cstr!("lsid"), lsid);
            spec.body = body.into();
            spec.supports_session = false;
        }
        self.client.kill_cursor(spec, None, pinned);
    }

    /// Goes to the next document; false when there are no more.
    ///
    /// # Errors
    ///
    /// Those of the exchange that fetches a batch, see [the module](crate::action);
    /// `InvalidArgument` after a call that was dropped while it fetched.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn advance(&mut self, session: &mut ClientSession) -> Result<bool> {
        self.advance_fetching(session, usize::MAX).await
    }

    /// Goes to the next document, with at most this many further batches.
    async fn advance_fetching(
        &mut self,
        session: &mut ClientSession,
        mut batches: usize,
    ) -> Result<bool> {
        loop {
            self.check_complete()?;
            let Some(remote) = &mut self.remote else {
                return Ok(false);
            };
            if remote.machine.advance()? {
                return Ok(true);
            }
            match remote.machine.want() {
                CursorWant::Document => {}
                CursorWant::Exhausted => {
                    self.kill();
                    return Ok(false);
                }
                CursorWant::GetMore if batches == 0 => return Ok(false),
                CursorWant::GetMore => {
                    batches -= 1;
                    self.fetch(session).await?;
                }
            }
        }
    }

    /// Refuses to go on where documents would be left out in silence.
    fn check_complete(&mut self) -> Result<()> {
        if !self.fetching {
            return Ok(());
        }
        self.kill();
        self.remote = None;
        self.fetching = false;
        Err(Error::invalid_argument(
            "cursor: a call was dropped while it fetched a batch, whose documents are lost",
        ))
    }

    async fn fetch(&mut self, session: &mut ClientSession) -> Result<()> {
        let Some(remote) = &mut self.remote else {
            return Ok(());
        };
        let spec = remote.get_more();
        self.fetching = true;
        let session = SessionArg::Explicit(session);
        let pinned = &mut remote.pinned;
        let result = self.client.execute_pinned(spec, session, pinned).await;
        self.fetching = false;
        remote.fetched(result)
    }

    /// The next batch as it came from the server; `None` at the end.
    pub(super) async fn next_batch(
        &mut self,
        session: &mut ClientSession,
    ) -> Result<Option<Bytes>> {
        loop {
            self.check_complete()?;
            let Some(remote) = &mut self.remote else {
                return Ok(None);
            };
            if let Some(batch) = remote.machine.take_batch() {
                return Ok(Some(batch));
            }
            match remote.machine.want() {
                CursorWant::GetMore => self.fetch(session).await?,
                CursorWant::Document | CursorWant::Exhausted => {
                    self.kill();
                    return Ok(None);
                }
            }
        }
    }

    /// Goes to the next document if one is at hand or comes with at most one further batch; see
    /// [`Cursor::try_advance`](super::Cursor::try_advance).
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn try_advance(&mut self, session: &mut ClientSession) -> Result<bool> {
        self.advance_fetching(session, 1).await
    }

    /// The next document if one is at hand or comes with at most one further batch; see
    /// [`Cursor::try_advance`](super::Cursor::try_advance).
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn next_if_any(&mut self, session: &mut ClientSession) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        match self.try_advance(session).await? {
            true => self.deserialize_current().map(Some),
            false => Ok(None),
        }
    }

    /// Removes the cursor from the server in its session, and waits until that is done; whether it
    /// succeeds makes no difference. Dropping a cursor does the same in the background.
    ///
    /// # Cancel safety
    ///
    /// When dropped before its end, the server may keep the cursor until its own timeout.
    pub async fn close(mut self, session: &mut ClientSession) {
        if let Some((spec, pinned)) = self.remote.as_mut().and_then(Remote::kill) {
            let session = SessionArg::Explicit(session);
            self.client
                .kill_cursor_and_wait(spec, session, pinned)
                .await;
        }
    }

    /// Whether there may be more documents: some are buffered, or the server has a cursor.
    #[must_use]
    pub fn has_next(&self) -> bool {
        let remote = self.remote.as_ref();
        remote.is_some_and(|r| r.machine.want() != CursorWant::Exhausted)
    }

    /// The next document, or `None` when there are no more.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self).
    pub async fn next(&mut self, session: &mut ClientSession) -> Option<Result<T>>
    where
        T: DeserializeOwned,
    {
        match self.advance(session).await {
            Ok(true) => Some(self.deserialize_current()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The documents as a [`Stream`], which borrows the session.
    pub fn stream<'a>(&'a mut self, session: &'a mut ClientSession) -> SessionCursorStream<'a, T> {
        SessionCursorStream {
            state: State::Idle(self, session),
        }
    }

    /// The document that [`advance`](Self::advance) came to; empty before the first.
    #[must_use]
    #[inline]
    pub fn current(&self) -> &RawDocument {
        match &self.remote {
            Some(remote) => remote.machine.current(),
            None => empty_document(),
        }
    }

    /// Decodes the current document, which may be borrowed from.
    ///
    /// # Errors
    ///
    /// `Bson` when the document is no `T`.
    pub fn deserialize_current<'a>(&'a self) -> Result<T>
    where
        T: Deserialize<'a>,
    {
        reply::decode(self.current())
    }

    /// Decodes the documents into another type.
    pub fn with_type<D>(mut self) -> SessionCursor<D> {
        SessionCursor {
            client: self.client.clone(),
            remote: self.remote.take(),
            lsid: mem::take(&mut self.lsid),
            fetching: self.fetching,
            item: PhantomData,
        }
    }
}

impl<T> Drop for SessionCursor<T> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The documents of a [`SessionCursor`] as a stream; made by [`SessionCursor::stream`].
///
/// # Cancel safety
///
/// Dropping a future of `next()` loses nothing; dropping the stream is as dropping a future of
/// [`SessionCursor::advance`].
#[must_use = "streams do nothing unless polled"]
pub struct SessionCursorStream<'a, T> {
    state: State<'a, T>,
}

/// A future of `advance` and what it borrows.
type Advance<'a, T> = BoxFuture<
    'a,
    (
        Result<bool>,
        &'a mut SessionCursor<T>,
        &'a mut ClientSession,
    ),
>;

enum State<'a, T> {
    Idle(&'a mut SessionCursor<T>, &'a mut ClientSession),
    Fetching(Advance<'a, T>),
    /// Only while `poll_next` runs.
    Moved,
}

impl<T> fmt::Debug for SessionCursorStream<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCursorStream")
            .finish_non_exhaustive()
    }
}

impl<'a, T: DeserializeOwned> Stream for SessionCursorStream<'a, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match mem::replace(&mut self.state, State::Moved) {
                State::Idle(cursor, session) => {
                    self.state = State::Fetching(Box::pin(async move {
                        let result = cursor.advance(session).await;
                        (result, cursor, session)
                    }));
                }
                State::Fetching(mut future) => {
                    let Poll::Ready(done) = Pin::new(&mut future).poll(cx) else {
                        self.state = State::Fetching(future);
                        return Poll::Pending;
                    };
                    let (result, cursor, session) = done;
                    let item = match result {
                        Ok(true) => Some(cursor.deserialize_current()),
                        Ok(false) => None,
                        Err(error) => Some(Err(error)),
                    };
                    self.state = State::Idle(cursor, session);
                    return Poll::Ready(item);
                }
                State::Moved => return Poll::Ready(None),
            }
        }
    }
}
