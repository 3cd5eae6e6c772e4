//! The options with their defaults applied, in the shape that each machine takes.
//!
//! Pure: what has to be read from the machine (files, variables, resolv.conf) comes as an
//! [`Environment`], so that every composition of the machines configures them alike.

use std::{fmt, time::Duration};

use crate::{
    auth::AuthCache,
    conn::{ClientMetadata, ConnectionConfig, HandshakeEnvironment},
    dns::{ResolverConfig, parse_resolv_conf},
    error::{Error, Result},
    event::cmap::PoolEventOptions,
    id::{OperationId, TopologyId},
    monitor::MonitorConfig,
    net::ServerAddress,
    op::OperationContext,
    options::{
        AuthMechanism, ClientOptions, DEFAULT_CONNECT_TIMEOUT, DEFAULT_HEARTBEAT_FREQUENCY,
        DEFAULT_LOCAL_THRESHOLD, DEFAULT_MAX_ADAPTIVE_RETRIES, DEFAULT_MAX_CONNECTING,
        DEFAULT_MAX_POOL_SIZE, DEFAULT_SERVER_SELECTION_TIMEOUT, ServerMonitoringMode, Tls,
    },
    pool::PoolConfig,
    time::Instant,
    tls::{TlsConfig, TlsFiles, WallClock},
    topology::{SRV_RESCAN_INTERVAL_MIN, SrvPolling, TopologyConfig},
};

/// What a client is told of the machine that it runs on: contents, never names of files.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Environment {
    /// What the handshake tells the servers.
    pub handshake: HandshakeEnvironment,
    /// The text of `/etc/resolv.conf`, for `mongodb+srv` hosts.
    pub resolv_conf: String,
    /// The contents of the files that the TLS options name, and the system's authorities.
    pub tls: TlsFiles,
}

impl Environment {
    /// The name servers to ask: those of the options, otherwise those of the machine.
    #[must_use]
    pub fn resolver(&self, options: &ClientOptions) -> ResolverConfig {
        let own = options.resolver_config.clone();
        own.unwrap_or_else(|| parse_resolv_conf(&self.resolv_conf))
    }
}

/// What a client is configured to do.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The topology; its id and seed are the owner's to set.
    pub topology: TopologyConfig,
    /// A pool, but for its address and whether it has listeners.
    pub pool: PoolConfig,
    /// A connection, but for its address.
    pub connection: ConnectionConfig,
    /// Whether TCP keep-alive is on.
    pub keep_alive: bool,
    /// `retryReads`.
    pub retry_reads: bool,
    /// `retryWrites`.
    pub retry_writes: bool,
    /// `maxAdaptiveRetries`.
    pub max_adaptive_retries: u32,
    /// `enableOverloadRetargeting`.
    pub enable_overload_retargeting: bool,
    /// `serverSelectionTimeoutMS`.
    pub server_selection_timeout: Duration,
    /// `waitQueueTimeoutMS`.
    pub wait_queue_timeout: Option<Duration>,
    streaming: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

/// A limit where zero means none.
fn limit(value: Option<Duration>) -> Option<Duration> {
    value.filter(|v| !v.is_zero())
}

/// Refuses what parses but is not built yet, before anything is sent in a way that was not asked
/// for.
fn refuse_unbuilt(options: &ClientOptions) -> Result<()> {
    if options.timeout.is_some() {
        return Err(Error::unsupported("option timeoutMS"));
    }
    if options.socks5_proxy.is_some() {
        return Err(Error::unsupported("option proxyHost (SOCKS5)"));
    }
    let mechanism = options.credential.as_ref().and_then(|c| c.mechanism);
    match mechanism {
        Some(
            mechanism @ (AuthMechanism::Gssapi
            | AuthMechanism::MongoDbAws
            | AuthMechanism::MongoDbOidc),
        ) => {
            let feature = format!("authMechanism {}", mechanism.as_str());
            Err(Error::unsupported(feature))
        }
        _ => Ok(()),
    }
}

/// Refuses options that make no sense together or are not built: everything that can be said before
/// a file is read.
///
/// # Errors
///
/// `InvalidArgument` or `Unsupported`, naming the option.
pub fn check(options: &ClientOptions) -> Result<()> {
    options.validate()?;
    refuse_unbuilt(options)
}

impl Settings {
    /// Applies the defaults. Certificates are checked at the time that `wall_clock` tells.
    ///
    /// # Errors
    ///
    /// Those of [`check`], and TLS files that cannot be used.
    pub fn new(
        options: &ClientOptions,
        environment: &Environment,
        wall_clock: WallClock,
    ) -> Result<Self> {
        check(options)?;
        let connect_timeout = limit(Some(
            options.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        ));
        let load_balanced = options.load_balanced.unwrap_or(false);
        let tls = match &options.tls {
            Some(Tls::Enabled(tls)) => {
                Some(TlsConfig::build(tls, environment.tls.clone(), wall_clock)?)
            }
            _ => None,
        };
        let connection = ConnectionConfig {
            address: ServerAddress::default(),
            tls,
            credential: options.credential.clone(),
            auth_cache: AuthCache::default(),
            compressors: options.compressors.clone().unwrap_or_default(),
            server_api: options.server_api.clone(),
            load_balanced,
            client_metadata: ClientMetadata::new(
                options.app_name.as_deref(),
                options.driver_info.as_slice(),
                &environment.handshake,
            )?,
            connect_timeout,
            socket_timeout: limit(options.socket_timeout),
            ..ConnectionConfig::new(ServerAddress::default())
        };
        let streaming = match options.server_monitoring_mode.unwrap_or_default() {
            ServerMonitoringMode::Stream => true,
            ServerMonitoringMode::Poll => false,
            _ => !environment.handshake.is_faas(),
        };
        Ok(Self {
            topology: topology(options, load_balanced),
            pool: pool(options, load_balanced),
            connection,
            keep_alive: options.socket_keep_alive.unwrap_or(true),
            retry_reads: options.retry_reads.unwrap_or(true),
            retry_writes: options.retry_writes.unwrap_or(true),
            max_adaptive_retries: options
                .max_adaptive_retries
                .unwrap_or(DEFAULT_MAX_ADAPTIVE_RETRIES),
            enable_overload_retargeting: options.enable_overload_retargeting.unwrap_or(false),
            server_selection_timeout: options
                .server_selection_timeout
                .unwrap_or(DEFAULT_SERVER_SELECTION_TIMEOUT),
            wait_queue_timeout: limit(options.wait_queue_timeout),
            streaming,
        })
    }

    /// Takes the least TTL of the SRV records that led to the hosts: the time to the first rescan.
    pub fn set_srv_ttl(&mut self, ttl: Duration) {
        if let Some(srv) = &mut self.topology.srv {
            srv.rescan_interval = ttl;
        }
    }

    /// How a server is monitored.
    #[must_use]
    pub fn monitor_config(&self, address: &ServerAddress) -> MonitorConfig {
        MonitorConfig {
            address: address.clone(),
            heartbeat_frequency: self.topology.heartbeat_frequency,
            connect_timeout: self.connection.connect_timeout,
            streaming: self.streaming,
            server_api: self.connection.server_api.clone(),
            events: true,
        }
    }

    /// The pool of a server.
    #[must_use]
    pub fn pool_config(&self, address: &ServerAddress, events: bool) -> PoolConfig {
        PoolConfig {
            address: address.clone(),
            events,
            ..self.pool.clone()
        }
    }

    /// The connections of applications to a server.
    #[must_use]
    pub fn connection_config(&self, address: &ServerAddress) -> ConnectionConfig {
        ConnectionConfig {
            address: address.clone(),
            ..self.connection.clone()
        }
    }

    /// The connections of monitors and probes: they do not authenticate, and limit each exchange
    /// themselves.
    #[must_use]
    pub fn monitor_connection_config(&self, address: &ServerAddress) -> ConnectionConfig {
        ConnectionConfig {
            credential: None,
            socket_timeout: None,
            ..self.connection_config(address)
        }
    }

    /// What an operation takes from its client.
    #[must_use]
    pub fn operation_context(
        &self,
        operation_id: OperationId,
        deadline: Option<Instant>,
    ) -> OperationContext {
        OperationContext {
            operation_id,
            retry_reads: self.retry_reads,
            retry_writes: self.retry_writes,
            max_adaptive_retries: self.max_adaptive_retries,
            enable_overload_retargeting: self.enable_overload_retargeting,
            server_api: self.connection.server_api.clone(),
            deadline,
        }
    }
}

fn topology(options: &ClientOptions, load_balanced: bool) -> TopologyConfig {
    let seeds = if options.hosts.is_empty() {
        vec![ServerAddress::default()]
    } else {
        options
            .hosts
            .iter()
            .cloned()
            .map(ServerAddress::with_default_port)
            .collect()
    };
    TopologyConfig {
        id: TopologyId::default(),
        seeds,
        set_name: options.repl_set_name.clone(),
        direct: options.direct_connection.unwrap_or(false),
        load_balanced,
        heartbeat_frequency: options
            .heartbeat_freq
            .unwrap_or(DEFAULT_HEARTBEAT_FREQUENCY),
        local_threshold: options.local_threshold.unwrap_or(DEFAULT_LOCAL_THRESHOLD),
        srv: options
            .srv_host
            .clone()
            .filter(|_| !load_balanced)
            .map(|host| SrvPolling {
                host,
                service: options
                    .srv_service_name
                    .clone()
                    .unwrap_or_else(|| String::from("mongodb")),
                max_hosts: options.srv_max_hosts.unwrap_or(0),
                rescan_interval: Duration::ZERO,
                rescan_interval_min: options
                    .resolver_config
                    .as_ref()
                    .and_then(|resolver| resolver.rescan_interval_min)
                    .unwrap_or(SRV_RESCAN_INTERVAL_MIN),
            }),
        rng_seed: 0,
        first_server: 0,
    }
}

fn pool(options: &ClientOptions, load_balanced: bool) -> PoolConfig {
    let event_options = PoolEventOptions {
        max_pool_size: options.max_pool_size,
        min_pool_size: options.min_pool_size,
        max_idle_time: options.max_idle_time,
        max_connecting: options.max_connecting,
        wait_queue_timeout: options.wait_queue_timeout,
        wait_queue_multiple: options.wait_queue_multiple,
    };
    PoolConfig {
        address: ServerAddress::default(),
        max_pool_size: options.max_pool_size.unwrap_or(DEFAULT_MAX_POOL_SIZE),
        min_pool_size: options.min_pool_size.unwrap_or(0),
        max_connecting: options.max_connecting.unwrap_or(DEFAULT_MAX_CONNECTING),
        max_idle_time: limit(options.max_idle_time),
        wait_queue_multiple: options.wait_queue_multiple,
        load_balanced,
        options: event_options,
        events: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{error::ErrorKind, time::UnixMillis};

    fn settings(options: &ClientOptions) -> Result<Settings> {
        let clock: WallClock = Arc::new(|| UnixMillis(0));
        Settings::new(options, &Environment::default(), clock)
    }

    fn seeds(options: &ClientOptions) -> Vec<String> {
        let settings = settings(options).unwrap();
        let seeds = settings.topology.seeds.iter();
        seeds.map(ToString::to_string).collect()
    }

    #[test]
    fn a_client_without_hosts_looks_at_home() {
        assert_eq!(seeds(&ClientOptions::default()), ["localhost:27017"]);
    }

    #[test]
    fn hosts_without_a_port_get_the_default_one() {
        let host = ServerAddress::Tcp {
            host: String::from("a.test"),
            port: None,
        };
        let options = ClientOptions::builder().hosts([host]).build();
        assert_eq!(seeds(&options), ["a.test:27017"]);
    }

    #[test]
    fn what_is_not_built_yet_is_refused_by_name() {
        let uris = [
            ("mongodb://a.test/?timeoutMS=1000", "timeoutMS"),
            ("mongodb://a.test/?proxyHost=p.test", "proxyHost"),
            ("mongodb://u%40R@a.test/?authMechanism=GSSAPI", "GSSAPI"),
            ("mongodb://a.test/?authMechanism=MONGODB-AWS", "MONGODB-AWS"),
        ];
        for (uri, name) in uris {
            let options = ClientOptions::parse_uri(uri).unwrap().options;
            let refused = settings(&options);
            let error = refused.expect_err(name);
            assert!(
                matches!(*error.kind, ErrorKind::Unsupported { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let options = ClientOptions::builder()
            .connect_timeout(Duration::ZERO)
            .socket_timeout(Duration::ZERO)
            .max_idle_time(Duration::ZERO)
            .wait_queue_timeout(Duration::ZERO)
            .build();
        let settings = settings(&options).unwrap();
        assert_eq!(settings.connection.connect_timeout, None);
        assert_eq!(settings.connection.socket_timeout, None);
        assert_eq!(settings.pool.max_idle_time, None);
        assert_eq!(settings.wait_queue_timeout, None);
    }
}
