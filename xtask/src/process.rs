//! Runs programs, with errors that say which program is missing and what provides it.

use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, Result};

/// Runs a program to its end and returns its standard output.
///
/// # Errors
///
/// When the program is missing or fails; the text holds the end of its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "{}: {}\n{}",
        describe(command),
        output.status,
        tail(stderr.trim_end(), 12)
    )))
}

/// Runs a program to its end, however it ends.
///
/// # Errors
///
/// When the program cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null());
    command.output().map_err(|error| missing(command, &error))
}

/// Explains why a program could not be started.
#[must_use]
pub fn missing(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound {
        let package = match program.as_str() {
            "sh" => "dash",
            "sha256sum" => "coreutils",
            "ldd" => "libc-bin",
            other => other,
        };
        return Failure::new(format!(
            "the program `{program}` is missing (on Debian: apt-get install {package})"
        ));
    }
    Failure::new(format!("cannot start `{program}`: {error}"))
}

/// Sends a signal (`KILL`, `STOP`, `CONT`, `TERM`) to a process.
///
/// # Errors
///
/// When there is no such process.
pub fn signal(pid: u32, name: &str) -> Result {
    run(Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &pid.to_string()]))
        .map(drop)
}

/// Stops a process, and returns when all its threads stand still: the signal alone lets a busy
/// machine's threads run on for a while.
///
/// # Errors
///
/// When there is no such process, or it does not stop within ten seconds.
pub fn freeze(pid: u32) -> Result {
    signal(pid, "STOP")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stands_still(pid) {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("process {pid} does not stop")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether the kernel says of every thread that it is stopped (proc(5): state `T`).
fn stands_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything, also parentheses.
        let state = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.starts_with('T'));
        state.unwrap_or(true)
    })
}

/// The last lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn describe(command: &Command) -> String {
    let mut text = format!("`{}", command.get_program().to_string_lossy());
    for arg in command.get_args().take(4) {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text.push('`');
    text
}
