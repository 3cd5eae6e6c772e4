use super::*;
use crate::{
    error::{CommandError, WriteConcernError},
    id::ServerId,
};

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const EXCHANGE: Stage = Stage::Exchange { sent: true };

fn command(code: i32) -> Error {
    Error::new(ErrorKind::Command(CommandError {
        code,
        ..CommandError::default()
    }))
}

fn write_concern(code: i32) -> Error {
    Error::new(ErrorKind::Write(WriteFailure::WriteConcernError(
        WriteConcernError {
            code,
            ..WriteConcernError::default()
        },
    )))
}

fn network() -> Error {
    std::io::ErrorKind::ConnectionReset.into()
}

fn pool_cleared() -> Error {
    Error::new(ErrorKind::ConnectionPoolCleared {
        message: String::new(),
    })
}

fn overload(code: i32) -> Error {
    command(code)
        .with_label(SYSTEM_OVERLOADED_ERROR)
        .with_label(RETRYABLE_ERROR)
}

fn policy(retryability: Retryability) -> Policy {
    Policy {
        retryability,
        overload: true,
        max_adaptive_retries: 2,
        overload_retargeting: false,
        sharded: false,
        deadline: None,
    }
}

fn after(retries: u32, overloaded: bool) -> History {
    History {
        retries,
        overloaded,
        ..History::default()
    }
}

fn decide_with(policy: &Policy, history: History, error: &Error) -> Decision {
    let selected = Sighting {
        server: ServerId(1),
        version: None,
    };
    decide(
        policy,
        &history,
        selected,
        error,
        NOW,
        &mut Rng::from_seed(1),
    )
}

fn retries(policy: &Policy, history: History, error: &Error) -> bool {
    decide_with(policy, history, error) != Decision::Fail
}

fn at_once() -> Decision {
    Decision::Retry {
        pause: None,
        deprioritize: false,
        follows: false,
    }
}

#[test]
fn reads_are_repeated_after_the_listed_codes_and_no_others() {
    let listed = [
        6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
    ];
    for code in 0..20_000 {
        let decision = decide_with(&policy(Retryability::Read), after(0, false), &command(code));
        let expected = if listed.contains(&code) {
            at_once()
        } else {
            Decision::Fail
        };
        assert_eq!(decision, expected, "code {code}");
    }
}

#[test]
fn reads_are_repeated_after_network_errors_and_cleared_pools() {
    let read = policy(Retryability::Read);
    assert_eq!(decide_with(&read, after(0, false), &network()), at_once());
    assert!(retries(&read, after(0, false), &pool_cleared()));
    let refused = Error::authentication("bad password");
    assert!(!retries(&read, after(0, false), &refused));
    let lost = Error::authentication("lost").with_source(network());
    assert!(retries(&read, after(0, false), &lost));
    let waited = Error::new(ErrorKind::ServerSelection {
        message: "timed out waiting for a connection".into(),
    });
    assert!(!retries(&read, after(0, false), &waited.with_timeout()));
    assert!(!retries(
        &read,
        after(0, false),
        &Error::invalid_response("x")
    ));
}

#[test]
fn writes_are_repeated_by_label_only() {
    let write = policy(Retryability::Write);
    assert!(!retries(&write, after(0, false), &command(10107)));
    assert!(!retries(&write, after(0, false), &network()));
    let labelled = command(1).with_label(RETRYABLE_WRITE_ERROR);
    assert_eq!(decide_with(&write, after(0, false), &labelled), at_once());
    assert!(!retries(
        &policy(Retryability::Read),
        after(0, false),
        &labelled
    ));
    assert!(!retries(
        &policy(Retryability::None),
        after(0, false),
        &labelled
    ));
}

#[test]
fn without_a_deadline_there_is_one_retry_and_with_one_no_limit() {
    let mut read = policy(Retryability::Read);
    assert!(!retries(&read, after(1, false), &network()));
    read.deadline = Some(NOW + Duration::from_nanos(1));
    assert!(retries(&read, after(1_000, false), &network()));
    read.deadline = Some(NOW);
    assert!(!retries(&read, after(0, false), &network()));
}

#[test]
fn an_overload_needs_both_labels_for_a_retry_of_its_own() {
    let none = policy(Retryability::None);
    assert!(retries(&none, after(0, false), &overload(462)));
    let system = command(462).with_label(SYSTEM_OVERLOADED_ERROR);
    assert!(!retries(&none, after(0, false), &system));
    let retryable = command(462).with_label(RETRYABLE_ERROR);
    assert!(!retries(&none, after(0, false), &retryable));
    let mut off = none;
    off.overload = false;
    assert!(!retries(&off, after(0, false), &overload(462)));
}

#[test]
fn an_overload_caps_the_retries_of_every_later_error() {
    // (retries so far, overloaded before, error is an overload, retried)
    let table = [
        (0, false, true, true),
        (1, true, true, true),
        (2, true, true, false),
        (1, true, false, true),
        (2, true, false, false),
        (1, false, true, true),
        (2, false, true, false),
        (1, false, false, false),
    ];
    for (count, before, is_overload, expected) in table {
        let error = if is_overload {
            overload(91)
        } else {
            command(91)
        };
        for deadline in [None, Some(Instant::MAX)] {
            let mut read = policy(Retryability::Read);
            read.deadline = deadline;
            let unlimited = deadline.is_some() && !before && !is_overload;
            assert_eq!(
                retries(&read, after(count, before), &error),
                expected || unlimited,
                "{count} {before} {is_overload} {deadline:?}"
            );
        }
    }
    let mut none_allowed = policy(Retryability::Read);
    none_allowed.max_adaptive_retries = 0;
    assert!(!retries(&none_allowed, after(0, false), &overload(91)));
}

#[test]
fn only_an_overload_pauses_and_the_pause_grows() {
    let read = policy(Retryability::Read);
    assert_eq!(decide_with(&read, after(1, true), &command(91)), at_once());
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        assert!(backoff(1, None, &mut rng) <= Duration::from_millis(200));
        assert!(backoff(2, None, &mut rng) <= Duration::from_millis(400));
        let base = Some(Duration::from_millis(30));
        assert!(backoff(1, base, &mut rng) <= Duration::from_millis(60));
        assert!(backoff(31, None, &mut rng) <= Duration::from_secs(10));
        assert!(backoff(u32::MAX, base, &mut rng) <= Duration::from_secs(10));
    }
    let longest = |attempt, base| {
        let all = (0..2_000).map(|seed| backoff(attempt, base, &mut Rng::from_seed(seed)));
        all.max().unwrap()
    };
    assert!(longest(1, None) > Duration::from_millis(190));
    assert!(longest(2, None) > Duration::from_millis(380));
    assert!(longest(1, Some(Duration::ZERO)) > Duration::from_millis(190));
    assert!(longest(1, Some(Duration::from_millis(30))) > Duration::from_millis(55));
    assert!(longest(20, None) > Duration::from_millis(9_900));
}

#[test]
fn a_pause_past_the_deadline_is_not_begun() {
    let mut read = policy(Retryability::Read);
    let pause = backoff(1, None, &mut Rng::from_seed(1));
    assert!(pause > Duration::ZERO);
    read.deadline = Some(NOW + pause);
    assert!(!retries(&read, after(0, false), &overload(91)));
    read.deadline = Some(NOW + pause + Duration::from_nanos(1));
    assert!(retries(&read, after(0, false), &overload(91)));
}

#[test]
fn servers_are_deprioritized_when_sharded_or_when_retargeting_an_overload() {
    let deprioritized = |sharded, retargeting, error: &Error| {
        let mut read = policy(Retryability::Read);
        read.sharded = sharded;
        read.overload_retargeting = retargeting;
        match decide_with(&read, after(0, false), error) {
            Decision::Retry { deprioritize, .. } => deprioritize,
            Decision::Fail => panic!("expected a retry"),
        }
    };
    assert!(deprioritized(true, false, &command(91)));
    assert!(deprioritized(true, false, &overload(91)));
    assert!(!deprioritized(false, false, &command(91)));
    assert!(!deprioritized(false, true, &command(91)));
    assert!(!deprioritized(false, false, &overload(91)));
    assert!(deprioritized(false, true, &overload(91)));
}

fn labelled(
    error: Error,
    retryability: Retryability,
    stage: Stage,
    wire: i32,
    mongos: bool,
) -> bool {
    let mut error = error;
    let attempt = Attempt {
        retryability,
        stage,
        max_wire_version: matches!(stage, Stage::Exchange { .. }).then_some(wire),
        mongos,
    };
    classify(&mut error, &attempt);
    error.contains_label(RETRYABLE_WRITE_ERROR)
}

#[test]
fn the_client_labels_connection_errors_of_retryable_writes() {
    let write = Retryability::Write;
    assert!(labelled(network(), write, EXCHANGE, 17, false));
    assert!(labelled(network(), write, Stage::Checkout, 17, false));
    assert!(labelled(pool_cleared(), write, Stage::Checkout, 17, false));
    assert!(!labelled(
        network(),
        Retryability::None,
        EXCHANGE,
        17,
        false
    ));
    assert!(!labelled(
        network(),
        Retryability::Read,
        EXCHANGE,
        17,
        false
    ));
    assert!(!labelled(network(), write, Stage::Selection, 17, false));
}

#[test]
fn the_client_labels_errors_of_the_handshake() {
    let write = Retryability::Write;
    for code in 0..20_000 {
        let expected = RETRYABLE_WRITE_CODES.contains(&code);
        let labelled = labelled(command(code), write, Stage::Checkout, 17, false);
        assert_eq!(labelled, expected, "code {code}");
    }
    let login = |code| Error::authentication("failed").with_source(command(code));
    assert!(labelled(login(91), write, Stage::Checkout, 17, false));
    assert!(!labelled(login(18), write, Stage::Checkout, 17, false));
}

#[test]
fn servers_since_4_4_label_their_errors_themselves() {
    let write = Retryability::Write;
    for code in 0..20_000 {
        let listed = RETRYABLE_WRITE_CODES.contains(&code);
        assert!(!labelled(command(code), write, EXCHANGE, 9, false));
        assert!(!labelled(write_concern(code), write, EXCHANGE, 9, false));
        assert_eq!(labelled(command(code), write, EXCHANGE, 8, false), listed);
        assert_eq!(labelled(command(code), write, EXCHANGE, 8, true), listed);
        assert_eq!(
            labelled(write_concern(code), write, EXCHANGE, 8, false),
            listed
        );
        assert!(!labelled(write_concern(code), write, EXCHANGE, 8, true));
    }
}

#[test]
fn an_attempt_is_inferred_from_what_was_sent() {
    let unsent = Stage::Exchange { sent: false };
    let no_writes = command(91).with_label(NO_WRITES_PERFORMED);
    // (error, stage, as a write, as a read)
    let table = [
        (network(), EXCHANGE, true, true),
        (network(), unsent, false, true),
        (no_writes, EXCHANGE, false, true),
        (network(), Stage::Checkout, false, true),
        (command(91), Stage::Checkout, false, true),
        (pool_cleared(), Stage::Checkout, false, false),
        (network(), Stage::Selection, false, false),
    ];
    for (error, stage, write, read) in table {
        assert_eq!(
            implies_attempt(&error, stage, false),
            write,
            "{error} {stage:?}"
        );
        assert_eq!(
            implies_attempt(&error, stage, true),
            read,
            "{error} {stage:?}"
        );
    }
}
