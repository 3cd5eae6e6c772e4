//! Behaviours of server selection beyond the specification's files (`tests/src/spec`).

use std::{io, time::Duration};

use bson::doc;

use super::*;
use crate::hello::HelloReply;

fn server(port: u16, server_type: ServerType, rtt_ms: u64) -> ServerDescription {
    ServerDescription {
        server_type,
        average_round_trip_time: Some(Duration::from_millis(rtt_ms)),
        ..ServerDescription::unknown(ServerAddress::tcp("a", port))
    }
}

fn view(
    topology_type: TopologyType,
    servers: impl IntoIterator<Item = ServerDescription>,
) -> TopologyView {
    TopologyView::new(Arc::new(TopologyDescription::new(topology_type, servers)))
}

fn replica_set() -> TopologyView {
    view(
        TopologyType::ReplicaSetWithPrimary,
        [
            server(1, ServerType::RsPrimary, 5),
            server(2, ServerType::RsSecondary, 5),
            server(3, ServerType::RsSecondary, 100),
        ],
    )
}

fn selected(view: &TopologyView, criteria: &Criteria) -> Option<ServerId> {
    match select(view, criteria, |_| 0, &mut Rng::from_seed(3)) {
        Selection::Server { id, .. } => Some(id),
        Selection::None => None,
        other => panic!("{other:?}"),
    }
}

fn read(preference: ReadPreference) -> Criteria {
    Criteria::new(Target::Read(preference))
}

#[test]
fn writes_go_to_the_primary_even_if_it_is_deprioritized() {
    let mut criteria = Criteria::new(Target::Write);
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(1)));
    criteria.deprioritized.push(ServerAddress::tcp("a", 1));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(1)));
}

#[test]
fn primary_preferred_leaves_a_deprioritized_primary() {
    let mut criteria = read(ReadPreference::primary_preferred(None));
    criteria.deprioritized.push(ServerAddress::tcp("a", 1));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(2)));
}

#[test]
fn beside_a_held_server_another_is_selected_where_the_target_allows_one() {
    let view = replica_set();
    let beside = |target: &Target| {
        let held = &view.description.servers[&ServerId(1)];
        let other = select_beside(&view, held, target, &[], |_| 0, |_| 0)?;
        match other {
            Selection::Server { id, .. } => Some(id),
            other => panic!("{other:?}"),
        }
    };
    let read = |preference| beside(&Target::Read(preference));
    assert_eq!(read(ReadPreference::nearest(None)), Some(ServerId(2)));
    let preferred = ReadPreference::primary_preferred(None);
    assert_eq!(read(preferred), Some(ServerId(2)));
    assert_eq!(read(ReadPreference::Primary), None);
    assert_eq!(beside(&Target::Write), None);
    assert_eq!(beside(&Target::Server(ServerId(1))), None);
}

#[test]
fn the_latency_window_is_anchored_on_what_remains() {
    let mut criteria = read(ReadPreference::secondary(None));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(2)));
    criteria.deprioritized.push(ServerAddress::tcp("a", 2));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(3)));
}

#[test]
fn a_bound_server_is_selected_outside_window_and_mode_while_it_is_known() {
    let criteria = Criteria::new(Target::Server(ServerId(3)));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(3)));
    let criteria = Criteria::new(Target::Server(ServerId(9)));
    assert_eq!(selected(&replica_set(), &criteria), None);
    let unknown = view(
        TopologyType::ReplicaSetNoPrimary,
        [server(1, ServerType::Unknown, 0)],
    );
    let criteria = Criteria::new(Target::Server(ServerId(1)));
    assert_eq!(selected(&unknown, &criteria), None);
}

#[test]
fn the_less_loaded_of_two_is_taken() {
    let two = view(
        TopologyType::Sharded,
        [
            server(1, ServerType::Mongos, 5),
            server(2, ServerType::Mongos, 6),
        ],
    );
    let criteria = Criteria::new(Target::Write);
    for seed in 0..20 {
        let mut rng = Rng::from_seed(seed);
        let load = |id: ServerId| if id == ServerId(1) { 4 } else { 3 };
        let Selection::Server { id, .. } = select(&two, &criteria, load, &mut rng) else {
            panic!("nothing selected");
        };
        assert_eq!(id, ServerId(2));
    }
}

#[test]
fn an_incompatible_deployment_is_an_error_before_anything_else() {
    let mut topology = TopologyDescription::new(
        TopologyType::ReplicaSetWithPrimary,
        [server(1, ServerType::RsPrimary, 5)],
    );
    topology.compatibility_error = Some("too old".to_owned());
    let view = TopologyView::new(Arc::new(topology));
    let options = ReadPreferenceOptions::builder().max_staleness(Duration::from_secs(1));
    let criteria = read(ReadPreference::nearest(options));
    let selection = select(&view, &criteria, |_| 0, &mut Rng::from_seed(1));
    assert!(matches!(selection, Selection::Incompatible(_)));
}

#[test]
fn a_too_small_max_staleness_is_refused_by_replica_sets_only() {
    let options = ReadPreferenceOptions::builder().max_staleness(Duration::from_secs(89));
    let criteria = read(ReadPreference::nearest(options));
    let selection = select(&replica_set(), &criteria, |_| 0, &mut Rng::from_seed(1));
    let Selection::Invalid(error) = selection else {
        panic!("accepted");
    };
    assert!(error.to_string().contains("maxStalenessSeconds"));
    let sharded = view(TopologyType::Sharded, [server(1, ServerType::Mongos, 5)]);
    assert_eq!(selected(&sharded, &criteria), Some(ServerId(1)));
}

#[test]
fn hostile_write_dates_do_not_overflow() {
    let member = |port, millis| {
        let date = bson::DateTime::from_millis(millis);
        let hello = doc! { "ok": 1, "lastWrite": { "lastWriteDate": date } };
        ServerDescription {
            hello: HelloReply::from_document(hello).ok().map(Arc::new),
            ..server(port, ServerType::RsSecondary, 5)
        }
    };
    let members = [member(1, i64::MIN), member(2, i64::MAX)];
    let view = view(TopologyType::ReplicaSetNoPrimary, members);
    let options = ReadPreferenceOptions::builder().max_staleness(Duration::from_secs(100));
    let criteria = read(ReadPreference::secondary(options));
    assert_eq!(selected(&view, &criteria), Some(ServerId(2)));
}

#[test]
fn the_empty_tag_set_matches_a_server_without_tags() {
    let dc = TagSet::from([("dc".to_owned(), "ny".to_owned())]);
    let options = |sets| ReadPreferenceOptions::builder().tag_sets(sets);
    let criteria = read(ReadPreference::secondary(options(vec![dc.clone()])));
    assert_eq!(selected(&replica_set(), &criteria), None);
    let criteria = read(ReadPreference::secondary(options(vec![dc, TagSet::new()])));
    assert_eq!(selected(&replica_set(), &criteria), Some(ServerId(2)));
}

#[test]
fn a_failure_names_what_was_wanted_and_each_server_with_its_error() {
    let refused = ServerDescription {
        error: Some(Error::from(io::ErrorKind::ConnectionRefused)),
        ..server(2, ServerType::Unknown, 0)
    };
    let servers = [server(1, ServerType::RsSecondary, 5), refused];
    let view = view(TopologyType::ReplicaSetNoPrimary, servers);
    let text = describe_failure(&view, &Criteria::new(Target::Write));
    assert_eq!(
        text,
        "no suitable server for a write; topology type ReplicaSetNoPrimary; \
         a:1: RSSecondary; a:2: Unknown (network error: connection refused)"
    );
}

#[test]
fn aggregations_that_write_go_to_the_primary_while_a_server_is_old() {
    let of = |wire_version: i32, mut server: ServerDescription| {
        let hello = doc! { "ok": 1, "maxWireVersion": wire_version };
        server.hello = Some(Arc::new(HelloReply::from_document(hello).unwrap()));
        server
    };
    let members = |wire_version| {
        [
            of(17, server(1, ServerType::RsPrimary, 5)),
            of(17, server(2, ServerType::RsSecondary, 5)),
            of(wire_version, server(3, ServerType::RsSecondary, 5)),
        ]
    };
    let criteria = Criteria::new(Target::Output(ReadPreference::secondary(None).into()));
    for (wire_version, primary) in [(12, true), (13, false)] {
        let view = view(TopologyType::ReplicaSetWithPrimary, members(wire_version));
        let found = selected(&view, &criteria).unwrap();
        assert_eq!(found == ServerId(1), primary, "{wire_version}");
    }
    // One that is not available does not count.
    let mut away = members(12);
    away[2].server_type = ServerType::Unknown;
    let view = view(TopologyType::ReplicaSetWithPrimary, away);
    assert_eq!(selected(&view, &criteria), Some(ServerId(2)));
}
