//! The options with their defaults applied, in the shape that each machine takes.

use std::{sync::Arc, time::Duration};

use mongo_client_core::{
    auth::AuthCache,
    conn::{ConnectionConfig, client_metadata},
    error::{Error, Result},
    event::cmap::PoolEventOptions,
    id::TopologyId,
    monitor::MonitorConfig,
    net::ServerAddress,
    options::{
        AuthMechanism, ClientOptions, DEFAULT_CONNECT_TIMEOUT, DEFAULT_HEARTBEAT_FREQUENCY,
        DEFAULT_LOCAL_THRESHOLD, DEFAULT_MAX_ADAPTIVE_RETRIES, DEFAULT_MAX_CONNECTING,
        DEFAULT_MAX_POOL_SIZE, DEFAULT_SERVER_SELECTION_TIMEOUT, ServerMonitoringMode, Tls,
    },
    pool::PoolConfig,
    time::UnixMillis,
    tls::TlsConfig,
    topology::{SrvPolling, TopologyConfig},
};

use crate::environment;

/// Polling SRV Records: the time between two lookups, unless the records live longer.
const SRV_RESCAN: Duration = Duration::from_secs(60);

/// Reads the wall clock, for certificate checks.
pub type WallClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What a client is configured to do.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) topology: TopologyConfig,
    pub(crate) pool: PoolConfig,
    pub(crate) connection: ConnectionConfig,
    pub(crate) keep_alive: bool,
    pub(crate) retry_reads: bool,
    pub(crate) retry_writes: bool,
    pub(crate) max_adaptive_retries: u32,
    pub(crate) enable_overload_retargeting: bool,
    pub(crate) server_selection_timeout: Duration,
    pub(crate) wait_queue_timeout: Option<Duration>,
    streaming: bool,
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

impl Settings {
    /// Validates options and reads the files that they name.
    pub(crate) fn new(options: &ClientOptions, wall_clock: WallClock) -> Result<Self> {
        options.validate()?;
        refuse_unbuilt(options)?;
        let environment = environment::handshake_environment();
        let connect_timeout = limit(Some(
            options.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        ));
        let load_balanced = options.load_balanced.unwrap_or(false);
        let tls = match &options.tls {
            Some(Tls::Enabled(tls)) => Some(TlsConfig::build(
                tls,
                environment::tls_files(tls)?,
                wall_clock,
            )?),
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
            client_metadata: client_metadata(
                options.app_name.as_deref(),
                options.driver_info.as_slice(),
                &environment,
            )?,
            connect_timeout,
            socket_timeout: limit(options.socket_timeout),
            ..ConnectionConfig::new(ServerAddress::default())
        };
        let streaming = match options.server_monitoring_mode.unwrap_or_default() {
            ServerMonitoringMode::Stream => true,
            ServerMonitoringMode::Poll => false,
            _ => !environment.is_faas(),
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

    /// How a server is monitored.
    pub(crate) fn monitor_config(&self, address: &ServerAddress) -> MonitorConfig {
        MonitorConfig {
            address: address.clone(),
            heartbeat_frequency: self.topology.heartbeat_frequency,
            connect_timeout: self.connection.connect_timeout,
            streaming: self.streaming,
            server_api: self.connection.server_api.clone(),
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
                rescan_interval: SRV_RESCAN,
            }),
        rng_seed: 0,
    }
}

fn pool(options: &ClientOptions, load_balanced: bool) -> PoolConfig {
    let mut event_options = PoolEventOptions::default();
    event_options.max_pool_size = options.max_pool_size;
    event_options.min_pool_size = options.min_pool_size;
    event_options.max_idle_time = options.max_idle_time;
    event_options.max_connecting = options.max_connecting;
    event_options.wait_queue_timeout = options.wait_queue_timeout;
    event_options.wait_queue_multiple = options.wait_queue_multiple;
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
    use mongo_client_core::error::ErrorKind;

    use super::*;

    fn seeds(options: &ClientOptions) -> Vec<String> {
        let settings = Settings::new(options, Arc::new(|| UnixMillis(0))).unwrap();
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
            let refused = Settings::new(&options, Arc::new(|| UnixMillis(0)));
            let error = refused.err().expect(name);
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
        let settings = Settings::new(&options, Arc::new(|| UnixMillis(0))).unwrap();
        assert_eq!(settings.connection.connect_timeout, None);
        assert_eq!(settings.connection.socket_timeout, None);
        assert_eq!(settings.pool.max_idle_time, None);
        assert_eq!(settings.wait_queue_timeout, None);
    }
}
