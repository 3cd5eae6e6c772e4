//! Server selection: the weighted average of round-trip times.

use std::time::Duration;

use mongo_client_core::topology::update_rtt;
use serde_json::Value;

use super::{Report, SpecFile, Suite, in_folder};

/// The files with one new sample each.
pub const SUITE: Suite = Suite {
    name: "rtt",
    matches: |file| in_folder(file, "server_selection") && in_folder(file, "rtt"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    report.case("average", || run_case(&file.json));
}

fn run_case(json: &Value) -> Result<(), String> {
    let sample = ms(&json["new_rtt_ms"]).ok_or("no new_rtt_ms")?;
    let want = ms(&json["new_avg_rtt"]).ok_or("no new_avg_rtt")?;
    let got = update_rtt(ms(&json["avg_rtt_ms"]), sample);
    if got.abs_diff(want) > Duration::from_nanos(10) {
        return Err(format!("average: got {got:?}, want {want:?}"));
    }
    Ok(())
}

fn ms(value: &Value) -> Option<Duration> {
    Some(Duration::from_secs_f64(value.as_f64()? / 1000.0))
}

#[test]
fn rtt_files_pass() {
    super::assert_suite(&SUITE);
}
