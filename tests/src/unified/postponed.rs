//! Cases that wait for a feature which an own issue brings, where neither an operation nor an
//! option tells so.

const CASES: [(&str, &[&str], &str); 1] = [(
    "csot/runCursorCommand.json",
    &["Tailable cursor awaitData iteration timeoutMS is refreshed for getMore - failure"],
    "timeoutMS is postponed",
)];

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
