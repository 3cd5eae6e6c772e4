//! Failure files: what a run drew and how it ended, as text that can be kept and replayed.
//!
//! The choices are stored, not only the seed, so that a file survives changes of the code that draw
//! more or less in one place. A stream that ends early goes on from the seed.
//!
//! ```text
//! mongo-client-sim failure 1
//! seed: 17
//! profile: swarm
//! mode: driver
//! version: 0.1.0
//! invariant: nothing-left
//! at: 31.5s
//! what: 1 tasks
//! choices faults: 3 0*12 7
//! last:
//!     31.499 k3 > 120 bytes
//! ```

use std::{
    fmt::{self, Write as _},
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::{
    plan::{Mode, Profile},
    run::{Run, Settings, run},
};
use crate::choices::Record;

const FIRST_LINE: &str = "mongo-client-sim failure 1";

/// What a failure file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureFile {
    /// The seed.
    pub seed: u64,
    /// The profile.
    pub profile: Profile,
    /// The mode.
    pub mode: Mode,
    /// The longest safety phase that was set.
    pub safety_max: Option<Duration>,
    /// The version of the crate that wrote it.
    pub version: String,
    /// The violated invariant.
    pub invariant: String,
    /// When it was violated.
    pub at: String,
    /// How.
    pub what: String,
    /// What was drawn, by stream.
    pub choices: Record,
    /// The last observations.
    pub last: Vec<String>,
}

impl FailureFile {
    /// The file of a run that was recorded; `None` when nothing was violated.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let violation = run.violation.as_ref()?;
        Some(Self {
            seed: run.seed,
            profile: run.profile,
            mode: run.mode,
            safety_max: run.safety_max,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            invariant: violation.invariant.to_owned(),
            at: violation.at.to_string(),
            what: one_line(&violation.what),
            choices: run.choices.clone(),
            last: run.last.iter().map(|line| one_line(line)).collect(),
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Those of reading, and a text that is no failure file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let parsed = text.parse::<Self>();
        parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes the file into a folder; its path.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let (profile, mode) = (self.profile.name(), self.mode.name());
        let name = format!("{profile}-{mode}-{}.replay", self.seed);
        let path = folder.join(name);
        fs::write(&path, self.to_string())?;
        Ok(path)
    }

    /// Runs it again.
    #[must_use]
    pub fn replay(&self, verbose: bool) -> Run {
        let settings = Settings {
            record: true,
            verbose,
            replay: Some(self.choices.clone()),
            safety_max: self.safety_max,
        };
        run(self.seed, self.profile, self.mode, &settings)
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl fmt::Display for FailureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        writeln!(f, "seed: {}", self.seed)?;
        writeln!(f, "profile: {}", self.profile)?;
        writeln!(f, "mode: {}", self.mode.name())?;
        if let Some(most) = self.safety_max {
            writeln!(f, "safety: {}", most.as_secs())?;
        }
        writeln!(f, "version: {}", self.version)?;
        writeln!(f, "invariant: {}", self.invariant)?;
        writeln!(f, "at: {}", self.at)?;
        writeln!(f, "what: {}", self.what)?;
        for (name, draws) in &self.choices {
            writeln!(f, "choices {name}: {}", shortened(draws))?;
        }
        writeln!(f, "last:")?;
        for line in &self.last {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

/// Equal numbers in a row are written once, with their count.
fn shortened(draws: &[u64]) -> String {
    let mut text = String::new();
    for equal in draws.chunk_by(|a, b| a == b) {
        let space = if text.is_empty() { "" } else { " " };
        let times = match equal.len() {
            1 => String::new(),
            n => format!("*{n}"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{space}{}{times}", equal[0]);
    }
    text
}

/// More draws of a stream than this are not read.
const DRAWS_MAX: usize = 50_000_000;

fn draws(text: &str) -> Result<Vec<u64>, String> {
    let mut all = Vec::new();
    for word in text.split_whitespace() {
        let (number, times) = word.split_once('*').unwrap_or((word, "1"));
        let parse = |text: &str| text.parse::<u64>();
        let (Ok(number), Ok(times)) = (parse(number), parse(times)) else {
            return Err(format!("`{word}` is no draw"));
        };
        let times = usize::try_from(times).unwrap_or(usize::MAX);
        if times.saturating_add(all.len()) > DRAWS_MAX {
            return Err(format!("`{word}` is too many draws"));
        }
        all.resize(all.len() + times, number);
    }
    Ok(all)
}

impl FromStr for FailureFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(format!("the first line is not `{FIRST_LINE}`"));
        }
        let mut file = Self {
            seed: 0,
            profile: Profile::Swarm,
            mode: Mode::Driver,
            safety_max: None,
            version: String::new(),
            invariant: String::new(),
            at: String::new(),
            what: String::new(),
            choices: Record::new(),
            last: Vec::new(),
        };
        while let Some(line) = lines.next() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim_start();
            match name {
                "seed" => {
                    let seed = value.parse().map_err(|_| format!("seed: `{value}`"))?;
                    file.seed = seed;
                }
                "profile" => file.profile = value.parse()?,
                "mode" => file.mode = value.parse()?,
                "safety" => {
                    let seconds = value.parse().map_err(|_| format!("safety: `{value}`"))?;
                    file.safety_max = Some(Duration::from_secs(seconds));
                }
                "version" => value.clone_into(&mut file.version),
                "invariant" => value.clone_into(&mut file.invariant),
                "at" => value.clone_into(&mut file.at),
                "what" => value.clone_into(&mut file.what),
                "last" => {
                    let rest = lines.by_ref().map(|line| line.trim_start().to_owned());
                    file.last = rest.collect();
                }
                _ => {
                    let Some(stream) = name.strip_prefix("choices ") else {
                        return Err(format!("`{name}` is not known"));
                    };
                    file.choices.insert(stream.to_owned(), draws(value)?);
                }
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_again_what_was_written() {
        let file = FailureFile {
            seed: 17,
            profile: Profile::TinyPool,
            mode: Mode::Engine,
            safety_max: Some(Duration::from_secs(15)),
            version: "0.1.0".to_owned(),
            invariant: "nothing-left".to_owned(),
            at: "31.5s".to_owned(),
            what: "a: b".to_owned(),
            choices: [("net".to_owned(), vec![3, 0, 0, 0, 7, u64::MAX])].into(),
            last: vec!["1.5 k3 > 120 bytes".to_owned()],
        };
        let text = file.to_string();
        assert!(text.contains("choices net: 3 0*3 7 "), "{text}");
        assert_eq!(text.parse(), Ok(file));
    }

    #[test]
    fn what_is_no_failure_file_is_refused() {
        let refused = |text: &str| text.parse::<FailureFile>().unwrap_err();
        assert!(refused("").contains("first line"));
        let with = |line: &str| format!("{FIRST_LINE}\n{line}\n");
        for line in [
            "seed: x",
            "mode: fast",
            "profile: x",
            "choices net: 1*x",
            "x: 1",
        ] {
            assert!(!refused(&with(line)).is_empty(), "{line}");
        }
        let many = with("choices net: 1*18446744073709551615");
        assert!(refused(&many).contains("too many"));
    }
}
