//! The project's daily commands: `cargo xtask COMMAND`.

mod commands;

use std::process::ExitCode;

use commands::{
    bench, bench_rows, cluster, event_loop, instructions, quickstart, sim, spec, test, tidy,
};
use xtask::{Failure, Result, setup};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup                         fetch the test server and the specification tests
  cluster up|down NAME          start or stop a deployment and print its URI
                                (standalone, replica-set, auth, tls, x509, compressed)
  test [FILTER ...]             run everything, with real servers (with a filter for
                                cargo-nextest: only the tests that it names)
  spec [--dir DIR] [--suite NAME] [--file PART] [--case PART] [--full] [--verbose] [--list-skips]
                                run the specification tests below DIR (default: the fetched
                                ones); those of the unified format run on real servers
  sim [OPTION ...]              run the kept replays and 300 fresh seeds of the simulation (options:
                                those of its command `run`)
  quickstart [--runtime NAME]   show a fail-over on an own replica set
                                (tokio, async-std or smol; default: tokio)
  tour                          show the members of the documented client, on an own replica set
  event-loop                    run the engine in a hand-written loop, on an own replica set
  instructions [--update] [CASE ...]
                                count the instructions of operations (needs valgrind) and compare
                                with the accepted figures; --update accepts these
  bench [--quick|--full] [--report] [--rounds N] [--millis N] [--peers LIST] [--cases LIST]
        [--server mock|mongod] [--no-spinners] [--no-build]
                                measure this client beside the official driver and raw sockets
                                (--report: write docs/PERFORMANCE.md)
  bench --rows [--report] [ROW ...]
                                measure what load does not show, against the official driver:
                                cold-start, first-ping, heap, idle, tasks, calls, step-down;
                                build: clean builds (takes minutes; only when named, or with
                                --report, which writes docs/PERFORMANCE.md)
  tidy                          check dependencies, sizes and banned calls";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<ExitCode> {
    match args {
        ["setup"] => setup::run().map(|()| ExitCode::SUCCESS),
        ["cluster", "up", name] => cluster::up(name).map(|()| ExitCode::SUCCESS),
        ["cluster", "down", name] => cluster::down(name).map(|()| ExitCode::SUCCESS),
        ["test", filter @ ..] => Ok(test::run(filter)),
        ["spec", rest @ ..] => spec::run(rest),
        ["quickstart"] => quickstart::run("tokio"),
        ["quickstart", "--runtime", runtime] => quickstart::run(runtime),
        ["tour"] => quickstart::tour(),
        ["bench", "--rows", rest @ ..] => bench_rows::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["event-loop"] => event_loop::run(),
        ["instructions", rest @ ..] => instructions::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["tidy"] => tidy::run(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Failure::new(format!(
            "unknown command: {}\n{USAGE}",
            args.join(" ")
        ))),
    }
}
