//! Connection strings and every option in them.
//!
//! [`ConnectionString`] splits the text (specification: "Connection String") and decodes each part
//! after the split; [`ClientOptions::parse_uri`] turns the parts into options (specification: "URI
//! Options") and collects warnings; [`ClientOptions::validate`] refuses combinations that have no
//! meaning, for options from any source; [`srv`] adds what DNS says about a `mongodb+srv` host;
//! [`ConnectionString::join`] takes a list of hosts and connection strings.
//!
//! Rules that hold everywhere: unknown options and invalid values are warnings, conflicts are
//! errors; errors and warnings name the option and never show a value or the whole text; work and
//! memory are linear in the text, which is at most [`URI_LEN_MAX`] bytes.

mod credential;
mod host;
mod known;
mod percent;
mod read;
mod several;
pub mod srv;
#[cfg(test)]
mod tests;
mod tls;
mod validate;
mod values;

use std::{fmt, str::FromStr};

use self::values::Values;
use crate::{
    error::{Error, Result},
    net::ServerAddress,
    options::ClientOptions,
};

/// The longest connection string that is parsed.
pub const URI_LEN_MAX: usize = 64 * 1024;

/// A connection string, split into its parts and decoded; options are kept as text.
///
/// `Debug` shows neither password nor options.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString {
    hosts: Vec<ServerAddress>,
    srv_host: Option<String>,
    username: Option<String>,
    password: Option<String>,
    database: Option<String>,
    options: Vec<(String, String)>,
}

/// Options, and what was wrong with the text without being an error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParsedUri {
    /// The options.
    pub options: ClientOptions,
    /// Unknown, deprecated, repeated and invalid options, to be logged.
    pub warnings: Vec<UriWarning>,
}

/// An option of a connection string that was ignored or should be written in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriWarning {
    option: String,
    text: String,
}

impl UriWarning {
    pub(crate) fn new(option: &str, text: impl Into<String>) -> Self {
        Self {
            // Unknown names are the user's text: kept short so that a log line stays one.
            option: option.chars().take(64).collect(),
            text: text.into(),
        }
    }

    /// The option's name.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }
}

impl fmt::Display for UriWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {:?}: {}", self.option, self.text)
    }
}

impl ConnectionString {
    /// Splits and decodes a connection string.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the part.
    pub fn parse(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let bad = |why: &str| Error::invalid_argument(format!("connection string: {why}"));
        if text.len() > URI_LEN_MAX {
            return Err(bad("is longer than 64 KiB"));
        }
        let (rest, srv) = if let Some(rest) = text.strip_prefix("mongodb://") {
            (rest, false)
        } else if let Some(rest) = text.strip_prefix("mongodb+srv://") {
            (rest, true)
        } else {
            return Err(bad("must start with mongodb:// or mongodb+srv://"));
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);

        let (user_info, host_list) = match authority.rsplit_once('@') {
            Some((info, hosts)) => (Some(info), hosts),
            None => (None, authority),
        };
        let (username, password) = match user_info {
            Some(info) => parse_user_info(info)?,
            None => (None, None),
        };
        if host_list.is_empty() {
            return Err(bad(
                "has no host (a socket path must be percent-encoded: %2F for each slash)",
            ));
        }
        let database = parse_database(path)?;
        let hosts = if srv {
            host::parse_srv(host_list).map(|host| (Vec::new(), Some(host)))
        } else {
            host::parse_list(host_list).map(|hosts| (hosts, None))
        };
        // An error shows the host, which is the user and a part of the password when these have an
        // unescaped question mark.
        let (hosts, srv_host) = hosts.map_err(|error| match user_info {
            None if query.contains('@') => bad(
                "malformed host; a question mark in the user name or password must be \
                 percent-encoded",
            ),
            _ => error,
        })?;
        Ok(Self {
            hosts,
            srv_host,
            username,
            password,
            database,
            options: values::split_pairs(query)?,
        })
    }

    /// The hosts; empty for `mongodb+srv`.
    #[must_use]
    pub fn hosts(&self) -> &[ServerAddress] {
        &self.hosts
    }

    /// The host whose SRV records name the servers.
    #[must_use]
    pub fn srv_host(&self) -> Option<&str> {
        self.srv_host.as_deref()
    }

    /// The user's name.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The database of the path.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The last value of an option, by its name in any case.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let found = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.options
            .iter()
            .rev()
            .find(found)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString")
            .field("hosts", &self.hosts)
            .field("srv_host", &self.srv_host)
            .field("username", &self.username)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl FromStr for ConnectionString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for ConnectionString {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl ClientOptions {
    /// Parses a connection string into options and validates them.
    ///
    /// For `mongodb+srv` the result has a [`srv_host`](Self::srv_host) and no hosts; give it to
    /// [`srv::apply`] with the records of that host.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// part or option.
    pub fn parse_uri(text: &str) -> Result<ParsedUri> {
        Self::from_connection_string(&ConnectionString::parse(text)?)
    }

    /// Reads the options of a connection string that is already split.
    ///
    /// # Errors
    ///
    /// As [`Self::parse_uri`].
    pub fn from_connection_string(text: &ConnectionString) -> Result<ParsedUri> {
        let mut values = Values::new(&text.options);
        let mut options = read::read(text, &mut values)?;
        credential::read(text, &mut values, &mut options)?;
        tls::read(&mut values, &mut options)?;
        options.validate()?;
        Ok(ParsedUri {
            options,
            warnings: values.finish(),
        })
    }
}

impl ClientOptions {
    /// Reads the options of a connection string; awaiting the result gives them.
    ///
    /// Nothing is looked up: a `mongodb+srv` host is resolved when the client starts. Warnings are
    /// kept in [`ClientOptions::warnings`] and logged when a client is built.
    ///
    /// # Errors
    ///
    /// As [`Self::parse_uri`].
    pub fn parse(text: impl AsRef<str>) -> ParseConnectionString {
        ParseConnectionString {
            options: Self::parse_uri(text.as_ref()).map(|parsed| Self {
                warnings: parsed.warnings,
                ..parsed.options
            }),
        }
    }
}

/// The result of [`ClientOptions::parse`]; await it, or call [`run`](Self::run).
#[must_use = "the options are had by awaiting it, or by `run`"]
#[derive(Debug)]
pub struct ParseConnectionString {
    options: Result<ClientOptions>,
}

impl ParseConnectionString {
    /// The options, for code that is not async.
    ///
    /// # Errors
    ///
    /// As [`ClientOptions::parse_uri`].
    pub fn run(self) -> Result<ClientOptions> {
        self.options
    }
}

impl IntoFuture for ParseConnectionString {
    type Output = Result<ClientOptions>;
    type IntoFuture = std::future::Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(self.options)
    }
}

type UserInfo = (Option<String>, Option<String>);

fn parse_user_info(info: &str) -> Result<UserInfo> {
    let bad = |why: &str| {
        Error::invalid_argument(format!(
            "user name and password: {why}; they must be percent-encoded (RFC 3986)"
        ))
    };
    if info.contains('@') {
        return Err(bad("unescaped at-sign"));
    }
    // Connection String: drivers SHOULD require the syntax of RFC 3986, which knows these as
    // delimiters of other parts.
    if info.contains(['#', '[', ']']) {
        return Err(bad("unescaped number sign or square bracket"));
    }
    let (name, password) = match info.split_once(':') {
        Some((_, password)) if password.contains(':') => return Err(bad("unescaped colon")),
        Some((name, password)) => (name, Some(password)),
        None => (info, None),
    };
    if name.is_empty() {
        return Err(Error::invalid_argument("the user name is empty"));
    }
    let decode = |text| {
        percent::decode(text)
            .map(std::borrow::Cow::into_owned)
            .map_err(|fault| bad(fault.text()))
    };
    Ok((Some(decode(name)?), password.map(decode).transpose()?))
}

fn parse_database(path: &str) -> Result<Option<String>> {
    if path.is_empty() {
        return Ok(None);
    }
    let bad = |why: &str| Error::invalid_argument(format!("database name: {why}"));
    // An unescaped at-sign here means that the user information had an unescaped slash: without
    // the check, a part of the password would be taken for a host name and looked up.
    if path.contains('@') {
        return Err(bad(
            "unescaped at-sign; a slash in the user name or password must be percent-encoded",
        ));
    }
    let name = percent::decode(path).map_err(|fault| bad(fault.text()))?;
    if name.contains(['/', '\\', ' ', '"', '$', '\0']) {
        return Err(bad(
            "must not contain a slash, backslash, space, double quote, dollar sign or NUL",
        ));
    }
    Ok(Some(name.into_owned()))
}
