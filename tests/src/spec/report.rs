//! Counts cases and keeps what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It failed, and why.
    Failed(String),
    /// It passed.
    Passed,
    /// It was not run, and why.
    Skipped(String),
}

/// The cases of a suite.
#[derive(Debug, Default)]
pub struct Report {
    file: String,
    cases: Vec<(String, Outcome)>,
}

impl Report {
    /// The following cases belong to this file.
    pub fn enter(&mut self, file: &str) {
        file.clone_into(&mut self.file);
    }

    /// Runs a case; an `Err` or a panic is a failure.
    pub fn case(&mut self, name: &str, run: impl FnOnce() -> Result<(), String>) {
        let outcome = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(why)) => Outcome::Failed(why),
            Err(panic) => Outcome::Failed(format!("panicked: {}", panic_text(&*panic))),
        };
        self.cases.push((format!("{}: {name}", self.file), outcome));
    }

    /// Notes a case that is not run.
    pub fn skip(&mut self, name: &str, reason: impl Into<String>) {
        self.cases.push((
            format!("{}: {name}", self.file),
            Outcome::Skipped(reason.into()),
        ));
    }

    /// Notes a case that was run elsewhere, under its whole name.
    pub fn record(&mut self, name: String, outcome: Outcome) {
        self.cases.push((name, outcome));
    }

    /// All cases, with the file in their names.
    #[must_use]
    pub fn cases(&self) -> &[(String, Outcome)] {
        &self.cases
    }

    /// How many cases passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases
            .iter()
            .filter(|(_, o)| *o == Outcome::Passed)
            .count()
    }

    /// The failed cases, a line each.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.cases
            .iter()
            .filter_map(|(name, o)| match o {
                Outcome::Failed(why) => Some(format!("{name}: {why}")),
                _ => None,
            })
            .collect()
    }

    /// The skipped cases, a line each.
    #[must_use]
    pub fn skips(&self) -> Vec<String> {
        self.cases
            .iter()
            .filter_map(|(name, o)| match o {
                Outcome::Skipped(why) => Some(format!("{name}: {why}")),
                _ => None,
            })
            .collect()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "unknown panic".to_owned())
}
