//! Where a peer's callers run.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use futures_util::future::join_all;
use mongo_client_bench_harness::Executor;

/// smol's global executor, with as many threads as `SMOL_THREADS` says.
pub(crate) struct Smol;

impl Executor for Smol {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn run_all<F, T>(&self, tasks: Vec<F>) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let tasks: Vec<_> = tasks.into_iter().map(smol::spawn).collect();
        smol::block_on(join_all(tasks))
    }
}

/// async-std's executor, with as many threads as `ASYNC_STD_THREAD_COUNT` says.
pub(crate) struct AsyncStd;

impl Executor for AsyncStd {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_std::task::block_on(future)
    }

    fn run_all<F, T>(&self, tasks: Vec<F>) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let tasks: Vec<_> = tasks.into_iter().map(async_std::task::spawn).collect();
        async_std::task::block_on(join_all(tasks))
    }
}

/// A thread per caller, for futures that never wait: what they call blocks.
pub(crate) struct Threads;

impl Executor for Threads {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("a blocking peer waited for something else"),
        }
    }

    fn run_all<F, T>(&self, tasks: Vec<F>) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let spawn = |task| thread::spawn(move || Self.block_on(task));
        let threads: Vec<_> = tasks.into_iter().map(spawn).collect();
        let ended = threads.into_iter().map(thread::JoinHandle::join);
        ended.map(|end| end.expect("a caller panicked")).collect()
    }
}
