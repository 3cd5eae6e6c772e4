//! The commands and their options.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};

use mongo_client_core::{marks, mutants::Mutant};
use mongo_client_sim::swarm::{Batch, FailureFile, Mode, Profile, Report, all_faults};

pub(crate) const HELP: &str = "\
mongo-client-sim run [--seeds N] [--from SEED] [--profile P] [--mode engine|driver|both]
                     [--jobs N] [--out FOLDER] [--hashes] [--first-failure] [--mutant NAME]
                     [--safety SECONDS] [--expect-all]
    runs seeds (with a deliberate defect, in a build with the feature `mutants`); exits with 1 when an invariant is violated, or, with --expect-all, when the marks and faults are not all there
mongo-client-sim twice [options of run]
    runs the seeds in two processes, and compares the hashes of what happened
mongo-client-sim replay FILE [--verbose]
    runs a failure file again; exits with 1 when an invariant is violated
profiles: calm, clock-chaos, failover-storm, flaky-lan, hostile-bytes, swarm, tiny-pool, wan";

/// Whether all is well.
pub(crate) fn main(args: &[String]) -> Result<bool, String> {
    match args.split_first() {
        Some((command, rest)) => match command.as_str() {
            "run" => run(rest),
            "twice" => twice(rest),
            "replay" => replay(rest),
            "help" | "--help" => {
                println!("{HELP}");
                Ok(true)
            }
            other => Err(format!("there is no command `{other}`")),
        },
        None => Err(String::from("which command?")),
    }
}

fn run(args: &[String]) -> Result<bool, String> {
    let (expects, args): (Vec<_>, Vec<_>) = args.iter().partition(|a| *a == "--expect-all");
    let batch = batch(&args.into_iter().cloned().collect::<Vec<_>>())?;
    silence_panics();
    let report = batch.run();
    if !batch.hashes {
        println!("{report}");
        show_marks();
    }
    let all = expects.is_empty() || has_all(&report);
    Ok(all && report.is_clean())
}

/// Each kind of fault is to take effect so often.
const FAULTS_MIN: u64 = 100;

/// Whether every mark was reached, and every kind of fault took effect often enough; tells of those
/// that were not.
fn has_all(report: &Report) -> bool {
    let mut has_all = true;
    for kind in all_faults() {
        let count = report.tally.faults.get(kind).copied().unwrap_or_default();
        if count < FAULTS_MIN {
            println!("TOO FEW: {count} of the fault {kind}, {FAULTS_MIN} are expected");
            has_all = false;
        }
    }
    for (mark, _) in marks::counts().iter().filter(|(_, count)| *count == 0) {
        println!("NEVER REACHED: the mark {}", mark.name());
        has_all = false;
    }
    has_all
}

/// Which rare branches the seeds have reached, and which they have not.
fn show_marks() {
    let marks = marks::counts();
    let (reached, never): (Vec<_>, Vec<_>) = marks.iter().partition(|(_, count)| *count > 0);
    println!(
        "marks            {} of {} reached",
        reached.len(),
        marks.len()
    );
    for (mark, count) in reached {
        println!("  {count:>9} {}", mark.name());
    }
    for (mark, _) in never {
        println!("      never {}", mark.name());
    }
}

/// Panics of the code under test are violations, which are told with their seed.
fn silence_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

fn batch(args: &[String]) -> Result<Batch, String> {
    let mut batch = Batch {
        from: 0,
        seeds: 100,
        profile: Profile::Swarm,
        mode: None,
        jobs: 2,
        folder: PathBuf::from("target/sim-failures"),
        hashes: false,
        first_failure: false,
        safety_max: None,
    };
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--seeds" => batch.seeds = parse(name, value()?)?,
            "--from" => batch.from = parse(name, value()?)?,
            "--profile" => batch.profile = value()?.parse()?,
            "--mode" => {
                let mode = value()?;
                batch.mode = match mode.as_str() {
                    "both" => None,
                    one => Some(one.parse::<Mode>()?),
                };
            }
            "--jobs" => batch.jobs = parse(name, value()?)?,
            "--out" => batch.folder = PathBuf::from(value()?),
            "--hashes" => batch.hashes = true,
            "--first-failure" => batch.first_failure = true,
            "--safety" => {
                let seconds = parse(name, value()?)?;
                batch.safety_max = Some(Duration::from_secs(seconds));
            }
            "--mutant" => mutate(value()?)?,
            other => return Err(format!("there is no option `{other}`")),
        }
    }
    Ok(batch)
}

/// Switches a deliberate defect on.
fn mutate(name: &str) -> Result<(), String> {
    let mutant = Mutant::named(name).ok_or_else(|| {
        let all: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        format!("no mutant `{name}`; there are {}", all.join(", "))
    })?;
    #[cfg(feature = "mutants")]
    {
        mongo_client_core::mutants::set(Some(mutant));
        Ok(())
    }
    #[cfg(not(feature = "mutants"))]
    Err(format!(
        "{}: this build has no mutants; build with `--features mutants`",
        mutant.name()
    ))
}

fn parse<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    let parsed = value.parse();
    parsed.map_err(|_| format!("{name}: `{value}` is no number"))
}

/// The same seeds in two processes.
fn twice(args: &[String]) -> Result<bool, String> {
    // So that a mistake is told once.
    let seeds = batch(args)?.seeds;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let start = || {
        let mut command = Command::new(&program);
        command.arg("run").args(args).arg("--hashes");
        // With two at once in each of them the order of the lines would be chance.
        command.args(["--jobs", "1"]).stdout(Stdio::piped());
        command.spawn()
    };
    let children = [start(), start()];
    let mut hashes = Vec::new();
    for child in children {
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.map_err(|e| format!("{}: {e}", program.display()))?;
        hashes.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (first, second) = (hashes[0].lines(), hashes[1].lines());
    let mut same = first.clone().count() as u64 == seeds && second.clone().count() as u64 == seeds;
    for (one, other) in first.zip(second).filter(|(one, other)| one != other) {
        println!("DIFFERENT: {one} and {other}");
        same = false;
    }
    if same {
        println!("{seeds} seeds ran twice in the same way");
    }
    Ok(same)
}

fn replay(args: &[String]) -> Result<bool, String> {
    let (verbose, files): (Vec<_>, Vec<_>) = args.iter().partition(|a| *a == "--verbose");
    let [file] = files[..] else {
        return Err(String::from("which file?"));
    };
    let failure = FailureFile::read(Path::new(file)).map_err(|e| format!("{file}: {e}"))?;
    silence_panics();
    let run = failure.replay(!verbose.is_empty());
    println!(
        "seed {} profile {} mode {}: hash {:016x}, {} events in {:?}",
        run.seed,
        run.profile,
        run.mode.name(),
        run.hash,
        run.events,
        run.elapsed
    );
    match &run.violation {
        None => println!("passes; the file was written for {}", failure.invariant),
        Some(violation) => {
            for line in &run.last {
                println!("    {line}");
            }
            println!("FAILED {violation}");
        }
    }
    Ok(run.violation.is_none())
}
