//! What kinds of error there are.

use std::{any::Any, collections::HashSet, fmt, io, sync::Arc};

use super::{InsertManyError, WriteFailure};

/// The kind of an [`Error`](super::Error). Names follow the official Rust driver.
#[derive(Clone)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server refused the credentials, or the conversation broke a rule of the mechanism.
    Authentication {
        /// What went wrong.
        message: String,
    },
    /// A document could not be encoded or decoded.
    Bson(bson::error::Error),
    /// The client was closed while the operation was under way; the next one opens it again.
    Closed,
    /// The server answered a command with an error.
    Command(CommandError),
    /// No connection became free in time, or too many operations wait for one already.
    ConnectionCheckout {
        /// The state of the pool.
        message: String,
    },
    /// A connection could not be had because its pool was cleared.
    ConnectionPoolCleared {
        /// Why the pool was cleared.
        message: String,
    },
    /// A value of the caller's own, see [`Error::custom`](super::Error::custom).
    Custom(Arc<dyn Any + Send + Sync>),
    /// The records of a `mongodb+srv` host could not be had or break a rule.
    DnsResolve {
        /// What went wrong.
        message: String,
    },
    /// The server's version is outside what this client supports.
    IncompatibleServer {
        /// Which server, and which versions.
        message: String,
    },
    /// One or more documents of `insert_many` were not inserted.
    InsertMany(InsertManyError),
    /// A bug of this library.
    Internal {
        /// What was violated.
        message: String,
    },
    /// An argument or option is invalid; the message names it.
    InvalidArgument {
        /// Which argument, and why.
        message: String,
    },
    /// A name of a database or collection breaks a rule of the server. Nothing was sent.
    InvalidName {
        /// The name.
        name: String,
        /// Which rule, and the character that breaks it.
        rule: String,
    },
    /// What was asked for has no meaning in the present state of the client or the deployment.
    InvalidOperation {
        /// What, and why.
        message: String,
    },
    /// A reply could not be understood; the message names the field.
    InvalidResponse {
        /// Which field, and why.
        message: String,
    },
    /// A TLS option, certificate or key cannot be used; the message names it.
    InvalidTlsConfig {
        /// Which option, and why.
        message: String,
    },
    /// The network failed.
    Io(Arc<io::Error>),
    /// No suitable server was found in time.
    ServerSelection {
        /// What was wanted, the topology and the last error of each server.
        message: String,
    },
    /// The deployment does not support sessions.
    SessionsNotSupported,
    /// The client was shut down.
    Shutdown,
    /// A transaction was used against its rules.
    Transaction {
        /// Which rule.
        message: String,
    },
    /// A feature that parses but is not built yet.
    Unsupported {
        /// The name of the option, mechanism or feature.
        feature: String,
    },
    /// A write failed at the server.
    Write(WriteFailure),
}

impl ErrorKind {
    /// The labels that the server put into the error.
    pub(super) fn server_labels(&self) -> HashSet<String> {
        let labels: &[String] = match self {
            Self::Command(e) => &e.labels,
            Self::InsertMany(e) => &e.labels,
            Self::Write(WriteFailure::WriteConcernError(e)) => &e.labels,
            _ => &[],
        };
        labels.iter().cloned().collect()
    }
}

impl fmt::Debug for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorKind({self})")
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentication { message } => write!(f, "authentication failed: {message}"),
            Self::Bson(e) => write!(f, "BSON error: {e}"),
            Self::Closed => f.write_str("the client was closed while the operation was under way"),
            Self::Command(e) => write!(f, "command failed: {e}"),
            Self::ConnectionCheckout { message } => {
                write!(f, "connection checkout failed: {message}")
            }
            Self::ConnectionPoolCleared { message } => {
                write!(f, "connection pool cleared: {message}")
            }
            Self::Custom(_) => f.write_str("custom error"),
            Self::DnsResolve { message } => write!(f, "DNS resolution failed: {message}"),
            Self::IncompatibleServer { message } => write!(f, "incompatible server: {message}"),
            Self::InsertMany(e) => write!(f, "insert_many failed: {e}"),
            Self::Internal { message } => write!(f, "internal error: {message}"),
            Self::InvalidArgument { message } => write!(f, "invalid argument: {message}"),
            Self::InvalidName { name, rule } => write!(f, "invalid name {name:?}: {rule}"),
            Self::InvalidOperation { message } => write!(f, "invalid operation: {message}"),
            Self::InvalidResponse { message } => write!(f, "invalid response: {message}"),
            Self::InvalidTlsConfig { message } => write!(f, "invalid TLS configuration: {message}"),
            Self::Io(e) => write!(f, "network error: {e}"),
            Self::ServerSelection { message } => write!(f, "server selection failed: {message}"),
            Self::SessionsNotSupported => f.write_str("sessions are not supported"),
            Self::Shutdown => f.write_str("the client was shut down"),
            Self::Transaction { message } => write!(f, "transaction error: {message}"),
            Self::Unsupported { feature } => write!(f, "not supported yet: {feature}"),
            Self::Write(e) => write!(f, "write failed: {e}"),
        }
    }
}

impl From<bson::error::Error> for ErrorKind {
    fn from(error: bson::error::Error) -> Self {
        Self::Bson(error)
    }
}

impl From<io::Error> for ErrorKind {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<io::ErrorKind> for ErrorKind {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(Arc::new(kind.into()))
    }
}

/// The server's answer to a command that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandError {
    /// The error code; 0 when the server sent none.
    pub code: i32,
    /// The name of the code.
    pub code_name: String,
    /// The server's text.
    pub message: String,
    /// The labels that came with the error.
    pub labels: Vec<String>,
    /// When the topology last changed, as the server saw it.
    pub topology_version: Option<bson::Document>,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (code {}, {})",
            self.message, self.code, self.code_name
        )
    }
}
