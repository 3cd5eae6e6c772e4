//! The tables, for the terminal and for docs/PERFORMANCE.md.

use std::{fmt::Write as _, path::PathBuf, process::Command, thread};

use xtask::{Result, process};

use super::{
    document,
    programs::PEERS,
    samples::{Metric, Samples, Server},
    targets::{self, Target, plain},
};

/// What a run was.
pub(super) struct Run<'a> {
    pub(super) samples: &'a Samples,
    pub(super) rounds: usize,
    pub(super) millis: u128,
    pub(super) spinners: bool,
    /// What could not be done as planned.
    pub(super) remarks: &'a [String],
}

/// All tables.
pub(super) fn tables(run: &Run<'_>) -> String {
    let mut out = String::new();
    out.push_str("## Targets\n\n");
    let mut targets = targets::instructions();
    targets.extend(targets::all(run.samples));
    out.push_str(&target_table(&targets));
    for server in [Server::Mock, Server::Mongod] {
        if run.samples.cells(server).is_empty() {
            continue;
        }
        let _ = write!(out, "\n## Against {}\n\n", title(server));
        out.push_str(&means(run.samples, server));
        out.push('\n');
        out.push_str(&ratios(run.samples, server));
        out.push('\n');
        out.push_str(&figures(run.samples, server));
    }
    out.push_str("\n## Allocations per operation\n\n");
    out.push_str(&allocations(run.samples));
    out
}

/// Writes the run into docs/PERFORMANCE.md, and returns its path.
pub(super) fn write(run: &Run<'_>) -> Result<PathBuf> {
    document::write_load(&format!(
        "# Performance\n\n{}\n{}\n{REPRODUCE}",
        introduction(run),
        tables(run)
    ))
}

const REPRODUCE: &str = "\
## How to measure again

    cargo xtask bench                   the tables above, on the terminal
    cargo xtask bench --report          the same, and this document
    cargo xtask bench --quick           three peers and fewer cells, under a minute
    cargo xtask bench --full            every case at every concurrency
    cargo xtask bench --rows            single rows: start, idle, system calls, fail-over
    cargo xtask instructions            instructions per operation, under callgrind

`--rounds N` and `--millis N` set how many turns each peer gets in each row and how long one is;
`--peers`, `--cases` and `--server` narrow what is measured. The first run builds the official
driver, in a workspace of its own.
";

fn introduction(run: &Run<'_>) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let output = |program: &str, args: &[&str]| {
        let text = process::run(Command::new(program).args(args));
        text.map_or("unknown".to_owned(), |text| text.trim().to_owned())
    };
    let spinners = if run.spinners {
        "Programs of the lowest scheduling class (SCHED_IDLE) kept all cores awake."
    } else {
        "Cores could fall asleep between operations, which adds wake-ups to every c1 row."
    };
    let mut out = format!(
        "Written by `cargo xtask bench --report`. Clients and servers shared {cores} cores and the \
         loopback\ninterface ({} {}, {}). {spinners}\n\n",
        output("uname", &["-s"]),
        // The rest names a build of somebody's.
        output("uname", &["-r"])
            .split('-')
            .next()
            .unwrap_or_default(),
        output("rustc", &["--version"]),
    );
    let _ = writeln!(
        out,
        "Every peer is a process of its own, and takes turns with the others in every row: {} rounds \
         of {} ms a\nturn (twice that for bulk operations), after a quarter of it to warm up, in an \
         order that changes from\nround to round. The machine's speed changes too, so the \
         conclusions are ratios: the median of the\nrounds' own ratios, and geometric means of \
         those over a table. Absolute figures are medians, and mean\nnothing elsewhere.\n",
        run.rounds, run.millis
    );
    out.push_str(PEERS_EXPLAINED);
    for remark in run.remarks {
        let _ = writeln!(out, "\n{remark}");
    }
    out
}

const PEERS_EXPLAINED: &str = "\
- `raw`: a blocking socket and a thread each. `raw-tokio`: a task and a socket each. `raw-pool`: the
  callers' tasks share the pool's sockets, which is what a pooled client can reach at best. All three
  send bytes that were encoded before and do not decode replies, except `find10k_typed` (by hand).
- `official`: the official driver (`mongodb` 3.9.1, default features and `bson-3`) on tokio.
- `ours-tokio`, `ours-smol`, `ours-async-std`: this client. All runtimes have two worker threads.

Everybody has at most 10 connections, unless a row says otherwise; `c8` means eight callers at once.
The mock server answers with prepared replies at once, so that the client is the bottleneck. The real
server is `mongod` 6.0.5, a standalone with its data in memory. Client CPU is user and system time of
the peer's whole process, per operation. Instructions are those of user space that
`benches/instructions.txt` accepts.
";

fn title(server: Server) -> &'static str {
    match server {
        Server::Mock => "the mock server",
        Server::Mongod => "mongod",
    }
}

fn target_table(targets: &[Target]) -> String {
    let mut table = Table::new(&["measure", "raw-pool", "target", "ours on tokio", ""]);
    for target in targets {
        let met = match target.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        table.row(&[
            target.measure.clone(),
            target.raw.clone(),
            target.target.clone(),
            target.figure.clone(),
            met.to_owned(),
        ]);
    }
    table.finish()
}

/// The peers that took part against a server.
fn peers(samples: &Samples, server: Server) -> Vec<&'static str> {
    let cells = samples.cells(server);
    let took_part = |peer: &&&'static str| {
        let mut cells = cells.iter();
        cells.any(|cell| {
            samples
                .median((server, *cell), peer, Metric::Rate)
                .is_some()
        })
    };
    PEERS.iter().filter(took_part).copied().collect()
}

/// What the others are compared with: the official driver, where it took part.
fn base(peers: &[&'static str]) -> Option<&'static str> {
    let wanted = ["official", "raw-tokio", "raw-pool", "raw"];
    wanted.into_iter().find(|name| peers.contains(name))
}

fn means(samples: &Samples, server: Server) -> String {
    let peers = peers(samples, server);
    let Some(base) = base(&peers) else {
        return String::new();
    };
    let mut table = Table::new(&[
        "geometric means, × ".to_owned() + base,
        s("ops/s"),
        s("client CPU"),
        s("p50"),
        s("p99"),
    ]);
    for peer in peers {
        let mean = |metric| {
            let mean = samples.mean(server, |_| true, peer, base, metric);
            mean.map_or("–".to_owned(), plain)
        };
        let metrics = [Metric::Rate, Metric::Cpu, Metric::P50, Metric::P99];
        let mut row = vec![peer.to_owned()];
        row.extend(metrics.map(mean));
        table.row(&row);
    }
    table.finish()
}

/// This client and the pool of raw sockets, each against the official driver, cell by cell.
fn ratios(samples: &Samples, server: Server) -> String {
    let all = peers(samples, server);
    let Some(base) = base(&all) else {
        return String::new();
    };
    let shown: Vec<_> = ["ours-tokio", "raw-pool"]
        .into_iter()
        .filter(|peer| all.contains(peer) && *peer != base)
        .collect();
    let mut head = vec![format!("× {base}")];
    for peer in &shown {
        head.extend(["ops/s", "CPU", "p99"].map(|what| format!("{peer} {what}")));
    }
    let mut table = Table::new(&head);
    for cell in samples.cells(server) {
        let mut row = vec![cell.to_string()];
        for peer in &shown {
            row.extend([Metric::Rate, Metric::Cpu, Metric::P99].map(|metric| {
                let ratio = samples.ratio((server, cell), peer, base, metric);
                ratio.map_or("–".to_owned(), plain)
            }));
        }
        table.row(&row);
    }
    table.finish()
}

/// Medians of all peers, cell by cell.
fn figures(samples: &Samples, server: Server) -> String {
    let mut head = vec![s("ops/s · p50 µs · p99 µs · CPU µs/op")];
    let peers = peers(samples, server);
    head.extend(peers.iter().map(|peer| s(peer)));
    let mut table = Table::new(&head);
    for cell in samples.cells(server) {
        let mut row = vec![cell.to_string()];
        for peer in &peers {
            let metrics = [Metric::Rate, Metric::P50, Metric::P99, Metric::Cpu];
            let figures = metrics.map(|metric| {
                let figure = samples.median((server, cell), peer, metric);
                figure.map_or("–".to_owned(), plain)
            });
            row.push(figures.join(" · "));
        }
        table.row(&row);
    }
    table.finish()
}

fn allocations(samples: &Samples) -> String {
    let server = match samples.cells(Server::Mock).is_empty() {
        true => Server::Mongod,
        false => Server::Mock,
    };
    let peers: Vec<_> = peers(samples, server)
        .into_iter()
        .filter(|peer| !peer.starts_with("raw"))
        .collect();
    let mut head = vec![format!("allocations · bytes, against {}", title(server))];
    head.extend(peers.iter().map(|peer| s(peer)));
    let mut table = Table::new(&head);
    for cell in samples.cells(server) {
        let mut row = vec![cell.to_string()];
        for peer in &peers {
            let figures = [Metric::Allocations, Metric::Bytes].map(|metric| {
                let figure = samples.median((server, cell), peer, metric);
                figure.map_or("–".to_owned(), plain)
            });
            row.push(figures.join(" · "));
        }
        table.row(&row);
    }
    table.finish()
}

fn s(text: &str) -> String {
    text.to_owned()
}

/// A table whose first column is text and whose others are figures, with its columns aligned.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new<T: AsRef<str>>(head: &[T]) -> Self {
        Self(vec![head.iter().map(|cell| s(cell.as_ref())).collect()])
    }

    fn row(&mut self, cells: &[String]) {
        self.0.push(cells.to_vec());
    }

    fn finish(self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in self.0.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(out, "| {cell:<width$} "),
                    _ => write!(out, "| {cell:>width$} "),
                };
            }
            out.push_str("|\n");
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let rule = "-".repeat(width - 1);
                    let _ = match column {
                        0 => write!(out, "| {rule}- "),
                        _ => write!(out, "| {rule}: "),
                    };
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_table_are_aligned() {
        let mut table = Table::new(&["case", "ops/s"]);
        table.row(&[s("ping c1"), s("12")]);
        table.row(&[s("× ö"), s("12,345")]);
        let expected = "\
| case    |  ops/s |
| ------- | -----: |
| ping c1 |     12 |
| × ö     | 12,345 |
";
        assert_eq!(table.finish(), expected);
    }
}
