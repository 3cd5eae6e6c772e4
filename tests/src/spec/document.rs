//! docs/CONFORMANCE.md: the specification tests with their counts, and the prose tests with their
//! state.

use std::{collections::BTreeMap, fmt::Write};

use super::{Outcome, Report};

/// The lists of prose tests: `specification | number | title | state`, where the state is the tests
/// by the paths that test runners show, or `- reason`.
const LISTS: [&str; 2] = [
    include_str!("../../data/prose/monitoring.txt"),
    include_str!("../../data/prose/retry.txt"),
];

/// A prose test of a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prose {
    /// The folder of the specification.
    pub specification: &'static str,
    /// Its number, or what stands for one.
    pub number: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// The tests that it is here, or why it is not.
    pub state: Result<Vec<&'static str>, &'static str>,
}

/// All prose tests, in the order of the specifications.
///
/// # Panics
///
/// When a line of the lists has not four parts.
#[must_use]
pub fn prose() -> Vec<Prose> {
    let lines = LISTS.iter().flat_map(|list| list.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut out: Vec<Prose> = lines.map(parse).collect();
    out.sort_by_key(|test| test.specification);
    out
}

fn parse(line: &'static str) -> Prose {
    let parts: Vec<&str> = line.split(" | ").collect();
    let [specification, number, title, state] = parts[..] else {
        panic!("four parts are expected: {line}");
    };
    let state = match state.strip_prefix("- ") {
        Some(reason) => Err(reason),
        None => Ok(state.split(' ').collect()),
    };
    Prose {
        specification,
        number,
        title,
        state,
    }
}

/// The document of a whole run.
#[must_use]
pub fn document(rows: &[(String, Report)], prose: &[Prose]) -> String {
    let mut out = String::from(
        "# Conformance\n\n\
         Written by `cargo xtask spec --report`. A suite is a folder of the specifications' files; a case\n\
         is one test of a file, on the first deployment that meets its requirements: standalone, replica\n\
         set, each with and without users, a proxy that answers as a router or as a load balancer, all\n\
         MongoDB 6.0.5. `cargo xtask spec --list-skips` names each skipped case. A case that measures time\n\
         and fails while the machine stands still, as a thread of its own notices, runs again; each such\n\
         run is told.\n\n\
         ## Specification tests\n\n\
         | suite | passed | failed | skipped | skipped for |\n|---|--:|--:|--:|---|\n",
    );
    let mut sum = [0; 3];
    for (name, report) in rows {
        let counts = [
            report.passed(),
            report.failures().len(),
            report.skips().len(),
        ];
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
        let [passed, failed, skipped] = counts;
        let why = reasons(report)
            .into_iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect::<Vec<_>>()
            .join("; ");
        let _ = writeln!(out, "| {name} | {passed} | {failed} | {skipped} | {why} |");
    }
    let [passed, failed, skipped] = sum;
    let _ = writeln!(out, "| **all** | {passed} | {failed} | {skipped} | |");
    out.push_str(
        "\n## Prose tests\n\n| specification | number | about | test, or why there is none |\n|---|---|---|---|\n",
    );
    for test in prose {
        let state = match &test.state {
            Ok(tests) => tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Err(reason) => (*reason).to_owned(),
        };
        let Prose {
            specification,
            number,
            title,
            ..
        } = test;
        let _ = writeln!(out, "| {specification} | {number} | {title} | {state} |");
    }
    out
}

/// Why cases of a report were skipped, with how many.
#[must_use]
pub fn reasons(report: &Report) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for (_, outcome) in report.cases() {
        if let Outcome::Skipped(reason) = outcome {
            *reasons.entry(reason.as_str()).or_default() += 1;
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executed::assert_executed_path;

    #[test]
    fn each_prose_test_is_executed_or_has_a_reason() {
        let prose = prose();
        assert!(prose.len() > 100, "{}", prose.len());
        for test in prose {
            match &test.state {
                Ok(tests) => tests.iter().for_each(|test| assert_executed_path(test)),
                Err(reason) => assert!(!reason.is_empty(), "{test:?}"),
            }
        }
    }

    #[test]
    fn the_document_has_a_row_per_suite_and_per_prose_test() {
        let mut report = Report::default();
        report.record("a".to_owned(), Outcome::Passed);
        report.record("b".to_owned(), Outcome::Skipped("newer server".to_owned()));
        let test = parse("crud | 1 | Details | a/b::c d::e");
        let none = parse("crud | 3 | Batches | - newer server");
        let document = document(&[("crud (unified)".to_owned(), report)], &[test, none]);
        for row in [
            "| crud (unified) | 1 | 0 | 1 | newer server 1 |",
            "| **all** | 1 | 0 | 1 | |",
            "| crud | 1 | Details | `a/b::c`, `d::e` |",
            "| crud | 3 | Batches | newer server |",
        ] {
            assert!(
                document.lines().any(|line| line == row),
                "{row}\n{document}"
            );
        }
    }
}
