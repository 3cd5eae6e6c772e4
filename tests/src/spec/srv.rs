//! Suite `srv_seedlist`: each file runs through the resolver machine with scripted name servers,
//! once with plain datagrams and once with truncated ones and a stream that is read byte by byte.
//!
//! `hosts`, `numHosts` and `ping` need a live deployment and are not looked at.

mod zone;

use std::collections::BTreeSet;

use mongo_client_core::{
    dns::{DnsAction, Resolver, ResolverConfig, SrvQuery, SrvRecords},
    error::{Error, Result},
    options::ClientOptions,
    rng::Rng,
    time::Instant,
    uri::srv,
};
use serde_json::{Map, Value};

use super::{Report, SpecFile, Suite, in_folder, uri_options::expect_options, value::expect_eq};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "srv_seedlist",
    matches: |file| in_folder(file, "srv_seedlist"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    let case = &file.json;
    let name = case["uri"].as_str().unwrap_or("without uri");
    report.case(name, || {
        run_case(case, false)?;
        run_case(case, true).map_err(|e| format!("over a stream: {e}"))
    });
}

fn run_case(case: &Value, truncate: bool) -> std::result::Result<(), String> {
    let uri = case["uri"].as_str().ok_or("no uri")?;
    let options = match (resolve(uri, truncate), case["error"] == true) {
        (Err(_), true) => return Ok(()),
        (Ok(_), true) => return Err("accepted, but invalid".into()),
        (Err(e), false) => return Err(format!("refused: {e}")),
        (Ok(options), false) => options,
    };
    let seeds: BTreeSet<String> = options.hosts.iter().map(ToString::to_string).collect();
    if let Some(wanted) = case["seeds"].as_array() {
        let wanted = wanted.iter().filter_map(|s| s.as_str().map(str::to_owned));
        expect_eq("seeds", &seeds, &wanted.collect())?;
    }
    if let Some(count) = case["numSeeds"].as_u64() {
        expect_eq("numSeeds", seeds.len() as u64, count)?;
    }
    let mut wanted: Map<String, Value> = case["options"].as_object().cloned().unwrap_or_default();
    // Without a user there is no credential that could have a source; a user is added to see it.
    if let Some(source) = wanted.remove("authSource") {
        let with_user = uri.replacen("://", "://user:pass@", 1);
        let options = resolve(&with_user, truncate).map_err(|e| format!("with a user: {e}"))?;
        let got = options.credential.and_then(|c| c.source);
        expect_eq("authSource", got.as_deref(), source.as_str())?;
    }
    expect_options(&options, &Value::Object(wanted))?;
    let credential = options.credential.as_ref();
    for (name, want) in case["parsed_options"].as_object().into_iter().flatten() {
        let got = match name.as_str() {
            "user" => credential.and_then(|c| c.username.as_deref()),
            "password" => credential.and_then(|c| c.password.as_deref()),
            "db" | "auth_database" | "defaultDatabase" => options.default_database.as_deref(),
            other => return Err(format!("unknown parsed option {other}")),
        };
        expect_eq(name, got, want.as_str())?;
    }
    Ok(())
}

/// Parses a URI and resolves its host in the zone.
fn resolve(uri: &str, truncate: bool) -> Result<ClientOptions> {
    let parsed = ClientOptions::parse_uri(uri)?;
    let host = parsed.options.srv_host.clone();
    let host = host.ok_or_else(|| Error::internal("not mongodb+srv"))?;
    let service = parsed.options.srv_service_name.as_deref();
    let query = SrvQuery::new(host, service.unwrap_or(srv::DEFAULT_SERVICE_NAME));
    let records = look_up(query, truncate)?;
    let mut rng = Rng::from_seed(7);
    Ok(srv::apply(parsed.options, &records, &mut rng)?.0)
}

/// Drives the resolver machine against the zone.
fn look_up(query: SrvQuery, truncate: bool) -> Result<SrvRecords> {
    let now = Instant::ZERO;
    let config = ResolverConfig::new(vec![([10, 0, 0, 1], 53).into()]);
    let mut entropy = |out: &mut [u8]| out.fill(42);
    let mut resolver = Resolver::new(query, config, &mut entropy, now);
    loop {
        match resolver.poll_action() {
            Some(DnsAction::SendDatagram { server, bytes }) => {
                let mut answer = zone::answer(&bytes);
                if truncate {
                    answer[2] |= 0x02;
                }
                resolver.handle_datagram(server, &answer, now);
            }
            Some(DnsAction::OpenStream { .. }) => {
                resolver.handle_stream_opened(now);
                let request = resolver.poll_stream_write().unwrap_or_default();
                let answer = zone::answer(&request[2..]);
                let len = u16::try_from(answer.len()).unwrap_or(u16::MAX);
                for byte in len.to_be_bytes().into_iter().chain(answer) {
                    resolver.handle_stream_bytes(&[byte], now);
                }
            }
            Some(DnsAction::Done(result)) => return Ok(result?),
            Some(_) => {}
            None => return Err(Error::internal("the resolver waits for nothing")),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_srv_seedlist_file_passes() {
        crate::spec::assert_suite(&super::SUITE);
    }
}
