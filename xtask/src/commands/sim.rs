//! `cargo xtask sim`: fresh seeds of the swarm, and the replays that are kept.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use xtask::{Failure, Result, process};

use super::spec::cargo;

/// Seeds of a run that nobody counts.
const SEEDS: &str = "300";

/// Where replays are kept.
const REPLAYS: &str = "sim/replays";

pub(crate) fn run(options: &[&str]) -> Result<ExitCode> {
    simulate(&["help"], true)?;
    let replays = replays()?;
    println!("{} kept replays", replays.len());
    let mut passed = true;
    for file in &replays {
        passed &= simulate(&["replay", file], false)?;
    }
    let base = base().to_string();
    let mut arguments = vec!["run", "--seeds", SEEDS];
    if !options.contains(&"--from") {
        println!("{SEEDS} fresh seeds from {base}: --from {base} runs them again");
        arguments.extend(["--from", &base]);
    }
    arguments.extend(options);
    passed &= simulate(&arguments, false)?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Other seeds every time: the seconds since 1970, far enough apart.
fn base() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() * 1_000)
}

fn replays() -> Result<Vec<String>> {
    let folder = Path::new(REPLAYS);
    let entries = fs::read_dir(folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?
            .path();
        if path.extension().is_some_and(|e| e == "replay") {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    Ok(files)
}

/// Runs the simulation's program; whether it found nothing wrong.
fn simulate(arguments: &[&str], quietly: bool) -> Result<bool> {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "mongo-client-sim",
        "--",
    ]);
    command.args(arguments);
    if quietly {
        command.stdout(std::process::Stdio::null());
    }
    let status = command
        .status()
        .map_err(|error| process::missing(&command, &error))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(Failure::new(format!("the simulation ended with {status}"))),
    }
}
