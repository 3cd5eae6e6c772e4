//! What DNS says about a `mongodb+srv` host becomes part of the options
//! (specification: "Initial DNS Seedlist Discovery").
//!
//! Decides which SRV targets may be used, which TXT options count, and how many hosts are taken.
//! Does not ask DNS: see [`dns`](crate::dns).

use std::time::Duration;

use super::{
    UriWarning, credential,
    validate::bad,
    values::{Values, split_pairs},
};
use crate::{
    dns::{DnsFault, SrvQuery, SrvRecords},
    error::{Error, ErrorKind, Result},
    net::ServerAddress,
    options::{ClientOptions, Tls, TlsOptions},
    rng::Rng,
};

/// The service that is asked for when srvServiceName is not set.
pub const DEFAULT_SERVICE_NAME: &str = "mongodb";

/// Names that are never delegated, so that a suffix of one label is safe (RFC 6761, RFC 6762,
/// ICANN's private-use names).
const SPECIAL_USE: &[&str] = &[
    "corp",
    "example",
    "home",
    "internal",
    "invalid",
    "local",
    "localhost",
    "mail",
    "test",
];

/// Adds hosts and TXT options to options with a `srv_host`, and validates the result.
///
/// Options that are already set win over the TXT record. TLS is on unless it was turned off.
///
/// # Errors
///
/// [`ErrorKind::DnsResolve`] when a record breaks a rule, [`ErrorKind::InvalidArgument`] when
/// the combination of options has no meaning.
pub fn apply(
    mut options: ClientOptions,
    records: &SrvRecords,
    rng: &mut Rng,
) -> Result<(ClientOptions, Vec<UriWarning>)> {
    let Some(host) = options.srv_host.clone() else {
        return Err(Error::invalid_argument("the options have no srv_host"));
    };
    options.validate()?;
    let suffix = options.srv_allowed_hosts_suffix.as_deref();
    if records.hosts.is_empty() {
        return Err(fault(format!("{host} has no SRV records")));
    }
    if let Some(address) = records.hosts.iter().find(|h| !accepts(&host, suffix, h)) {
        return Err(fault(format!(
            "the SRV record's target {:?} is outside the domain that {host} may refer to",
            address.host()
        )));
    }
    let warnings = match &records.txt {
        Some(txt) => apply_txt(&mut options, txt)?,
        None => Vec::new(),
    };
    if options.tls.is_none() {
        options.tls = Some(Tls::Enabled(TlsOptions::default()));
    }
    if let Some(credential) = &mut options.credential {
        credential::fill_source(credential, options.default_database.as_deref());
    }
    options.hosts = choose(&records.hosts, options.srv_max_hosts, rng);
    options.validate()?;
    Ok((options, warnings))
}

/// The records to ask for when the client starts.
///
/// # Errors
///
/// Options without a `srv_host`.
pub fn query(options: &ClientOptions) -> Result<SrvQuery> {
    let Some(host) = options.srv_host.clone() else {
        return Err(Error::invalid_argument("the options have no srv_host"));
    };
    let service = options.srv_service_name.as_deref();
    Ok(SrvQuery::new(host, service.unwrap_or(DEFAULT_SERVICE_NAME)))
}

/// What a later lookup found, for [`Topology::handle_srv`](crate::topology::Topology::handle_srv).
/// A target outside the domain is left out, not an error (specification: "Polling SRV Records").
#[must_use]
pub fn polled(
    host: &str,
    suffix: Option<&str>,
    records: SrvRecords,
) -> (Vec<ServerAddress>, Duration) {
    let hosts = records.hosts.into_iter();
    let hosts = hosts.filter(|target| accepts(host, suffix, target));
    (hosts.collect(), records.min_ttl)
}

/// The error of a lookup that failed.
#[must_use]
pub fn lookup_error(host: &str, why: &DnsFault) -> Error {
    fault(format!("mongodb+srv host {host}: {why}"))
}

/// Whether a host's SRV record may refer to a target.
///
/// The target must be inside the allowed suffix or, without one, inside the host's domain: the
/// host without its first label, or the whole host when it has fewer than three labels.
#[must_use]
pub fn accepts(host: &str, suffix: Option<&str>, target: &ServerAddress) -> bool {
    let ServerAddress::Tcp { host: target, .. } = target else {
        return false;
    };
    let domain = match suffix.map(normal_suffix) {
        Some(Ok(suffix)) => suffix,
        Some(Err(_)) => return false,
        None => {
            let host = host.trim_end_matches('.').to_lowercase();
            match host.split_once('.') {
                Some((_, domain)) if domain.contains('.') => domain.to_owned(),
                _ => host,
            }
        }
    };
    target
        .trim_end_matches('.')
        .to_lowercase()
        .strip_suffix(&domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Distinct hosts, at most `limit` of them, chosen at random (0 or `None`: all).
#[must_use]
pub fn choose(hosts: &[ServerAddress], limit: Option<u32>, rng: &mut Rng) -> Vec<ServerAddress> {
    let mut out: Vec<ServerAddress> = Vec::new();
    for host in hosts {
        if !out.contains(host) {
            out.push(host.clone());
        }
    }
    let limit = usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX);
    if limit == 0 || limit >= out.len() {
        return out;
    }
    for place in 0..limit {
        let pick = place + rng.below(out.len() - place);
        out.swap(place, pick);
    }
    out.truncate(limit);
    out
}

fn fault(message: String) -> Error {
    Error::new(ErrorKind::DnsResolve { message })
}

fn apply_txt(options: &mut ClientOptions, txt: &str) -> Result<Vec<UriWarning>> {
    let pairs =
        split_pairs(txt).map_err(|e| fault("the TXT record is malformed".into()).with_source(e))?;
    let allowed = ["authSource", "loadBalanced", "replicaSet"];
    if pairs
        .iter()
        .any(|(key, _)| !allowed.iter().any(|a| a.eq_ignore_ascii_case(key)))
    {
        return Err(fault(
            "the TXT record has an option other than authSource, replicaSet and loadBalanced"
                .into(),
        ));
    }
    let mut values = Values::new(&pairs);
    let source = values.raw("authSource");
    if source.as_deref() == Some("") {
        return Err(fault("the TXT record's authSource is empty".into()));
    }
    if let Some(credential) = &mut options.credential
        && credential.source.is_none()
        && credential::has_free_source(credential.mechanism)
    {
        credential.source = source;
    }
    let set_name = values.text("replicaSet");
    let load_balanced = values.truth("loadBalanced");
    options.repl_set_name = options.repl_set_name.take().or(set_name);
    options.load_balanced = options.load_balanced.or(load_balanced);
    Ok(values.finish())
}

/// Checks a service name: letters, digits and single inner hyphens, at least one letter (RFC 6335,
/// but up to 62 bytes).
pub(super) fn validate_service_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let letter = name.bytes().any(|b| b.is_ascii_alphabetic());
    let hyphens = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if plain && letter && !hyphens && name.len() <= 62 {
        return Ok(());
    }
    Err(bad(
        "srvServiceName",
        "must be 1 to 62 letters, digits and single inner hyphens",
    ))
}

/// A suffix without outer dots, in lower case. One label is refused unless it is for special use:
/// everybody can have a name below a top-level domain.
pub(super) fn normal_suffix(suffix: &str) -> Result<String> {
    let name = "srvAllowedHostsSuffix";
    let suffix = suffix.trim_matches('.').to_lowercase();
    if suffix.is_empty() || suffix.split('.').any(str::is_empty) {
        return Err(bad(name, "must be a domain name"));
    }
    if !suffix.contains('.') && !SPECIAL_USE.contains(&suffix.as_str()) {
        return Err(bad(name, "must have at least two labels"));
    }
    Ok(suffix)
}
