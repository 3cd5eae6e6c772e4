//! Combinations of options that have no meaning, whatever the options came from.

use std::time::Duration;

use super::{UriWarning, credential, srv};
use crate::{
    error::{Error, Result},
    options::{
        ClientOptions, Compressor, DEFAULT_MAX_POOL_SIZE, MIN_HEARTBEAT_FREQUENCY, Tls, TlsOptions,
    },
    read_preference::SelectionCriteria,
};

impl ClientOptions {
    /// Refuses combinations that have no meaning.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// options.
    pub fn validate(&self) -> Result<()> {
        validate_topology(self)?;
        validate_srv(self)?;
        validate_pool(self)?;
        validate_times(self)?;
        validate_proxy(self)?;
        if self.app_name.as_ref().is_some_and(|name| name.len() > 128) {
            return Err(bad("appName", "must not be longer than 128 bytes"));
        }
        for compressor in self.compressors.iter().flatten() {
            if let Compressor::Zlib { level: Some(level) } = compressor
                && !(-1..=9).contains(level)
            {
                return Err(bad("zlibCompressionLevel", "must be -1 to 9"));
            }
        }
        if let Some(concern) = &self.write_concern {
            concern.validate()?;
        }
        if let Some(credential) = &self.credential {
            credential::validate(credential)?;
        }
        match &self.tls {
            Some(Tls::Enabled(tls)) => validate_tls(tls),
            _ => Ok(()),
        }
    }
}

impl ClientOptions {
    /// Adds a warning for each option that is set and has no effect any more.
    pub fn warn_of_the_ineffective(&mut self) {
        let criteria = self.selection_criteria.as_ref();
        let preference = criteria.and_then(SelectionCriteria::as_read_pref);
        let hedge = preference.and_then(|p| p.options()?.hedge.as_ref());
        if hedge.is_some() {
            let text = "deprecated, and ignored by servers since MongoDB 8.0";
            self.warnings.push(UriWarning::new("hedge", text));
        }
    }
}

pub(super) fn bad(option: &str, why: &str) -> Error {
    Error::invalid_argument(format!("option {option:?}: {why}"))
}

fn validate_topology(options: &ClientOptions) -> Result<()> {
    let direct = options.direct_connection == Some(true);
    if direct && options.hosts.len() > 1 {
        return Err(bad("directConnection", "only one host may be given"));
    }
    if direct && options.srv_host.is_some() {
        return Err(bad("directConnection", "cannot be used with mongodb+srv"));
    }
    if options.load_balanced == Some(true) {
        let why = if options.hosts.len() > 1 {
            Some("only one host may be given")
        } else if direct {
            Some("cannot be used with directConnection")
        } else if options.repl_set_name.is_some() {
            Some("cannot be used with replicaSet")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(bad("loadBalanced", why));
        }
    }
    if options.repl_set_name.as_deref() == Some("") {
        return Err(bad("replicaSet", "must not be empty"));
    }
    Ok(())
}

fn validate_srv(options: &ClientOptions) -> Result<()> {
    if options.srv_host.is_none() {
        let set = [
            ("srvMaxHosts", options.srv_max_hosts.is_some()),
            ("srvServiceName", options.srv_service_name.is_some()),
            (
                "srvAllowedHostsSuffix",
                options.srv_allowed_hosts_suffix.is_some(),
            ),
        ];
        if let Some((name, _)) = set.into_iter().find(|(_, set)| *set) {
            return Err(bad(name, "needs mongodb+srv"));
        }
    }
    if options.srv_max_hosts.is_some_and(|n| n > 0) {
        if options.repl_set_name.is_some() {
            return Err(bad("srvMaxHosts", "cannot be used with replicaSet"));
        }
        if options.load_balanced == Some(true) {
            return Err(bad("srvMaxHosts", "cannot be used with loadBalanced"));
        }
    }
    if let Some(name) = &options.srv_service_name {
        srv::validate_service_name(name)?;
    }
    if let Some(suffix) = &options.srv_allowed_hosts_suffix {
        srv::normal_suffix(suffix)?;
    }
    Ok(())
}

fn validate_pool(options: &ClientOptions) -> Result<()> {
    let max = options.max_pool_size.unwrap_or(DEFAULT_MAX_POOL_SIZE);
    let min = options.min_pool_size.unwrap_or(0);
    if max != 0 && min > max {
        return Err(bad("minPoolSize", "must not be larger than maxPoolSize"));
    }
    if options.max_connecting == Some(0) {
        return Err(bad("maxConnecting", "must be at least 1"));
    }
    if options.wait_queue_multiple == Some(0) {
        return Err(bad("waitQueueMultiple", "must be at least 1"));
    }
    Ok(())
}

fn validate_times(options: &ClientOptions) -> Result<()> {
    if options
        .heartbeat_freq
        .is_some_and(|t| t < MIN_HEARTBEAT_FREQUENCY)
    {
        return Err(bad("heartbeatFrequencyMS", "must be at least 500"));
    }
    let times = [
        ("connectTimeoutMS", options.connect_timeout),
        ("heartbeatFrequencyMS", options.heartbeat_freq),
        ("localThresholdMS", options.local_threshold),
        ("maxIdleTimeMS", options.max_idle_time),
        ("serverSelectionTimeoutMS", options.server_selection_timeout),
        ("socketTimeoutMS", options.socket_timeout),
        ("timeoutMS", options.timeout),
        ("waitQueueTimeoutMS", options.wait_queue_timeout),
    ];
    for (name, time) in times {
        if time.is_some_and(|t| t > Duration::from_millis(i64::MAX as u64)) {
            return Err(bad(name, "is too large"));
        }
    }
    Ok(())
}

fn validate_proxy(options: &ClientOptions) -> Result<()> {
    let Some(proxy) = &options.socks5_proxy else {
        return Ok(());
    };
    if proxy.host.is_empty() {
        return Err(bad("proxyHost", "must not be empty"));
    }
    match &proxy.authentication {
        Some((name, _)) if name.is_empty() || name.len() > 255 => {
            Err(bad("proxyUsername", "must have 1 to 255 bytes"))
        }
        Some((_, password)) if password.is_empty() || password.len() > 255 => {
            Err(bad("proxyPassword", "must have 1 to 255 bytes"))
        }
        _ => Ok(()),
    }
}

fn validate_tls(tls: &TlsOptions) -> Result<()> {
    let certificates = (
        "tlsAllowInvalidCertificates",
        tls.allow_invalid_certificates.is_some(),
    );
    let ocsp = (
        "tlsDisableOCSPEndpointCheck",
        tls.disable_ocsp_endpoint_check.is_some(),
    );
    let revocation = (
        "tlsDisableCertificateRevocationCheck",
        tls.disable_certificate_revocation_check.is_some(),
    );
    for (one, other) in [
        (certificates, ocsp),
        (certificates, revocation),
        (ocsp, revocation),
    ] {
        if one.1 && other.1 {
            return Err(bad(one.0, &format!("cannot be used with {}", other.0)));
        }
    }
    Ok(())
}
