//! What an operation does about failures.

use super::*;

pub(super) fn labelled(code: i32) -> Reply {
    failure(code, &[RETRYABLE_WRITE_ERROR])
}

pub(super) fn overloaded() -> Reply {
    failure(462, &["SystemOverloadedError", "RetryableError"])
}

#[test]
fn a_write_is_repeated_with_the_same_number_and_a_fresh_cluster_time() {
    let mut rig = Rig::new(insert(), context());
    let first = rig.send();
    assert!(is_continue(&rig.reply(labelled(10107))));
    assert_eq!(rig.op.retries(), 1);
    let time = ClusterTime::new(rawdoc! { "clusterTime": Timestamp { time: 2, increment: 1 } });
    rig.select(2);
    let second = rig.check_out_at(Some(&time.unwrap())).unwrap();
    assert_eq!(second.get("txnNumber"), first.get("txnNumber"));
    assert_eq!(second.get("lsid"), first.get("lsid"));
    assert!(second.contains_key("$clusterTime") && !first.contains_key("$clusterTime"));
    assert!(matches!(rig.reply(ok()), Progress::Done(Ok(_))));
    assert_eq!(rig.session.unwrap().server().unwrap().txn_number, 1);
}

#[test]
fn the_error_of_the_second_attempt_is_reported_with_its_server() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.reply(labelled(91))));
    rig.select(2);
    rig.check_out().unwrap();
    let error = error_of(rig.reply(labelled(262)));
    assert_eq!(error.code(), Some(262));
    assert_eq!(
        error.server_address(),
        Some(&ServerAddress::tcp("host", 1002))
    );
    assert!(error.server_response().is_some());
}

#[test]
fn an_error_that_performed_writes_is_preferred_to_one_that_did_not() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    let reply = rawdoc! {
        "ok": 1, "n": 1, "errorLabels": ["RetryableWriteError"],
        "writeConcernError": { "code": 91, "errmsg": "shutdown" },
    };
    assert!(is_continue(&rig.reply(Reply::from_document(reply))));
    rig.select(2);
    rig.check_out().unwrap();
    let reply = failure(262, &[RETRYABLE_WRITE_ERROR, "NoWritesPerformed"]);
    let error = error_of(rig.reply(reply));
    assert_eq!(error.code(), Some(91));
    assert_eq!(
        error.server_address(),
        Some(&ServerAddress::tcp("host", 1001))
    );
}

#[test]
fn of_errors_without_writes_the_first_is_reported() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    let labels = [RETRYABLE_WRITE_ERROR, "NoWritesPerformed"];
    assert!(is_continue(&rig.reply(failure(91, &labels))));
    rig.send();
    assert_eq!(
        error_of(rig.reply(failure(10107, &labels))).code(),
        Some(91)
    );
}

#[test]
fn a_retry_without_a_server_reports_the_previous_error() {
    for spec in [find(), insert()] {
        let mut rig = Rig::new(spec, context());
        rig.send();
        assert!(is_continue(&rig.reply(labelled(91))));
        let none = Error::new(ErrorKind::ServerSelection {
            message: "none".into(),
        });
        assert_eq!(error_of(rig.fail(none, Stage::Selection)).code(), Some(91));
    }
}

#[test]
fn the_first_selection_error_is_reported_as_it_is() {
    let mut rig = Rig::new(find(), context());
    let none = Error::new(ErrorKind::ServerSelection {
        message: "none".into(),
    });
    let error = error_of(rig.fail(none, Stage::Selection));
    assert!(error.is_server_selection() && error.server_address().is_none());
}

#[test]
fn a_retry_on_a_server_that_cannot_retry_writes_reports_the_previous_error() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.reply(labelled(91))));
    rig.select(2);
    rig.facts.sessions_supported = false;
    assert_eq!(rig.check_out().unwrap_err().code(), Some(91));
    assert!(matches!(rig.op.want(), Want::Nothing));
}

#[test]
fn a_failed_handshake_counts_as_an_attempt() {
    for spec in [find(), insert()] {
        let mut rig = Rig::new(spec, context());
        rig.select(1);
        assert!(is_continue(&rig.fail(network(), Stage::Checkout)));
        rig.send();
        let error = error_of(rig.fail(network(), SENT));
        assert!(error.is_network());
    }
    let mut rig = Rig::new(insert(), context());
    rig.select(1);
    assert!(is_continue(&rig.fail(network(), Stage::Checkout)));
    assert_eq!(rig.send().get_i64("txnNumber").unwrap(), 1);
}

#[test]
fn writes_without_a_number_are_not_repeated() {
    let mut rig = Rig::new(insert(), context()).on(ServerType::Standalone, TopologyType::Single);
    rig.send();
    let error = error_of(rig.fail(network(), SENT));
    assert!(!error.contains_label(RETRYABLE_WRITE_ERROR));

    let mut off = context();
    off.retry_writes = false;
    let mut rig = Rig::new(insert(), off);
    rig.send();
    let error = error_of(rig.fail(network(), SENT));
    assert!(!error.contains_label(RETRYABLE_WRITE_ERROR));
}

#[test]
fn the_second_network_error_of_a_write_carries_the_label() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.fail(network(), SENT)));
    rig.send();
    assert!(error_of(rig.fail(network(), SENT)).contains_label(RETRYABLE_WRITE_ERROR));
}

#[test]
fn network_errors_of_an_exchange_make_the_session_dirty() {
    for (error, stage, dirty) in [
        (network(), SENT, true),
        (network(), Stage::Checkout, false),
        (Error::invalid_response("x"), SENT, false),
    ] {
        let mut rig = Rig::new(find(), context());
        rig.send();
        rig.fail(error, stage);
        assert_eq!(
            rig.session.unwrap().server().unwrap().dirty,
            dirty,
            "{stage:?}"
        );
    }
}

#[test]
fn an_overload_pauses_before_any_command_is_repeated() {
    let update_many = CommandSpec::new("update", "db", rawdoc! { "update": "c" });
    let mut rig = Rig::new(update_many, context());
    for retry in 1..=2 {
        assert!(!rig.send().contains_key("txnNumber"));
        assert!(is_continue(&rig.reply(overloaded())));
        let Want::Pause { until } = rig.op.want() else {
            panic!("expected a pause: {:?}", rig.op.want());
        };
        assert!(until > rig.now && until <= rig.now + Duration::from_millis(100 << retry));
        rig.op.resumed(rig.now);
        assert!(
            matches!(rig.op.want(), Want::Pause { .. }),
            "resumed too early"
        );
        rig.now = until;
        rig.op.resumed(rig.now);
        assert!(matches!(rig.op.want(), Want::Server { .. }));
    }
    rig.send();
    let error = error_of(rig.reply(overloaded()));
    assert!(error.contains_label(SYSTEM_OVERLOADED_ERROR));
    assert_eq!(rig.op.retries(), 2);
}

#[test]
fn the_server_may_set_the_base_of_the_pause() {
    let mut longest = Duration::ZERO;
    for seed in 0..200 {
        let mut rig = Rig::new(find(), context());
        rig.rng = Rng::from_seed(seed);
        rig.send();
        let reply = rawdoc! {
            "ok": 0, "code": 462, "baseBackoffMS": 7,
            "errorLabels": ["SystemOverloadedError", "RetryableError"],
        };
        rig.reply(Reply::from_document(reply));
        let Want::Pause { until } = rig.op.want() else {
            panic!("expected a pause");
        };
        longest = longest.max(until - NOW);
    }
    assert!(longest <= Duration::from_millis(14) && longest > Duration::from_millis(12));
}

#[test]
fn overload_retries_obey_the_option_of_their_kind() {
    let write = || CommandSpec::new("update", "db", rawdoc! { "update": "c" });
    let mut get_more = CommandSpec::new("getMore", "db", rawdoc! { "getMore": 1_i64 });
    get_more.target = Target::Server(ServerId(1));
    let mut user = CommandSpec::new("ping", "db", rawdoc! { "ping": 1 });
    user.target = Target::Read(ReadPreference::Primary);
    user.user_command = true;
    // (command, retried with reads only, with writes only)
    let table = [
        (find(), true, false),
        (get_more, true, false),
        (write(), false, true),
        (insert(), false, true),
        (user, false, false),
    ];
    for (spec, reads_only, writes_only) in table {
        for (reads, writes, expected) in [
            (true, true, true),
            (true, false, reads_only),
            (false, true, writes_only),
            (false, false, false),
        ] {
            let mut options = context();
            options.retry_reads = reads;
            options.retry_writes = writes;
            let mut rig = Rig::new(spec.clone(), options);
            rig.send();
            let retried = is_continue(&rig.reply(overloaded()));
            assert_eq!(retried, expected, "{} {reads} {writes}", spec.name);
        }
    }
}

#[test]
fn a_failed_mongos_is_deprioritized_once() {
    let mut options = context();
    options.deadline = Some(NOW + Duration::from_secs(10));
    let mut rig = Rig::new(find(), options).on(ServerType::Mongos, TopologyType::Sharded);
    for server in [1, 1, 2] {
        rig.select(server);
        rig.check_out().unwrap();
        assert!(is_continue(&rig.fail(network(), SENT)));
    }
    let Want::Server { deprioritized, .. } = rig.op.want() else {
        panic!("expected a selection");
    };
    let expected = [
        ServerAddress::tcp("host", 1001),
        ServerAddress::tcp("host", 1002),
    ];
    assert_eq!(deprioritized, expected);
}

#[test]
fn past_the_deadline_the_last_error_is_a_timeout() {
    let mut options = context();
    options.deadline = Some(NOW + Duration::from_secs(1));
    let mut rig = Rig::new(find(), options);
    for _ in 0..5 {
        rig.send();
        assert!(is_continue(&rig.reply(failure(91, &[]))));
    }
    rig.send();
    rig.now = NOW + Duration::from_secs(1);
    let error = error_of(rig.reply(failure(91, &[])));
    assert!(error.is_timeout());
    assert_eq!(error.code(), Some(91));
}

#[test]
fn transaction_number_errors_say_what_to_do() {
    let reply = || {
        let text = "Transaction numbers are only allowed on a replica set member or mongos";
        Reply::from_document(rawdoc! { "ok": 0, "code": 20, "errmsg": text })
    };
    let mut rig = Rig::new(insert(), context());
    rig.send();
    let error = error_of(rig.reply(reply()));
    assert!(error.to_string().contains("retryWrites=false"), "{error}");
    assert_eq!(error.code(), Some(20));
    let mut rig = Rig::new(find(), context());
    rig.send();
    assert!(
        !error_of(rig.reply(reply()))
            .to_string()
            .contains("retryWrites")
    );
}

#[test]
fn a_write_concern_error_is_left_in_the_reply_unless_asked_for() {
    let reply =
        || Reply::from_document(rawdoc! { "ok": 1, "n": 1, "writeConcernError": { "code": 64 } });
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(matches!(rig.reply(reply()), Progress::Done(Ok(_))));
    let mut spec = insert();
    spec.check_write_concern_error = true;
    let mut rig = Rig::new(spec, context());
    rig.send();
    assert_eq!(error_of(rig.reply(reply())).code(), Some(64));
}
