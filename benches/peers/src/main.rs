//! One peer of the end-to-end benchmarks, as a process of its own.
//!
//! `bench-peer prepare URI` fills the database; `bench-peer ops URI CASE N` runs N operations of a
//! case one after the other, for tools that count (callgrind, strace).

mod ours;

use std::error::Error;

use mongo_client_bench_harness::Case;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    match args[..] {
        ["prepare", uri] => runtime.block_on(ours::prepare(uri)),
        ["ops", uri, case, count] => {
            let (case, count): (Case, u64) = (case.parse()?, count.parse()?);
            let uri = uri.to_owned();
            // On a worker, as the requests of a server are.
            let task = runtime.spawn(async move { ours::ops(&uri, case, count).await });
            runtime.block_on(task)?
        }
        _ => Err("usage: bench-peer prepare URI | ops URI CASE N".into()),
    }
}
