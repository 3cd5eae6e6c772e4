//! Server addresses, without sockets.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use crate::error::Error;

/// The port that is used when none is given.
pub const DEFAULT_PORT: u16 = 27017;

/// The address of a server: a host and port, or a unix domain socket.
///
/// Host names are kept in lower case (SDAM: "hostnames are case-insensitive"). An IPv6 literal is
/// kept without its brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerAddress {
    /// A TCP host and port.
    Tcp {
        /// The host name or IP literal, in lower case, without brackets.
        host: String,
        /// The port; 27017 when absent.
        port: Option<u16>,
    },
    /// A unix domain socket.
    Unix {
        /// The path of the socket.
        path: PathBuf,
    },
}

impl ServerAddress {
    /// Creates a TCP address; the host is lower-cased and loses IPv6 brackets.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        Self::Tcp {
            host: host.to_lowercase(),
            port: Some(port),
        }
    }

    /// Parses `host`, `host:port`, `[ipv6]`, `[ipv6]:port` or a path that ends in `.sock`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// offending part.
    pub fn parse(address: impl AsRef<str>) -> Result<Self, Error> {
        let address = address.as_ref();
        let bad = |what: &str| Error::invalid_argument(format!("host {address:?}: {what}"));
        if address.is_empty() {
            return Err(bad("is empty"));
        }
        if address.ends_with(".sock") {
            return Ok(Self::Unix {
                path: PathBuf::from(address),
            });
        }
        let (host, port) = if let Some(rest) = address.strip_prefix('[') {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| bad("IPv6 literal without closing bracket"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad("not an IPv6 literal between the brackets"));
            }
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(bad("unexpected text after the closing bracket")),
            }
        } else {
            match address.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(bad("an IPv6 literal must be enclosed in brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            }
        };
        if host.is_empty() {
            return Err(bad("has no host name"));
        }
        let port = match port {
            None => None,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Some(port),
                _ => return Err(bad("the port must be a number from 1 to 65535")),
            },
        };
        Ok(Self::Tcp {
            host: host.to_lowercase(),
            port,
        })
    }

    /// The host name, IP literal or socket path.
    #[must_use]
    pub fn host(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Tcp { host, .. } => host.as_str().into(),
            Self::Unix { path } => path.to_string_lossy(),
        }
    }

    /// The port, 27017 when none was given; `None` for a unix domain socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(port.unwrap_or(DEFAULT_PORT)),
            Self::Unix { .. } => None,
        }
    }

    /// The same address with its port written out.
    #[must_use]
    pub fn with_default_port(self) -> Self {
        match self {
            Self::Tcp { host, port } => Self::Tcp {
                host,
                port: port.or(Some(DEFAULT_PORT)),
            },
            unix @ Self::Unix { .. } => unix,
        }
    }
}

impl FromStr for ServerAddress {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::parse(s)
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp {
            host: address.ip().to_string(),
            port: Some(address.port()),
        }
    }
}

impl Default for ServerAddress {
    fn default() -> Self {
        Self::tcp("localhost", DEFAULT_PORT)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => {
                let port = port.unwrap_or(DEFAULT_PORT);
                if host.contains(':') {
                    write!(f, "[{host}]:{port}")
                } else {
                    write!(f, "{host}:{port}")
                }
            }
            Self::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// The order in which to try the addresses of a host: alternating families, beginning with that of
/// the first (RFC 8305, section 4). Start the next one 250 ms after the last, or when it fails; the
/// first that connects wins.
#[must_use]
pub fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut same, mut other): (VecDeque<IpAddr>, VecDeque<IpAddr>) = addresses
        .iter()
        .copied()
        .partition(|ip| ip.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(addresses.len());
    while !same.is_empty() || !other.is_empty() {
        out.extend(same.pop_front());
        out.extend(other.pop_front());
    }
    out
}
