//! `cargo xtask bench`: this client, the official driver and raw sockets, side by side.
//!
//! It starts every peer once as a process of its own; then, in each round and each cell, every peer
//! takes its turn. The official driver is built in a workspace of its own; without it the others
//! are measured alone, and the tables say so.

pub(super) mod document;
mod options;
pub(super) mod programs;
mod report;
mod samples;
mod suite;
mod targets;

use std::{process::ExitCode, time::Duration};

use bson::doc;
use mongo_client_bench_harness::{DATABASE, Measures, Turn};
use options::Options;
use programs::{Program, Programs};
use samples::{Samples, Server};
use suite::Cell;
use xtask::{
    Failure, Result,
    cluster::{Cluster, Plan},
    setup,
};

pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    let programs = Programs::new(&options.peers, options.build)?;
    let mut remarks = Vec::new();
    if options.peers.contains(&"official")
        && let Some(why) = programs.without_official()
    {
        remarks.push(format!("The official driver took no part: {why}."));
    }
    let servers = Servers::start(&options, &programs, &mut remarks)?;
    let spinners = match options.spinners {
        true => programs.spinners(),
        false => Vec::new(),
    };
    let mut peers = Vec::new();
    for name in &options.peers {
        if let Some(program) = programs.peer(name)? {
            peers.push((*name, program));
        }
    }
    let mut samples = Samples::default();
    for round in 0..options.rounds {
        for (server, cells) in [
            (Server::Mock, &options.mock),
            (Server::Mongod, &options.mongod),
        ] {
            for (number, cell) in cells.iter().enumerate() {
                eprintln!(
                    "round {} of {}: {server}, {cell}",
                    round + 1,
                    options.rounds
                );
                for turn in 0..peers.len() {
                    let index = (round + number + turn) % peers.len();
                    let (name, program) = &mut peers[index];
                    servers.clean(server, *cell)?;
                    let measures = take(program, &servers, (server, *cell), round, &options)?;
                    samples.add((server, *cell), name, round, measures);
                }
            }
        }
    }
    let run = report::Run {
        samples: &samples,
        rounds: options.rounds,
        millis: options.time.as_millis(),
        spinners: !spinners.is_empty(),
        remarks: &remarks,
    };
    println!("{}", report::tables(&run));
    remarks.iter().for_each(|remark| println!("{remark}"));
    if options.report {
        println!("written: {}", report::write(&run)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One turn of a peer.
fn take(
    peer: &mut Program,
    servers: &Servers,
    (server, cell): (Server, Cell),
    round: usize,
    options: &Options,
) -> Result<Measures> {
    let factor = if cell.is_bulk() { 2 } else { 1 };
    let turn = Turn {
        uri: servers.uri(server)?.to_owned(),
        case: cell.case,
        concurrency: cell.concurrency,
        pool: cell.pool,
        warm: options.warm() * factor,
        time: options.time * factor,
        // Counts repeat exactly, so once is enough.
        count: if round == 0 { cell.counted() } else { 0 },
    };
    let time = turn.warm + turn.time + Duration::from_secs(60);
    let answer = peer.ask(&turn.to_string(), time)?;
    answer
        .parse()
        .map_err(|error| Failure::new(format!("{error}")))
}

/// The servers of a run.
struct Servers {
    mock: Option<(Program, String)>,
    mongod: Option<(Cluster, String)>,
}

impl Servers {
    fn start(options: &Options, programs: &Programs, remarks: &mut Vec<String>) -> Result<Self> {
        let mock = match options.mock.is_empty() {
            true => None,
            false => Some(programs.mock()?),
        };
        if options.mongod.is_empty() {
            return Ok(Self { mock, mongod: None });
        }
        setup::run()?;
        let plan = |arguments: &[&str]| Plan {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            ..Plan::standalone()
        };
        let cluster = match Cluster::start("bench", plan(&["--nojournal"])) {
            Ok(cluster) => cluster,
            Err(_) => {
                remarks.push("The real server kept a journal.".to_owned());
                Cluster::start("bench", plan(&[]))?
            }
        };
        let uri = cluster.uri();
        programs.prepare(&uri)?;
        let mongod = Some((cluster, uri));
        Ok(Self { mock, mongod })
    }

    fn uri(&self, server: Server) -> Result<&str> {
        let uri = match server {
            Server::Mock => self.mock.as_ref().map(|(_, uri)| uri.as_str()),
            Server::Mongod => self.mongod.as_ref().map(|(_, uri)| uri.as_str()),
        };
        uri.ok_or_else(|| Failure::new(format!("{server} does not run")))
    }

    /// Drops what earlier turns have inserted.
    fn clean(&self, server: Server, cell: Cell) -> Result {
        if let (Server::Mongod, true, Some((cluster, _))) = (server, cell.inserts(), &self.mongod) {
            // There may be none yet, and that is no failure.
            cluster
                .connect(0)?
                .send(DATABASE, doc! { "drop": "sink" })?;
        }
        Ok(())
    }
}
