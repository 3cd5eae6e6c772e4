//! Runs every specification file below a folder and prints a row per suite.
//!
//! Files of the unified format run on real deployments, which are started for them.
//! Files that no suite knows are counted as skipped, case by case, with the format as the reason;
//! files that hold no tests are not counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use mongo_client_tests::spec::document::{document, prose, reasons};
use mongo_client_tests::spec::layout::{Unknown, classify};
use mongo_client_tests::spec::{Report, SpecFile, Suite, default_dir, load, suites};
use mongo_client_tests::unified::{self, Filter, Kind};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFORMANCE.md");

const USAGE: &str = "\
usage: spec-runner [--dir DIR] [--suite NAME] [--file PART] [--case PART] [--full] [--verbose]
                   [--simulated] [--list-skips] [--report]

  --suite NAME   only this row of the table (`crud` is short for `crud (unified)`)
  --file PART    only files of the unified format whose path has this part
  --case PART    only cases of the unified format whose description has this part
  --full         unified cases on every deployment that meets their requirements
  --simulated    only the suites that run on simulated servers, and there
  --verbose      tell each unified case as it ends
  --list-skips   name the cases that were skipped
  --report       write docs/CONFORMANCE.md; for whole runs of the fetched files only";

struct Options {
    dir: PathBuf,
    suite: Option<String>,
    filter: Filter,
    list_skips: bool,
    report: bool,
}

impl Options {
    /// Whether every fetched case is wanted, once.
    fn whole(&self) -> bool {
        let one_deployment = !self.filter.full;
        !self.only_unified() && self.suite.is_none() && one_deployment && self.dir == default_dir()
    }

    /// Whether a row is wanted.
    fn wants(&self, row: &str) -> bool {
        if self.simulated() && !unified::SIMULATED.contains(&row) {
            return false;
        }
        let short = row.split(" (").next();
        let wanted = self.suite.as_deref();
        wanted.is_none() || wanted == Some(row) || wanted == short
    }

    fn simulated(&self) -> bool {
        self.filter.only == [Kind::Simulated]
    }

    /// Whether only cases of the unified format are wanted.
    fn only_unified(&self) -> bool {
        self.simulated() || self.filter.file.is_some() || self.filter.case.is_some()
    }
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let files = load(&options.dir);
    if files.is_empty() {
        eprintln!(
            "error: there are no .json files below {}",
            options.dir.display()
        );
        println!("0 passed, 0 failed, 0 skipped");
        return ExitCode::FAILURE;
    }
    // A panic in a case is a failure of that case and is told there.
    std::panic::set_hook(Box::new(|_| {}));
    let mut rows = if options.only_unified() {
        Vec::new()
    } else {
        run(&files, &suites())
    };
    drop(std::panic::take_hook());
    rows.retain(|(row, _)| options.wants(row));
    let unified: Vec<&SpecFile> = files
        .iter()
        .filter(|file| unified::is_unified(file) && options.wants(&unified::row(file)))
        .collect();
    match unified::run(&unified, &options.filter) {
        Ok(more) => rows.extend(more),
        Err(why) => {
            eprintln!("error: {why}");
            println!("0 passed, 1 failed, 0 skipped");
            return ExitCode::FAILURE;
        }
    }
    if rows.is_empty() {
        eprintln!(
            "error: there is no such case below {}",
            options.dir.display()
        );
        println!("0 passed, 0 failed, 0 skipped");
        return ExitCode::FAILURE;
    }
    if options.report
        && let Err(error) = std::fs::write(DOCUMENT, document(&rows, &prose()))
    {
        eprintln!("error: {DOCUMENT}: {error}");
        println!("0 passed, 1 failed, 0 skipped");
        return ExitCode::FAILURE;
    }
    print(&rows, options.list_skips)
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        dir: default_dir(),
        suite: None,
        filter: Filter::default(),
        list_skips: false,
        report: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--dir" => {
                let dir = PathBuf::from(value()?);
                options.dir = dir
                    .canonicalize()
                    .map_err(|e| format!("{}: {e}", dir.display()))?;
            }
            "--suite" => options.suite = Some(value()?),
            "--file" => options.filter.file = Some(value()?),
            "--case" => options.filter.case = Some(value()?),
            "--full" => options.filter.full = true,
            "--simulated" => options.filter.only = vec![Kind::Simulated],
            "--verbose" => options.filter.verbose = true,
            "--list-skips" => options.list_skips = true,
            "--report" => options.report = true,
            _ => return Err(format!("unknown argument: {arg}")),
        }
    }
    if options.report && !options.whole() {
        return Err("--report is for whole runs".to_owned());
    }
    Ok(options)
}

/// Runs each file with the first suite that knows it.
fn run(files: &[SpecFile], suites: &[Suite]) -> Vec<(String, Report)> {
    let mut known: Vec<(String, Report)> = suites
        .iter()
        .map(|suite| (suite.name.to_owned(), Report::default()))
        .collect();
    let mut unknown: BTreeMap<String, Report> = BTreeMap::new();
    for file in files.iter().filter(|file| !unified::is_unified(file)) {
        if let Some(index) = suites.iter().position(|suite| (suite.matches)(file)) {
            let report = &mut known[index].1;
            report.enter(&file.relative);
            (suites[index].run)(file, report);
            continue;
        }
        let Unknown::Tests(format, cases) = classify(file) else {
            continue;
        };
        let folder = file.relative.split('/').next().unwrap_or_default();
        let report = unknown.entry(format!("{folder} ({format})")).or_default();
        report.enter(&file.relative);
        for case in cases {
            report.skip(&case, format!("no runner for this format yet: {format}"));
        }
    }
    known.retain(|(_, report)| !report.cases().is_empty());
    known.extend(unknown);
    known
}

fn print(rows: &[(String, Report)], list_skips: bool) -> ExitCode {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (_, report) in rows {
        for failure in report.failures() {
            println!("FAILED {failure}");
        }
    }
    if list_skips {
        for (_, report) in rows {
            for skip in report.skips() {
                println!("SKIPPED {skip}");
            }
        }
    }
    print_reasons(rows);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!(
        "{:width$}  {:>6}  {:>6}  {:>7}",
        "suite", "passed", "failed", "skipped"
    );
    for (name, report) in rows {
        let counts = (
            report.passed(),
            report.failures().len(),
            report.skips().len(),
        );
        println!(
            "{name:width$}  {:>6}  {:>6}  {:>7}",
            counts.0, counts.1, counts.2
        );
        passed += counts.0;
        failed += counts.1;
        skipped += counts.2;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Why cases were skipped, with how many, per row.
fn print_reasons(rows: &[(String, Report)]) {
    for (name, report) in rows {
        for (reason, count) in reasons(report) {
            println!("skipped: {name}: {count} for {reason}");
        }
    }
}
