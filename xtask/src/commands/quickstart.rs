//! `cargo xtask quickstart`: a fail-over under load, from nothing.

use std::process::ExitCode;

use xtask::cluster::{Cluster, Plan};
use xtask::{Failure, Result, process, setup};

use super::spec::cargo;

pub(crate) fn run(runtime: &str) -> Result<ExitCode> {
    if runtime != "tokio" {
        return Err(Failure::new(format!(
            "the quickstart does not run on {runtime}, only on tokio"
        )));
    }
    setup::run()?;
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--package",
        "mongo-client",
        "--example",
        "quickstart",
    ]);
    let built = build
        .status()
        .map_err(|error| process::missing(&build, &error))?;
    if !built.success() {
        return Err(Failure::new("the example does not compile"));
    }
    let cluster = Cluster::start("quickstart", Plan::replica_set(3))?;
    let mut example = cargo();
    example
        .args([
            "run",
            "--quiet",
            "--package",
            "mongo-client",
            "--example",
            "quickstart",
            "--",
        ])
        .arg(cluster.uri());
    let status = example
        .status()
        .map_err(|error| process::missing(&example, &error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
