//! Where the callers run: tokio, the same for both drivers.

use std::future::Future;

use futures_util::future::join_all;
use mongo_client_bench_harness::Executor;

/// tokio with two worker threads.
pub(crate) struct Tokio(pub(crate) tokio::runtime::Runtime);

impl Executor for Tokio {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn run_all<F, T>(&self, tasks: Vec<F>) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let tasks: Vec<_> = tasks.into_iter().map(|task| self.0.spawn(task)).collect();
        let ended = self.0.block_on(join_all(tasks));
        let ended = ended.into_iter();
        ended.map(|end| end.expect("a caller panicked")).collect()
    }
}
