//! The official driver as a peer of the end-to-end benchmarks, as a process of its own.
//!
//! `bench-official serve official` takes turns from its standard input; `bench-official prepare
//! URI` fills the database; `bench-official ops URI CASE N` runs N operations of a case one after
//! the other, for tools that count (callgrind, strace); `bench-official row ROW ...` measures what
//! load does not show.

#[path = "../../shared/cases.rs"]
mod cases;
mod official;
#[path = "../../shared/rows.rs"]
mod rows;
#[path = "../../shared/tokio.rs"]
mod tokio_threads;

use mongo_client_bench_harness::{Case, Counting, Result, row, serve};
use mongodb as driver;
use official::Official;
use rows::Alone;
use tokio_threads::Tokio;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    match args[..] {
        ["serve", "official"] => serve::<Official>(&Tokio(runtime)),
        ["prepare", uri] => runtime.block_on(cases::prepare(uri)),
        ["ops", uri, case, count] => {
            let (case, count): (Case, u64) = (case.parse()?, count.parse()?);
            let uri = uri.to_owned();
            // On a worker, as the requests of a server are.
            let task = runtime.spawn(async move {
                let client = driver::Client::with_uri_str(uri).await?;
                cases::ops(client, case, count).await
            });
            runtime.block_on(task)?
        }
        ["row", ref row_args @ ..] => {
            let metrics = runtime.metrics();
            row::<Alone>(row_args, &Tokio(runtime), || metrics.num_alive_tasks())
        }
        _ => Err(
            "usage: bench-official serve official | prepare URI | ops URI CASE N | row ...".into(),
        ),
    }
}
