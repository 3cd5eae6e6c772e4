//! The unified test files on simulated replica sets: no real server is needed.

use mongo_client_tests::{
    spec::{Outcome, default_dir, load},
    unified::{self, Filter, Kind, SIMULATED},
};

/// Of the cases that a real set of this version would run, so many per cent must run here too.
const SHARE_MIN: usize = 80;

#[test]
fn the_suites_of_reads_writes_and_sessions_pass_on_simulated_sets() {
    let files = load(&default_dir());
    let wanted = |row: &str| SIMULATED.contains(&row);
    let files: Vec<_> = files
        .iter()
        .filter(|file| unified::is_unified(file) && wanted(&unified::row(file)))
        .collect();
    let filter = Filter {
        only: vec![Kind::Simulated],
        ..Filter::default()
    };
    let rows = unified::run(&files, &filter).expect("simulated servers start");
    assert_eq!(rows.len(), SIMULATED.len());
    let mut failures = Vec::new();
    for (row, report) in rows {
        failures.extend(report.failures());
        let left_out = |(_, outcome): &&(String, Outcome)| match outcome {
            Outcome::Skipped(why) => why.starts_with("not simulated: "),
            _ => false,
        };
        let left_out = report.cases().iter().filter(left_out).count();
        let (passed, all) = (report.passed(), report.passed() + left_out);
        println!("{row}: {passed} passed, {left_out} not simulated");
        assert!(passed * 100 >= all * SHARE_MIN, "{row}: {passed} of {all}");
    }
    assert_eq!(failures, Vec::<String>::new());
}
