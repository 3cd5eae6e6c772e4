//! The cursor's state between two batches.

use std::{ops::Range, time::Duration};

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf};
use bytes::Bytes;

use super::batch::Batch;
use crate::{
    error::{Error, Result},
    op::{
        CommandSpec, raw,
        reply::{field, integer, invalid},
    },
    wire::Reply,
};

/// CursorNotFound.
const CURSOR_NOT_FOUND: i32 = 43;
/// CursorKilled.
const CURSOR_KILLED: i32 = 237;

/// What the caller asked of the cursor.
#[derive(Clone, Debug, Default)]
pub struct CursorSpec {
    /// The database, used where the reply's namespace has none.
    pub db: String,
    /// Documents in each later batch; `None` or 0 for the server's default.
    pub batch_size: Option<u32>,
    /// Documents in all; negative for a single batch; `None` or 0 for all there are.
    pub limit: Option<i64>,
    /// The `maxTimeMS` of each later command: how long the server of a tailable, awaiting cursor
    /// waits for new documents. Servers refuse it for other cursors.
    pub max_await_time: Option<Duration>,
    /// A comment for each later command; sent to MongoDB 4.4 and later.
    pub comment: Option<Bson>,
    /// Whether the cursor stays open at the end of the data.
    pub tailable: bool,
    /// Whether the server waits for new documents at the end of the data.
    pub await_data: bool,
}

/// What the cursor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorWant {
    /// A document is buffered: call [`CursorMachine::advance`].
    Document,
    /// Send [`CursorMachine::get_more`], then call [`CursorMachine::handle_batch`].
    GetMore,
    /// There are no more documents. [`CursorMachine::kill`] may still have a command.
    Exhausted,
}

/// The client's side of a cursor.
#[derive(Clone, Debug)]
pub struct CursorMachine {
    spec: CursorSpec,
    id: i64,
    namespace: String,
    batch: Batch,
    /// Documents received, in all batches; counted only under a limit.
    received: u64,
    /// Documents that may still be given out: the limit, less those that were.
    left: u64,
    /// Whether a failure ended the cursor for the caller.
    failed: bool,
    resume_token: Option<RawDocumentBuf>,
}

impl CursorMachine {
    /// Reads the reply to `find`, `aggregate` or another command that makes a cursor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) that names the
    /// field.
    pub fn from_reply(reply: Reply, spec: CursorSpec) -> Result<Self> {
        let mut machine = Self {
            left: limit(&spec).unwrap_or(u64::MAX),
            spec,
            id: 0,
            namespace: String::new(),
            batch: Batch::default(),
            received: 0,
            failed: false,
            resume_token: None,
        };
        machine.take(reply, "firstBatch")?;
        Ok(machine)
    }

    /// Takes over the fields of a reply.
    fn take(&mut self, reply: Reply, batch_field: &str) -> Result<()> {
        let doc = reply.document();
        let cursor = field(doc, "cursor")?
            .and_then(RawBsonRef::as_document)
            .ok_or_else(|| invalid("cursor", "missing or not a document"))?;
        let id = field(cursor, "id")?
            .and_then(integer)
            .ok_or_else(|| invalid("cursor.id", "missing or not an integer"))?;
        let name = || format!("cursor.{batch_field}");
        let array = field(cursor, batch_field)?
            .and_then(RawBsonRef::as_array)
            .ok_or_else(|| invalid(&name(), "missing or not an array"))?;
        // Only a limit needs the count; it costs a walk over the elements' lengths.
        if self.limit().is_some() {
            for element in array.iter_elements() {
                element.map_err(|e| invalid(&name(), e))?;
                self.received += 1;
            }
        }
        if self.namespace.is_empty() {
            let namespace = field(cursor, "ns")?.and_then(RawBsonRef::as_str);
            let namespace =
                namespace.ok_or_else(|| invalid("cursor.ns", "missing or no string"))?;
            if !namespace.contains('.') {
                return Err(invalid("cursor.ns", "not a namespace"));
            }
            namespace.clone_into(&mut self.namespace);
        }
        let token = field(cursor, "postBatchResumeToken")?.and_then(RawBsonRef::as_document);
        self.resume_token = token.map(ToOwned::to_owned);
        let range = position(reply.as_bytes(), array.as_bytes())
            .ok_or_else(|| invalid(&name(), "outside its reply"))?;
        self.batch = Batch::new(reply.into_bytes(), range);
        self.id = id;
        Ok(())
    }

    /// Goes to the next document of the buffered batch; `false` when the batch is at its end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) when the batch is
    /// malformed; the rest of the batch is dropped then.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        if self.is_limit_reached() {
            return Ok(false);
        }
        let advanced = self.batch.advance()?;
        // Without a limit there are more than can be counted down.
        self.left -= u64::from(advanced);
        Ok(advanced)
    }

    /// The document that [`Self::advance`] came to; empty before the first.
    #[must_use]
    #[inline]
    pub fn current(&self) -> &RawDocument {
        self.batch.current()
    }

    /// Takes the batch at hand whole, once: the reply that it came in. Not to be mixed with
    /// [`Self::advance`].
    pub fn take_batch(&mut self) -> Option<Bytes> {
        let taken = std::mem::take(&mut self.batch).into_reply();
        if let Some(limit) = self.limit() {
            self.left = limit.saturating_sub(self.received);
        }
        taken
    }

    /// The current document's bytes, sharing the reply's allocation.
    #[must_use]
    pub fn current_bytes(&self) -> Bytes {
        self.batch.current_bytes()
    }

    /// What the cursor waits for.
    #[must_use]
    pub fn want(&self) -> CursorWant {
        if self.is_limit_reached() {
            CursorWant::Exhausted
        } else if !self.batch.is_empty() {
            CursorWant::Document
        } else if self.id == 0 || self.failed {
            CursorWant::Exhausted
        } else {
            CursorWant::GetMore
        }
    }

    /// The command that fetches the next batch; the driver sets its target.
    #[must_use]
    pub fn get_more(&self) -> CommandSpec {
        let (db, collection) = self.namespace();
        let mut bytes = Vec::with_capacity(96 + collection.len());
        let start = raw::open(&mut bytes);
        raw::int64(&mut bytes, "getMore", self.id);
        raw::string(&mut bytes, "collection", collection);
        if let Some(size) = self.next_batch_size() {
            raw::integer(&mut bytes, "batchSize", size);
        }
        if let Some(time) = self.spec.max_await_time {
            let ms = time.as_nanos().div_ceil(1_000_000);
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            raw::integer(&mut bytes, "maxTimeMS", ms);
        }
        raw::close(&mut bytes, start);
        let mut body = RawDocumentBuf::from_bytes(bytes).expect("built with its length");
        // A comment that raw BSON cannot hold was refused with the cursor's first command.
        if let Some(comment) = &self.spec.comment
            && let Ok(comment) = bson::RawBson::try_from(comment.clone())
        {
            body.append(bson::raw::cstr!("comment"), comment);
        }
        let mut spec = CommandSpec::new("getMore", db, body);
        spec.comment_is_optional = self.spec.comment.is_some();
        spec
    }

    /// The size to ask for, so that the limit is not exceeded (CRUD: "find", batchSize and limit).
    fn next_batch_size(&self) -> Option<i64> {
        let size = i64::from(self.spec.batch_size.filter(|size| *size > 0)?);
        match self.limit() {
            None => Some(size),
            Some(limit) => {
                let left = limit.saturating_sub(self.received);
                let left = i64::try_from(left).unwrap_or(i64::MAX);
                Some(size.min(left.max(1)))
            }
        }
    }

    /// Takes the reply to [`Self::get_more`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) that names the
    /// field.
    pub fn handle_batch(&mut self, reply: Reply) -> Result<()> {
        let result = self.take(reply, "nextBatch");
        self.failed |= result.is_err();
        result
    }

    /// A `getMore` failed: the cursor is over for the caller, and gone from the server if the error
    /// says so. A tailable cursor survives a timeout of the client.
    pub fn handle_failure(&mut self, error: &Error) {
        if matches!(error.code(), Some(CURSOR_NOT_FOUND | CURSOR_KILLED)) {
            self.id = 0;
        }
        let survives = self.spec.tailable && error.is_timeout() && error.code().is_none();
        self.failed |= !survives;
    }

    /// The command that removes the cursor from the server, once; `None` when the server has
    /// removed it already. The driver sets its target and ignores its errors.
    pub fn kill(&mut self) -> Option<CommandSpec> {
        if self.id == 0 {
            return None;
        }
        let id = std::mem::take(&mut self.id);
        let (db, collection) = self.namespace();
        let mut bytes = Vec::with_capacity(64 + collection.len());
        let start = raw::open(&mut bytes);
        raw::string(&mut bytes, "killCursors", collection);
        let list = raw::open_array(&mut bytes, "cursors");
        raw::int64(&mut bytes, "0", id);
        raw::close(&mut bytes, list);
        raw::close(&mut bytes, start);
        let body = RawDocumentBuf::from_bytes(bytes).expect("built with its length");
        Some(CommandSpec::new("killCursors", db, body))
    }

    /// The cursor's id on the server; 0 when the server has no cursor (any more).
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Database and collection, as the server named them.
    #[must_use]
    pub fn namespace(&self) -> (&str, &str) {
        match self.namespace.split_once('.') {
            Some(("", collection)) => (&self.spec.db, collection),
            Some(parts) => parts,
            None => (&self.spec.db, &self.namespace),
        }
    }

    /// Whether the server has no cursor (any more): its session can go back to the pool.
    #[must_use]
    pub fn is_exhausted_on_server(&self) -> bool {
        self.id == 0
    }

    /// Where a change stream can resume after this batch.
    #[must_use]
    pub fn post_batch_resume_token(&self) -> Option<&RawDocument> {
        self.resume_token.as_deref()
    }

    /// How the cursor was asked for.
    #[must_use]
    pub fn spec(&self) -> &CursorSpec {
        &self.spec
    }

    fn limit(&self) -> Option<u64> {
        limit(&self.spec)
    }

    #[inline]
    fn is_limit_reached(&self) -> bool {
        self.left == 0
    }
}

/// A limit that is not 0; that of a single batch is negative.
fn limit(spec: &CursorSpec) -> Option<u64> {
    let limit = spec.limit.filter(|limit| *limit != 0)?;
    Some(limit.unsigned_abs())
}

/// Where `part`, a slice of `whole`, stands in it.
fn position(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
