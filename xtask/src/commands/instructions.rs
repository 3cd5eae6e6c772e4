//! `cargo xtask instructions`: user-space instructions per operation, as a ratchet.
//!
//! Callgrind counts what a peer executes against the mock server; the difference of two run lengths
//! takes the start and the end out. Unlike times, the figures do not depend on the machine's load.
//! The accepted ones stand in `benches/instructions.txt`: one that grows beyond its limit is a
//! failure, and `--update` accepts what was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;

use mongo_client_bench_harness::Case;
use xtask::{Context, Failure, Result, fixtures, process};

use super::spec::cargo;

/// What a figure may grow by, in percent: repeated runs differ by less than a half of it.
const GROWTH: u64 = 5;
const GROWTH_BULK: u64 = 10;
/// A figure that is too high is measured again: only the lowest counts.
const ATTEMPTS: u32 = 3;

const HEADER: &str = "\
# Accepted figures of `cargo xtask instructions`, which writes this file with `--update`:
# user-space instructions of this client on tokio, one operation after the other.
# Per document where an operation moves 10,000, otherwise per operation.
";

pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    let (update, names) = match args {
        ["--update", names @ ..] => (true, names),
        names => (false, names),
    };
    let cases = match names {
        [] => Case::ALL.to_vec(),
        names => names
            .iter()
            .map(|name| name.parse().map_err(Failure::new))
            .collect::<Result<_>>()?,
    };
    if process::output(Command::new("valgrind").arg("--version")).is_err() {
        println!("instructions: skipped, the program `valgrind` is missing");
        return Ok(ExitCode::SUCCESS);
    }
    let programs = build()?;
    let server = Mock::start(&programs.join("bench-mock"))?;
    let bench = Bench {
        peer: programs.join("bench-peer"),
        uri: server.uri.clone(),
        folder: folder()?,
    };
    let accepted = read()?;
    let limits = if update { &BTreeMap::new() } else { &accepted };
    let measured = bench.measure_all(&cases, limits)?;
    let table = Table::new(&cases, &accepted, &measured);
    print!("{}", table.text);
    if update {
        let mut figures = accepted;
        figures.extend(measured);
        write(&figures)?;
        println!("instructions: {} is written", file().display());
    } else if !table.complaints.is_empty() {
        for complaint in &table.complaints {
            println!("instructions: {complaint}");
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where callgrind writes.
fn folder() -> Result<PathBuf> {
    let folder = fixtures::workspace().join("target/callgrind");
    fs::create_dir_all(&folder).context(|| folder.display().to_string())?;
    Ok(folder)
}

/// The server of prepared replies: its figures repeat better than those with a real server.
struct Mock {
    process: Child,
    uri: String,
}

impl Mock {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve");
        // It ends with its standard input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .map_err(|error| process::missing(&command, &error))?;
        let output = process.stdout.take();
        let mut this = Self {
            process,
            uri: String::new(),
        };
        let output = output.ok_or_else(|| Failure::new("the mock server has no output"))?;
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        read.context(|| "the mock server".to_owned())?;
        this.uri = line.trim_end().to_owned();
        Ok(this)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds the peers; the folder of the programs.
fn build() -> Result<PathBuf> {
    let root = fixtures::workspace();
    let mut command = cargo();
    command.current_dir(&root).args(["build", "--release"]);
    command.args(["--package", "mongo-client-bench-peers"]);
    let status = command
        .status()
        .map_err(|error| process::missing(&command, &error))?;
    if !status.success() {
        return Err(Failure::new("the peers do not compile"));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release"))
}

/// Figures by the name of their case.
type Figures = BTreeMap<&'static str, u64>;

struct Bench {
    peer: PathBuf,
    uri: String,
    folder: PathBuf,
}

impl Bench {
    /// Measures the cases, two at a time: callgrind runs one thread of its program at a time.
    fn measure_all(&self, cases: &[Case], accepted: &Figures) -> Result<Figures> {
        // The longest first, so that none is left alone at the end.
        let mut queue = cases.to_vec();
        queue.sort_by_key(|case| case.documents());
        let queue = Mutex::new(queue);
        let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
        let work = || {
            let mut figures = Figures::new();
            while let Some(case) = next() {
                let limit = accepted.get(case.name()).map(|at| limit(case, *at));
                figures.insert(case.name(), self.measure(case, limit)?);
            }
            Ok(figures)
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let mut figures = work()?;
            let others = other
                .join()
                .unwrap_or_else(|_| Err(Failure::new("a measurement panicked")));
            figures.append(&mut others?);
            Ok(figures)
        })
    }

    fn measure(&self, case: Case, limit: Option<u64>) -> Result<u64> {
        let mut lowest = u64::MAX;
        for _ in 0..ATTEMPTS {
            lowest = lowest.min(self.once(case)?);
            if limit.is_none_or(|limit| lowest <= limit) {
                break;
            }
        }
        Ok(lowest)
    }

    fn once(&self, case: Case) -> Result<u64> {
        let (low, high) = run_lengths(case);
        let start = self.count(case, low)?;
        let instructions = self.count(case, high)?.saturating_sub(start);
        let units = (high - low)
            * if is_per_document(case) {
                case.documents()
            } else {
                1
            };
        Ok((instructions + units / 2) / units)
    }

    /// The instructions of a whole run.
    fn count(&self, case: Case, operations: u64) -> Result<u64> {
        let out = self.folder.join(format!("{case}-{operations}.callgrind"));
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind");
        command.arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(&self.peer).arg("ops").arg(&self.uri);
        process::run(command.args([case.name(), &operations.to_string()]))?;
        let text = fs::read_to_string(&out).context(|| out.display().to_string())?;
        total(&text).ok_or_else(|| Failure::new(format!("{}: no total", out.display())))
    }
}

/// The operations of the short and of the long run: the more, the less a figure differs from the
/// next; how large writes are cut varies most.
fn run_lengths(case: Case) -> (u64, u64) {
    match case {
        Case::InsertManyLarge => (4, 36),
        Case::InsertMany => (1, 7),
        Case::FindManyRaw => (2, 22),
        case if case.documents() > 1 => (1, 3),
        _ => (500, 2_500),
    }
}

/// The sum line of callgrind's output: `totals: 123` or `summary: 123`.
fn total(text: &str) -> Option<u64> {
    let mut sums = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("totals:");
        rest.or_else(|| line.strip_prefix("summary:"))
    });
    sums.next_back()?.trim().parse().ok()
}

fn is_per_document(case: Case) -> bool {
    case.documents() >= 10_000
}

fn limit(case: Case, accepted: u64) -> u64 {
    let growth = if case.documents() > 1 {
        GROWTH_BULK
    } else {
        GROWTH
    };
    accepted + accepted * growth / 100
}

struct Table {
    text: String,
    complaints: Vec<String>,
}

impl Table {
    fn new(cases: &[Case], accepted: &Figures, measured: &Figures) -> Self {
        let mut this = Self {
            text: format!(
                "{:<16} {:>12} {:>12} {:>12} {:>8}\n",
                "case", "instructions", "accepted", "limit", "change"
            ),
            complaints: Vec::new(),
        };
        for case in cases {
            if let Some(figure) = measured.get(case.name()) {
                this.row(*case, *figure, accepted.get(case.name()).copied());
            }
        }
        this
    }

    fn row(&mut self, case: Case, figure: u64, accepted: Option<u64>) {
        let unit = if is_per_document(case) {
            "document"
        } else {
            "operation"
        };
        let _ = write!(self.text, "{:<16} {figure:>12} ", case.name());
        let Some(accepted) = accepted else {
            let _ = writeln!(
                self.text,
                "{:>12} {:>12} {:>8}  per {unit}",
                "-", "-", "new"
            );
            self.complaints
                .push(format!("{case}: no accepted figure (run with `--update`)"));
            return;
        };
        let limit = limit(case, accepted);
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let change = (figure as f64 / accepted.max(1) as f64 - 1.0) * 100.0;
        let _ = writeln!(
            self.text,
            "{accepted:>12} {limit:>12} {change:>+7.1}%  per {unit}"
        );
        if figure > limit {
            self.complaints.push(format!(
                "{case}: {figure} instructions per {unit} are more than {limit} ({change:+.1} %)"
            ));
        }
    }
}

fn file() -> PathBuf {
    fixtures::workspace().join("benches/instructions.txt")
}

fn read() -> Result<Figures> {
    let file = file();
    if !file.exists() {
        return Ok(Figures::new());
    }
    let text = fs::read_to_string(&file).context(|| file.display().to_string())?;
    parse(&text).map_err(|line| unreadable(&file, &line))
}

fn unreadable(file: &Path, line: &str) -> Failure {
    Failure::new(format!("{}: cannot read `{line}`", file.display()))
}

/// Lines of a case and a figure; the line that is something else.
fn parse(text: &str) -> Result<Figures, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let case = words.next().and_then(|name| name.parse::<Case>().ok());
            let figure = words.next().and_then(|figure| figure.parse().ok());
            case.zip(figure)
                .filter(|_| words.next().is_none())
                .map(|(case, figure)| (case.name(), figure))
                .ok_or_else(|| line.to_owned())
        })
        .collect()
}

fn write(figures: &Figures) -> Result {
    let file = file();
    fs::write(&file, render(figures)).context(|| file.display().to_string())
}

/// In the order of the cases, whatever was measured last.
fn render(figures: &Figures) -> String {
    let mut text = HEADER.to_owned();
    for case in Case::ALL {
        if let Some(figure) = figures.get(case.name()) {
            let _ = writeln!(text, "{:<16} {figure:>10}", case.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ping: u64, bulk: u64) -> Figures {
        Figures::from([("ping", ping), ("insert10k", bulk)])
    }

    #[test]
    fn total_is_found_in_the_output_of_callgrind() {
        assert_eq!(total("events: Ir\nfn=(1)\n1 2\n\ntotals: 123\n"), Some(123));
        assert_eq!(total("events: Ir\nsummary: 7\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn figures_survive_the_file() {
        let figures = figures(30_000, 7_000);
        assert_eq!(parse(&render(&figures)), Ok(figures));
        assert_eq!(parse("ping\n"), Err("ping".to_owned()));
        assert_eq!(parse("ping 1 2\n"), Err("ping 1 2".to_owned()));
        assert_eq!(parse("pong 1\n"), Err("pong 1".to_owned()));
    }

    #[test]
    fn growth_beyond_the_limit_is_a_complaint() {
        let cases = [Case::Ping, Case::InsertMany];
        let accepted = figures(10_000, 1_000);
        let complaints = |ping, bulk| {
            let table = Table::new(&cases, &accepted, &figures(ping, bulk));
            table.complaints.len()
        };
        assert_eq!(complaints(10_500, 1_100), 0);
        assert_eq!(complaints(10_501, 1_100), 1);
        assert_eq!(complaints(10_501, 1_101), 2);
        assert_eq!(complaints(1, 1), 0);
    }

    #[test]
    fn case_without_an_accepted_figure_is_a_complaint() {
        let table = Table::new(&[Case::Ping], &Figures::new(), &figures(1, 1));
        assert_eq!(table.complaints.len(), 1);
    }
}
