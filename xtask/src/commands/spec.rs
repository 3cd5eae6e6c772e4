//! `cargo xtask spec`: builds and runs the specification runner of `tests/`.

use std::process::{Command, ExitCode};

use xtask::{Result, process, setup};

pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    if !args.contains(&"--dir") {
        setup::run()?;
    }
    let mut command = runner();
    let status = command
        .args(args)
        .status()
        .map_err(|error| process::missing(&command, &error))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The command that runs the specification tests; arguments can be added.
pub(crate) fn runner() -> Command {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "mongo-client-tests",
        "--bin",
        "spec-runner",
        "--",
    ]);
    command
}

/// The cargo that runs this command, in the workspace when no other folder matters.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
