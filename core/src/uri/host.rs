//! The host part of a connection string.
//!
//! Each host is split from the list before it is percent-decoded, so that an encoded comma, colon
//! or at-sign can never add a host or a port. Errors count hosts and never show them: a password
//! with an unescaped slash would otherwise end up in the text.

use std::path::PathBuf;

use super::percent;
use crate::{
    error::{Error, Result},
    net::ServerAddress,
};

/// Parses a comma-separated list of hosts.
pub(super) fn parse_list(list: &str) -> Result<Vec<ServerAddress>> {
    let mut hosts = Vec::new();
    for (index, text) in list.split(',').enumerate() {
        let host = parse(text)
            .map_err(|why| Error::invalid_argument(format!("host {}: {why}", index + 1)))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
        if hosts.len() > HOSTS_MAX {
            return Err(Error::invalid_argument(format!(
                "more than {HOSTS_MAX} hosts"
            )));
        }
    }
    Ok(hosts)
}

/// The most hosts that a connection string may name; replica sets have at most 50 members.
pub(super) const HOSTS_MAX: usize = 1000;

/// Parses the only host of a `mongodb+srv` connection string, which is a name without a port.
pub(super) fn parse_srv(text: &str) -> Result<String> {
    let bad = |why: &str| Error::invalid_argument(format!("mongodb+srv host: {why}"));
    if text.contains(',') {
        return Err(bad("only one host name is allowed"));
    }
    match parse(text).map_err(bad)? {
        ServerAddress::Tcp { port: Some(_), .. } => Err(bad("a port is not allowed")),
        ServerAddress::Tcp { host, .. } if host.parse::<core::net::IpAddr>().is_ok() => {
            Err(bad("must be a name, not an IP address"))
        }
        ServerAddress::Tcp { host, .. } => {
            let name = host.strip_suffix('.').unwrap_or(&host);
            if name.is_empty() || name.split('.').any(str::is_empty) {
                return Err(bad("has an empty label"));
            }
            Ok(name.to_owned())
        }
        ServerAddress::Unix { .. } => Err(bad("must be a name, not a socket path")),
    }
}

/// Parses one host; the error never shows it.
pub(super) fn parse(text: &str) -> std::result::Result<ServerAddress, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest
            .split_once(']')
            .ok_or("the closing bracket of an IPv6 literal is missing")?;
        if literal.parse::<core::net::Ipv6Addr>().is_err() {
            return Err("the text between the brackets is not an IPv6 literal");
        }
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return Err("unexpected text after the closing bracket"),
        };
        return Ok(ServerAddress::Tcp {
            host: literal.to_lowercase(),
            port,
        });
    }
    let (name, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("more than one colon; an IPv6 literal must be enclosed in brackets");
        }
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (text, None),
    };
    let name = percent::decode(name).map_err(percent::PercentFault::text)?;
    if name.contains('/') {
        return match port {
            Some(_) => Err("a socket path cannot have a port"),
            None if !name.ends_with(".sock") => Err("a socket path must end in .sock"),
            None if name.contains('\0') => Err("a socket path cannot contain NUL"),
            None => Ok(ServerAddress::Unix {
                path: PathBuf::from(name.into_owned()),
            }),
        };
    }
    if name.is_empty() {
        return Err("has no host name");
    }
    let reserved = |c: char| c.is_control() || c.is_whitespace() || "/?#[]@:,\\%\"<>".contains(c);
    if name.contains(reserved) {
        return Err("has a character that a host name cannot contain");
    }
    Ok(ServerAddress::Tcp {
        host: name.to_lowercase(),
        port,
    })
}

fn parse_port(text: &str) -> std::result::Result<u16, &'static str> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err("the port must be a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_separator_never_splits() {
        for list in ["a%2Cevil", "a%3A1", "a%40b", "%5B::1%5D", "a%00"] {
            assert!(parse_list(list).is_err(), "{list}");
        }
    }

    #[test]
    fn repeated_hosts_are_kept_once() {
        let hosts = parse_list("A:1,b,a:1").expect("valid");
        assert_eq!(hosts.len(), 2);
    }

    #[test]
    fn empty_parts_and_odd_ports_are_refused() {
        for list in [
            "", "a,", ",a", "a,,b", ":1", "a:", "a:+1", "a:0", "[::1", "[x]", "[::1]x",
        ] {
            assert!(parse_list(list).is_err(), "{list}");
        }
    }

    #[test]
    fn srv_takes_one_plain_name() {
        assert_eq!(parse_srv("A.b.C.").expect("valid"), "a.b.c");
        for text in ["a,b", "a:1", "127.0.0.1", "[::1]", "a..b", ".", "%2Fa.sock"] {
            assert!(parse_srv(text).is_err(), "{text}");
        }
    }
}
