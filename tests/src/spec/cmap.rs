//! Connection monitoring and pooling, run against the pool machine on virtual time. The files of
//! style "integration" are for a server with a fail point that delays or refuses hellos; here the
//! time that a connection takes to open stands for it.

mod event;
mod world;

use serde_json::Value;

use self::world::{Failure, World};
use super::{Report, SpecFile, Suite, in_folder};

/// The files that need no server.
pub const UNIT: Suite = Suite {
    name: "cmap-unit",
    matches: |file| {
        in_folder(file, "connection_monitoring") && file.json["style"].as_str() == Some("unit")
    },
    run,
};

/// The files with a fail point.
pub const INTEGRATION: Suite = Suite {
    name: "cmap-integration",
    matches: |file| {
        in_folder(file, "connection_monitoring")
            && file.json["style"].as_str() == Some("integration")
    },
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    let name = file.json["description"].as_str().unwrap_or_default();
    report.case(name, || run_case(&file.json));
}

fn run_case(json: &Value) -> Result<(), String> {
    let mut world = World::new(&json["poolOptions"], &json["failPoint"])?;
    let mut error = None;
    for operation in json["operations"].as_array().ok_or("no operations")? {
        match world.run(operation) {
            Ok(()) => {}
            Err(Failure::Test(why)) => return Err(format!("{operation}: {why}")),
            Err(Failure::Pool(e)) => {
                error = Some(e);
                break;
            }
        }
        world.pool.check_invariants();
    }
    match (&error, json.get("error")) {
        (None, None) => {}
        (Some(got), Some(want)) => event::check_error(got, want)?,
        (got, want) => return Err(format!("error: got {got:?}, want {want:?}")),
    }
    let ignored: Vec<_> = json["ignore"].as_array().into_iter().flatten().collect();
    let got: Vec<_> = world
        .events
        .iter()
        .filter(|e| !ignored.contains(&&e["type"]))
        .collect();
    for (n, want) in json["events"].as_array().into_iter().flatten().enumerate() {
        let matched = got.get(n).is_some_and(|got| event::matches(want, got));
        if !matched {
            return Err(format!("event {n}: want {want}; all: {got:#?}"));
        }
    }
    Ok(())
}

#[test]
fn cmap_unit_files_pass() {
    super::assert_suite(&UNIT);
}

#[test]
fn cmap_integration_files_pass() {
    super::assert_suite(&INTEGRATION);
}
