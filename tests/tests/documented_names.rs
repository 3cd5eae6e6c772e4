//! Every option and member of the documented client has its row in docs/OPTIONS.md and tests that
//! are executed: tests/data/mongo_client_names.txt lists them. So has every documented error that
//! needs a server.

use std::collections::BTreeSet;

use mongo_client_tests::executed::assert_executed;

const NAMES: &str = include_str!("../data/mongo_client_names.txt");
const ERRORS: &str = include_str!("documented_errors/main.rs");
const DOCUMENT: &str = include_str!("../../docs/OPTIONS.md");

/// A line of the list.
#[derive(Debug)]
struct Entry<'a> {
    kind: &'a str,
    name: &'a str,
    tests: Vec<&'a str>,
}

fn entries() -> Vec<Entry<'static>> {
    let lines = NAMES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = lines.map(|line| {
        let mut words = line.split(' ');
        let kind = words.next().expect("the line is not empty");
        assert!(["option", "member"].contains(&kind), "{line}");
        let name = words.next().expect("a name follows the kind");
        Entry {
            kind,
            name,
            tests: words.collect(),
        }
    });
    entries.collect()
}

/// The names in the first cells of a section's tables.
fn rows(document: &str, section: &str) -> BTreeSet<String> {
    let (_, rest) = document
        .split_once(&format!("\n## {section}\n"))
        .expect("the section");
    let (text, _) = rest.split_once("\n## ").unwrap_or((rest, ""));
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let codes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    codes
        .map(|code| {
            code.split('(')
                .next()
                .expect("there is a first part")
                .to_owned()
        })
        .collect()
}

#[test]
fn every_name_has_its_row() {
    for (kind, section) in [("option", "Options"), ("member", "Members")] {
        let rows = rows(DOCUMENT, section);
        for entry in entries().iter().filter(|entry| entry.kind == kind) {
            assert!(rows.contains(entry.name), "{entry:?}: no row in {section}");
        }
    }
}

#[test]
fn every_row_is_listed() {
    for (kind, section) in [("option", "Options"), ("member", "Members")] {
        let entries = entries();
        let listed: BTreeSet<&str> = entries
            .iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.name)
            .collect();
        for row in rows(DOCUMENT, section) {
            assert!(
                listed.contains(row.as_str()),
                "{kind} {row}: not in the list"
            );
        }
    }
}

#[test]
fn every_name_has_tests_that_are_executed() {
    for entry in entries() {
        assert!(!entry.tests.is_empty(), "{entry:?}: no test");
        for test in &entry.tests {
            assert_executed(test);
        }
    }
}

#[test]
fn every_error_that_needs_a_server_has_a_test_that_is_executed() {
    let rows = ERRORS.lines().filter(|line| line.starts_with("//! | "));
    let tests: Vec<&str> = rows.filter_map(|row| row.split('`').nth_back(1)).collect();
    assert!(tests.len() > 15, "{tests:?}");
    for test in tests {
        assert_executed(test);
    }
}

#[test]
fn no_name_is_listed_twice() {
    let mut seen = BTreeSet::new();
    for entry in entries() {
        assert!(seen.insert((entry.kind, entry.name)), "{entry:?}");
    }
}

#[test]
fn names_are_those_of_the_first_cells_of_their_section() {
    let document = "# A\n\n## Options\n\n| PyMongo | Here |\n| --- | --- |\n| `a`, `b(x, y)` | `c` |\n\
                    \n## Members\n\n| `d` | `e` |\n";
    let options: Vec<String> = rows(document, "Options").into_iter().collect();
    assert_eq!(options, ["a", "b"]);
    let members: Vec<String> = rows(document, "Members").into_iter().collect();
    assert_eq!(members, ["d"]);
}
