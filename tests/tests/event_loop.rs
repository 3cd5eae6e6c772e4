//! The example of an event loop on scripted servers in memory: the same loop and the same story as
//! on real ones, with a clock that is a variable, so that a run can be repeated to the byte.

mod servers;

use std::{sync::Arc, time::Duration};

use mongo_client_core::{
    error::Result, options::ClientOptions, rng::Rng, settings::Environment, time::UnixMillis,
};
use mongo_client_event_loop::{
    event_loop::{EventLoop, Host},
    story::{Story, Verdict},
};

use self::servers::{Script, Servers};

/// A run of the story: what came of it, and everything that happened on the way.
struct Run {
    verdict: Result<Verdict>,
    trace: Vec<String>,
    took: Duration,
    open_sockets: usize,
    /// How often each document was stored.
    stored: Vec<u32>,
}

fn story() -> Story {
    Story {
        writes: 60,
        at_once: 4,
        cancels: 10,
        batch: 7,
        ..Story::default()
    }
}

fn play(seed: u64, script: Script) -> Run {
    let uri = "mongodb://a.test:1,b.test:1,c.test:1/?replicaSet=rs";
    let options = ClientOptions::parse_uri(uri).unwrap().options;
    let mut random = Rng::from_seed(seed);
    let entropy = move |out: &mut [u8]| {
        for byte in out {
            *byte = u8::try_from(random.below(256)).unwrap();
        }
    };
    let mut events = EventLoop::new(
        options,
        Environment::default(),
        Box::new(entropy),
        Arc::new(|| UnixMillis(1_700_000_000_000)),
        Servers::new(seed, script),
    )
    .unwrap();
    let start = events.host().now();
    let verdict = story().play(&mut events);
    let servers = events.host();
    Run {
        verdict,
        took: servers.now() - start,
        open_sockets: servers.open_sockets(),
        stored: servers.stored(),
        trace: servers.take_trace(),
    }
}

#[track_caller]
fn assert_clean(run: &Run) {
    let verdict = run.verdict.as_ref().unwrap();
    assert_eq!(verdict.complaints(), [""; 0], "{verdict:?}");
    assert_eq!(verdict.acknowledged.len(), 61);
    assert_eq!(verdict.batches, 9);
    assert!(
        run.stored.iter().all(|times| *times == 1),
        "{:?}",
        run.stored
    );
    assert_eq!(run.open_sockets, 0);
    assert!(run.took < Duration::from_secs(60), "{:?}", run.took);
}

#[test]
fn story_ends_well_whatever_the_network_does_with_its_bytes() {
    for seed in 0..40 {
        let run = play(seed, Script::default());
        assert_clean(&run);
        let inserts = run.trace.iter().filter(|line| line.ends_with(" insert"));
        assert!(inserts.count() > 61, "no insert met the step-down");
    }
}

#[test]
fn story_ends_well_byte_by_byte() {
    let script = Script {
        piece_max: 1,
        ..Script::default()
    };
    assert_clean(&play(1, script));
}

#[test]
fn story_ends_well_where_connections_break_before_a_reply() {
    for seed in 0..20 {
        let script = Script {
            hangs_up_on: vec![3, 9, 15],
            ..Script::default()
        };
        let run = play(seed, script);
        assert_clean(&run);
        let broken = run.trace.iter().filter(|line| line.contains("breaks"));
        assert_eq!(broken.count(), 3);
    }
}

#[test]
fn story_ends_well_with_a_member_that_cannot_be_reached() {
    for seed in 0..10 {
        let script = Script {
            unreachable: Some(2),
            ..Script::default()
        };
        assert_clean(&play(seed, script));
    }
}

#[test]
fn same_seed_makes_the_same_run() {
    let first = play(7, Script::default());
    let second = play(7, Script::default());
    let other = play(8, Script::default());
    assert!(first.trace.len() > 100, "{}", first.trace.len());
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.took, second.took);
    assert_ne!(first.trace, other.trace);
}

#[test]
fn verdict_tells_what_servers_do_wrong() {
    let wrong = |script| play(1, script).verdict.unwrap().complaints();
    let loses_a_write = Script {
        forgets: Some(17),
        ..Script::default()
    };
    let mixes_up_replies = Script {
        answers_with_another: true,
        ..Script::default()
    };
    let stays_primary = Script {
        steps_down: false,
        ..Script::default()
    };
    assert_eq!(wrong(loses_a_write), ["found is not what was acknowledged"]);
    assert_eq!(wrong(mixes_up_replies), ["a find got another's reply"]);
    assert_eq!(wrong(stays_primary), ["the primary is the same"]);
}

#[test]
fn without_servers_the_story_ends_with_an_error_in_time() {
    let script = Script {
        all_unreachable: true,
        ..Script::default()
    };
    let run = play(1, script);
    let error = run.verdict.unwrap_err();
    assert!(error.is_server_selection(), "{error}");
    let limit = Duration::from_secs(30)..Duration::from_secs(31);
    assert!(limit.contains(&run.took), "{:?}", run.took);
}
