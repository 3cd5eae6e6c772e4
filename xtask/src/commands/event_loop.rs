//! `cargo xtask event-loop`: the engine in a hand-written loop, on a replica set of its own.

use std::process::ExitCode;

use xtask::cluster::{Cluster, Plan};
use xtask::{Failure, Result, process, setup};

use super::spec::cargo;

const PACKAGE: [&str; 3] = ["--quiet", "--package", "mongo-client-event-loop"];

pub(crate) fn run() -> Result<ExitCode> {
    setup::run()?;
    let mut build = cargo();
    build.arg("build").args(PACKAGE);
    let built = build
        .status()
        .map_err(|error| process::missing(&build, &error))?;
    if !built.success() {
        return Err(Failure::new("the example does not compile"));
    }
    let plan = Plan {
        auth: true,
        tls: true,
        ..Plan::replica_set(3)
    };
    let cluster = Cluster::start("event-loop", plan)?;
    let mut example = cargo();
    example
        .arg("run")
        .args(PACKAGE)
        .arg("--")
        .arg(cluster.password_uri());
    let status = example
        .status()
        .map_err(|error| process::missing(&example, &error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
