//! The cursor with a session of its own.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bson::RawDocument;
use bytes::Bytes;
use futures_core::Stream;
use mongo_client_core::{
    cursor::{CursorSpec, CursorWant},
    error::Result,
    op::CommandSpec,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::Remote;
use crate::{
    action::{BoxFuture, reply},
    client::{Client, Executed, ImplicitSession, Pinned, SessionArg},
};

/// A `getMore` under way.
struct Fetch {
    future: BoxFuture<'static, Result<Executed>>,
    /// Where the future leaves what the cursor has lent it, when it ends or is dropped.
    returned: Returned,
}

type Returned = Arc<Mutex<(Option<ImplicitSession>, Pinned)>>;

/// The cursor's session and connection while a `getMore` uses them.
struct Lent {
    session: Option<ImplicitSession>,
    pinned: Pinned,
    to: Returned,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let lent = (self.session.take(), mem::take(&mut self.pinned));
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = lent;
    }
}

impl Fetch {
    fn new(
        client: Client,
        spec: CommandSpec,
        session: Option<ImplicitSession>,
        pinned: Pinned,
    ) -> Self {
        let returned = Returned::default();
        let to = Arc::clone(&returned);
        let mut lent = Lent {
            session,
            pinned,
            to,
        };
        Self {
            future: Box::pin(async move {
                let lent = &mut lent;
                let session = SessionArg::Keep(&mut lent.session);
                client.execute_pinned(spec, session, &mut lent.pinned).await
            }),
            returned,
        }
    }

    /// Ends the `getMore`, if it has not ended, and takes back what it was lent.
    fn into_lent(self) -> (Option<ImplicitSession>, Pinned) {
        drop(self.future);
        let mut lent = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *lent)
    }
}

/// The results of a verb, fetched from the server batch by batch.
///
/// Read it as a [`Stream`] of `Result<T>`, or with [`advance`](Self::advance) and
/// [`current`](Self::current), which need no `T` of their own. Dropping a cursor that is not
/// exhausted removes it from the server in the background.
///
/// Behind a load balancer it keeps a connection of the pool until it is exhausted, closed or
/// dropped.
///
/// # Cancel safety
///
/// Dropping a future of `next()` or [`advance`](Self::advance) loses nothing: the exchange that
/// fetches a batch belongs to the cursor and goes on with the next call.
#[must_use = "a cursor does nothing until it is read"]
pub struct Cursor<T> {
    client: Client,
    /// `None` for the result of a write that nobody acknowledged.
    remote: Option<Remote>,
    session: Option<ImplicitSession>,
    fetch: Option<Fetch>,
    item: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("id", &self.remote.as_ref().map_or(0, |r| r.machine.id()))
            .field("fetching", &self.fetch.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> Cursor<T> {
    pub(crate) fn new(
        client: Client,
        executed: Executed,
        spec: CursorSpec,
        session: Option<ImplicitSession>,
        pinned: Pinned,
    ) -> Result<Self> {
        let remote = Remote::new(executed, spec, pinned)?;
        let mut cursor = Self {
            client,
            remote: Some(remote),
            session,
            fetch: None,
            item: PhantomData,
        };
        cursor.release_session();
        Ok(cursor)
    }

    /// A cursor without results.
    pub(crate) fn empty(client: Client) -> Self {
        Self {
            client,
            remote: None,
            session: None,
            fetch: None,
            item: PhantomData,
        }
    }

    /// Gives the session back as soon as the server has no cursor any more (sessions: "When to
    /// return an implicit session").
    fn release_session(&mut self) {
        if self
            .remote
            .as_ref()
            .is_none_or(|r| r.machine.is_exhausted_on_server())
        {
            self.session = None;
        }
    }

    /// Removes the cursor from the server when nobody can want more of it.
    fn kill(&mut self) {
        self.end_fetch();
        if let Some((spec, pinned)) = self.remote.as_mut().and_then(Remote::kill) {
            self.client.kill_cursor(spec, self.session.take(), pinned);
        }
        self.session = None;
    }

    /// Ends the exchange that fetches a batch. Sessions: a cursor is killed in the session that
    /// made it; load balancers: over its connection.
    fn end_fetch(&mut self) {
        let Some(fetch) = self.fetch.take() else {
            return;
        };
        let (session, pinned) = fetch.into_lent();
        self.session = session;
        if let Some(remote) = &mut self.remote {
            remote.pinned = pinned;
        }
    }

    /// Goes to the next document, over empty batches; false at the end.
    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        loop {
            ready!(self.poll_fetch(cx))?;
            let Some(remote) = &mut self.remote else {
                return Poll::Ready(Ok(false));
            };
            match remote.machine.want() {
                CursorWant::Document => return Poll::Ready(remote.machine.advance()),
                CursorWant::Exhausted => {
                    self.kill();
                    return Poll::Ready(Ok(false));
                }
                CursorWant::GetMore => self.start_fetch(),
            }
        }
    }

    /// Waits for the batch that is being fetched, if one is.
    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(fetch) = &mut self.fetch else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(fetch.future.as_mut().poll(cx));
        self.end_fetch();
        let Some(remote) = &mut self.remote else {
            return Poll::Ready(Ok(()));
        };
        let outcome = remote.fetched(result);
        // Load balancers: after an error the connection stays with the cursor until it is closed.
        let pinned = remote.pinned.is_used();
        self.release_session();
        if outcome.is_err() && self.is_over() && !pinned {
            self.kill();
        }
        Poll::Ready(outcome)
    }

    fn start_fetch(&mut self) {
        if let Some(remote) = &mut self.remote {
            let (client, spec) = (self.client.clone(), remote.get_more());
            let pinned = mem::take(&mut remote.pinned);
            self.fetch = Some(Fetch::new(client, spec, self.session.take(), pinned));
        }
    }

    /// The next batch as it came from the server; `None` at the end.
    pub(super) fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Err(error) = ready!(self.poll_fetch(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(remote) = &mut self.remote else {
                return Poll::Ready(None);
            };
            if let Some(batch) = remote.machine.take_batch() {
                return Poll::Ready(Some(Ok(batch)));
            }
            match remote.machine.want() {
                CursorWant::GetMore => self.start_fetch(),
                CursorWant::Document | CursorWant::Exhausted => {
                    self.kill();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.remote
            .as_ref()
            .is_none_or(|r| r.machine.want() == CursorWant::Exhausted)
    }

    /// Goes to the next document; false when there are no more. A tailable cursor goes on until
    /// there is one, or until the server closes the cursor.
    ///
    /// # Errors
    ///
    /// Those of the exchange that fetches a batch; see [the module](crate::action). After an error
    /// there are no more documents, unless a tailable cursor timed out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no document: the exchange goes on with the next call.
    pub async fn advance(&mut self) -> Result<bool> {
        match self.advance_buffered() {
            Ok(false) => poll_fn(|cx| self.poll_advance(cx)).await,
            done => done,
        }
    }

    /// Goes to the next document if one is at hand or comes with at most one further batch; false
    /// otherwise. Where [`advance`](Self::advance) waits for documents of a tailable cursor, this
    /// gives the caller a chance to do something else; [`has_next`](Self::has_next) tells whether
    /// the cursor is at its end.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no document: the exchange goes on with the next call.
    pub async fn try_advance(&mut self) -> Result<bool> {
        if self.advance_buffered()? {
            return Ok(true);
        }
        let mut asked = self.fetch.is_some();
        poll_fn(|cx| {
            loop {
                ready!(self.poll_fetch(cx))?;
                let Some(remote) = &mut self.remote else {
                    return Poll::Ready(Ok(false));
                };
                match remote.machine.want() {
                    CursorWant::Document => return Poll::Ready(remote.machine.advance()),
                    CursorWant::Exhausted => {
                        self.kill();
                        return Poll::Ready(Ok(false));
                    }
                    CursorWant::GetMore if asked => return Poll::Ready(Ok(false)),
                    CursorWant::GetMore => {
                        asked = true;
                        self.start_fetch();
                    }
                }
            }
        })
        .await
    }

    /// The next document if one is at hand or comes with at most one further batch; see
    /// [`try_advance`](Self::try_advance).
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no document: the exchange goes on with the next call.
    pub async fn next_if_any(&mut self) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        match self.try_advance().await? {
            true => self.deserialize_current().map(Some),
            false => Ok(None),
        }
    }

    /// Removes the cursor from the server, and waits until that is done; whether it succeeds makes
    /// no difference. Dropping a cursor does the same in the background.
    ///
    /// # Cancel safety
    ///
    /// When dropped before its end, the server may keep the cursor until its own timeout.
    pub async fn close(mut self) {
        self.end_fetch();
        if let Some((spec, pinned)) = self.remote.as_mut().and_then(Remote::kill) {
            let session = SessionArg::Keep(&mut self.session);
            self.client
                .kill_cursor_and_wait(spec, session, pinned)
                .await;
        }
    }

    /// Goes to the next document of the batch at hand, if it has one.
    #[inline]
    pub(crate) fn advance_buffered(&mut self) -> Result<bool> {
        match &mut self.remote {
            Some(remote) => remote.machine.advance(),
            None => Ok(false),
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

    /// Whether there may be more documents: some are buffered, or the server has a cursor.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.fetch.is_some() || !self.is_over()
    }

    /// Decodes the documents into another type.
    pub fn with_type<D>(mut self) -> Cursor<D> {
        Cursor {
            client: self.client.clone(),
            remote: self.remote.take(),
            session: self.session.take(),
            fetch: self.fetch.take(),
            item: PhantomData,
        }
    }
}

/// What stands in for a current document where there is none.
pub(super) fn empty_document() -> &'static RawDocument {
    RawDocument::from_bytes(b"\x05\0\0\0\0").expect("five bytes are the empty document")
}

impl<T: DeserializeOwned> Stream for Cursor<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let cursor = self.get_mut();
        let advanced = match cursor.advance_buffered() {
            Ok(false) => ready!(cursor.poll_advance(cx)),
            done => done,
        };
        Poll::Ready(match advanced {
            Ok(true) => Some(cursor.deserialize_current()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl<T> Drop for Cursor<T> {
    fn drop(&mut self) {
        self.kill();
    }
}
