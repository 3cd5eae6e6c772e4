//! Many seeds, on several threads, and what they add up to.

use std::{
    collections::BTreeMap,
    fmt,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    failure_file::FailureFile,
    judge::Tally,
    plan::{Mode, Profile},
    run::{Run, Settings, run},
};

/// Failures of more than so many seeds are not recorded: they would not be read.
const FILES_MAX: usize = 20;

/// Which seeds to run, and how.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// The profile.
    pub profile: Profile,
    /// The mode; `None`: even seeds in engine mode, odd ones in driver mode.
    pub mode: Option<Mode>,
    /// How many run at once.
    pub jobs: usize,
    /// Where failure files go.
    pub folder: PathBuf,
    /// Whether to print each seed's hash.
    pub hashes: bool,
    /// Ends with the first failure.
    pub first_failure: bool,
    /// The longest safety phase; `None`: as the plans say.
    pub safety_max: Option<Duration>,
}

/// What the seeds add up to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Events.
    pub events: u64,
    /// The counts of all runs.
    pub tally: Tally,
    /// The seeds that failed, by invariant.
    pub failures: BTreeMap<&'static str, Vec<(u64, Mode)>>,
    /// How long it took.
    pub took: Duration,
}

impl Batch {
    /// The mode of a seed.
    #[must_use]
    pub fn mode_of(&self, seed: u64) -> Mode {
        match self.mode {
            Some(mode) => mode,
            None if seed.is_multiple_of(2) => Mode::Engine,
            None => Mode::Driver,
        }
    }

    /// Runs all seeds.
    #[must_use]
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let report = Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| self.work(&next, &report, began));
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = began.elapsed();
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        report
    }

    fn work(&self, next: &AtomicU64, report: &Mutex<Report>, began: Instant) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.seeds {
                return;
            }
            let seed = self.from.wrapping_add(index);
            let mode = self.mode_of(seed);
            let settings = Settings {
                safety_max: self.safety_max,
                ..Settings::default()
            };
            let run = run(seed, self.profile, mode, &settings);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(&run);
            if self.hashes {
                println!("{seed} {} {:016x}", mode.name(), run.hash);
            }
            if run.violation.is_some() {
                let failed: usize = report.failures.values().map(Vec::len).sum();
                if failed <= FILES_MAX {
                    drop(report);
                    self.explain(&run);
                }
                if self.first_failure {
                    next.store(self.seeds, Ordering::Relaxed);
                }
            } else {
                report.show_progress(self.seeds, began.elapsed());
            }
        }
    }

    /// Runs a failed seed again, this time recorded, and writes what it drew.
    fn explain(&self, failed: &Run) {
        let settings = Settings {
            record: true,
            safety_max: self.safety_max,
            ..Settings::default()
        };
        let again = run(failed.seed, failed.profile, failed.mode, &settings);
        let (seed, profile, mode) = (failed.seed, failed.profile, failed.mode.name());
        let Some(violation) = &failed.violation else {
            return;
        };
        let path = match FailureFile::of(&again).map(|file| file.write(&self.folder)) {
            Some(Ok(path)) => path.display().to_string(),
            Some(Err(error)) => format!("not written ({error})"),
            None => String::from("not written (the seed passes when it is run again)"),
        };
        let mut text = format!("FAILED seed {seed} profile {profile} mode {mode}: {violation}\n");
        if again.hash != failed.hash {
            text.push_str("    not deterministic: the hash differs when it is run again\n");
        }
        for line in &again.last {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str(&format!("    replay: {path}\n"));
        // Nobody reads on after a closed pipe.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Report {
    fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.simulated += run.elapsed;
        self.events += run.events;
        self.tally.add(&run.tally);
        if let Some(violation) = &run.violation {
            let seeds = self.failures.entry(violation.invariant).or_default();
            seeds.push((run.seed, run.mode));
        }
    }

    fn show_progress(&self, of: u64, took: Duration) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        let failed: usize = self.failures.values().map(Vec::len).sum();
        eprint!(
            "\r{} of {of} seeds, {hours:.1} simulated hours, {:.1} million events, {failed} failed, \
             {:.0} s ",
            self.seeds,
            self.events as f64 / 1e6,
            took.as_secs_f64(),
        );
    }

    /// Whether no invariant was violated.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64();
        writeln!(f, "seeds            {}", self.seeds)?;
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        writeln!(f, "simulated hours  {hours:.1}")?;
        let rate = self.events as f64 / took.max(0.001);
        writeln!(f, "events           {} ({rate:.0} per second)", self.events)?;
        writeln!(f, "took             {took:.1} s")?;
        let tally = &self.tally;
        writeln!(
            f,
            "operations       {} ({} well, {} failed, {} given up)",
            tally.began, tally.well, tally.failed, tally.dropped
        )?;
        writeln!(f, "observations     {}", tally.observations)?;
        writeln!(f, "faults")?;
        for (kind, count) in &tally.faults {
            writeln!(f, "  {count:>9} {kind}")?;
        }
        if self.failures.is_empty() {
            return writeln!(f, "failures         none");
        }
        writeln!(f, "failures")?;
        for (invariant, seeds) in &self.failures {
            let shown = seeds.iter().take(10);
            let shown: Vec<String> = shown.map(|(s, m)| format!("{s} ({})", m.name())).collect();
            writeln!(f, "  {:>9} {invariant}: {}", seeds.len(), shown.join(", "))?;
        }
        Ok(())
    }
}
