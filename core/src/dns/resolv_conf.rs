//! The part of `resolv.conf` that the resolver needs.

use core::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ResolverConfig;

/// The port of name servers.
const DNS_PORT: u16 = 53;
/// The C library uses as many name servers, and as long timeouts and as many attempts.
const NAME_SERVERS_MAX: usize = 3;
const TIMEOUT_SECONDS_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// Reads `nameserver` lines and the options `timeout` and `attempts`; everything else is skipped.
///
/// Without a name server the local host is asked, as the C library does.
#[must_use]
pub fn parse_resolv_conf(text: &str) -> ResolverConfig {
    let mut config = ResolverConfig::new(Vec::new());
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                if let Some(address) = words.next().and_then(address)
                    && config.name_servers.len() < NAME_SERVERS_MAX
                    && !config.name_servers.contains(&address)
                {
                    config.name_servers.push(address);
                }
            }
            Some("options") => words.for_each(|word| option(word, &mut config)),
            _ => {}
        }
    }
    if config.name_servers.is_empty() {
        config
            .name_servers
            .push(SocketAddr::from(([127, 0, 0, 1], DNS_PORT)));
    }
    config
}

fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, DNS_PORT));
    }
    // A link-local address with a numeric scope; names of interfaces are the system's to know.
    format!("[{text}]:{DNS_PORT}").parse().ok()
}

fn option(word: &str, config: &mut ResolverConfig) {
    match word.split_once(':') {
        Some(("timeout", value)) => {
            if let Ok(seconds) = value.parse::<u64>() {
                config.timeout = Duration::from_secs(seconds.clamp(1, TIMEOUT_SECONDS_MAX));
            }
        }
        Some(("attempts", value)) => {
            if let Ok(attempts) = value.parse::<u32>() {
                config.attempts = attempts.clamp(1, ATTEMPTS_MAX);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_options_are_read() {
        let config = parse_resolv_conf(
            "# a comment\nsearch x.y\nnameserver 10.0.0.1 # first\nnameserver\tfe80::1%3\n\
             nameserver 10.0.0.1\nnameserver bad\noptions ndots:2 timeout:2 attempts:9\n",
        );
        let servers: Vec<String> = config
            .name_servers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fe80::1%3]:53"]);
        assert_eq!(config.timeout, Duration::from_secs(2));
        assert_eq!(config.attempts, ATTEMPTS_MAX);
    }

    #[test]
    fn an_empty_file_means_the_local_host() {
        let config = parse_resolv_conf("");
        assert_eq!(config.name_servers[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn at_most_three_servers_are_used() {
        let text: String = (0..9).map(|n| format!("nameserver 10.0.0.{n}\n")).collect();
        assert_eq!(parse_resolv_conf(&text).name_servers.len(), 3);
    }
}
