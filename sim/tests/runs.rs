//! A few seeds of the swarm, and that a run follows from its seed and its choices.

use std::{process::Command, time::Duration};

use mongo_client_sim::swarm::{FailureFile, Mode, Profile, Run, Settings, run};

const MODES: [Mode; 2] = [Mode::Driver, Mode::Engine];

/// Runs that are short enough for a build without optimisation.
fn short() -> Settings {
    Settings {
        safety_max: Some(Duration::from_secs(8)),
        ..Settings::default()
    }
}

fn recorded(seed: u64, profile: Profile, mode: Mode) -> Run {
    let settings = Settings {
        record: true,
        ..short()
    };
    run(seed, profile, mode, &settings)
}

fn assert_passes(run: &Run) {
    let (seed, profile, mode) = (run.seed, run.profile, run.mode);
    let failed = &run.violation;
    assert!(
        failed.is_none(),
        "seed {seed} {profile} {mode:?}: {failed:?}"
    );
}

fn every_profile(mode: Mode) {
    for profile in Profile::ALL {
        let run = run(3, profile, mode, &short());
        assert_passes(&run);
        assert!(run.tally.well > 0, "{profile} {mode:?}: {:?}", run.tally);
    }
}

#[test]
fn every_profile_passes_in_driver_mode() {
    every_profile(Mode::Driver);
}

#[test]
fn every_profile_passes_in_engine_mode() {
    every_profile(Mode::Engine);
}

#[test]
fn a_run_follows_from_its_seed_and_from_its_record() {
    for mode in MODES {
        let first = recorded(11, Profile::Swarm, mode);
        let plain = run(11, Profile::Swarm, mode, &short());
        assert_eq!(first.hash, plain.hash, "{mode:?}");
        let settings = Settings {
            replay: Some(first.choices.clone()),
            ..short()
        };
        let again = run(11, Profile::Swarm, mode, &settings);
        assert_eq!(first.hash, again.hash, "{mode:?}");
        let other = run(12, Profile::Swarm, mode, &short());
        assert_ne!(first.hash, other.hash, "{mode:?}");
    }
}

#[test]
fn a_record_that_ends_early_is_no_failure() {
    for mode in MODES {
        let mut first = recorded(5, Profile::FlakyLan, mode);
        for draws in first.choices.values_mut() {
            draws.truncate(draws.len() / 3);
        }
        let file = FailureFile {
            seed: first.seed,
            profile: first.profile,
            mode,
            safety_max: first.safety_max,
            version: String::new(),
            invariant: String::new(),
            at: String::new(),
            what: String::new(),
            choices: first.choices,
            last: Vec::new(),
        };
        let again = file.to_string().parse::<FailureFile>();
        assert_passes(&again.expect("it was just written").replay(false));
    }
}

#[test]
fn two_processes_run_the_same_seeds_in_the_same_way() {
    let program = env!("CARGO_BIN_EXE_mongo-client-sim");
    let mut command = Command::new(program);
    command.args(["twice", "--seeds", "4", "--safety", "10"]);
    let output = command.output().expect("the program is there");
    let (out, err) = (output.stdout, output.stderr);
    let text = [String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)].join("\n");
    assert!(output.status.success(), "{text}");
    assert!(text.contains("4 seeds ran twice in the same way"), "{text}");
}
