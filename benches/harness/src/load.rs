//! Load: callers that run operations one after the other, until a moment or for a number of times.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crate::{Histogram, Result, Worker, allocations};

/// The threads on which a peer's callers run.
pub trait Executor {
    /// Runs one future, from a thread of the caller's.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Runs tasks to their ends, all at once.
    fn run_all<F, T>(&self, tasks: Vec<F>) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static;
}

/// What a stretch of load cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    /// How long each operation took.
    pub(crate) times: Histogram,
    /// From the start to the end of the last operation.
    pub(crate) wall: Duration,
    /// What the whole process used, user and system.
    pub(crate) cpu: Duration,
    /// Allocations and their bytes, where they were counted.
    pub(crate) allocations: (u64, u64),
}

/// The callers of a turn.
pub(crate) struct Load<W> {
    callers: Vec<Caller<W>>,
}

struct Caller<W> {
    worker: W,
    next: i64,
    stride: i64,
}

#[derive(Clone, Copy)]
enum Until {
    Moment(Instant),
    Times(u64),
}

impl<W: Worker> Load<W> {
    /// The workers share the numbers from `first` on.
    pub(crate) fn new(workers: Vec<W>, first: i64) -> Self {
        let stride = workers.len() as i64;
        let callers = workers.into_iter().zip(first..);
        Self {
            callers: callers
                .map(|(worker, next)| Caller {
                    worker,
                    next,
                    stride,
                })
                .collect(),
        }
    }

    /// A number that no operation has used.
    pub(crate) fn next(&self) -> i64 {
        self.callers.iter().map(|c| c.next).max().unwrap_or(0)
    }

    /// Runs operations for a time; each caller ends the one it has begun.
    pub(crate) fn run_for(&mut self, on: &impl Executor, time: Duration) -> Result<Stretch> {
        self.run(on, Until::Moment(Instant::now() + time))
    }

    /// Runs some operations per caller, counting allocations.
    pub(crate) fn count(&mut self, on: &impl Executor, times: u64) -> Result<Stretch> {
        self.run(on, Until::Times(times))
    }

    fn run(&mut self, on: &impl Executor, until: Until) -> Result<Stretch> {
        let callers = self.callers.drain(..);
        // Made before, so that the clock and the count see only the load.
        let tasks: Vec<_> = callers
            .map(|caller| caller.run(until, Histogram::default()))
            .collect();
        if let Until::Times(_) = until {
            allocations::start();
        }
        let (start, cpu) = (Instant::now(), cpu_time());
        let ended = on.run_all(tasks);
        let mut sum = Stretch {
            wall: start.elapsed(),
            cpu: cpu_time().saturating_sub(cpu),
            allocations: allocations::stop(),
            ..Stretch::default()
        };
        for (caller, times) in ended {
            self.callers.push(caller);
            sum.times.merge(&times?);
        }
        Ok(sum)
    }
}

impl<W: Worker> Caller<W> {
    async fn run(mut self, until: Until, mut times: Histogram) -> (Self, Result<Histogram>) {
        let mut start = Instant::now();
        loop {
            if let Err(error) = self.worker.run(self.next).await {
                return (self, Err(error));
            }
            self.next += self.stride;
            let end = Instant::now();
            times.record(end - start);
            start = end;
            let enough = match until {
                Until::Moment(moment) => end >= moment,
                Until::Times(number) => times.count() >= number,
            };
            if enough {
                return (self, Ok(times));
            }
        }
    }
}

/// What this process has used, user and system, of all its threads.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
