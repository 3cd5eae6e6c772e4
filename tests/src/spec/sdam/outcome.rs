//! Compares a description with a phase's outcome. Unknown keys of an outcome are an error, so that
//! nothing in a file stays unread.

use mongo_client_core::{
    hello::TopologyVersion,
    id::ServerId,
    net::ServerAddress,
    topology::{ServerDescription, Topology},
};
use serde_json::Value;

use super::super::value::{self, expect_eq};

/// Checks the whole outcome.
pub(super) fn check(topology: &Topology, wanted: &Value) -> Result<(), String> {
    let view = topology.view();
    let got = &view.description;
    for (key, want) in wanted.as_object().ok_or("an outcome that is no object")? {
        match key.as_str() {
            "topologyType" => expect_eq(key, Some(got.topology_type.as_str()), want.as_str())?,
            "setName" => expect_eq(key, got.set_name.as_deref(), want.as_str())?,
            "compatible" => {
                expect_eq(key, Some(got.compatibility_error.is_none()), want.as_bool())?;
            }
            "logicalSessionTimeoutMinutes" => {
                let minutes = got.logical_session_timeout.map(|t| t.as_secs() / 60);
                expect_eq(key, minutes, want.as_u64())?;
            }
            "maxSetVersion" => expect_eq(key, got.max_set_version, want.as_i64())?,
            "maxElectionId" => {
                expect_eq(key, got.max_election_id.map(|id| id.to_hex()), oid(want)?)?;
            }
            "servers" => {
                let all = want.as_object().ok_or("servers")?;
                expect_eq("number of servers", got.servers.len(), all.len())?;
                for (address, want) in all {
                    let parsed = ServerAddress::parse(address).map_err(|e| e.to_string())?;
                    let (id, server) = got
                        .server(&parsed)
                        .ok_or_else(|| format!("no server {address}"))?;
                    check_server(topology, id, server, want)
                        .map_err(|why| format!("{address}: {why}"))?;
                }
            }
            other => return Err(format!("unknown key {other}")),
        }
    }
    Ok(())
}

fn check_server(
    topology: &Topology,
    id: ServerId,
    got: &ServerDescription,
    wanted: &Value,
) -> Result<(), String> {
    let hello = got.hello.as_deref();
    for (key, want) in wanted.as_object().ok_or("a server that is no object")? {
        match key.as_str() {
            "type" => {
                expect_eq(key, Some(got.server_type.as_str()), server_type(want))?;
            }
            "error" => {
                let want = want.as_str().unwrap_or_default();
                let text = got.error.as_ref().map(ToString::to_string);
                if !text.as_ref().is_some_and(|text| text.contains(want)) {
                    return Err(format!("error: got {text:?}, want {want:?} in it"));
                }
            }
            "setName" => expect_eq(key, got.set_name(), want.as_str())?,
            "setVersion" => expect_eq(key, hello.and_then(|h| h.set_version), want.as_i64())?,
            "electionId" => {
                let election = hello.and_then(|h| h.election_id).map(|id| id.to_hex());
                expect_eq(key, election, oid(want)?)?;
            }
            "logicalSessionTimeoutMinutes" => {
                let minutes = hello
                    .and_then(|h| h.logical_session_timeout)
                    .map(|t| t.as_secs() / 60);
                expect_eq(key, minutes, want.as_u64())?;
            }
            "minWireVersion" => {
                let version = hello.map(|h| i64::from(h.min_wire_version));
                expect_eq(key, version, want.as_i64())?;
            }
            "maxWireVersion" => {
                let version = hello.map(|h| i64::from(h.max_wire_version));
                expect_eq(key, version, want.as_i64())?;
            }
            "topologyVersion" => {
                let want = match want {
                    Value::Null => None,
                    doc => Some(
                        TopologyVersion::parse(&value::document(doc)?).ok_or("topologyVersion")?,
                    ),
                };
                expect_eq(key, got.topology_version, want)?;
            }
            "pool" => {
                let generation = u64::from(topology.generation(id, None).0);
                expect_eq("generation", Some(generation), want["generation"].as_u64())?;
            }
            other => return Err(format!("unknown key {other}")),
        }
    }
    Ok(())
}

/// The type that a file wants. Clients that check all servers at once have no use for
/// PossiblePrimary and stay with Unknown (SDAM: "ServerType").
pub(super) fn server_type(want: &Value) -> Option<&str> {
    match want.as_str() {
        Some("PossiblePrimary") => Some("Unknown"),
        other => other,
    }
}

fn oid(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(map.get("$oid").and_then(Value::as_str).map(str::to_owned)),
        other => Err(format!("not an ObjectId: {other}")),
    }
}
