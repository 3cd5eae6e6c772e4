//! Files whose cases must fail (`valid-fail`), and why.

use super::Stop;
use crate::spec::Outcome;

/// What the failure of a file's cases has to say.
const REASONS: [(&str, &str); 16] = [
    (
        "assertNumberConnectionsCheckedOut",
        "(assertNumberConnectionsCheckedOut): ",
    ),
    (
        "entity-bucket-database-undefined",
        "there is no entity \"foo\"",
    ),
    (
        "entity-client-apiVersion-unsupported",
        "serverApi: there is no version",
    ),
    (
        "entity-collection-database-undefined",
        "there is no entity \"foo\"",
    ),
    (
        "entity-database-client-undefined",
        "there is no entity \"foo\"",
    ),
    ("entity-findCursor-malformed", "argument filter: missing"),
    ("entity-findCursor", "there is no entity \"cursor0\""),
    (
        "entity-session-client-undefined",
        "there is no entity \"foo\"",
    ),
    (
        "ignoreResultAndError-malformed",
        "argument document: missing",
    ),
    ("ignoreResultAndError", "unexpected error: write failed"),
    ("operation-failure", "unexpected error: command failed"),
    (
        "operation-unsupported",
        "there is no operation \"unsupportedOperation\"",
    ),
    ("operator-matchAsDocument", "expectResult: "),
    ("operator-matchAsRoot", "expectResult: "),
    (
        "returnDocument-enum-invalid",
        "returnDocument: there is no \"invalid\"",
    ),
    (
        "schemaVersion-unsupported",
        "schemaVersion 0.1 is not supported",
    ),
];

/// What becomes of a case that must fail.
pub(super) fn verdict(relative: &str, result: Result<(), Stop>) -> Outcome {
    let stem = relative.rsplit('/').next().unwrap_or_default();
    let stem = stem.trim_end_matches(".json");
    let reason = REASONS.iter().find(|(file, _)| *file == stem);
    let reason = reason.map_or("", |(_, reason)| *reason);
    match result {
        Ok(()) => Outcome::Failed("it passed, but it has to fail".into()),
        Err(Stop::Failed(why)) if why.contains(reason) => Outcome::Passed,
        Err(Stop::Failed(why)) => {
            Outcome::Failed(format!("it failed, but not because of {reason:?}: {why}"))
        }
        Err(Stop::Skipped(why)) => Outcome::Skipped(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_for_the_right_reason_counts() {
        let of = |result| {
            verdict(
                "unified-test-format/valid-fail/operator-matchAsRoot.json",
                result,
            )
        };
        let failed = |why: &str| Err(Stop::Failed(why.to_owned()));
        assert_eq!(
            of(failed("operations[0] (find): expectResult: x")),
            Outcome::Passed
        );
        assert!(matches!(
            of(failed("the server is down")),
            Outcome::Failed(_)
        ));
        assert!(matches!(of(Ok(())), Outcome::Failed(_)));
        assert_eq!(
            of(Err(Stop::Skipped("s".into()))),
            Outcome::Skipped("s".into())
        );
    }
}
