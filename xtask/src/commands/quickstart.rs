//! `cargo xtask quickstart`: a fail-over under load, from nothing. `cargo xtask tour`: the documented
//! client, member by member.

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
    show("quickstart", &format!("tls,{runtime}"), &[runtime])
}

/// Shows the members of the documented client, with the async and the blocking API.
pub(crate) fn tour() -> Result<ExitCode> {
    show("tour", "tls,tokio,sync", &[])
}

/// Builds an example with these features alone, and runs it against a replica set of its own.
fn show(name: &str, features: &str, arguments: &[&str]) -> Result<ExitCode> {
    setup::run()?;
    let mut build = example("build", name, features);
    let built = build
        .status()
        .map_err(|error| process::missing(&build, &error))?;
    if !built.success() {
        return Err(Failure::new("the example does not compile"));
    }
    let cluster = Cluster::start(name, Plan::replica_set(3))?;
    let mut example = example("run", name, features);
    example.args(["--", &cluster.uri()]).args(arguments);
    let status = example
        .status()
        .map_err(|error| process::missing(&example, &error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn example(verb: &str, name: &str, features: &str) -> Command {
    let mut command = cargo();
    command.args([verb, "--quiet", "--package", "mongo-client"]);
    command.args(["--example", name, "--no-default-features"]);
    command.args(["--features", features]);
    command
}
