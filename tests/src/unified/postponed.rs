//! Cases that wait for a feature which an own issue brings, where neither an operation nor an
//! option tells so.

/// What cursors behind load balancers need.
const PINNED: &str = "pinned cursors (load balancer) are postponed";

const CASES: [(&str, &[&str], &str); 5] = [
    (
        "csot/runCursorCommand.json",
        &["Tailable cursor awaitData iteration timeoutMS is refreshed for getMore - failure"],
        "timeoutMS is postponed",
    ),
    (
        "load_balancer/cursors.json",
        &[
            "pinned connections are returned when the cursor is drained",
            "pinned connections are returned to the pool when the cursor is closed",
            "pinned connections are not returned after an network error during getMore",
            "pinned connections are returned after a network error during a killCursors request",
            "pinned connections are not returned to the pool after a non-network error on getMore",
            "aggregate pins the cursor to a connection",
            "listCollections pins the cursor to a connection",
            "listIndexes pins the cursor to a connection",
        ],
        PINNED,
    ),
    (
        "load_balancer/sdam-error-handling.json",
        &[
            "only connections for a specific serviceId are closed when pools are cleared",
            "stale errors are ignored",
        ],
        PINNED,
    ),
    (
        "load_balancer/wait-queue-timeouts.json",
        &["wait queue timeout errors include cursor statistics"],
        PINNED,
    ),
    (
        "run_command/unified/runCursorCommand.json",
        &[
            "returns pinned connections to the pool when the cursor is exhausted",
            "returns pinned connections to the pool when the cursor is closed",
        ],
        PINNED,
    ),
];

/// The feature that a case waits for.
pub(super) fn reason(relative: &str, case: &str) -> Option<&'static str> {
    let mut files = CASES.iter().filter(|(file, ..)| *file == relative);
    let found = files.find(|(_, cases, _)| cases.contains(&case));
    found.map(|(.., reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{default_dir, load};

    #[test]
    fn every_case_in_the_table_exists() {
        let files = load(&default_dir());
        for (relative, cases, _) in CASES {
            let file = files.iter().find(|file| file.relative == relative);
            let tests = &file.unwrap_or_else(|| panic!("no {relative}")).json["tests"];
            for case in cases {
                let mut tests = tests.as_array().into_iter().flatten();
                assert!(
                    tests.any(|test| test["description"] == *case),
                    "{relative}: {case}"
                );
            }
        }
    }
}
