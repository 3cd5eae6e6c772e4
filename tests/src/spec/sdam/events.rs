//! Compares events with those of a phase: same number, same order, same fields.

use mongo_client_core::{
    event::sdam::SdamEvent,
    net::ServerAddress,
    topology::{ServerDescription, TopologyDescription},
};
use serde_json::Value;

use super::super::value::expect_eq;

/// Checks all events of a phase.
pub(super) fn check(got: &[SdamEvent], wanted: &[Value]) -> Result<(), String> {
    for (n, (got, want)) in got.iter().zip(wanted).enumerate() {
        check_event(got, want).map_err(|why| format!("event {n}: {why}"))?;
    }
    let names: Vec<_> = got.iter().map(name).collect();
    if got.len() == wanted.len() {
        return Ok(());
    }
    Err(format!(
        "{} events, want {}: {names:?}",
        got.len(),
        wanted.len()
    ))
}

fn name(event: &SdamEvent) -> &'static str {
    match event {
        SdamEvent::ServerOpening(_) => "server_opening_event",
        SdamEvent::ServerClosed(_) => "server_closed_event",
        SdamEvent::ServerDescriptionChanged(_) => "server_description_changed_event",
        SdamEvent::TopologyOpening(_) => "topology_opening_event",
        SdamEvent::TopologyClosed(_) => "topology_closed_event",
        SdamEvent::TopologyDescriptionChanged(_) => "topology_description_changed_event",
        _ => "another event",
    }
}

fn check_event(got: &SdamEvent, want: &Value) -> Result<(), String> {
    let (kind, want) = want
        .as_object()
        .and_then(|o| o.iter().next())
        .ok_or("an event that is no object")?;
    expect_eq("kind", name(got), kind.as_str())?;
    // The files number every topology 42, as this runner does.
    let (topology, address) = match got {
        SdamEvent::ServerOpening(e) => (e.topology_id, Some(&e.address)),
        SdamEvent::ServerClosed(e) => (e.topology_id, Some(&e.address)),
        SdamEvent::ServerDescriptionChanged(e) => {
            server(&e.previous_description, &want["previousDescription"])
                .map_err(|why| format!("previous: {why}"))?;
            server(&e.new_description, &want["newDescription"])
                .map_err(|why| format!("new: {why}"))?;
            (e.topology_id, Some(&e.address))
        }
        SdamEvent::TopologyDescriptionChanged(e) => {
            deployment(&e.previous_description, &want["previousDescription"])
                .map_err(|why| format!("previous: {why}"))?;
            deployment(&e.new_description, &want["newDescription"])
                .map_err(|why| format!("new: {why}"))?;
            (e.topology_id, None)
        }
        SdamEvent::TopologyOpening(e) => (e.topology_id, None),
        SdamEvent::TopologyClosed(e) => (e.topology_id, None),
        _ => return Err("a heartbeat".to_owned()),
    };
    expect_eq("topologyId", Some("42"), want["topologyId"].as_str())?;
    expect_eq("topologyId", topology.0, 42)?;
    let address = address.map(ToString::to_string);
    expect_eq("address", address.as_deref(), want["address"].as_str())
}

fn deployment(got: &TopologyDescription, wanted: &Value) -> Result<(), String> {
    for (key, want) in wanted.as_object().ok_or("no description")? {
        match key.as_str() {
            "topologyType" => expect_eq(key, Some(got.topology_type.as_str()), want.as_str())?,
            "setName" => expect_eq(key, got.set_name.as_deref(), want.as_str())?,
            "servers" => {
                let all = super::list(want);
                expect_eq("number of servers", got.servers.len(), all.len())?;
                for (got, want) in got.servers.values().zip(all) {
                    server(got, want)?;
                }
            }
            other => return Err(format!("unknown key {other}")),
        }
    }
    Ok(())
}

fn server(got: &ServerDescription, wanted: &Value) -> Result<(), String> {
    let hello = got.hello.as_deref();
    let addresses = |list: Option<&Vec<ServerAddress>>| {
        list.map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let strings = |want: &Value| {
        super::list(want)
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    for (key, want) in wanted.as_object().ok_or("no server description")? {
        match key.as_str() {
            "address" => expect_eq(key, Some(&*got.address.to_string()), want.as_str())?,
            "type" => {
                expect_eq(
                    key,
                    Some(got.server_type.as_str()),
                    super::outcome::server_type(want),
                )?;
            }
            "hosts" => expect_eq(key, addresses(hello.map(|h| &h.hosts)), strings(want))?,
            "passives" => expect_eq(key, addresses(hello.map(|h| &h.passives)), strings(want))?,
            "arbiters" => expect_eq(key, addresses(hello.map(|h| &h.arbiters)), strings(want))?,
            "setName" => expect_eq(key, got.set_name(), want.as_str())?,
            "primary" => {
                let primary = hello
                    .and_then(|h| h.primary.as_ref())
                    .map(ToString::to_string);
                expect_eq(key, primary.as_deref(), want.as_str())?;
            }
            other => return Err(format!("unknown key {other}")),
        }
    }
    Ok(())
}
