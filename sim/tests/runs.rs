//! A few seeds of the swarm, and that a run follows from its seed and its choices.

use mongo_client_sim::swarm::{FailureFile, Mode, Profile, Run, Settings, run};

const MODES: [Mode; 2] = [Mode::Driver, Mode::Engine];

fn recorded(seed: u64, profile: Profile, mode: Mode) -> Run {
    let settings = Settings {
        record: true,
        ..Settings::default()
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

#[test]
fn every_profile_passes_in_both_modes() {
    for profile in Profile::ALL {
        for mode in MODES {
            let run = run(3, profile, mode, &Settings::default());
            assert_passes(&run);
            assert!(run.tally.well > 0, "{profile} {mode:?}: {:?}", run.tally);
        }
    }
}

#[test]
fn a_run_follows_from_its_seed_and_from_its_record() {
    for mode in MODES {
        let first = recorded(11, Profile::Swarm, mode);
        let plain = run(11, Profile::Swarm, mode, &Settings::default());
        assert_eq!(first.hash, plain.hash, "{mode:?}");
        let settings = Settings {
            replay: Some(first.choices.clone()),
            ..Settings::default()
        };
        let again = run(11, Profile::Swarm, mode, &settings);
        assert_eq!(first.hash, again.hash, "{mode:?}");
        let other = run(12, Profile::Swarm, mode, &Settings::default());
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
