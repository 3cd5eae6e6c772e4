//! Refusals: what an operation does when servers are not what it needs.

use super::{retries::labelled, *};

const PROCESS: ObjectId = ObjectId::from_bytes([1; 12]);
const OTHER_PROCESS: ObjectId = ObjectId::from_bytes([2; 12]);

fn version(counter: i64) -> TopologyVersion {
    TopologyVersion {
        process_id: PROCESS,
        counter,
    }
}

/// A refusal in a state of the server.
fn refusal_at(code: i32, told: TopologyVersion) -> Reply {
    let mut reply = doc! { "ok": 0, "code": code, "errmsg": "text" };
    reply.insert("errorLabels", vec![RETRYABLE_WRITE_ERROR]);
    reply.insert("topologyVersion", told.to_document());
    Reply::from_document(RawDocumentBuf::try_from(&reply).unwrap())
}

fn refusal(code: i32, counter: i64) -> Reply {
    refusal_at(code, version(counter))
}

/// A reply that came through, of a write that did not.
fn refused(codes: &[i32]) -> Reply {
    let errors = codes.iter().zip(0..).map(|(code, index)| {
        bson::bson!({ "index": index, "code": *code, "errmsg": "Not primary while writing to db.coll" })
    });
    let reply = doc! { "ok": 1, "n": 0, "writeErrors": errors.collect::<Vec<_>>() };
    Reply::from_document(RawDocumentBuf::try_from(&reply).unwrap())
}

impl Rig {
    /// The next attempt goes to a server in a state.
    fn send_to(&mut self, server: u32, counter: i64) -> Document {
        self.version = Some(version(counter));
        self.select(server);
        self.check_out().unwrap()
    }

    fn is_held(&self, server: u32, version: Option<TopologyVersion>) -> bool {
        let hold = self.op.hold(ServerId(server), version, || self.now);
        assert!(hold.is_none_or(|until| until > self.now));
        hold.is_some()
    }
}

#[test]
fn a_second_refusal_counts_unless_the_topology_has_moved_on() {
    // (server and state of the first refusal, those of the second, repeated)
    let table = [
        ((1, version(6)), (1, version(6)), false),
        ((1, version(6)), (1, version(5)), false),
        ((1, version(6)), (1, version(7)), true),
        ((1, version(6)), (2, version(6)), true),
        ((1, version(6)), (2, version(1)), true),
    ];
    for spec in [find(), insert()] {
        for ((first, at), (second, then), repeated) in table {
            let mut rig = Rig::new(spec.clone(), context());
            rig.send_to(first, 6);
            assert!(is_continue(&rig.reply(refusal_at(10107, at))));
            rig.send_to(second, 6);
            let progress = rig.reply(refusal_at(10107, then));
            assert_eq!(
                is_continue(&progress),
                repeated,
                "{first} {second} {then:?}"
            );
        }
    }
}

#[test]
fn a_server_that_was_restarted_is_another_state() {
    let mut rig = Rig::new(insert(), context());
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(91, 6))));
    rig.send_to(1, 6);
    let restarted = TopologyVersion {
        process_id: OTHER_PROCESS,
        counter: 0,
    };
    assert!(is_continue(&rig.reply(refusal_at(11600, restarted))));
}

#[test]
fn a_step_down_that_ends_operations_before_it_is_told_costs_nothing() {
    let mut rig = Rig::new(insert(), context());
    let first = rig.send_to(1, 6);
    // Interrupted in the old state, refused in the new one, and so by the next primary.
    assert!(is_continue(&rig.reply(refusal(11602, 6))));
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(10107, 7))));
    rig.send_to(2, 3);
    assert!(is_continue(&rig.reply(refusal(11602, 3))));
    rig.send_to(2, 3);
    assert!(is_continue(&rig.reply(refusal(10107, 4))));
    let last = rig.send_to(3, 9);
    assert_eq!(last.get("txnNumber"), first.get("txnNumber"));
    assert!(matches!(rig.reply(ok()), Progress::Done(Ok(_))));
    assert_eq!(rig.op.retries(), 4);
}

#[test]
fn a_version_that_is_absent_proves_nothing() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.reply(labelled(91))));
    rig.send();
    assert_eq!(error_of(rig.reply(labelled(10107))).code(), Some(10107));

    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.reply(labelled(91))));
    rig.send();
    assert_eq!(error_of(rig.reply(refusal(10107, 7))).code(), Some(10107));
}

#[test]
fn a_refusal_follows_a_lost_connection_if_the_state_is_newer_than_was_known() {
    for (told, repeated) in [(6, false), (7, true)] {
        let mut rig = Rig::new(insert(), context());
        rig.send_to(1, 6);
        assert!(is_continue(&rig.fail(network(), SENT)));
        rig.send_to(1, 6);
        let progress = rig.reply(refusal(10107, told));
        assert_eq!(is_continue(&progress), repeated, "{told}");
    }
}

#[test]
fn other_errors_never_follow_the_topology() {
    for error in [6, 7, 89, 262, 9001] {
        let mut rig = Rig::new(insert(), context());
        rig.send_to(1, 6);
        assert!(is_continue(&rig.reply(refusal(10107, 6))));
        rig.send_to(2, 6);
        assert_eq!(error_of(rig.reply(refusal(error, 9))).code(), Some(error));
    }
    let mut rig = Rig::new(insert(), context());
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(10107, 6))));
    rig.send_to(2, 6);
    assert!(error_of(rig.fail(network(), SENT)).is_network());
}

#[test]
fn another_router_is_no_progress() {
    let mut rig = Rig::new(insert(), context()).on(ServerType::Mongos, TopologyType::Sharded);
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(10107, 6))));
    rig.send_to(2, 6);
    assert_eq!(error_of(rig.reply(refusal(10107, 6))).code(), Some(10107));
}

#[test]
fn an_overload_limits_refusals_too() {
    let mut rig = Rig::new(insert(), context());
    for _ in 0..2 {
        rig.send_to(1, 6);
        assert!(is_continue(&rig.reply(retries::overloaded())));
        let Want::Pause { until } = rig.op.want() else {
            panic!("{:?}", rig.op.want());
        };
        rig.now = until;
        rig.op.resumed(until);
    }
    rig.send_to(2, 6);
    assert_eq!(error_of(rig.reply(refusal(10107, 9))).code(), Some(10107));
}

#[test]
fn what_is_never_repeated_does_not_follow_either() {
    let mut command = insert();
    command.retryability = Retryability::None;
    let mut rig = Rig::new(command, context());
    rig.send_to(1, 6);
    assert_eq!(error_of(rig.reply(refusal(10107, 7))).code(), Some(10107));
    let mut off = context();
    off.retry_reads = false;
    let mut rig = Rig::new(find(), off);
    rig.send_to(1, 6);
    assert_eq!(error_of(rig.reply(refusal(10107, 7))).code(), Some(10107));
}

#[test]
fn a_set_that_never_settles_ends_the_operation() {
    let mut rig = Rig::new(insert(), context());
    for attempt in 1..=100 {
        rig.send_to(attempt, 6);
        if let Progress::Done(result) = rig.reply(refusal(10107, 6)) {
            assert_eq!(result.unwrap_err().code(), Some(10107));
            // The first, its retry, and eight that followed.
            assert_eq!(attempt, 10);
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn a_server_that_refused_is_held_until_its_description_changes() {
    let mut rig = Rig::new(insert(), context());
    rig.send_to(1, 6);
    assert!(!rig.is_held(1, Some(version(6))));
    assert!(is_continue(&rig.reply(refusal(11602, 6))));
    assert!(matches!(rig.op.want(), Want::Server { .. }));
    assert!(rig.is_held(1, Some(version(6))));
    assert!(!rig.is_held(1, Some(version(7))));
    assert!(!rig.is_held(2, Some(version(6))));
    let until = rig.op.hold(ServerId(1), Some(version(6)), || NOW).unwrap();
    assert!(until - NOW <= Duration::from_millis(100));
    rig.now = until;
    assert!(!rig.is_held(1, Some(version(6))));
    // What fails next ends the hold, or makes another.
    rig.now = NOW;
    rig.send_to(2, 3);
    assert!(is_continue(&rig.reply(refusal(11602, 3))));
    assert!(rig.is_held(2, Some(version(3))) && !rig.is_held(1, Some(version(6))));
}

#[test]
fn other_failures_hold_no_server() {
    for reply in [refusal(89, 6), refusal(262, 6)] {
        let mut rig = Rig::new(insert(), context());
        rig.send_to(1, 6);
        assert!(is_continue(&rig.reply(reply)));
        assert!(!rig.is_held(1, Some(version(6))));
    }
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(is_continue(&rig.reply(labelled(10107))));
    assert!(!rig.is_held(1, None), "nothing to wait for");
}

#[test]
fn a_write_that_an_old_primary_refused_is_repeated_once_its_step_down_is_known() {
    let mut rig = Rig::new(insert(), context());
    let first = rig.send();
    assert!(is_continue(&rig.reply(refused(&[11000, 189]))));
    assert!(rig.is_held(1, None));
    let second = rig.send();
    assert_eq!(second.get("txnNumber"), first.get("txnNumber"));
    // Another time by the same server is for the caller to see, as it came.
    let Progress::Done(Ok(reply)) = rig.reply(refused(&[189])) else {
        panic!("it is a reply");
    };
    assert_eq!(reply.as_bytes(), refused(&[189]).as_bytes());
}

#[test]
fn documents_that_were_refused_leave_the_one_retry_for_later() {
    let mut rig = Rig::new(insert(), context());
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refused(&[189]))));
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(10107, 6))));
    // The next primary steps down as well.
    rig.send_to(2, 6);
    assert!(is_continue(&rig.reply(refused(&[189]))));
    rig.send_to(2, 6);
    assert!(matches!(rig.reply(refused(&[189])), Progress::Done(Ok(_))));
}

#[test]
fn documents_may_be_refused_after_an_interruption() {
    let mut rig = Rig::new(insert(), context());
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(11602, 6))));
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refused(&[189]))));
    rig.send_to(1, 6);
    assert!(is_continue(&rig.reply(refusal(10107, 7))));
}

#[test]
fn a_refused_write_is_repeated_only_for_the_loss_of_the_primary_and_with_a_number() {
    let mut rig = Rig::new(insert(), context());
    rig.send();
    assert!(matches!(
        rig.reply(refused(&[11000, 121])),
        Progress::Done(Ok(_))
    ));
    let mut command = insert();
    command.retryability = Retryability::None;
    for code in [189, 10107, 11602] {
        let mut rig = Rig::new(command.clone(), context());
        rig.send();
        assert!(matches!(rig.reply(refused(&[code])), Progress::Done(Ok(_))));
    }
}
