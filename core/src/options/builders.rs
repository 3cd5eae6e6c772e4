//! Chained setters of the option structs: `ClientOptions::builder().app_name(..).build()`.
//!
//! Nothing is decided or validated here: [`ClientOptions::validate`] does that.

use std::{path::PathBuf, time::Duration};

use bson::Timestamp;

use super::{
    ClientOptions, Compressor, Credential, DriverInfo, ServerApi, ServerApiVersion,
    ServerMonitoringMode, SessionOptions, Socks5Proxy, Tls, TlsOptions, TransactionOptions,
    UuidRepresentation,
};
use crate::{
    concern::{Acknowledgment, ReadConcern, WriteConcern},
    dns::ResolverConfig,
    event::{EventHandler, cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    net::ServerAddress,
    read_preference::{HedgedReadOptions, SelectionCriteria},
};

/// Setters for fields that are `Option`: they take a value or an `Option`.
macro_rules! setters {
    ($name:ident { $( $field:ident: $ty:ty, )* }) => {
        impl $name {
            $(
                #[doc = concat!("Sets [`Self::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(mut self, value: impl Into<Option<$ty>>) -> Self {
                    self.$field = value.into();
                    self
                }
            )*
        }
    };
}

/// The beginning and the end of a chain.
macro_rules! chain {
    ($($name:ident)*) => {
        $(
            impl $name {
                /// Starts with nothing set; see also the setters and [`Self::build`].
                #[must_use]
                pub fn builder() -> Self {
                    Self::default()
                }

                /// Ends a builder chain.
                #[must_use]
                pub fn build(self) -> Self {
                    self
                }
            }
        )*
    };
}

chain! {
    ClientOptions DriverInfo HedgedReadOptions SessionOptions Socks5Proxy TransactionOptions
    WriteConcern
}

impl ClientOptions {
    /// Sets [`Self::hosts`].
    #[must_use]
    pub fn hosts(mut self, value: impl Into<Vec<ServerAddress>>) -> Self {
        self.hosts = value.into();
        self
    }
}

setters! {
    ClientOptions {
        app_name: String,
        cmap_event_handler: EventHandler<CmapEvent>,
        command_event_handler: EventHandler<CommandEvent>,
        compressors: Vec<Compressor>,
        connect: bool,
        connect_timeout: Duration,
        credential: Credential,
        default_database: String,
        direct_connection: bool,
        driver_info: DriverInfo,
        enable_overload_retargeting: bool,
        heartbeat_freq: Duration,
        load_balanced: bool,
        local_threshold: Duration,
        max_adaptive_retries: u32,
        max_connecting: u32,
        max_idle_time: Duration,
        max_pool_size: u32,
        min_pool_size: u32,
        read_concern: ReadConcern,
        repl_set_name: String,
        resolver_config: ResolverConfig,
        retry_reads: bool,
        retry_writes: bool,
        sdam_event_handler: EventHandler<SdamEvent>,
        selection_criteria: SelectionCriteria,
        server_api: ServerApi,
        server_monitoring_mode: ServerMonitoringMode,
        server_selection_timeout: Duration,
        server_selection_try_once: bool,
        socket_keep_alive: bool,
        socket_timeout: Duration,
        socks5_proxy: Socks5Proxy,
        srv_allowed_hosts_suffix: String,
        srv_host: String,
        srv_max_hosts: u32,
        srv_service_name: String,
        timeout: Duration,
        tls: Tls,
        tracing_max_document_length_bytes: usize,
        uuid_representation: UuidRepresentation,
        wait_queue_multiple: u32,
        wait_queue_timeout: Duration,
        write_concern: WriteConcern,
    }
}

impl DriverInfo {
    /// Sets [`Self::name`].
    #[must_use]
    pub fn name(mut self, value: impl Into<String>) -> Self {
        self.name = value.into();
        self
    }
}

setters! { DriverInfo { platform: String, version: String, } }

impl ServerApi {
    /// Starts with version 1 and nothing else set; see also the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::new(ServerApiVersion::V1)
    }

    /// Sets [`Self::version`].
    #[must_use]
    pub fn version(mut self, value: ServerApiVersion) -> Self {
        self.version = value;
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }
}

setters! { ServerApi { deprecation_errors: bool, strict: bool, } }

setters! {
    SessionOptions {
        causal_consistency: bool,
        default_transaction_options: TransactionOptions,
        snapshot: bool,
        snapshot_time: Timestamp,
    }
}

setters! {
    TransactionOptions {
        max_commit_time: Duration,
        read_concern: ReadConcern,
        selection_criteria: SelectionCriteria,
        write_concern: WriteConcern,
    }
}

impl Socks5Proxy {
    /// Sets [`Self::host`].
    #[must_use]
    pub fn host(mut self, value: impl Into<String>) -> Self {
        self.host = value.into();
        self
    }
}

setters! { Socks5Proxy { authentication: (String, String), port: u16, } }

setters! {
    TlsOptions {
        cert_file_path: PathBuf,
        tls_certificate_key_file_password: Vec<u8>,
    }
}

setters! { WriteConcern { fsync: bool, journal: bool, w: Acknowledgment, w_timeout: Duration, } }

impl HedgedReadOptions {
    /// Sets [`Self::enabled`].
    #[must_use]
    pub fn enabled(mut self, value: bool) -> Self {
        self.enabled = value;
        self
    }
}
