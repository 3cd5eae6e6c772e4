//! Max staleness: which servers suit, and which values are refused.

use super::{Report, SpecFile, Suite, in_folder, selection};

/// The files of the specification; their format is that of server selection.
pub const SUITE: Suite = Suite {
    name: "max-staleness",
    matches: |file| in_folder(file, "max_staleness"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    report.case("servers", || selection::run_logic(&file.json));
}

#[test]
fn max_staleness_files_pass() {
    super::assert_suite(&SUITE);
}
