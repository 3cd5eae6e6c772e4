//! Options that need no more than their own value or that of a neighbour.

use super::{ConnectionString, values::Values};
use crate::{
    concern::{Acknowledgment, ReadConcern, WriteConcern},
    error::{Error, Result},
    options::{ClientOptions, Compressor, ServerMonitoringMode, Socks5Proxy, UuidRepresentation},
    read_preference::{ReadPreference, ReadPreferenceOptions, SelectionCriteria, TagSet},
};

/// Reads everything but credential and TLS.
pub(super) fn read(text: &ConnectionString, values: &mut Values) -> Result<ClientOptions> {
    let options = ClientOptions {
        hosts: text.hosts.clone(),
        srv_host: text.srv_host.clone(),
        default_database: text.database.clone(),
        app_name: values.text("appName"),
        compressors: compressors(values),
        connect: values.truth("connect"),
        connect_timeout: values.millis("connectTimeoutMS"),
        socket_timeout: values.millis("socketTimeoutMS"),
        socket_keep_alive: values.truth("socketKeepAlive"),
        timeout: values.millis_in("timeoutMS", 0, i64::MAX),
        direct_connection: values.truth("directConnection"),
        heartbeat_freq: values.millis_in("heartbeatFrequencyMS", 500, i64::from(i32::MAX)),
        load_balanced: values.truth("loadBalanced"),
        local_threshold: values.millis("localThresholdMS"),
        max_idle_time: values.millis("maxIdleTimeMS"),
        max_pool_size: values.count("maxPoolSize", 0),
        min_pool_size: values.count("minPoolSize", 0),
        max_connecting: values.count("maxConnecting", 1),
        wait_queue_timeout: values.millis("waitQueueTimeoutMS"),
        wait_queue_multiple: values.count("waitQueueMultiple", 1),
        read_concern: values.text("readConcernLevel").map(ReadConcern::custom),
        repl_set_name: values.text("replicaSet"),
        retry_reads: values.truth("retryReads"),
        retry_writes: values.truth("retryWrites"),
        max_adaptive_retries: values.count("maxAdaptiveRetries", 0),
        enable_overload_retargeting: values.truth("enableOverloadRetargeting"),
        server_monitoring_mode: monitoring_mode(values),
        server_selection_timeout: values.millis("serverSelectionTimeoutMS"),
        server_selection_try_once: values.truth("serverSelectionTryOnce"),
        srv_service_name: values.text("srvServiceName"),
        srv_max_hosts: values.count("srvMaxHosts", 0),
        // An empty suffix must fail in validation: ignoring it would widen what is accepted.
        srv_allowed_hosts_suffix: values.raw("srvAllowedHostsSuffix"),
        selection_criteria: read_preference(values)?,
        socks5_proxy: proxy(values)?,
        write_concern: write_concern(values)?,
        uuid_representation: uuid_representation(values),
        ..ClientOptions::default()
    };
    Ok(options)
}

fn compressors(values: &mut Values) -> Option<Vec<Compressor>> {
    let level = values.integer("zlibCompressionLevel", -1, 9);
    let level = level.and_then(|n| i32::try_from(n).ok());
    let list = values.text("compressors")?;
    let mut out: Vec<Compressor> = Vec::new();
    for name in list.split(',') {
        let compressor = match name {
            "snappy" => Compressor::Snappy,
            "zlib" => Compressor::Zlib { level },
            "zstd" => Compressor::Zstd { level: None },
            _ => {
                values.warn(
                    "compressors",
                    "unknown compressor ignored; snappy, zlib and zstd are known",
                );
                continue;
            }
        };
        if out.contains(&compressor) {
            values.warn("compressors", "repeated compressor ignored");
        } else {
            out.push(compressor);
        }
    }
    (!out.is_empty()).then_some(out)
}

fn monitoring_mode(values: &mut Values) -> Option<ServerMonitoringMode> {
    let name = "serverMonitoringMode";
    match values.text(name)?.as_str() {
        "auto" => Some(ServerMonitoringMode::Auto),
        "poll" => Some(ServerMonitoringMode::Poll),
        "stream" => Some(ServerMonitoringMode::Stream),
        _ => {
            values.warn(
                name,
                "invalid value, ignored; auto, poll or stream is expected",
            );
            None
        }
    }
}

fn uuid_representation(values: &mut Values) -> Option<UuidRepresentation> {
    let name = "uuidRepresentation";
    match values.text(name)?.as_str() {
        "csharpLegacy" => Some(UuidRepresentation::CSharpLegacy),
        "javaLegacy" => Some(UuidRepresentation::JavaLegacy),
        "pythonLegacy" => Some(UuidRepresentation::PythonLegacy),
        "standard" => Some(UuidRepresentation::Standard),
        "unspecified" => Some(UuidRepresentation::Unspecified),
        _ => {
            values.warn(
                name,
                "invalid value, ignored; csharpLegacy, javaLegacy, pythonLegacy, standard or \
                 unspecified is expected",
            );
            None
        }
    }
}

fn write_concern(values: &mut Values) -> Result<Option<WriteConcern>> {
    let w = match values.text("w") {
        None => None,
        Some(text) => match text.parse::<i32>() {
            Ok(n) => Some(Acknowledgment::Nodes(u32::try_from(n).map_err(|_| {
                Error::invalid_argument("option \"w\": a negative number is not allowed")
            })?)),
            Err(_) if text.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(Error::invalid_argument(
                    "option \"w\": the number is too large",
                ));
            }
            Err(_) => Some(Acknowledgment::from(text)),
        },
    };
    let journal = values.truth("journal");
    let fsync = values.truth("fsync");
    if fsync.is_some() {
        values.warn("fsync", "deprecated, use journal");
    }
    let concern = WriteConcern {
        w,
        w_timeout: values.millis_in("wTimeoutMS", 0, i64::MAX),
        journal,
        fsync,
    };
    Ok((!concern.is_empty()).then_some(concern))
}

fn read_preference(values: &mut Values) -> Result<Option<SelectionCriteria>> {
    let tag_sets = tag_sets(values);
    let staleness = values.integer("maxStalenessSeconds", -1, i64::from(i32::MAX));
    let max_staleness = staleness
        .and_then(|n| u64::try_from(n).ok())
        .map(std::time::Duration::from_secs);
    let mode = mode(values);
    let restrictions = ReadPreferenceOptions {
        tag_sets,
        max_staleness,
        hedge: None,
    };
    let options = (restrictions != ReadPreferenceOptions::default()).then_some(restrictions);
    let preference = match mode {
        Some("nearest") => ReadPreference::Nearest { options },
        Some("primaryPreferred") => ReadPreference::PrimaryPreferred { options },
        Some("secondary") => ReadPreference::Secondary { options },
        Some("secondaryPreferred") => ReadPreference::SecondaryPreferred { options },
        _ if max_staleness.is_some() => return Err(needs_mode("maxStalenessSeconds")),
        _ if options.as_ref().is_some_and(|o| !o.is_default()) => {
            return Err(needs_mode("readPreferenceTags"));
        }
        Some(_) => ReadPreference::Primary,
        None => return Ok(None),
    };
    Ok(Some(preference.into()))
}

fn needs_mode(option: &str) -> Error {
    Error::invalid_argument(format!(
        "option {option:?} cannot be used with read preference primary"
    ))
}

/// The mode under its own spelling; `SECONDARY_PREFERRED` and the like are accepted.
fn mode(values: &mut Values) -> Option<&'static str> {
    let name = "readPreference";
    let text = values.text(name)?;
    let bare = text.strip_prefix("ReadPreference.").unwrap_or(&text);
    let bare: String = bare.chars().filter(|&c| c != '_').collect();
    let modes = [
        "nearest",
        "primary",
        "primaryPreferred",
        "secondary",
        "secondaryPreferred",
    ];
    let found = modes.into_iter().find(|m| m.eq_ignore_ascii_case(&bare));
    match found {
        None => values.warn(
            name,
            format!(
                "invalid value, ignored; one of {} is expected",
                modes.join(", ")
            ),
        ),
        Some(mode) if mode != text => {
            values.warn(name, format!("deprecated spelling, write {name}={mode}"));
        }
        Some(_) => {}
    }
    found
}

fn tag_sets(values: &mut Values) -> Option<Vec<TagSet>> {
    let name = "readPreferenceTags";
    let mut sets = Vec::new();
    for text in values.all(name) {
        let pairs = text.split(',').filter(|_| !text.is_empty());
        let set: Option<TagSet> = pairs
            .map(|pair| {
                let (key, value) = pair.split_once(':')?;
                (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
            })
            .collect();
        match set {
            Some(set) => sets.push(set),
            None => values.warn(
                name,
                "invalid tag set, ignored; key:value,key:value is expected",
            ),
        }
    }
    (!sets.is_empty()).then_some(sets)
}

fn proxy(values: &mut Values) -> Result<Option<Socks5Proxy>> {
    // A second proxy is never meant: which of the two sees the traffic must not be left to chance.
    for name in ["proxyHost", "proxyPort", "proxyUsername", "proxyPassword"] {
        if values.all(name).len() > 1 {
            return Err(Error::invalid_argument(format!(
                "option {name:?} must not be repeated"
            )));
        }
    }
    let host = values.text("proxyHost");
    // SOCKS5 specification: empty user names and passwords are ignored.
    let username = values.text("proxyUsername");
    let password = values.text("proxyPassword");
    let port = values
        .integer("proxyPort", 0, i64::from(u16::MAX))
        .and_then(|n| u16::try_from(n).ok());
    let Some(host) = host else {
        for name in ["proxyPort", "proxyUsername", "proxyPassword"] {
            if values.raw(name).is_some_and(|v| !v.is_empty()) {
                return Err(Error::invalid_argument(format!(
                    "option {name:?} needs proxyHost"
                )));
            }
        }
        return Ok(None);
    };
    let authentication = match (username, password) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Error::invalid_argument(
                "option \"proxyUsername\" needs proxyPassword",
            ));
        }
        (None, Some(_)) => {
            return Err(Error::invalid_argument(
                "option \"proxyPassword\" needs proxyUsername",
            ));
        }
    };
    Ok(Some(Socks5Proxy {
        host,
        port,
        authentication,
    }))
}
