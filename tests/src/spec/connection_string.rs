//! Suite `connection_string`: hosts, user information and database.

use mongo_client_core::{net::ServerAddress, uri::ConnectionString};
use serde_json::Value;

use super::{
    Report, SpecFile, Suite, in_folder,
    uri_options::{cases, description, expect_options, parse},
    value::expect_eq,
};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "connection_string",
    matches: |file| in_folder(file, "connection_string"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    for case in cases(file) {
        report.case(description(case), || run_case(case));
    }
}

fn run_case(case: &Value) -> Result<(), String> {
    let Some(parsed) = parse(case)? else {
        return Ok(());
    };
    let uri = case["uri"].as_str().unwrap_or_default();
    let text = ConnectionString::parse(uri).map_err(|e| e.to_string())?;
    if let Some(hosts) = case["hosts"].as_array() {
        expect_eq("hosts", parsed.options.hosts.len(), hosts.len())?;
        for (got, want) in parsed.options.hosts.iter().zip(hosts) {
            expect_host(got, want)?;
        }
    }
    let auth = &case["auth"];
    expect_eq("username", text.username(), auth["username"].as_str())?;
    expect_eq("password", text.password(), auth["password"].as_str())?;
    expect_eq("db", text.database(), auth["db"].as_str())?;
    let credential = parsed.options.credential.as_ref();
    if let Some(name) = auth["username"].as_str() {
        let got = credential.and_then(|c| c.username.as_deref());
        expect_eq("credential", got, Some(name))?;
    }
    let database = parsed.options.default_database.as_deref();
    expect_eq("default database", database, auth["db"].as_str())?;
    expect_options(&parsed.options, &case["options"])
}

fn expect_host(got: &ServerAddress, want: &Value) -> Result<(), String> {
    let host = got.host();
    let kind = match got {
        ServerAddress::Unix { .. } => "unix",
        _ if host.parse::<std::net::Ipv4Addr>().is_ok() => "ipv4",
        _ if host.parse::<std::net::Ipv6Addr>().is_ok() => "ip_literal",
        _ => "hostname",
    };
    let port = match got {
        ServerAddress::Tcp { port, .. } => port.map(u64::from),
        _ => None,
    };
    expect_eq("host type", Some(kind), want["type"].as_str())?;
    expect_eq("host", Some(host.as_ref()), want["host"].as_str())?;
    expect_eq("port", port, want["port"].as_u64())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_connection_string_case_passes() {
        crate::spec::assert_suite(&super::SUITE);
    }
}
