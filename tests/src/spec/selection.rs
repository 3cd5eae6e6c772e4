//! Server selection: which servers suit, which are in the latency window, and how often each of
//! those is chosen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::{Bson, Document, doc};
use mongo_client_core::{
    error::Error,
    hello::HelloReply,
    id::ServerId,
    net::ServerAddress,
    op::Target,
    read_preference::{ReadPreference, ReadPreferenceOptions, TagSet},
    rng::Rng,
    select::{Criteria, Selection, in_latency_window, select, suitable},
    time::Instant,
    topology::{ServerDescription, ServerType, TopologyDescription, TopologyType, TopologyView},
};
use serde_json::Value;

use super::{
    Report, SpecFile, Suite, in_folder,
    value::{self, expect_eq},
};

/// The files with suitable servers.
pub const LOGIC: Suite = Suite {
    name: "server-selection",
    matches: |file| {
        in_folder(file, "server_selection") && file.json.get("suitable_servers").is_some()
    },
    run: |file, report| report.case("servers", || run_logic(&file.json)),
};

/// The files with frequencies.
pub const IN_WINDOW: Suite = Suite {
    name: "server-selection-in-window",
    matches: |file| in_folder(file, "server_selection") && in_folder(file, "in_window"),
    run: run_in_window,
};

/// How often the selection of a case is repeated, to meet every server of the window.
const DRAWS: usize = 200;

const SERVER_TYPES: [ServerType; 10] = [
    ServerType::LoadBalancer,
    ServerType::Mongos,
    ServerType::PossiblePrimary,
    ServerType::RsArbiter,
    ServerType::RsGhost,
    ServerType::RsOther,
    ServerType::RsPrimary,
    ServerType::RsSecondary,
    ServerType::Standalone,
    ServerType::Unknown,
];

const TOPOLOGY_TYPES: [TopologyType; 6] = [
    TopologyType::LoadBalanced,
    TopologyType::ReplicaSetNoPrimary,
    TopologyType::ReplicaSetWithPrimary,
    TopologyType::Sharded,
    TopologyType::Single,
    TopologyType::Unknown,
];

/// Runs a case of server selection or max staleness.
///
/// # Errors
///
/// A text that says what differs.
pub fn run_logic(json: &Value) -> Result<(), String> {
    let view = view(json)?;
    let error_wanted = json["error"].as_bool() == Some(true);
    let Some(criteria) = criteria(json)? else {
        // The type of a read preference has no place for such a combination.
        return expect_eq("error", true, error_wanted);
    };
    if error_wanted {
        let error = suitable(&view, &criteria).err();
        return expect_eq("error", error.is_some(), true);
    }
    let names = |ids: Result<Vec<ServerId>, Error>| -> Result<Vec<String>, String> {
        let ids = ids.map_err(|e| e.to_string())?;
        let mut names: Vec<_> = ids.iter().map(|id| name(&view, *id)).collect();
        names.sort();
        Ok(names)
    };
    let window = names(in_latency_window(&view, &criteria))?;
    let suitable = names(suitable(&view, &criteria))?;
    expect_eq("suitable", suitable, addresses(&json["suitable_servers"]))?;
    expect_eq("window", &window, &addresses(&json["in_latency_window"]))?;

    let mut rng = Rng::from_seed(1);
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..DRAWS {
        if let Selection::Server { id, server, .. } = select(&view, &criteria, |_| 0, &mut rng) {
            expect_eq("address", server.address.to_string(), name(&view, id))?;
            *seen.entry(name(&view, id)).or_default() += 1;
        }
    }
    expect_eq("selected", seen.into_keys().collect(), window)
}

fn run_in_window(file: &SpecFile, report: &mut Report) {
    let name = file.json["description"].as_str().unwrap_or_default();
    report.case(name, || run_frequencies(&file.json));
}

fn run_frequencies(json: &Value) -> Result<(), String> {
    let view = view(json)?;
    let criteria = Criteria::new(Target::Read(ReadPreference::nearest(None)));
    let mut counts = BTreeMap::new();
    for state in json["mocked_topology_state"].as_array().ok_or("no state")? {
        let address = state["address"].as_str().ok_or("no address")?;
        let count = state["operation_count"].as_u64().ok_or("no count")?;
        counts.insert(
            address.to_owned(),
            u32::try_from(count).map_err(|e| e.to_string())?,
        );
    }
    let iterations = json["iterations"].as_u64().ok_or("no iterations")?;
    let mut rng = Rng::from_seed(7);
    let mut chosen = BTreeMap::<String, u64>::new();
    for _ in 0..iterations {
        let load = |id| counts.get(&name(&view, id)).copied().unwrap_or(0);
        let Selection::Server { id, .. } = select(&view, &criteria, load, &mut rng) else {
            return Err("no server was selected".to_owned());
        };
        *chosen.entry(name(&view, id)).or_default() += 1;
    }
    let outcome = &json["outcome"];
    let tolerance = outcome["tolerance"].as_f64().ok_or("no tolerance")?;
    let wanted = outcome["expected_frequencies"].as_object();
    for (address, want) in wanted.ok_or("no frequencies")? {
        let want = want.as_f64().ok_or("not a number")?;
        let got = chosen.get(address).copied().unwrap_or(0) as f64 / iterations as f64;
        let exact = want == 0.0 || (want - 1.0).abs() < f64::EPSILON;
        let allowed = if exact { 0.0 } else { tolerance };
        if (got - want).abs() > allowed {
            return Err(format!("{address}: got {got}, want {want} ± {allowed}"));
        }
    }
    Ok(())
}

fn name(view: &TopologyView, id: ServerId) -> String {
    view.description.servers[&id].address.to_string()
}

fn addresses(servers: &Value) -> Vec<String> {
    let servers = servers.as_array().into_iter().flatten();
    let mut out: Vec<_> = servers
        .filter_map(|s| s["address"].as_str())
        .map(str::to_owned)
        .collect();
    out.sort();
    out
}

fn view(json: &Value) -> Result<TopologyView, String> {
    let topology = &json["topology_description"];
    let name = topology["type"].as_str().ok_or("no topology type")?;
    let topology_type = TOPOLOGY_TYPES.into_iter().find(|t| t.as_str() == name);
    let topology_type = topology_type.ok_or_else(|| format!("topology type {name}"))?;
    let servers = topology["servers"].as_array().ok_or("no servers")?;
    let servers: Result<Vec<_>, _> = servers.iter().map(server).collect();
    let mut description = TopologyDescription::new(topology_type, servers?);
    if let Some(ms) = json["heartbeatFrequencyMS"].as_u64() {
        description.heartbeat_frequency = Duration::from_millis(ms);
    }
    Ok(TopologyView::new(Arc::new(description)))
}

fn server(json: &Value) -> Result<ServerDescription, String> {
    let address = json["address"].as_str().ok_or("no address")?;
    let address = ServerAddress::parse(address).map_err(|e| e.to_string())?;
    let mut server = ServerDescription::unknown(address);
    let name = json["type"].as_str().ok_or("no server type")?;
    server.server_type = SERVER_TYPES
        .into_iter()
        .find(|t| t.as_str() == name)
        .ok_or_else(|| format!("server type {name}"))?;
    let ms = json["avg_rtt_ms"].as_f64();
    server.average_round_trip_time = ms.map(|ms| Duration::from_secs_f64(ms / 1000.0));
    let ms = json["lastUpdateTime"].as_u64();
    server.last_update = ms.map(|ms| Instant::from_nanos(ms * 1_000_000));
    let mut hello = doc! { "ok": 1 };
    if let Some(tags) = json.get("tags") {
        hello.insert("tags", value::document(tags)?);
    }
    if let Some(date) = json.pointer("/lastWrite/lastWriteDate") {
        let ms = match value::bson(date)? {
            Bson::Int64(ms) => ms,
            Bson::Int32(ms) => ms.into(),
            other => return Err(format!("lastWriteDate: {other}")),
        };
        let date = bson::DateTime::from_millis(ms);
        hello.insert("lastWrite", doc! { "lastWriteDate": date });
    }
    let hello = HelloReply::from_document(hello).map_err(|e| e.to_string())?;
    server.hello = Some(Arc::new(hello));
    Ok(server)
}

/// `None` when the read preference cannot be expressed.
fn criteria(json: &Value) -> Result<Option<Criteria>, String> {
    let target = if json["operation"].as_str() == Some("write") {
        Target::Write
    } else {
        match read_preference(&json["read_preference"])? {
            Some(preference) => Target::Read(preference),
            None => return Ok(None),
        }
    };
    let mut criteria = Criteria::new(target);
    for address in addresses(&json["deprioritized_servers"]) {
        let address = ServerAddress::parse(address).map_err(|e| e.to_string())?;
        criteria.deprioritized.push(address);
    }
    Ok(Some(criteria))
}

fn read_preference(json: &Value) -> Result<Option<ReadPreference>, String> {
    let mut options = ReadPreferenceOptions::builder();
    if let Some(sets) = json["tag_sets"].as_array() {
        let sets: Result<Vec<TagSet>, String> = sets.iter().map(tag_set).collect();
        options = options.tag_sets(sets?);
    }
    if let Some(seconds) = json["maxStalenessSeconds"].as_u64() {
        options = options.max_staleness(Duration::from_secs(seconds));
    }
    Ok(match json["mode"].as_str().unwrap_or("Primary") {
        "Nearest" => Some(ReadPreference::nearest(options)),
        "Primary" => options.is_default().then(ReadPreference::primary),
        "PrimaryPreferred" => Some(ReadPreference::primary_preferred(options)),
        "Secondary" => Some(ReadPreference::secondary(options)),
        "SecondaryPreferred" => Some(ReadPreference::secondary_preferred(options)),
        other => return Err(format!("mode {other}")),
    })
}

fn tag_set(json: &Value) -> Result<TagSet, String> {
    let set: Document = value::document(json)?;
    set.into_iter()
        .map(|(name, value)| match value {
            Bson::String(value) => Ok((name, value)),
            other => Err(format!("tag {name}: {other}")),
        })
        .collect()
}

#[test]
fn server_selection_files_pass() {
    super::assert_suite(&LOGIC);
}

#[test]
fn server_selection_in_window_files_pass() {
    super::assert_suite(&IN_WINDOW);
}
