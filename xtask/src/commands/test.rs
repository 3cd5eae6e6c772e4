//! `cargo xtask test`: everything that can be tested, with real servers.
//!
//! The tests are built first; then each shared deployment is started once and named to the tests
//! by environment variables. The servers are stopped however the tests end. The last line is the
//! sum over tests, documentation examples and specification cases.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use xtask::cluster::{Cluster, NAMES, Plan};
use xtask::{Failure, Result, fixtures, process, setup};

use super::spec::{cargo, runner};

/// Every package but the benchmarks, and every feature but the second TLS provider.
const SELECTION: [&str; 5] = [
    "--workspace",
    "--exclude",
    "mongo-client-benches",
    "--features",
    "mongo-client/tracing",
];

/// The runtimes that the live tests run on besides tokio, by `MONGO_CLIENT_TEST_RUNTIME`.
const OTHER_RUNTIMES: [&str; 2] = ["async-std", "smol"];

#[derive(Clone, Copy, Default)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

pub(crate) fn run(filter: &[&str]) -> ExitCode {
    let mut totals = Totals::default();
    if let Err(failure) = run_all(filter, &mut totals) {
        eprintln!("error: {failure}");
        totals.failed += 1;
    }
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    if totals.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_all(filter: &[&str], totals: &mut Totals) -> Result {
    setup::run()?;
    let nextest = cargo()
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    build(nextest)?;
    let clusters = start_all()?;
    let environment = environment(&clusters)?;
    let with_environment = |mut command: Command| {
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    };

    let tests = with_environment(test_command(nextest, filter));
    totals.add(run_counted(
        "tests",
        tests,
        if nextest { nextest_line } else { libtest_line },
    )?);
    if filter.is_empty() {
        for runtime in OTHER_RUNTIMES {
            println!("== live tests on {runtime}");
            let mut tests = with_environment(live_command(nextest));
            tests.env("MONGO_CLIENT_TEST_RUNTIME", runtime);
            totals.add(run_counted(
                runtime,
                tests,
                if nextest { nextest_line } else { libtest_line },
            )?);
        }
        let mut examples = with_environment(cargo());
        examples.args(["test", "--doc"]).args(SELECTION);
        totals.add(run_counted(
            "documentation examples",
            examples,
            libtest_line,
        )?);
        totals.add(run_counted(
            "specification",
            with_environment(built_runner()),
            plain_line,
        )?);
    }
    Ok(())
}

fn build(nextest: bool) -> Result {
    let mut command = cargo();
    if nextest {
        command.args(["nextest", "run", "--no-run"]);
    } else {
        command.args(["test", "--no-run"]);
    }
    command.args(SELECTION);
    let status = command
        .status()
        .map_err(|error| process::missing(&command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new("the tests do not compile"))
    }
}

/// The live tests alone, without those of the blocking API: it has a runtime of its own.
fn live_command(nextest: bool) -> Command {
    if nextest {
        return test_command(true, &["-E", "binary(/^live_/) - binary(/^live_sync/)"]);
    }
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--test", "live_*"]);
    command.args(SELECTION).args(["--", "--test-threads=1"]);
    command
}

fn test_command(nextest: bool, filter: &[&str]) -> Command {
    let mut command = cargo();
    if nextest {
        command.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]);
        command.args(SELECTION).args(filter);
    } else {
        // Without nextest's groups only one test at a time keeps fail points apart.
        command.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
        command
            .args(SELECTION)
            .args(filter)
            .args(["--", "--test-threads=1"]);
    }
    command
}

/// The specification runner that was built with the tests, which stands beside this program;
/// building it alone would need other features, and so another build of everything.
fn built_runner() -> Command {
    let sibling = std::env::current_exe().map(|program| program.with_file_name("spec-runner"));
    sibling
        .ok()
        .filter(|program| program.is_file())
        .map_or_else(runner, Command::new)
}

/// Starts the shared deployments, two at a time: more only compete for two cores.
fn start_all() -> Result<Vec<(&'static str, Cluster)>> {
    let mut clusters = Vec::new();
    for pair in NAMES.chunks(2) {
        let started: Vec<Result<(&'static str, Cluster)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = pair
                .iter()
                .map(|name| {
                    scope.spawn(move || {
                        let plan = Plan::named(name)
                            .ok_or_else(|| Failure::new(format!("no plan for {name}")))?;
                        Ok((*name, Cluster::start(name, plan)?))
                    })
                })
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Failure::new("a start panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        for result in started {
            clusters.push(result?);
        }
    }
    Ok(clusters)
}

fn environment(clusters: &[(&str, Cluster)]) -> Result<Vec<(String, String)>> {
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut variables = vec![
        ("MONGO_CLIENT_FIXTURES".to_owned(), text(fixtures::dir())),
        ("MONGO_CLIENT_MONGOD".to_owned(), text(fixtures::mongod()?)),
    ];
    for (name, cluster) in clusters {
        let name = name.to_uppercase().replace('-', "_");
        variables.push((format!("MONGO_CLIENT_TEST_{name}_URI"), cluster.uri()));
    }
    Ok(variables)
}

/// Runs a command, shows what it prints, and sums up the lines that hold results.
fn run_counted(
    what: &str,
    mut command: Command,
    parse: fn(&str) -> Option<Totals>,
) -> Result<Totals> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| process::missing(&command, &error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut totals = std::thread::scope(|scope| {
        let errors = scope.spawn(|| copy(stderr, &mut std::io::stderr(), parse));
        let mut totals = copy(stdout, &mut std::io::stdout(), parse);
        totals.add(errors.join().unwrap_or_default());
        totals
    });
    let status = child
        .wait()
        .map_err(|error| Failure::new(format!("{what}: {error}")))?;
    if !status.success() && totals.failed == 0 {
        eprintln!("error: {what}: {status}");
        totals.failed = 1;
    }
    Ok(totals)
}

fn copy(from: Option<impl Read>, to: &mut impl Write, parse: fn(&str) -> Option<Totals>) -> Totals {
    let mut totals = Totals::default();
    let Some(from) = from else {
        return totals;
    };
    for line in BufReader::new(from)
        .split(b'\n')
        .map_while(std::io::Result::ok)
    {
        let line = String::from_utf8_lossy(&line);
        totals.add(parse(&line).unwrap_or_default());
        // A closed terminal must not stop the tests.
        let _ = writeln!(to, "{line}");
    }
    totals
}

/// `Summary [   0.1s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
fn nextest_line(line: &str) -> Option<Totals> {
    let (_, counts) = line
        .trim_start()
        .strip_prefix("Summary")?
        .split_once(" run: ")?;
    Some(counted(counts))
}

/// `test result: ok. 7 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0s`.
fn libtest_line(line: &str) -> Option<Totals> {
    let (_, counts) = line
        .trim_start()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    Some(counted(counts))
}

/// `7 passed, 1 failed, 2 skipped`.
fn plain_line(line: &str) -> Option<Totals> {
    let mut words = line.split_whitespace();
    (words.next()?.parse::<u64>().is_ok() && words.next() == Some("passed,")).then(|| counted(line))
}

fn counted(text: &str) -> Totals {
    let mut totals = Totals::default();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || ",;()".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    for pair in words.windows(2) {
        let [count, kind] = pair else { continue };
        let Ok(count) = count.parse::<u64>() else {
            continue;
        };
        match *kind {
            "passed" => totals.passed += count,
            // nextest says `timed out` and `exec failed`.
            "failed" | "timed" | "exec" => totals.failed += count,
            "ignored" | "skipped" => totals.skipped += count,
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(totals: Option<Totals>) -> Option<(u64, u64, u64)> {
        totals.map(|t| (t.passed, t.failed, t.skipped))
    }

    #[test]
    fn nextest_summary_counts_time_outs_as_failures() {
        let line = "     Summary [   1.2s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 2 skipped";
        assert_eq!(numbers(nextest_line(line)), Some((7, 2, 2)));
        assert_eq!(numbers(nextest_line("     Running 7 passed")), None);
    }

    #[test]
    fn libtest_result_counts_ignored_as_skipped() {
        let line = "test result: FAILED. 7 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.01s";
        assert_eq!(numbers(libtest_line(line)), Some((7, 1, 2)));
    }

    #[test]
    fn plain_line_is_only_the_sum() {
        assert_eq!(
            numbers(plain_line("7 passed, 1 failed, 2 skipped")),
            Some((7, 1, 2))
        );
        assert_eq!(
            numbers(plain_line("uri_options  7 passed, 1 failed, 2 skipped")),
            None
        );
    }
}
