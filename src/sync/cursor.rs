//! The blocking forms of the two cursors.

use std::fmt;

use bson::RawDocument;
use mongo_client_core::error::Result;
use serde::{Deserialize, de::DeserializeOwned};

use super::{ClientSession, wait};

/// The results of a verb, fetched from the server batch by batch. The blocking form of
/// [`mongo_client::Cursor`](crate::Cursor).
///
/// Read it as an [`Iterator`] of `Result<T>`, or with [`advance`](Self::advance) and
/// [`current`](Self::current), which need no `T` of their own. It blocks only where a batch is
/// fetched. Dropping a cursor that is not exhausted removes it from the server in the background.
#[must_use = "a cursor does nothing until it is read"]
pub struct Cursor<T> {
    inner: crate::Cursor<T>,
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T> From<crate::Cursor<T>> for Cursor<T> {
    fn from(inner: crate::Cursor<T>) -> Self {
        Self { inner }
    }
}

impl<T> Cursor<T> {
    /// Goes to the next document; false when there are no more. A tailable cursor goes on until
    /// there is one, or until the server closes the cursor.
    ///
    /// # Errors
    ///
    /// Those of [`Cursor::advance`](crate::Cursor::advance).
    pub fn advance(&mut self) -> Result<bool> {
        match self.inner.advance_buffered() {
            Ok(false) => wait(self.inner.advance()),
            done => done,
        }
    }

    /// The document that [`advance`](Self::advance) came to; empty before the first.
    #[must_use]
    pub fn current(&self) -> &RawDocument {
        self.inner.current()
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
        self.inner.deserialize_current()
    }

    /// Whether there may be more documents: some are buffered, or the server has a cursor.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.inner.has_next()
    }

    /// Goes to the next document if one is at hand or comes with at most one further batch; see
    /// [`Cursor::try_advance`](crate::Cursor::try_advance).
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance).
    pub fn try_advance(&mut self) -> Result<bool> {
        wait(self.inner.try_advance())
    }

    /// The next document if one is at hand or comes with at most one further batch.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    pub fn next_if_any(&mut self) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        wait(self.inner.next_if_any())
    }

    /// Removes the cursor from the server, and waits until that is done; whether it succeeds makes
    /// no difference.
    pub fn close(self) {
        wait(self.inner.close());
    }

    /// Decodes the documents into another type.
    pub fn with_type<D>(self) -> Cursor<D> {
        self.inner.with_type().into()
    }
}

impl<T: DeserializeOwned> Iterator for Cursor<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(true) => Some(self.deserialize_current()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// The results of a verb that ran in an explicit session; every call that may fetch takes the
/// session. The blocking form of [`mongo_client::SessionCursor`](crate::SessionCursor).
///
/// Dropping a cursor that is not exhausted removes it from the server in the background.
#[must_use = "a cursor does nothing until it is read"]
pub struct SessionCursor<T> {
    inner: crate::SessionCursor<T>,
}

impl<T> fmt::Debug for SessionCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T> From<crate::SessionCursor<T>> for SessionCursor<T> {
    fn from(inner: crate::SessionCursor<T>) -> Self {
        Self { inner }
    }
}

impl<T> SessionCursor<T> {
    /// Goes to the next document; false when there are no more.
    ///
    /// # Errors
    ///
    /// Those of [`SessionCursor::advance`](crate::SessionCursor::advance).
    pub fn advance(&mut self, session: &mut ClientSession) -> Result<bool> {
        wait(self.inner.advance(session.inner()))
    }

    /// The next document, or `None` when there are no more.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    pub fn next(&mut self, session: &mut ClientSession) -> Option<Result<T>>
    where
        T: DeserializeOwned,
    {
        wait(self.inner.next(session.inner()))
    }

    /// The documents as an [`Iterator`], which borrows the session.
    pub fn iter<'a>(&'a mut self, session: &'a mut ClientSession) -> SessionCursorIter<'a, T> {
        SessionCursorIter {
            cursor: self,
            session,
        }
    }

    /// The document that [`advance`](Self::advance) came to; empty before the first.
    #[must_use]
    pub fn current(&self) -> &RawDocument {
        self.inner.current()
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
        self.inner.deserialize_current()
    }

    /// Goes to the next document if one is at hand or comes with at most one further batch; see
    /// [`Cursor::try_advance`](crate::Cursor::try_advance).
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance).
    pub fn try_advance(&mut self, session: &mut ClientSession) -> Result<bool> {
        wait(self.inner.try_advance(session.inner()))
    }

    /// The next document if one is at hand or comes with at most one further batch.
    ///
    /// # Errors
    ///
    /// Those of [`advance`](Self::advance), and `Bson` when the document is no `T`.
    pub fn next_if_any(&mut self, session: &mut ClientSession) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        wait(self.inner.next_if_any(session.inner()))
    }

    /// Removes the cursor from the server in its session, and waits until that is done; whether it
    /// succeeds makes no difference.
    pub fn close(self, session: &mut ClientSession) {
        wait(self.inner.close(session.inner()));
    }

    /// Whether there may be more documents: some are buffered, or the server has a cursor.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.inner.has_next()
    }

    /// Decodes the documents into another type.
    pub fn with_type<D>(self) -> SessionCursor<D> {
        self.inner.with_type().into()
    }
}

/// The documents of a [`SessionCursor`] as an iterator; made by [`SessionCursor::iter`].
#[must_use = "iterators do nothing unless read"]
pub struct SessionCursorIter<'a, T> {
    cursor: &'a mut SessionCursor<T>,
    session: &'a mut ClientSession,
}

impl<T> fmt::Debug for SessionCursorIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCursorIter").finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Iterator for SessionCursorIter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.session)
    }
}
