//! What the request of an attempt contains.

use super::*;

fn cluster_time(time: u32) -> ClusterTime {
    ClusterTime::new(rawdoc! { "clusterTime": Timestamp { time, increment: 1 } }).unwrap()
}

#[test]
fn a_command_gets_database_and_session_and_nothing_else_by_default() {
    let command = Rig::new(find(), context()).send();
    let keys: Vec<_> = command.keys().map(String::as_str).collect();
    assert_eq!(keys, ["find", "$db", "lsid"]);
    assert_eq!(command.get_str("$db").unwrap(), "db");
    let lsid = command.get_document("lsid").unwrap();
    let Some(bson::Bson::Binary(id)) = lsid.get("id") else {
        panic!("expected a UUID: {lsid}");
    };
    assert_eq!((u8::from(id.subtype), id.bytes.len()), (4, 16));
}

#[test]
fn wanting_is_idempotent_and_ends_with_nothing() {
    let mut rig = Rig::new(find(), context());
    for _ in 0..2 {
        assert!(matches!(
            rig.op.want(),
            Want::Server {
                deprioritized: [],
                ..
            }
        ));
    }
    rig.send();
    for _ in 0..2 {
        assert!(matches!(rig.op.want(), Want::Exchange(r) if r.name == "find"));
    }
    assert!(matches!(rig.reply(ok()), Progress::Done(Ok(_))));
    assert!(matches!(rig.op.want(), Want::Nothing));
}

#[test]
fn retryable_writes_carry_a_new_number_where_the_server_can() {
    let mut rig = Rig::new(insert(), context());
    assert_eq!(rig.send().get_i64("txnNumber").unwrap(), 1);
    let session = rig.session.take();
    let mut next = Rig::new(insert(), context()).with_session(session);
    assert_eq!(next.send().get_i64("txnNumber").unwrap(), 2);

    let standalone = Rig::new(insert(), context()).on(ServerType::Standalone, TopologyType::Single);
    let mut off = context();
    off.retry_writes = false;
    for mut rig in [
        standalone,
        Rig::new(insert(), off),
        Rig::new(find(), context()),
        Rig::new(
            CommandSpec::new("update", "db", rawdoc! { "update": "c" }),
            context(),
        ),
    ] {
        assert!(!rig.send().contains_key("txnNumber"));
        assert_eq!(rig.session.unwrap().server().unwrap().txn_number, 0);
    }
}

#[test]
fn unacknowledged_writes_carry_no_session_and_expect_no_reply() {
    let mut spec = insert();
    spec.write_concern = Some(WriteConcern::nodes(0));
    let mut rig = Rig::new(spec.clone(), context());
    let command = rig.send();
    assert!(!command.contains_key("lsid") && !command.contains_key("txnNumber"));
    assert_eq!(
        command.get_document("writeConcern").unwrap(),
        &doc! { "w": 0 }
    );
    assert!(matches!(rig.op.want(), Want::Exchange(r) if r.more_to_come));
    let Progress::Done(Ok(reply)) = rig.op.replied_nothing(NOW) else {
        panic!("expected success");
    };
    assert_eq!(reply.document().get_i32("ok").unwrap(), 1);

    let mut rig = Rig::new(spec, context()).with_session(Some(explicit()));
    rig.select(1);
    let error = rig.check_out().unwrap_err();
    assert!(error.to_string().contains("session"), "{error}");
    assert!(matches!(rig.op.want(), Want::Nothing));
}

#[test]
fn sessions_are_judged_by_the_connection() {
    let mut rig = Rig::new(find(), context());
    rig.facts.sessions_supported = false;
    assert!(!rig.op.sends_session(&rig.facts));
    assert!(!rig.send().contains_key("lsid"));

    let mut rig = Rig::new(find(), context()).with_session(Some(explicit()));
    rig.facts.sessions_supported = false;
    rig.select(1);
    let error = rig.check_out().unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::SessionsNotSupported));

    let mut spec = find();
    spec.supports_session = false;
    assert!(!Rig::new(spec, context()).send().contains_key("lsid"));
}

#[test]
fn the_later_cluster_time_of_client_and_session_is_sent() {
    for (client, session, expected) in [(3, 5, 5), (5, 3, 5), (4, 4, 4)] {
        let mut state = explicit();
        state.advance_cluster_time(cluster_time(session).document());
        let mut rig = Rig::new(find(), context()).with_session(Some(state));
        rig.select(1);
        let command = rig.check_out_at(Some(&cluster_time(client))).unwrap();
        let sent = command.get_document("$clusterTime").unwrap();
        assert_eq!(sent.get_timestamp("clusterTime").unwrap().time, expected);
    }
    let mut rig = Rig::new(find(), context()).on(ServerType::Standalone, TopologyType::Single);
    rig.select(1);
    let command = rig.check_out_at(Some(&cluster_time(1))).unwrap();
    assert!(!command.contains_key("$clusterTime"));
}

fn causal(spec: CommandSpec, explicit_session: bool) -> Rig {
    let mut session = if explicit_session {
        explicit()
    } else {
        with_server(SessionState::implicit())
    };
    session.advance_operation_time(Timestamp {
        time: 9,
        increment: 2,
    });
    Rig::new(spec, context()).with_session(Some(session))
}

#[test]
fn causal_sessions_send_their_operation_time_with_reads_and_writes() {
    let time = Timestamp {
        time: 9,
        increment: 2,
    };
    let after = doc! { "afterClusterTime": time };
    let command = causal(insert(), true).send();
    assert_eq!(command.get_document("readConcern").unwrap(), &after);
    let mut spec = find();
    spec.read_concern = Some(ReadConcern::majority());
    let command = causal(spec, true).send();
    let both = doc! { "level": "majority", "afterClusterTime": time };
    assert_eq!(command.get_document("readConcern").unwrap(), &both);

    let mut user = find();
    user.user_command = true;
    let get_more = CommandSpec::new("getMore", "db", rawdoc! { "getMore": 1_i64 });
    for mut rig in [
        causal(find(), false),
        causal(user, true),
        causal(get_more, true),
        causal(find(), true).on(ServerType::Standalone, TopologyType::Single),
    ] {
        assert!(!rig.send().contains_key("readConcern"));
    }
}

#[test]
fn operation_time_is_kept_from_errors_too() {
    let mut rig = Rig::new(insert(), context()).with_session(Some(explicit()));
    rig.send();
    let time = Timestamp {
        time: 4,
        increment: 1,
    };
    let reply = rawdoc! { "ok": 0, "code": 11000, "operationTime": time,
    "$clusterTime": { "clusterTime": time } };
    error_of(rig.reply(Reply::from_document(reply)));
    let session = rig.session.unwrap();
    assert_eq!(session.operation_time(), Some(time));
    assert_eq!(session.cluster_time().unwrap().timestamp(), time);
}

#[test]
fn snapshot_sessions_read_at_the_time_of_their_first_read() {
    let options = SessionOptions {
        snapshot: Some(true),
        ..SessionOptions::default()
    };
    let session = with_server(SessionState::explicit(&options).unwrap());
    let mut rig = Rig::new(find(), context()).with_session(Some(session));
    let command = rig.send();
    let expected = doc! { "level": "snapshot" };
    assert_eq!(command.get_document("readConcern").unwrap(), &expected);
    let time = Timestamp {
        time: 8,
        increment: 1,
    };
    let reply = rawdoc! { "ok": 1, "cursor": { "id": 0_i64, "atClusterTime": time } };
    rig.reply(Reply::from_document(reply));
    // Commands that take no read concern get it too, so that the server refuses them.
    let mut rig = Rig::new(insert(), context()).with_session(rig.session);
    let expected = doc! { "level": "snapshot", "atClusterTime": time };
    assert_eq!(rig.send().get_document("readConcern").unwrap(), &expected);

    let mut old = Rig::new(find(), context()).with_session(rig.session);
    old.facts.max_wire_version = 12;
    old.select(1);
    let error = old.check_out().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Snapshot reads require MongoDB 5.0 or later")
    );
}

#[test]
fn read_preferences_are_sent_as_topology_and_server_demand() {
    use ServerType::{LoadBalancer, Mongos, RsPrimary, RsSecondary, Standalone};
    let secondary = || ReadPreference::secondary(None);
    // (preference, server, topology, mode sent)
    let table = [
        (
            ReadPreference::Primary,
            RsPrimary,
            TopologyType::ReplicaSetWithPrimary,
            None,
        ),
        (
            secondary(),
            RsSecondary,
            TopologyType::ReplicaSetWithPrimary,
            Some("secondary"),
        ),
        (
            ReadPreference::Primary,
            RsSecondary,
            TopologyType::Single,
            Some("primaryPreferred"),
        ),
        (
            secondary(),
            RsPrimary,
            TopologyType::Single,
            Some("secondary"),
        ),
        (
            ReadPreference::Primary,
            Standalone,
            TopologyType::Single,
            None,
        ),
        (secondary(), Standalone, TopologyType::Single, None),
        (ReadPreference::Primary, Mongos, TopologyType::Single, None),
        (ReadPreference::Primary, Mongos, TopologyType::Sharded, None),
        (
            secondary(),
            Mongos,
            TopologyType::Sharded,
            Some("secondary"),
        ),
        (
            secondary(),
            LoadBalancer,
            TopologyType::LoadBalanced,
            Some("secondary"),
        ),
        (
            ReadPreference::Primary,
            LoadBalancer,
            TopologyType::LoadBalanced,
            None,
        ),
    ];
    for (preference, server, topology, mode) in table {
        let mut spec = find();
        spec.target = Target::Read(preference.clone());
        let command = Rig::new(spec, context()).on(server, topology).send();
        let sent = command.get_document("$readPreference").ok();
        let sent = sent.map(|d| d.get_str("mode").unwrap());
        assert_eq!(sent, mode, "{preference:?} {server} {topology}");
    }
    let mut direct = Rig::new(insert(), context()).on(RsPrimary, TopologyType::Single);
    assert!(!direct.send().contains_key("$readPreference"));
}

#[test]
fn read_preference_options_are_written_as_the_document_of_the_type() {
    let tags = [("dc".to_owned(), "ny".to_owned())].into_iter().collect();
    let options = ReadPreferenceOptions::builder()
        .tag_sets(vec![tags, Default::default()])
        .max_staleness(Duration::from_secs(120))
        .build();
    let mut spec = find();
    spec.target = Target::Read(ReadPreference::nearest(options));
    let command = Rig::new(spec, context()).send();
    let expected = doc! {
        "mode": "nearest", "tags": [{ "dc": "ny" }, {}], "maxStalenessSeconds": 120,
    };
    assert_eq!(command.get_document("$readPreference").unwrap(), &expected);

    let options = ReadPreferenceOptions::builder()
        .tag_sets(Vec::new())
        .build();
    let mut spec = find();
    spec.target = Target::Read(ReadPreference::nearest(options));
    let command = Rig::new(spec, context()).send();
    assert_eq!(
        command.get_document("$readPreference").unwrap(),
        &doc! { "mode": "nearest" }
    );
}

#[test]
fn write_concerns_are_written_as_the_document_of_the_type() {
    let mut full = WriteConcern::majority();
    full.w_timeout = Some(Duration::from_millis(250));
    full.journal = Some(true);
    let huge = WriteConcern {
        w_timeout: Some(Duration::from_secs(1 << 40)),
        ..WriteConcern::default()
    };
    let synced = WriteConcern::builder().fsync(true).build();
    for concern in [
        full.clone(),
        WriteConcern::nodes(2),
        WriteConcern::custom("tag"),
        synced,
        huge,
    ] {
        let mut spec = insert();
        spec.write_concern = Some(concern.clone());
        let command = Rig::new(spec, context()).send();
        assert_eq!(
            command.get_document("writeConcern").unwrap(),
            &concern.to_document()
        );
    }
    let mut spec = insert();
    spec.write_concern = Some(WriteConcern::default());
    assert!(
        !Rig::new(spec, context())
            .send()
            .contains_key("writeConcern")
    );

    let mut spec = insert();
    spec.write_concern = Some(full);
    let mut timed = context();
    timed.deadline = Some(NOW + Duration::from_secs(1));
    let command = Rig::new(spec, timed).send();
    let without_timeout = doc! { "w": "majority", "j": true };
    assert_eq!(
        command.get_document("writeConcern").unwrap(),
        &without_timeout
    );
}

#[test]
fn api_parameters_go_with_every_command() {
    let mut api = ServerApi::new(ServerApiVersion::V1);
    api.strict = Some(true);
    api.deprecation_errors = Some(false);
    let mut declared = context();
    declared.server_api = Some(api);
    let command = Rig::new(find(), declared).send();
    assert_eq!(command.get_str("apiVersion").unwrap(), "1");
    assert!(command.get_bool("apiStrict").unwrap());
    assert!(!command.get_bool("apiDeprecationErrors").unwrap());
}

#[test]
fn what_is_left_of_the_deadline_less_a_round_trip_is_passed_on() {
    let mut timed = context();
    timed.deadline = Some(NOW + Duration::from_millis(105));
    let command = Rig::new(find(), timed.clone()).send();
    assert_eq!(command.get_i32("maxTimeMS").unwrap(), 100);

    timed.deadline = Some(NOW + Duration::from_millis(5));
    let mut rig = Rig::new(find(), timed.clone());
    rig.select(1);
    let error = rig.check_out().unwrap_err();
    assert!(error.is_timeout());
    assert!(matches!(rig.op.want(), Want::Nothing));

    timed.deadline = Some(NOW + Duration::from_secs(1));
    let get_more = CommandSpec::new("getMore", "db", rawdoc! { "getMore": 1_i64 });
    assert!(!Rig::new(get_more, timed).send().contains_key("maxTimeMS"));
}

#[test]
fn secrets_are_not_compressed() {
    for (name, compressible) in [
        ("find", true),
        ("hello", false),
        ("saslStart", false),
        ("createuser", false),
    ] {
        let spec = CommandSpec::new(name, "db", rawdoc! { "x": 1 });
        let mut rig = Rig::new(spec, context());
        rig.send();
        let Want::Exchange(request) = rig.op.want() else {
            panic!("expected an exchange");
        };
        assert_eq!(request.compressible, compressible, "{name}");
    }
}

#[test]
fn document_sequences_go_with_every_attempt() {
    let mut spec = insert();
    spec.sequences.push(DocumentSequence {
        identifier: "documents",
        documents: RawDocumentBuf::new().into_bytes().into(),
    });
    let sequences = |rig: &Rig| match rig.op.want() {
        Want::Exchange(request) => request.sequences.len(),
        other => panic!("{other:?}"),
    };
    let mut rig = Rig::new(spec, context());
    rig.send();
    assert_eq!(sequences(&rig), 1);
    assert!(is_continue(&rig.fail(network(), SENT)));
    rig.send();
    assert_eq!(sequences(&rig), 1);
}

#[test]
fn a_server_that_is_too_old_for_an_option_is_not_asked() {
    for requirement in [Requirement::CommitQuorum, Requirement::UnacknowledgedHint] {
        for (wire_version, sent) in [(8, false), (9, true)] {
            let mut spec = insert();
            spec.requirement = Some(requirement);
            let mut rig = Rig::new(spec, context());
            rig.facts.max_wire_version = wire_version;
            rig.select(1);
            let result = rig.check_out();
            assert_eq!(result.is_ok(), sent, "{requirement:?} {wire_version}");
            if let Err(error) = result {
                assert!(error.to_string().contains("MongoDB 4.4"), "{error}");
            }
        }
    }
}

#[test]
fn a_server_that_is_too_old_for_a_comment_does_not_get_it() {
    for (wire_version, sent) in [(8, false), (9, true)] {
        let body = rawdoc! { "getMore": 5_i64, "comment": { "a": 1 }, "collection": "c" };
        let mut spec = CommandSpec::new("getMore", "db", body);
        spec.comment_is_optional = true;
        let mut rig = Rig::new(spec, context());
        rig.facts.max_wire_version = wire_version;
        let command = rig.send();
        assert_eq!(command.contains_key("comment"), sent, "{wire_version}");
        assert_eq!(command.get_i64("getMore").unwrap(), 5);
        assert_eq!(command.get_str("collection").unwrap(), "c");
        assert_eq!(command.get_str("$db").unwrap(), "db");
    }
}

#[test]
fn raw_data_is_asked_of_servers_that_know_it() {
    for (wire_version, sent) in [(26, false), (27, true)] {
        let mut spec = find();
        spec.raw_data = true;
        let mut rig = Rig::new(spec, context());
        rig.facts.max_wire_version = wire_version;
        assert_eq!(
            rig.send().get_bool("rawData").is_ok(),
            sent,
            "{wire_version}"
        );
    }
}
