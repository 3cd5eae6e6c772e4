//! The public error type, and the parts of it that machines share.
//!
//! [`Error`] is what a user of the client sees: a [`kind`](Error::kind), labels, the server that
//! reported it, and a source. Machine-local errors (`FrameError`, `PoolError`, ...) stand beside
//! their machines and are turned into an `Error` where they leave the core. Retry logic asks the
//! methods here, never texts.

mod kind;
mod write;

use std::{any::Any, collections::HashSet, fmt, io, sync::Arc, time::Duration};

use bson::{RawBsonRef, RawDocumentBuf};

pub use self::{
    kind::{CommandError, ErrorKind},
    write::{IndexedWriteError, InsertManyError, WriteConcernError, WriteError, WriteFailure},
};
use crate::net::ServerAddress;

/// The result of everything that can fail in this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Label: the write may be retried (specification: "Retryable Writes").
pub const RETRYABLE_WRITE_ERROR: &str = "RetryableWriteError";
/// Label: the whole transaction may be retried (specification: "Transactions").
pub const TRANSIENT_TRANSACTION_ERROR: &str = "TransientTransactionError";
/// Label: the outcome of a commit is unknown (specification: "Transactions").
pub const UNKNOWN_TRANSACTION_COMMIT_RESULT: &str = "UnknownTransactionCommitResult";
/// Label: the server or the network is overloaded (specification: "Client Backpressure").
pub const SYSTEM_OVERLOADED_ERROR: &str = "SystemOverloadedError";
/// Label: the operation may be retried (specification: "Client Backpressure").
pub const RETRYABLE_ERROR: &str = "RetryableError";
/// Label: no attempt of the write was executed (specification: "Retryable Writes").
pub const NO_WRITES_PERFORMED: &str = "NoWritesPerformed";
/// Label: the change stream may be resumed (specification: "Change Streams").
pub const RESUMABLE_CHANGE_STREAM_ERROR: &str = "ResumableChangeStreamError";

/// An error of the client: what failed, where, with which labels, and because of what.
///
/// `Display` is one line without the source and contains no secrets and no document contents
/// beyond what the server itself put into its message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Error {
    /// What kind of error this is.
    pub kind: Box<ErrorKind>,
    /// Boxed, so that a `Result` of this library stays small.
    context: Box<Context>,
}

/// What goes with the kind of an error.
#[derive(Clone, Debug, Default)]
struct Context {
    labels: HashSet<String>,
    server: Option<ServerAddress>,
    response: Option<RawDocumentBuf>,
    source: Option<Arc<Error>>,
    timed_out: bool,
}

impl Error {
    /// Creates an error of a kind, without labels.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        let labels = kind.server_labels();
        Self {
            kind: Box::new(kind),
            context: Box::new(Context {
                labels,
                ..Context::default()
            }),
        }
    }

    /// Wraps a value of the caller's own, for errors that leave user callbacks.
    pub fn custom(value: impl Any + Send + Sync) -> Self {
        Self::new(ErrorKind::Custom(Arc::new(value)))
    }

    /// The value given to [`Error::custom`], if it is an `E`.
    #[must_use]
    pub fn get_custom<E: Any>(&self) -> Option<&E> {
        match &*self.kind {
            ErrorKind::Custom(value) => value.downcast_ref(),
            _ => None,
        }
    }

    /// An [`ErrorKind::InvalidArgument`].
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument {
            message: message.into(),
        })
    }

    /// An [`ErrorKind::InvalidResponse`].
    pub fn invalid_response(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidResponse {
            message: message.into(),
        })
    }

    /// An [`ErrorKind::Authentication`].
    pub fn authentication(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Authentication {
            message: message.into(),
        })
    }

    /// An [`ErrorKind::Unsupported`]: the named feature is not built yet.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported {
            feature: feature.into(),
        })
    }

    /// An [`ErrorKind::Internal`]: a bug of this library.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal {
            message: message.into(),
        })
    }

    /// An [`ErrorKind::Io`].
    #[must_use]
    pub fn io(error: io::Error) -> Self {
        Self::new(ErrorKind::Io(Arc::new(error)))
    }

    /// What listeners hear of a command whose operation was dropped while it was under way.
    #[must_use]
    pub fn dropped() -> Self {
        let kind = io::ErrorKind::Interrupted;
        Self::io(io::Error::new(kind, "the operation was dropped"))
    }

    /// The same error with a label added.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.context.labels.insert(label.into());
        self
    }

    /// The same error, reported by `server`.
    #[must_use]
    pub fn with_server(mut self, server: ServerAddress) -> Self {
        self.context.server = Some(server);
        self
    }

    /// The same error with the server's whole reply.
    #[must_use]
    pub fn with_response(mut self, response: RawDocumentBuf) -> Self {
        self.context.response = Some(response);
        self
    }

    /// The same error with the error that led to it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Option<Self>>) -> Self {
        self.context.source = source.into().map(Arc::new);
        self
    }

    /// The same error, marked as caused by a timeout of the client.
    #[must_use]
    pub fn with_timeout(mut self) -> Self {
        self.context.timed_out = true;
        self
    }

    /// Adds a label.
    pub fn add_label(&mut self, label: impl Into<String>) {
        self.context.labels.insert(label.into());
    }

    /// Removes a label.
    pub fn remove_label(&mut self, label: &str) {
        self.context.labels.remove(label);
    }

    /// The labels, from the server and from the client.
    #[must_use]
    pub fn labels(&self) -> &HashSet<String> {
        &self.context.labels
    }

    /// Whether the error carries a label.
    pub fn contains_label<T: AsRef<str>>(&self, label: T) -> bool {
        self.context.labels.contains(label.as_ref())
    }

    /// The server that reported the error or that the failed connection belonged to.
    #[must_use]
    pub fn server_address(&self) -> Option<&ServerAddress> {
        self.context.server.as_ref()
    }

    /// The server's whole reply, for errors that a reply reported.
    #[must_use]
    pub fn server_response(&self) -> Option<&RawDocumentBuf> {
        self.context.response.as_ref()
    }

    /// The base of the back-off that an overloaded server asked for (`baseBackoffMS`).
    #[must_use]
    pub fn base_backoff(&self) -> Option<Duration> {
        let value = self
            .context
            .response
            .as_ref()?
            .get("baseBackoffMS")
            .ok()??;
        let ms = match value {
            RawBsonRef::Int32(v) => u64::try_from(v).ok()?,
            RawBsonRef::Int64(v) => u64::try_from(v).ok()?,
            RawBsonRef::Double(v) if v >= 0.0 => v as u64,
            _ => return None,
        };
        Some(Duration::from_millis(ms))
    }

    /// The server's error code: of the command, the first write error or the write concern.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match &*self.kind {
            ErrorKind::Command(e) => Some(e.code),
            ErrorKind::InsertMany(e) => e
                .write_errors
                .as_ref()
                .and_then(|all| all.first().map(|e| e.code))
                .or_else(|| e.write_concern_error.as_ref().map(|e| e.code)),
            ErrorKind::Write(WriteFailure::WriteConcernError(e)) => Some(e.code),
            ErrorKind::Write(WriteFailure::WriteError(e)) => Some(e.code),
            _ => None,
        }
    }

    /// Whether a unique index refused the write (codes 11000, 11001 and 12582).
    #[must_use]
    pub fn is_duplicate_key(&self) -> bool {
        matches!(self.code(), Some(11000 | 11001 | 12582))
    }

    /// Whether a time limit ended the operation: of the client, the network or the server
    /// (`MaxTimeMSExpired`).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.context.timed_out || self.is_network_timeout() || self.code() == Some(50)
    }

    /// Whether the network failed: an error of the socket, TLS stream or name lookup.
    #[must_use]
    pub fn is_network(&self) -> bool {
        matches!(
            &*self.kind,
            ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }
        )
    }

    /// Whether the network failed by a timeout.
    #[must_use]
    pub fn is_network_timeout(&self) -> bool {
        matches!(&*self.kind, ErrorKind::Io(e) if e.kind() == io::ErrorKind::TimedOut)
    }

    /// Whether no suitable server was found in time.
    #[must_use]
    pub fn is_server_selection(&self) -> bool {
        matches!(&*self.kind, ErrorKind::ServerSelection { .. })
    }

    /// Whether the server refused the credentials.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        matches!(&*self.kind, ErrorKind::Authentication { .. }) || self.code() == Some(18)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(server) = &self.context.server {
            write!(f, " (server {server})")?;
        }
        if !self.context.labels.is_empty() {
            let mut labels: Vec<_> = self.context.labels.iter().map(String::as_str).collect();
            labels.sort_unstable();
            write!(f, " [labels: {}]", labels.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match (&self.context.source, &*self.kind) {
            (Some(source), _) => Some(&**source),
            (None, ErrorKind::Bson(e)) => Some(e),
            (None, ErrorKind::Io(e)) => Some(&**e),
            (None, _) => None,
        }
    }
}

impl<E: Into<ErrorKind>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error.into())
    }
}
