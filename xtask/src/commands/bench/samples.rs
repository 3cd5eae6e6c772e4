//! What the turns gave, as medians and as ratios of what stood side by side.
//!
//! A machine's speed changes from minute to minute, so peers are compared within a round, and the
//! median of the rounds' ratios counts, not the ratio of medians.

use std::fmt;

use mongo_client_bench_harness::Measures;

use super::suite::Cell;

/// The servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Server {
    /// Prepared replies.
    Mock,
    /// The real one.
    Mongod,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mock => "mock",
            Self::Mongod => "mongod",
        })
    }
}

/// One of the measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Metric {
    Rate,
    P50,
    P99,
    Cpu,
    Allocations,
    Bytes,
}

impl Metric {
    fn of(self, measures: &Measures) -> Option<f64> {
        match self {
            Self::Rate => Some(measures.rate),
            Self::P50 => Some(measures.p50),
            Self::P99 => Some(measures.p99),
            Self::Cpu => Some(measures.cpu),
            Self::Allocations => measures.allocations,
            Self::Bytes => measures.bytes,
        }
    }
}

/// One turn of a peer.
#[derive(Clone, Debug)]
struct Sample {
    server: Server,
    cell: Cell,
    peer: &'static str,
    round: usize,
    measures: Measures,
}

/// All turns of a run.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn add(
        &mut self,
        (server, cell): (Server, Cell),
        peer: &'static str,
        round: usize,
        measures: Measures,
    ) {
        self.0.push(Sample {
            server,
            cell,
            peer,
            round,
            measures,
        });
    }

    /// The cells that were measured against a server, in their order.
    pub(super) fn cells(&self, server: Server) -> Vec<Cell> {
        let mut cells = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.server == server) {
            if !cells.contains(&sample.cell) {
                cells.push(sample.cell);
            }
        }
        cells
    }

    /// The median of the rounds.
    pub(super) fn median(&self, at: (Server, Cell), peer: &str, metric: Metric) -> Option<f64> {
        let values = self.turns(at, peer);
        median(values.filter_map(|s| metric.of(&s.measures)).collect())
    }

    /// The median of the rounds' ratios between two peers.
    pub(super) fn ratio(
        &self,
        at: (Server, Cell),
        peer: &str,
        base: &str,
        metric: Metric,
    ) -> Option<f64> {
        let ratios = self.turns(at, peer).filter_map(|sample| {
            let other = self.turns(at, base).find(|s| s.round == sample.round)?;
            let (value, other) = (metric.of(&sample.measures)?, metric.of(&other.measures)?);
            (value > 0.0 && other > 0.0).then_some(value / other)
        });
        median(ratios.collect())
    }

    /// The geometric mean of the ratios of some cells.
    pub(super) fn mean(
        &self,
        server: Server,
        include: impl Fn(Cell) -> bool,
        peer: &str,
        base: &str,
        metric: Metric,
    ) -> Option<f64> {
        let cells = self.cells(server).into_iter().filter(|cell| include(*cell));
        let ratios: Vec<f64> = cells
            .filter_map(|cell| self.ratio((server, cell), peer, base, metric))
            .collect();
        if ratios.is_empty() {
            return None;
        }
        let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
        // What the logarithms lost behind the ninth digit must not decide about a target.
        let mean = (sum / ratios.len() as f64).exp();
        Some((mean * 1e9).round() / 1e9)
    }

    fn turns(&self, (server, cell): (Server, Cell), peer: &str) -> impl Iterator<Item = &Sample> {
        self.0
            .iter()
            .filter(move |s| s.server == server && s.cell == cell && s.peer == peer)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;

    fn rates(samples: &mut Samples, cell: Cell, peer: &'static str, rates: &[f64]) {
        for (round, rate) in rates.iter().enumerate() {
            let measures = Measures {
                rate: *rate,
                ..Measures::default()
            };
            samples.add((Server::Mock, cell), peer, round, measures);
        }
    }

    #[test]
    fn ratios_are_those_of_the_rounds_and_means_are_geometric() {
        let mut samples = Samples::default();
        let cells = suite::short();
        // The machine becomes ten times as fast: the ratios of the rounds are 2, 3 and 4.
        rates(&mut samples, cells[0], "ours", &[20.0, 300.0, 400.0]);
        rates(&mut samples, cells[0], "other", &[10.0, 100.0, 100.0]);
        rates(&mut samples, cells[1], "ours", &[120.0]);
        rates(&mut samples, cells[1], "other", &[10.0]);
        let at = (Server::Mock, cells[0]);
        assert_eq!(samples.median(at, "ours", Metric::Rate), Some(300.0));
        assert_eq!(samples.ratio(at, "ours", "other", Metric::Rate), Some(3.0));
        let mean = samples.mean(Server::Mock, |_| true, "ours", "other", Metric::Rate);
        assert!((mean.unwrap() - 6.0).abs() < 1e-9, "{mean:?}");
        assert_eq!(samples.ratio(at, "ours", "nobody", Metric::Rate), None);
        assert_eq!(
            samples.mean(Server::Mongod, |_| true, "ours", "other", Metric::Rate),
            None
        );
    }

    #[test]
    fn what_was_not_counted_has_no_median() {
        let mut samples = Samples::default();
        let cell = suite::short()[0];
        rates(&mut samples, cell, "ours", &[1.0, 2.0]);
        let at = (Server::Mock, cell);
        assert_eq!(samples.median(at, "ours", Metric::Rate), Some(1.5));
        assert_eq!(samples.median(at, "ours", Metric::Allocations), None);
    }
}
