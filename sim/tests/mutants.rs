//! Each deliberate defect is caught: one seed for each, which passes without the defect.
//!
//! `cargo test -p mongo-client-sim --features mutants --test mutants`; docs/SIMULATION.md has the
//! table.

#![cfg(feature = "mutants")]

use std::time::Duration;

use mongo_client_core::mutants::{self, Mutant};
use mongo_client_sim::swarm::{Mode, Profile, Run, Settings, run};

struct Case {
    mutant: Mutant,
    seed: u64,
    profile: Profile,
    mode: Mode,
    invariant: &'static str,
}

const CASES: &[Case] = &[
    Case {
        mutant: Mutant::TicketLeaked,
        seed: 1,
        profile: Profile::TinyPool,
        mode: Mode::Driver,
        invariant: "liveness",
    },
    Case {
        mutant: Mutant::StaleGeneration,
        seed: 0,
        profile: Profile::FailoverStorm,
        mode: Mode::Engine,
        invariant: "no-stale-lease",
    },
    Case {
        mutant: Mutant::WrongReply,
        seed: 2,
        profile: Profile::TinyPool,
        mode: Mode::Engine,
        invariant: "no-request-before-the-reply",
    },
    Case {
        mutant: Mutant::TxnNumberChanged,
        seed: 6,
        profile: Profile::FailoverStorm,
        mode: Mode::Engine,
        invariant: "applied-exactly-once",
    },
    Case {
        mutant: Mutant::LostWakeUp,
        seed: 1,
        profile: Profile::TinyPool,
        mode: Mode::Driver,
        invariant: "liveness",
    },
    Case {
        mutant: Mutant::PoolOverMax,
        seed: 0,
        profile: Profile::TinyPool,
        mode: Mode::Engine,
        invariant: "connection-in-one-place",
    },
    Case {
        mutant: Mutant::ElectionIgnored,
        seed: 11,
        profile: Profile::FailoverStorm,
        mode: Mode::Driver,
        invariant: "topology-as-specified",
    },
    Case {
        mutant: Mutant::SessionNotDirty,
        seed: 0,
        profile: Profile::FlakyLan,
        mode: Mode::Engine,
        invariant: "dirty-session-not-reused",
    },
    Case {
        mutant: Mutant::ClusterTimeBack,
        seed: 2,
        profile: Profile::FailoverStorm,
        mode: Mode::Engine,
        invariant: "cluster-time-goes-forward",
    },
    Case {
        mutant: Mutant::DeadlineIgnored,
        seed: 2,
        profile: Profile::FlakyLan,
        mode: Mode::Engine,
        invariant: "ends-by-its-deadline",
    },
];

impl Case {
    fn run(&self, mutant: Option<Mutant>) -> Run {
        let settings = Settings {
            safety_max: Some(Duration::from_secs(30)),
            ..Settings::default()
        };
        mutants::set(mutant);
        let run = run(self.seed, self.profile, self.mode, &settings);
        mutants::set(None);
        run
    }
}

/// One test for all, because mutants are switched on for the whole process.
#[test]
fn each_mutant_is_caught_by_a_seed_that_passes_without_it() {
    // Panics of mutants are violations, and expected.
    std::panic::set_hook(Box::new(|_| {}));
    let mut wrong = Vec::new();
    for case in CASES {
        let name = case.mutant.name();
        if let Some(violation) = case.run(None).violation {
            wrong.push(format!("{name}: the control fails: {violation}"));
        }
        match case.run(Some(case.mutant)).violation {
            Some(violation) if violation.invariant == case.invariant => {}
            other => wrong.push(format!("{name}: {other:?} instead of {}", case.invariant)),
        }
    }
    let _ = std::panic::take_hook();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for mutant in Mutant::ALL {
        assert!(
            CASES.iter().any(|c| c.mutant == *mutant),
            "{}",
            mutant.name()
        );
    }
}
