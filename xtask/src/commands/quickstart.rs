//! `cargo xtask quickstart`: a fail-over under load, from nothing.

use std::process::{Command, ExitCode};

use xtask::cluster::{Cluster, Plan};
use xtask::{Failure, Result, process, setup};

use super::spec::cargo;

/// The runtimes that the example is written for; each is a feature of the client.
const RUNTIMES: [&str; 3] = ["tokio", "async-std", "smol"];

pub(crate) fn run(runtime: &str) -> Result<ExitCode> {
    if !RUNTIMES.contains(&runtime) {
        return Err(Failure::new(format!(
            "the quickstart does not run on {runtime}, only on {}",
            RUNTIMES.join(", ")
        )));
    }
    setup::run()?;
    let mut build = example("build", runtime);
    let built = build
        .status()
        .map_err(|error| process::missing(&build, &error))?;
    if !built.success() {
        return Err(Failure::new("the example does not compile"));
    }
    let cluster = Cluster::start("quickstart", Plan::replica_set(3))?;
    let mut example = example("run", runtime);
    example.args(["--", &cluster.uri(), runtime]);
    let status = example
        .status()
        .map_err(|error| process::missing(&example, &error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds or runs the example with this one runtime.
fn example(verb: &str, runtime: &str) -> Command {
    let mut command = cargo();
    command.args([verb, "--quiet", "--package", "mongo-client"]);
    command.args(["--example", "quickstart", "--no-default-features"]);
    command.args(["--features", &format!("tls,{runtime}")]);
    command
}
