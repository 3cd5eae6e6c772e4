//! The client's options: what a connection string or a builder sets, as plain data.
//!
//! Every field is optional; `None` means the default that the field's text names. Use
//! [`ClientOptions::parse`](crate::options::ClientOptions) for connection strings (module
//! [`uri`](crate::uri)).

mod builders;
mod uuid;

use std::{fmt, path::PathBuf, time::Duration};

use bson::{Document, Timestamp};

use crate::{
    concern::{ReadConcern, WriteConcern},
    dns::ResolverConfig,
    event::{EventHandler, cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    net::ServerAddress,
    read_preference::SelectionCriteria,
    uri::UriWarning,
};

/// connectTimeoutMS when not set: 20 seconds.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// heartbeatFrequencyMS when not set: 10 seconds.
pub const DEFAULT_HEARTBEAT_FREQUENCY: Duration = Duration::from_secs(10);
/// The shortest time between two checks of a server (SDAM: "minHeartbeatFrequencyMS").
pub const MIN_HEARTBEAT_FREQUENCY: Duration = Duration::from_millis(500);
/// localThresholdMS when not set: 15 milliseconds.
pub const DEFAULT_LOCAL_THRESHOLD: Duration = Duration::from_millis(15);
/// maxConnecting when not set.
pub const DEFAULT_MAX_CONNECTING: u32 = 2;
/// maxPoolSize when not set.
pub const DEFAULT_MAX_POOL_SIZE: u32 = 100;
/// serverSelectionTimeoutMS when not set: 30 seconds.
pub const DEFAULT_SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// maxAdaptiveRetries when not set.
pub const DEFAULT_MAX_ADAPTIVE_RETRIES: u32 = 2;

/// Everything that can be set on a client.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The seed list. Default: `localhost:27017`.
    pub hosts: Vec<ServerAddress>,
    /// The host of a `mongodb+srv` connection string, resolved to `hosts` before connecting.
    pub srv_host: Option<String>,
    /// `appName`, at most 128 bytes, shown in the server's logs.
    pub app_name: Option<String>,
    /// `compressors`, in order of preference. Default: none.
    pub compressors: Option<Vec<Compressor>>,
    /// Receives connection pool events.
    pub cmap_event_handler: Option<EventHandler<CmapEvent>>,
    /// Receives command events.
    pub command_event_handler: Option<EventHandler<CommandEvent>>,
    /// Receives topology and heartbeat events.
    pub sdam_event_handler: Option<EventHandler<SdamEvent>>,
    /// `connectTimeoutMS`: the limit for establishing a connection. Default: 20 s; zero: none.
    pub connect_timeout: Option<Duration>,
    /// `socketTimeoutMS`: the limit for each reply. Default: none; zero: none.
    pub socket_timeout: Option<Duration>,
    /// `timeoutMS`: parsed and validated; using it is not supported yet.
    pub timeout: Option<Duration>,
    /// The user, and how to prove who it is.
    pub credential: Option<Credential>,
    /// `directConnection`: talk to the one given host only. Default: false.
    pub direct_connection: Option<bool>,
    /// Name and version of a library that wraps this client, for the handshake.
    pub driver_info: Option<DriverInfo>,
    /// `heartbeatFrequencyMS`: the time between checks, at least 500 ms. Default: 10 s.
    pub heartbeat_freq: Option<Duration>,
    /// `loadBalanced`: the one host is a load balancer. Default: false.
    pub load_balanced: Option<bool>,
    /// `localThresholdMS`: the latency window of server selection. Default: 15 ms.
    pub local_threshold: Option<Duration>,
    /// `maxIdleTimeMS`: close connections idle for longer. Default: never; zero: never.
    pub max_idle_time: Option<Duration>,
    /// `maxPoolSize`: the limit of connections to each server. Default: 100; 0: no limit.
    pub max_pool_size: Option<u32>,
    /// `minPoolSize`: connections kept open to each server. Default: 0.
    pub min_pool_size: Option<u32>,
    /// `maxConnecting`: connections to each server that may be established at once. Default: 2.
    pub max_connecting: Option<u32>,
    /// `waitQueueTimeoutMS`: the limit for waiting for a connection. Default: none; zero: none.
    pub wait_queue_timeout: Option<Duration>,
    /// `waitQueueMultiple`: more waiters than this times maxPoolSize fail at once. Default: none.
    pub wait_queue_multiple: Option<u32>,
    /// Whether TCP keep-alive is on (`socketKeepAlive`). Default: true.
    pub socket_keep_alive: Option<bool>,
    /// The default read concern. Default: the server's.
    pub read_concern: Option<ReadConcern>,
    /// `replicaSet`: every member must be of this set. Default: not checked.
    pub repl_set_name: Option<String>,
    /// `retryReads`. Default: true.
    pub retry_reads: Option<bool>,
    /// `retryWrites`. Default: true.
    pub retry_writes: Option<bool>,
    /// `maxAdaptiveRetries`: retries of an operation once a server is overloaded. Default: 2.
    pub max_adaptive_retries: Option<u32>,
    /// `enableOverloadRetargeting`: retry on another server after an overload. Default: false.
    pub enable_overload_retargeting: Option<bool>,
    /// `serverMonitoringMode`. Default: auto.
    pub server_monitoring_mode: Option<ServerMonitoringMode>,
    /// The default criteria for reads. Default: the primary.
    pub selection_criteria: Option<SelectionCriteria>,
    /// The stable API to declare on each command. Default: none.
    pub server_api: Option<ServerApi>,
    /// `serverSelectionTimeoutMS`: the limit for finding a suitable server. Default: 30 s.
    pub server_selection_timeout: Option<Duration>,
    /// `serverSelectionTryOnce`: parsed; only single-threaded clients would use it.
    pub server_selection_try_once: Option<bool>,
    /// The database of the connection string's path.
    pub default_database: Option<String>,
    /// `srvServiceName`. Default: `mongodb`.
    pub srv_service_name: Option<String>,
    /// `srvMaxHosts`: use at most so many hosts, chosen at random. Default: 0, all.
    pub srv_max_hosts: Option<u32>,
    /// `srvAllowedHostsSuffix`: the domain that SRV targets must be in.
    pub srv_allowed_hosts_suffix: Option<String>,
    /// The name servers for `mongodb+srv` hosts. Default: those of `/etc/resolv.conf`.
    pub resolver_config: Option<ResolverConfig>,
    /// TLS, and how. Default: off (`mongodb+srv`: on).
    pub tls: Option<Tls>,
    /// A SOCKS5 proxy: parsed and validated; using it is not supported yet.
    pub socks5_proxy: Option<Socks5Proxy>,
    /// The default write concern. Default: the server's.
    pub write_concern: Option<WriteConcern>,
    /// The length in bytes at which documents in log events are cut (feature `tracing`). Default:
    /// the environment variable `MONGODB_LOG_MAX_DOCUMENT_LENGTH`, otherwise 1000.
    pub tracing_max_document_length_bytes: Option<usize>,
    /// `uuidRepresentation`: kept for callers, who give it to [`UuidRepresentation::to_uuid`]; types
    /// name theirs field by field.
    pub uuid_representation: Option<UuidRepresentation>,
    /// What the connection string has that was ignored or is deprecated; logged when a client is
    /// built.
    pub warnings: Vec<UriWarning>,
    /// Whether the client connects in the background before its first operation. Default: true.
    pub connect: Option<bool>,
}

/// A user, and how to prove who it is.
///
/// `Debug` never shows the password.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Credential {
    /// The user's name.
    pub username: Option<String>,
    /// The database that the user is defined in (`authSource`).
    pub source: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The mechanism; negotiated when not set.
    pub mechanism: Option<AuthMechanism>,
    /// Options of the mechanism (`authMechanismProperties`).
    pub mechanism_properties: Option<Document>,
}

impl Credential {
    /// Starts with nothing set; see also the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the user's name.
    #[must_use]
    pub fn username(mut self, value: impl Into<String>) -> Self {
        self.username = Some(value.into());
        self
    }

    /// Sets the database that the user is defined in.
    #[must_use]
    pub fn source(mut self, value: impl Into<String>) -> Self {
        self.source = Some(value.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, value: impl Into<String>) -> Self {
        self.password = Some(value.into());
        self
    }

    /// Sets the mechanism.
    #[must_use]
    pub fn mechanism(mut self, value: AuthMechanism) -> Self {
        self.mechanism = Some(value);
        self
    }

    /// Sets the options of the mechanism.
    #[must_use]
    pub fn mechanism_properties(mut self, value: Document) -> Self {
        self.mechanism_properties = Some(value);
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("username", &self.username)
            .field("source", &self.source)
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

/// An authentication mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMechanism {
    /// `GSSAPI` (Kerberos): parses and validates; using it is not supported yet.
    Gssapi,
    /// `MONGODB-AWS`: parses and validates; using it is not supported yet.
    MongoDbAws,
    /// `MONGODB-CR`: removed from the server; always refused.
    MongoDbCr,
    /// `MONGODB-OIDC`: parses and validates; using it is not supported yet.
    MongoDbOidc,
    /// `MONGODB-X509`: the client's certificate is the proof.
    MongoDbX509,
    /// `PLAIN`: the password in clear text, for LDAP.
    Plain,
    /// `SCRAM-SHA-1`.
    ScramSha1,
    /// `SCRAM-SHA-256`.
    ScramSha256,
}

impl AuthMechanism {
    /// The mechanism's name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gssapi => "GSSAPI",
            Self::MongoDbAws => "MONGODB-AWS",
            Self::MongoDbCr => "MONGODB-CR",
            Self::MongoDbOidc => "MONGODB-OIDC",
            Self::MongoDbX509 => "MONGODB-X509",
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Gssapi,
            Self::MongoDbAws,
            Self::MongoDbCr,
            Self::MongoDbOidc,
            Self::MongoDbX509,
            Self::Plain,
            Self::ScramSha1,
            Self::ScramSha256,
        ]
        .into_iter()
        .find(|m| m.as_str() == name)
    }
}

/// A compressor, with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// Snappy.
    Snappy,
    /// zlib; level -1 (default) to 9.
    Zlib {
        /// The level; `None` for the default.
        level: Option<i32>,
    },
    /// Zstandard.
    Zstd {
        /// The level; `None` for the default.
        level: Option<i32>,
    },
}

impl Compressor {
    /// The compressor's name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib { .. } => "zlib",
            Self::Zstd { .. } => "zstd",
        }
    }
}

/// Name and version of a library that wraps this client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverInfo {
    /// The library's name.
    pub name: String,
    /// The library's version.
    pub version: Option<String>,
    /// The library's platform.
    pub platform: Option<String>,
}

/// How servers are checked (SDAM: "serverMonitoringMode").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerMonitoringMode {
    /// Streaming, but polling in function-as-a-service environments.
    #[default]
    Auto,
    /// Ask once in heartbeatFrequencyMS.
    Poll,
    /// Let the server answer when it changes.
    Stream,
}

/// The stable API that each command declares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerApi {
    /// The version.
    pub version: ServerApiVersion,
    /// Whether the server refuses what is not in the API.
    pub strict: Option<bool>,
    /// Whether the server refuses what is deprecated in the API.
    pub deprecation_errors: Option<bool>,
}

impl ServerApi {
    /// Declares a version.
    #[must_use]
    pub fn new(version: ServerApiVersion) -> Self {
        Self {
            version,
            strict: None,
            deprecation_errors: None,
        }
    }
}

/// A version of the stable API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerApiVersion {
    /// Version 1.
    V1,
}

impl ServerApiVersion {
    /// The version as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::V1 => "1",
        }
    }
}

/// A SOCKS5 proxy.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socks5Proxy {
    /// The proxy's host.
    pub host: String,
    /// The proxy's port. Default: 1080.
    pub port: Option<u16>,
    /// User name and password.
    pub authentication: Option<(String, String)>,
}

impl fmt::Debug for Socks5Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socks5Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// How UUIDs are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UuidRepresentation {
    /// The C# driver's.
    CSharpLegacy,
    /// The Java driver's.
    JavaLegacy,
    /// The Python driver's.
    PythonLegacy,
    /// Subtype 4.
    Standard,
    /// Not guessed.
    Unspecified,
}

/// Whether TLS is used, and how.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tls {
    /// No TLS.
    Disabled,
    /// TLS.
    Enabled(TlsOptions),
}

impl From<TlsOptions> for Option<Tls> {
    fn from(options: TlsOptions) -> Self {
        Some(Tls::Enabled(options))
    }
}

/// Options of TLS. Files are read when the client is built.
///
/// `Debug` never shows the password.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Accept any certificate (`tlsAllowInvalidCertificates`, `tlsInsecure`). Default: false.
    pub allow_invalid_certificates: Option<bool>,
    /// Accept a certificate for another host (`tlsAllowInvalidHostnames`). Default: false.
    pub allow_invalid_hostnames: Option<bool>,
    /// PEM file of the accepted authorities (`tlsCAFile`). Default: the system's.
    pub ca_file_path: Option<PathBuf>,
    /// PEM file of the client's key and certificates (`tlsCertificateKeyFile`).
    pub cert_key_file_path: Option<PathBuf>,
    /// PEM file of the client's certificates, when the key stands in another (`ssl_certfile`).
    pub cert_file_path: Option<PathBuf>,
    /// PEM file of revoked certificates (`tlsCRLFile`, `ssl_crlfile`).
    pub crl_file_path: Option<PathBuf>,
    /// Password of an encrypted key (`tlsCertificateKeyFilePassword`).
    pub tls_certificate_key_file_password: Option<Vec<u8>>,
    /// `tlsDisableOCSPEndpointCheck`: parsed; OCSP endpoints are never asked.
    pub disable_ocsp_endpoint_check: Option<bool>,
    /// `tlsDisableCertificateRevocationCheck`: parsed; without a CRL nothing is checked.
    pub disable_certificate_revocation_check: Option<bool>,
}

impl TlsOptions {
    /// Starts with nothing set; see also the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets [`Self::allow_invalid_certificates`].
    #[must_use]
    pub fn allow_invalid_certificates(mut self, value: impl Into<Option<bool>>) -> Self {
        self.allow_invalid_certificates = value.into();
        self
    }

    /// Sets [`Self::allow_invalid_hostnames`].
    #[must_use]
    pub fn allow_invalid_hostnames(mut self, value: impl Into<Option<bool>>) -> Self {
        self.allow_invalid_hostnames = value.into();
        self
    }

    /// Sets [`Self::ca_file_path`].
    #[must_use]
    pub fn ca_file_path(mut self, value: impl Into<Option<PathBuf>>) -> Self {
        self.ca_file_path = value.into();
        self
    }

    /// Sets [`Self::cert_key_file_path`].
    #[must_use]
    pub fn cert_key_file_path(mut self, value: impl Into<Option<PathBuf>>) -> Self {
        self.cert_key_file_path = value.into();
        self
    }

    /// Sets [`Self::crl_file_path`].
    #[must_use]
    pub fn crl_file_path(mut self, value: impl Into<Option<PathBuf>>) -> Self {
        self.crl_file_path = value.into();
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field(
                "allow_invalid_certificates",
                &self.allow_invalid_certificates,
            )
            .field("allow_invalid_hostnames", &self.allow_invalid_hostnames)
            .field("ca_file_path", &self.ca_file_path)
            .field("cert_key_file_path", &self.cert_key_file_path)
            .field("cert_file_path", &self.cert_file_path)
            .field("crl_file_path", &self.crl_file_path)
            .finish_non_exhaustive()
    }
}

/// Options of a session.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Options of transactions that set none of their own.
    pub default_transaction_options: Option<TransactionOptions>,
    /// Whether reads see the session's earlier operations. Default: true, but false for snapshots.
    pub causal_consistency: Option<bool>,
    /// Whether all reads see one point in time. Default: false.
    pub snapshot: Option<bool>,
    /// The point in time of a snapshot session.
    pub snapshot_time: Option<Timestamp>,
}

/// Options of a transaction.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// The read concern.
    pub read_concern: Option<ReadConcern>,
    /// The write concern of the commit.
    pub write_concern: Option<WriteConcern>,
    /// The criteria for reads; must be the primary.
    pub selection_criteria: Option<SelectionCriteria>,
    /// The limit of the commit.
    pub max_commit_time: Option<Duration>,
}
