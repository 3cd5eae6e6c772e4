//! The programs: how they are built, and one of them running.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use xtask::{Context, Failure, Result, fixtures, process};

use crate::commands::spec::cargo;

/// The peers, in the order of the tables.
pub(super) const PEERS: [&str; 7] = [
    "raw",
    "raw-tokio",
    "raw-pool",
    "official",
    "ours-tokio",
    "ours-smol",
    "ours-async-std",
];

/// How long a program may take for an answer beyond the time it was told to run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The built programs.
pub(in crate::commands) struct Programs {
    /// This client's and the raw peers' program.
    pub(in crate::commands) peer: PathBuf,
    mock: PathBuf,
    /// Why there is none otherwise.
    pub(in crate::commands) official: Result<PathBuf>,
}

impl Programs {
    /// Finds the programs, and builds what the peers of these names need.
    pub(in crate::commands) fn new(peers: &[&str], build: bool) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| fixtures::workspace().join("target"), PathBuf::from);
        let apart = target.join("bench-official");
        if build {
            let mut command = cargo();
            command
                .args([
                    "build",
                    "--release",
                    "--package",
                    "mongo-client-bench-peers",
                ])
                .arg("--target-dir")
                .arg(&target);
            succeed(&mut command)?;
        }
        let built = match (peers.contains(&"official"), build) {
            (false, _) => Err(Failure::new("it was not asked for")),
            (true, true) => build_official(&apart),
            (true, false) => Ok(()),
        };
        Ok(Self {
            peer: target.join("release/bench-peer"),
            mock: target.join("release/bench-mock"),
            official: built.map(|()| apart.join("release/bench-official")),
        })
    }

    /// Why the official driver takes no part.
    pub(in crate::commands) fn without_official(&self) -> Option<&Failure> {
        self.official.as_ref().err()
    }

    /// Fills the database of the cases.
    pub(in crate::commands) fn prepare(&self, uri: &str) -> Result {
        process::run(Command::new(&self.peer).args(["prepare", uri])).map(drop)
    }

    /// Starts the mock server; its first line is its connection string.
    pub(super) fn mock(&self) -> Result<(Program, String)> {
        let mut program = Program::start("the mock server", Command::new(&self.mock).arg("serve"))?;
        let uri = program.line(Duration::ZERO)?;
        Ok((program, uri))
    }

    /// Starts a peer, unless it cannot take part.
    pub(super) fn peer(&self, name: &'static str) -> Result<Option<Program>> {
        let path = match (name, &self.official) {
            ("official", Err(_)) => return Ok(None),
            ("official", Ok(path)) => path,
            _ => &self.peer,
        };
        let mut command = Command::new(path);
        command
            .args(["serve", name])
            // As many threads as tokio gets.
            .env("SMOL_THREADS", "2")
            .env("ASYNC_STD_THREAD_COUNT", "2");
        let mut program = Program::start(name, &mut command)?;
        match program.line(Duration::ZERO)?.as_str() {
            "ready" => Ok(Some(program)),
            other => Err(Failure::new(format!("{name} said {other:?} at its start"))),
        }
    }

    /// Starts programs that keep every core awake at the lowest priority; none without `chrt`.
    pub(super) fn spinners(&self) -> Vec<Program> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let mut command = Command::new("chrt");
            command.args(["--idle", "0"]).arg(&self.mock).arg("spin");
            let mut program = Program::start("a spinner", &mut command).ok()?;
            program.line(Duration::ZERO).ok()?;
            Some(program)
        };
        (0..cores).map_while(start).collect()
    }
}

/// The official driver's peer, in a workspace of its own.
fn build_official(target: &Path) -> Result {
    let manifest = fixtures::workspace().join("benches/official/Cargo.toml");
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target);
    succeed(&mut build)
}

fn succeed(build: &mut Command) -> Result {
    let status = build
        .stdin(Stdio::null())
        .status()
        .map_err(|error| process::missing(build, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new("its build failed"))
    }
}

/// A running program that answers lines with lines. It ends when it is dropped, and by itself when
/// this process does.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| process::missing(command, &error))?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let (sender, lines) = channel();
        // Ends with the program's output.
        thread::spawn(move || {
            let output = output.map(BufReader::new).into_iter();
            for line in output.flat_map(BufRead::lines).map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name,
            child,
            input,
            lines,
        })
    }

    /// Sends a line; the answer may take this long.
    pub(super) fn ask(&mut self, line: &str, time: Duration) -> Result<String> {
        let name = self.name;
        let input = self.input.as_mut();
        let input = input.ok_or_else(|| Failure::new(format!("{name} has no input")))?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .context(|| format!("cannot tell {name} anything"))?;
        let answer = self.line(time)?;
        match answer.strip_prefix("error ") {
            Some(error) => Err(Failure::new(format!("{name}: {error}"))),
            None => Ok(answer),
        }
    }

    fn line(&mut self, time: Duration) -> Result<String> {
        let line = self.lines.recv_timeout(time + PATIENCE);
        line.map_err(|_| Failure::new(format!("{} does not answer", self.name)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
