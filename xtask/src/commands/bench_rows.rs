//! `cargo xtask bench --rows`: figures that a stretch of load does not show, as medians.
//!
//! The peers take turns, each measurement in a process of its own, so that what slows the machine
//! down for a while slows both down.

mod build;
mod step_down;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use xtask::cluster::{Cluster, Plan};
use xtask::{Failure, Result, process, setup};

use super::bench::{document, programs::Programs};

/// How often a row is measured per peer; the slow ones less often.
const ROUNDS: usize = 10;
const ROUNDS_IDLE: usize = 3;
const ROUNDS_CALLS: usize = 3;
/// How long idle clients are watched.
const IDLE_SECONDS: &str = "6";

/// A figure and what it should be at the most.
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    official: Option<f64>,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    /// Of the figure itself.
    Figure(f64),
    /// Of its ratio to the official driver's.
    Ratio(f64),
    None,
}

/// The names that the command takes.
const NAMES: [&str; 8] = [
    "first-ping",
    "cold-start",
    "heap",
    "idle",
    "tasks",
    "calls",
    "step-down",
    BUILD,
];
/// Takes minutes, so that it is measured only when it is named, or for the report.
const BUILD: &str = "build";

pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    let (report, names): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| **arg == "--report");
    let report = !report.is_empty();
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(name)) {
        let known = NAMES.join(", ");
        return Err(Failure::new(format!("no row {unknown}; there are {known}")));
    }
    let wanted = |name: &str| match names.is_empty() {
        true => report || name != BUILD,
        false => names.contains(&name),
    };
    let rows = rows(wanted)?;
    print!("{}", table(&rows));
    if report {
        let path = document::write_rows(&format!("{INTRODUCTION}\n{}", table(&rows)))?;
        println!("written: {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

const INTRODUCTION: &str = "\
## Single rows

What a stretch of load does not show, against `mongod` 6.0.5. The peers take turns, each measurement in a
process of its own; medians of 10 rounds (3 of idle rows and of counts, one of builds).
";

fn rows(wanted: impl Fn(&str) -> bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if NAMES.iter().any(|name| *name != BUILD && wanted(name)) {
        setup::run()?;
        let peers = Programs::new(&["official"], true)?;
        if let Some(why) = peers.without_official() {
            println!("bench: without the official driver: {why}");
        }
        let on_standalone = |name: &&str| ![BUILD, "step-down"].contains(name);
        if NAMES
            .iter()
            .filter(|name| on_standalone(name))
            .any(|name| wanted(name))
        {
            let server = Cluster::start("bench-rows", Plan::standalone())?;
            let uri = server.uri();
            peers.prepare(&uri)?;
            standalone(&peers, &uri, &wanted, &mut rows)?;
        }
        if wanted("step-down") {
            rows.extend(step_down::rows(&peers)?);
        }
    }
    if wanted(BUILD) {
        rows.extend(build::rows()?);
    }
    Ok(rows)
}

fn standalone(
    peers: &Programs,
    uri: &str,
    wanted: impl Fn(&str) -> bool,
    rows: &mut Vec<Row>,
) -> Result {
    for (name, what, target) in [
        (
            "cold-start",
            "cold start, 64 operations",
            Target::Ratio(0.6),
        ),
        (
            "first-ping",
            "client built to first ping",
            Target::Ratio(0.6),
        ),
    ] {
        if wanted(name) {
            let both = measure(peers, &["row", name, uri], ROUNDS)?;
            rows.push(both.row(what, "us", "time", target)?);
            rows.push(both.row(&format!("{what}: CPU"), "us", "cpu", Target::None)?);
        }
    }
    if wanted("heap") {
        let both = measure(peers, &["row", "heap", uri], ROUNDS_IDLE)?;
        let target = Target::Figure(4_096.0);
        rows.push(both.row("heap per idle connection", "bytes", "bytes", target)?);
    }
    if wanted("idle") {
        let both = measure(peers, &["row", "idle", uri, IDLE_SECONDS], ROUNDS_IDLE)?;
        let what = "idle CPU, 100 connections";
        rows.push(both.row(what, "us/s", "cpu", Target::Ratio(0.2))?);
    }
    if wanted("tasks") {
        let both = measure(peers, &["row", "tasks", uri], 1)?;
        let target = Target::Figure(4.0);
        rows.push(both.row("background tasks, one server", "tasks", "tasks", target)?);
    }
    if wanted("calls") {
        system_calls(peers, uri, rows)?;
    }
    Ok(())
}

/// System calls per operation, by the difference of two run lengths.
fn system_calls(peers: &Programs, uri: &str, rows: &mut Vec<Row>) -> Result {
    if !can_count_calls() {
        println!("bench: system calls are not counted, `perf` is missing or may not");
        return Ok(());
    }
    for callers in [1_u32, 8] {
        let count = |program: &Path| {
            let mut figures = Vec::new();
            for _ in 0..ROUNDS_CALLS {
                let (low, high) = (500, 4_500);
                let more = calls(program, uri, callers, high)?;
                let less = calls(program, uri, callers, low)?;
                figures.push((more - less) / f64::from((high - low) * callers));
            }
            Ok::<_, Failure>(median(figures))
        };
        rows.push(Row {
            name: format!("system calls per find_one, {callers} callers"),
            unit: "calls",
            ours: count(&peers.peer)?,
            official: peers.official.as_deref().ok().map(count).transpose()?,
            target: Target::Figure(3.2),
        });
    }
    Ok(())
}

fn perf() -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "--"]);
    command
}

fn can_count_calls() -> bool {
    let output = process::output(perf().arg("true"));
    output.is_ok_and(|output| counted(&String::from_utf8_lossy(&output.stderr)).is_some())
}

/// The system calls of a whole run.
fn calls(program: &Path, uri: &str, callers: u32, times: u32) -> Result<f64> {
    let mut command = perf();
    command.arg(program).args(["row", "calls", uri]);
    command.args([callers.to_string(), times.to_string()]);
    let output = process::output(&mut command)?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::new(process::tail(&text, 5)));
    }
    counted(&text).ok_or_else(|| Failure::new("perf counted nothing"))
}

/// `1234,,raw_syscalls:sys_enter,...`.
fn counted(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

/// What the two peers printed, a line a round.
struct Both {
    ours: Vec<String>,
    official: Vec<String>,
}

impl Both {
    fn row(&self, name: &str, unit: &'static str, key: &str, target: Target) -> Result<Row> {
        let figures = |lines: &[String]| {
            let values = lines.iter().map(|line| value(line, key));
            values.collect::<Result<Vec<_>>>().map(median)
        };
        let official = match self.official.is_empty() {
            true => None,
            false => Some(figures(&self.official)?),
        };
        Ok(Row {
            name: name.to_owned(),
            unit,
            ours: figures(&self.ours)?,
            official,
            target,
        })
    }
}

/// The number that a line of `key=value` pairs has for a key.
fn value(line: &str, key: &str) -> Result<f64> {
    let mut pairs = line.split_whitespace().filter_map(|p| p.split_once('='));
    let pair = pairs.find(|(name, _)| *name == key);
    pair.and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| Failure::new(format!("no `{key}` in `{}`", line.trim_end())))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        _ if figures.is_empty() => f64::NAN,
        0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

/// Runs a row of both in turn.
fn measure(peers: &Programs, args: &[&str], rounds: usize) -> Result<Both> {
    let mut both = Both {
        ours: Vec::new(),
        official: Vec::new(),
    };
    for _ in 0..rounds {
        both.ours
            .push(process::run(Command::new(&peers.peer).args(args))?);
        if let Ok(program) = &peers.official {
            both.official
                .push(process::run(Command::new(program).args(args))?);
        }
    }
    Ok(both)
}

/// The rows as a table in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = "| measure | ours | official | ours / official | target | |\n\
                    |---|--:|--:|--:|--:|---|\n"
        .to_owned();
    for row in rows {
        // To nothing there is no ratio.
        let official = row.official.filter(|official| *official > 0.0);
        let ratio = official.map(|official| row.ours / official);
        let number = |value: Option<f64>, digits| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let digits = if row.ours < 100.0 { 1 } else { 0 };
        let (target, met) = match row.target {
            Target::Figure(limit) => (format!("<= {limit}"), Some(row.ours <= limit)),
            Target::Ratio(limit) => (format!("<= {limit} x"), ratio.map(|r| r <= limit)),
            Target::None => (String::new(), None),
        };
        let met = met.map_or("", |met| if met { "met" } else { "missed" });
        let _ = writeln!(
            text,
            "| {} ({}) | {} | {} | {} | {target} | {met} |",
            row.name,
            row.unit,
            number(Some(row.ours), digits),
            number(row.official, digits),
            number(ratio, 2),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
    }

    #[test]
    fn perf_line_gives_the_count() {
        let text = "# x\n29,,raw_syscalls:sys_enter,448679,100.00,,\n";
        assert_eq!(counted(text), Some(29.0));
        assert_eq!(counted("<not supported>,,raw_syscalls:sys_enter"), None);
    }

    #[test]
    fn nothing_has_no_ratio() {
        let text = table(&[Row {
            name: "x".to_owned(),
            unit: "writes",
            ours: 0.0,
            official: Some(0.0),
            target: Target::Figure(0.0),
        }]);
        assert!(
            text.ends_with("| x (writes) | 0.0 | 0.0 | - | <= 0 | met |\n"),
            "{text}"
        );
    }

    #[test]
    fn table_says_which_targets_are_missed() {
        let row = |ours, target| Row {
            name: "x".to_owned(),
            unit: "us",
            ours,
            official: Some(100.0),
            target,
        };
        let text = table(&[
            row(61.0, Target::Ratio(0.6)),
            row(60.0, Target::Figure(60.0)),
        ]);
        assert_eq!(text.matches("missed").count(), 1, "{text}");
        assert_eq!(text.matches("| met |").count(), 1, "{text}");
    }
}
