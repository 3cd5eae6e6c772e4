//! The targets that a run of the benchmark shows to be met or missed.

use std::fs;

use mongo_client_bench_harness::Case;
use xtask::fixtures;

use super::{
    samples::{Metric, Samples, Server},
    suite::Cell,
};

const OURS: &str = "ours-tokio";

/// One row of the table of targets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) measure: String,
    /// What the raw peer reaches, where it was measured.
    pub(super) raw: String,
    pub(super) target: String,
    pub(super) figure: String,
    /// `None` when it was not measured.
    pub(super) met: Option<bool>,
}

/// On which side of the limit a figure has to be.
#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn new(measure: &str, raw: Option<f64>, limit: Limit, figure: Option<f64>) -> Self {
        let (target, met) = match limit {
            Limit::AtLeast(limit) => (format!("≥ {limit}"), figure.map(|f| f >= limit)),
            Limit::AtMost(limit) => (format!("≤ {limit}"), figure.map(|f| f <= limit)),
        };
        let text = |figure: Option<f64>| figure.map_or("–".to_owned(), plain);
        Self {
            measure: measure.to_owned(),
            raw: text(raw),
            target,
            figure: text(figure),
            met,
        }
    }
}

/// A figure with as many digits as it deserves.
pub(super) fn plain(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => grouped(figure),
    }
}

fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The rows that samples decide.
pub(super) fn all(samples: &Samples) -> Vec<Target> {
    use Limit::{AtLeast, AtMost};
    let every = |_: Cell| true;
    let mean = |server, peer, base, metric| samples.mean(server, every, peer, base, metric);
    let official = |server, metric, name: &str, limit| {
        let raw = mean(server, "raw-pool", "official", metric);
        let ours = mean(server, OURS, "official", metric);
        Target::new(name, raw, limit, ours)
    };
    let c8 = |cell: Cell| cell.concurrency == 8 && !cell.is_bulk();
    let c8 = samples.mean(Server::Mongod, c8, OURS, "raw-tokio", Metric::Cpu);
    let runtime = |name| mean(Server::Mock, name, OURS, Metric::Cpu);
    let mut rows = vec![
        official(
            Server::Mock,
            Metric::Rate,
            "mock: ops/s, × official",
            AtLeast(2.8),
        ),
        official(
            Server::Mock,
            Metric::Cpu,
            "mock: client CPU, × official",
            AtMost(0.26),
        ),
        official(
            Server::Mock,
            Metric::P99,
            "mock: p99, × official",
            AtMost(0.5),
        ),
        official(
            Server::Mongod,
            Metric::Cpu,
            "mongod: client CPU, × official",
            AtMost(0.4),
        ),
        official(
            Server::Mongod,
            Metric::Rate,
            "mongod: ops/s, × official",
            AtLeast(1.25),
        ),
        Target::new(
            "mongod, single operations at c8: client CPU, × raw-tokio",
            None,
            AtMost(1.4),
            c8,
        ),
        Target::new(
            "mock: client CPU on smol, × tokio",
            None,
            AtMost(1.5),
            runtime("ours-smol"),
        ),
        Target::new(
            "mock: client CPU on async-std, × tokio",
            None,
            AtMost(1.5),
            runtime("ours-async-std"),
        ),
    ];
    for (case, most) in [
        (Case::Ping, 8.0),
        (Case::FindOneTyped, 14.0),
        (Case::InsertOne, 10.0),
    ] {
        // Monitors allocate now and then: one in some hundreds of operations is not the operation's.
        let count = counted(samples, case, OURS, Metric::Allocations);
        let count = count.map(|count| (count * 10.0).round() / 10.0);
        let bytes = counted(samples, case, OURS, Metric::Bytes);
        let count_of = format!("allocations per {case}");
        rows.push(Target::new(&count_of, None, AtMost(most), count));
        let bytes_of = format!("allocated bytes per {case}");
        rows.push(Target::new(&bytes_of, None, AtMost(4_096.0), bytes));
    }
    let payload = 64.0 * 65_536.0;
    let bytes = counted(samples, Case::InsertManyLarge, OURS, Metric::Bytes);
    rows.push(Target::new(
        "allocated bytes per insert64k, × the payload",
        None,
        AtMost(2.0),
        bytes.map(|bytes| bytes / payload),
    ));
    rows
}

/// The rows that the accepted figures of `cargo xtask instructions` decide.
pub(super) fn instructions() -> Vec<Target> {
    let file = fixtures::workspace().join("benches/instructions.txt");
    of_instructions(&fs::read_to_string(file).unwrap_or_default())
}

fn of_instructions(accepted: &str) -> Vec<Target> {
    let figure = |case: Case| {
        let mut lines = accepted.lines().filter_map(|line| {
            let (name, figure) = line.split_once(char::is_whitespace)?;
            (name == case.name()).then(|| figure.trim().parse().ok())?
        });
        lines.next()
    };
    [
        (Case::Ping, 9_000.0),
        (Case::FindOneRaw, 12_000.0),
        (Case::FindOneTyped, 16_000.0),
        (Case::FindOneBigDocument, 150_000.0),
        (Case::InsertOne, 14_000.0),
        (Case::UpdateOne, 14_000.0),
        (Case::FindManyRaw, 150.0),
        (Case::FindManyTyped, 6_000.0),
        (Case::InsertMany, 3_500.0),
        (Case::InsertManyLarge, 2_000_000.0),
    ]
    .map(|(case, most)| {
        let per = if case.documents() == 10_000 {
            " (per document)"
        } else {
            ""
        };
        let measure = format!("instructions per {case}{per}");
        Target {
            target: format!("≤ {}", grouped(most)),
            ..Target::new(&measure, None, Limit::AtMost(most), figure(case))
        }
    })
    .to_vec()
}

/// What was counted in the first cell of a case, on whichever server.
fn counted(samples: &Samples, case: Case, peer: &str, metric: Metric) -> Option<f64> {
    [Server::Mock, Server::Mongod]
        .into_iter()
        .find_map(|server| {
            let cells = samples.cells(server).into_iter();
            let mut cells = cells.filter(|cell| cell.case == case);
            cells.find_map(|cell| samples.median((server, cell), peer, metric))
        })
}

#[cfg(test)]
mod tests {
    use mongo_client_bench_harness::Measures;

    use super::super::suite;
    use super::*;

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let mut samples = Samples::default();
        for cell in suite::short() {
            for (peer, rate, cpu) in [("official", 100.0, 10.0), (OURS, 280.0, 2.7)] {
                let measures = Measures {
                    rate,
                    cpu,
                    ..Measures::default()
                };
                samples.add((Server::Mock, cell), peer, 0, measures);
            }
        }
        let rows = all(&samples);
        let met: Vec<_> = rows.iter().map(|row| row.met).collect();
        assert_eq!(met[..4], [Some(true), Some(false), None, None]);
        assert_eq!(rows[0].figure, "2.80");
        assert_eq!(rows[3].figure, "–");
    }

    #[test]
    fn accepted_instructions_are_compared_with_their_targets() {
        let rows = of_instructions("# accepted\nping     9000\nfind10k_raw  151\n");
        let met: Vec<_> = rows.iter().map(|row| row.met).collect();
        assert_eq!((met[0], met[1], met[6]), (Some(true), None, Some(false)));
        assert_eq!(rows[0].target, "≤ 9,000");
        assert_eq!(
            rows[6].measure,
            "instructions per find10k_raw (per document)"
        );
    }

    #[test]
    fn figures_have_the_digits_that_they_deserve() {
        let figures = [0.264, 42.26, 364.1, 16_700_000.0].map(plain);
        assert_eq!(figures, ["0.26", "42.3", "364", "16,700,000"]);
    }
}
