//! The peers of the end-to-end benchmarks that need nobody else's driver, each as a process.
//!
//! `bench-peer serve PEER` takes turns from its standard input; `bench-peer prepare URI` fills the
//! database; `bench-peer ops URI CASE N` runs N operations of a case one after the other, for
//! tools that count (callgrind, strace), `ops-on RUNTIME` on another runtime than tokio;
//! `bench-peer row ROW ...` measures what load does not show.

#[path = "../../shared/cases.rs"]
mod cases;
mod executors;
mod ours;
mod raw;
#[path = "../../shared/rows.rs"]
mod rows;
#[path = "../../shared/tokio.rs"]
mod tokio_threads;

use executors::{AsyncStd, Smol, Threads};
use mongo_client as driver;
use mongo_client::runtime::{AsyncStdRuntime, SmolRuntime, TokioRuntime};
use mongo_client_bench_harness::{Case, Counting, Executor, Result, row, serve};
use ours::Ours;
use rows::Alone;
use tokio_threads::Tokio;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "\
usage: bench-peer serve PEER | prepare URI | ops URI CASE N |
       ops-on RUNTIME URI CASE N | row ROW ...
peers: raw, raw-tokio, raw-pool, ours-tokio, ours-smol, ours-async-std";

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", "raw"] => serve::<raw::Blocking>(&Threads),
        ["serve", "raw-tokio"] => serve::<raw::Tokio>(&tokio()?),
        ["serve", "raw-pool"] => serve::<raw::Pool>(&tokio()?),
        ["serve", "ours-tokio"] => serve::<Ours<TokioRuntime>>(&tokio()?),
        ["serve", "ours-smol"] => serve::<Ours<SmolRuntime>>(&Smol),
        ["serve", "ours-async-std"] => serve::<Ours<AsyncStdRuntime>>(&AsyncStd),
        ["prepare", uri] => tokio()?.0.block_on(cases::prepare(uri)),
        ["ops", uri, case, count] => ops::<TokioRuntime>(&tokio()?, uri, case, count),
        ["ops-on", "tokio", uri, case, count] => ops::<TokioRuntime>(&tokio()?, uri, case, count),
        ["ops-on", "smol", uri, case, count] => ops::<SmolRuntime>(&Smol, uri, case, count),
        ["ops-on", "async-std", uri, case, count] => {
            ops::<AsyncStdRuntime>(&AsyncStd, uri, case, count)
        }
        ["row", ref row_args @ ..] => {
            let on = tokio()?;
            let metrics = on.0.metrics();
            row::<Alone>(row_args, &on, || metrics.num_alive_tasks())
        }
        _ => Err(USAGE.into()),
    }
}

/// Runs operations on a worker, as the requests of a server are.
fn ops<R: ours::Given>(on: &impl Executor, uri: &str, case: &str, count: &str) -> Result {
    let (case, count): (Case, u64) = (case.parse()?, count.parse()?);
    let uri = uri.to_owned();
    let ended = on.run_all(vec![async move {
        cases::ops(ours::client::<R>(&uri)?, case, count).await
    }]);
    ended.into_iter().collect()
}

fn tokio() -> Result<Tokio> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    Ok(Tokio(runtime))
}
