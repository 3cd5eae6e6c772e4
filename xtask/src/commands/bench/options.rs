//! The arguments of `cargo xtask bench`.

use std::time::Duration;

use mongo_client_bench_harness::Case;
use xtask::{Context, Failure, Result};

use super::{
    programs::PEERS,
    suite::{self, Cell},
};

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) peers: Vec<&'static str>,
    pub(super) mock: Vec<Cell>,
    pub(super) mongod: Vec<Cell>,
    pub(super) rounds: usize,
    /// How long a peer's turn is measured; twice as long in cells of bulk operations.
    pub(super) time: Duration,
    pub(super) report: bool,
    pub(super) spinners: bool,
    /// Builds the programs first, instead of taking those of the last build.
    pub(super) build: bool,
}

impl Options {
    pub(super) fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self {
            peers: PEERS.to_vec(),
            mock: suite::short(),
            mongod: suite::short(),
            rounds: 4,
            time: Duration::from_millis(400),
            report: false,
            spinners: true,
            build: true,
        };
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            match arg {
                "--quick" => {
                    options.peers = vec!["raw-pool", "official", "ours-tokio"];
                    options.mongod = suite::few();
                    options.rounds = 2;
                    options.time = Duration::from_millis(250);
                }
                "--full" => {
                    options.mock = suite::full();
                    options.mongod = suite::full();
                    options.rounds = 2;
                }
                "--report" => options.report = true,
                "--no-build" => options.build = false,
                "--no-spinners" => options.spinners = false,
                "--rounds" => options.rounds = number(arg, args.next())?.max(1),
                "--millis" => {
                    let millis = number(arg, args.next())?.max(1);
                    options.time = Duration::from_millis(millis as u64);
                }
                "--peers" => options.peers = peers(value(arg, args.next())?)?,
                "--cases" => {
                    let cases = value(arg, args.next())?.split(',').map(str::parse);
                    let cases: std::result::Result<Vec<Case>, _> = cases.collect();
                    let cases = cases.map_err(Failure::new)?;
                    for cells in [&mut options.mock, &mut options.mongod] {
                        cells.retain(|cell| cases.contains(&cell.case));
                    }
                }
                "--server" => match value(arg, args.next())? {
                    "mock" => options.mongod.clear(),
                    "mongod" => options.mock.clear(),
                    other => return Err(Failure::new(format!("no server {other}"))),
                },
                other => return Err(Failure::new(format!("bench: unknown argument {other}"))),
            }
        }
        Ok(options)
    }

    /// How long to run before measuring.
    pub(super) fn warm(&self) -> Duration {
        self.time / 4
    }
}

fn value<'a>(arg: &str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| Failure::new(format!("bench: {arg} needs a value")))
}

fn number(arg: &str, text: Option<&str>) -> Result<usize> {
    value(arg, text)?.parse().context(|| arg.to_owned())
}

fn peers(names: &str) -> Result<Vec<&'static str>> {
    let known = |name| {
        let known = PEERS.iter().find(|known| **known == name).copied();
        known.ok_or_else(|| Failure::new(format!("no peer {name}")))
    };
    names.split(',').map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_short_suite_on_both_servers_with_all_peers() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!((options.mock.len(), options.mongod.len()), (12, 12));
        assert_eq!(options.peers.len(), 7);
        assert!(options.rounds >= 4 && !options.report);
    }

    #[test]
    fn arguments_narrow_what_is_measured() {
        let options = Options::parse(&[
            "--quick",
            "--peers",
            "official,ours-tokio",
            "--cases",
            "ping,insert1",
            "--server",
            "mock",
            "--rounds",
            "1",
            "--millis",
            "20",
        ])
        .unwrap();
        assert_eq!(options.peers, ["official", "ours-tokio"]);
        assert_eq!((options.mock.len(), options.mongod.len()), (3, 0));
        assert_eq!((options.rounds, options.time.as_millis()), (1, 20));
    }

    #[test]
    fn what_is_unknown_is_refused_by_name() {
        for (args, error) in [
            (&["--fast"][..], "bench: unknown argument --fast"),
            (&["--peers", "go"], "no peer go"),
            (&["--cases", "find7"], "no case find7"),
            (&["--rounds"], "bench: --rounds needs a value"),
        ] {
            assert_eq!(Options::parse(args).unwrap_err().to_string(), error);
        }
    }
}
