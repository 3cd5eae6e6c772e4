//! SRV and TXT lookups for `mongodb+srv` (specification: "Initial DNS Seedlist Discovery").
//!
//! [`Resolver`] is a machine over datagrams and, for long answers, a stream; what it finds is a
//! [`SrvRecords`]. Whether the found hosts may be used is decided in [`srv`](crate::uri::srv).

mod message;
mod reader;
mod resolv_conf;
mod resolver;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

pub use self::{
    resolv_conf::parse_resolv_conf,
    resolver::{DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, DnsAction, Resolver, ResolverConfig},
};
use crate::{
    error::{Error, ErrorKind},
    net::ServerAddress,
};

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrvQuery {
    /// The host of the connection string.
    pub host: String,
    /// The service: `mongodb` unless srvServiceName says otherwise.
    pub service: String,
    /// Whether to ask for the TXT record as well; not needed when polling.
    pub txt: bool,
}

impl SrvQuery {
    /// Asks for the SRV and TXT records of a host.
    #[must_use]
    pub fn new(host: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            service: service.into(),
            txt: true,
        }
    }

    /// Leaves the TXT record out, as polling does.
    #[must_use]
    pub fn without_txt(mut self) -> Self {
        self.txt = false;
        self
    }
}

/// What DNS says about a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrvRecords {
    /// The targets of the SRV records, in the order of the answer; not yet checked.
    pub hosts: Vec<ServerAddress>,
    /// The TXT record, its strings joined.
    pub txt: Option<String>,
    /// The shortest time to live of the SRV records.
    pub min_ttl: Duration,
}

impl SrvRecords {
    /// Records that were found in another way than by [`Resolver`].
    #[must_use]
    pub fn new(hosts: Vec<ServerAddress>, txt: Option<String>, min_ttl: Duration) -> Self {
        Self {
            hosts,
            txt,
            min_ttl,
        }
    }
}

/// Why a lookup failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsFault {
    /// The name cannot be asked for.
    InvalidName(String),
    /// A target of an SRV record is not a host name and port.
    InvalidTarget,
    /// An answer cannot be read.
    Malformed,
    /// More than one TXT record.
    MultipleTxt,
    /// No name server is configured.
    NoNameServer,
    /// The name exists, but has no SRV records.
    NoRecords(String),
    /// The name does not exist.
    NoSuchName(String),
    /// The name server could not be reached.
    Network(String),
    /// The name server answered with this response code.
    ServerFailure(u16),
    /// No name server answered in time.
    TimedOut,
    /// The TXT record is not text.
    TxtNotText,
}

impl fmt::Display for DnsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(name) => write!(f, "{name:?} is not a name that DNS can hold"),
            Self::InvalidTarget => f.write_str("an SRV record's target is not a host and port"),
            Self::Malformed => f.write_str("the name server's answer is malformed"),
            Self::MultipleTxt => f.write_str("there is more than one TXT record"),
            Self::NoNameServer => f.write_str("no name server is configured"),
            Self::NoRecords(name) => write!(f, "{name} has no SRV records"),
            Self::NoSuchName(name) => write!(f, "{name} does not exist"),
            Self::Network(why) => write!(f, "cannot reach the name server: {why}"),
            Self::ServerFailure(code) => write!(f, "the name server answered with code {code}"),
            Self::TimedOut => f.write_str("no name server answered in time"),
            Self::TxtNotText => f.write_str("the TXT record is not UTF-8"),
        }
    }
}

impl std::error::Error for DnsFault {}

impl From<DnsFault> for Error {
    fn from(fault: DnsFault) -> Self {
        Self::new(ErrorKind::DnsResolve {
            message: fault.to_string(),
        })
    }
}
