//! Single rows: figures of a client that a stretch of load does not show.
//!
//! Each row runs in a process of its own and prints one line of `key=value` pairs; the controller
//! lets the peers take turns and takes medians.

use std::{
    future::Future,
    io::{BufRead, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{Executor, Result, allocations, load::cpu_time, with_pool};

/// Clients per process whose median counts.
const CLIENTS: usize = 11;
/// First operations at once.
const COLD: i64 = 64;
/// Connections of the idle rows.
const CONNECTIONS: usize = 100;
/// How long the server keeps each of them busy, so that all are needed at once.
const BUSY: Duration = Duration::from_millis(400);
/// How long until what an operation left behind has been done.
const SETTLE: Duration = Duration::from_millis(500);

/// What a row needs of a driver.
pub trait RowClient: Clone + Send + Sync + 'static {
    /// Makes a client with the driver's defaults.
    fn connect(uri: &str) -> impl Future<Output = Result<Self>> + Send;

    /// `ping`.
    fn ping(&self) -> impl Future<Output = Result> + Send;

    /// `find_one` by `_id`, 200 B, into a struct.
    fn find_one(&self, id: i64) -> impl Future<Output = Result> + Send;

    /// `find_one` that takes the server this long.
    fn find_slowly(&self, time: Duration) -> impl Future<Output = Result> + Send;

    /// `insert_one`, acknowledged by one member.
    fn insert_one(&self) -> impl Future<Output = Result> + Send;

    /// Ends the client.
    fn shutdown(self) -> impl Future<Output = ()> + Send;
}

/// Measures one row and prints it; `tasks` counts the living tasks of the runtime.
///
/// # Errors
///
/// When an operation fails, or there is no such row.
pub fn row<C: RowClient>(args: &[&str], on: &impl Executor, tasks: impl Fn() -> usize) -> Result {
    // The runtime's own threads have started.
    on.run_all((0..4).map(|_| async {}).collect());
    match *args {
        ["first-ping", uri] => first::<C>(on, uri, 1),
        ["cold-start", uri] => first::<C>(on, uri, COLD),
        ["heap", uri] => heap::<C>(on, uri),
        ["idle", uri, seconds] => idle::<C>(on, uri, Duration::from_secs(seconds.parse()?)),
        ["tasks", uri] => background::<C>(on, uri, tasks),
        ["calls", uri, callers, times] => calls::<C>(on, uri, callers.parse()?, times.parse()?),
        ["step-down", uri] => step_down::<C>(on, uri),
        _ => Err(
            "rows: first-ping URI | cold-start URI | heap URI | idle URI SECONDS | \
                  tasks URI | calls URI CALLERS TIMES | step-down URI"
                .into(),
        ),
    }
}

/// Runs one task on the executor's threads.
fn run_one<T: Send + 'static>(
    on: &impl Executor,
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = on.run_all(vec![task]).pop();
    ended.unwrap_or_else(|| Err("the task did not run".into()))
}

fn run_some(
    on: &impl Executor,
    tasks: Vec<impl Future<Output = Result> + Send + 'static>,
) -> Result {
    on.run_all(tasks).into_iter().collect()
}

/// A client from its making to the end of its first operations.
fn first<C: RowClient>(on: &impl Executor, uri: &str, operations: i64) -> Result {
    let uri = with_pool(uri, 10);
    let (mut times, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let uri = uri.clone();
        let (start, cpu) = (Instant::now(), cpu_time());
        let client = if operations == 1 {
            run_one(on, async move {
                let client = C::connect(&uri).await?;
                client.ping().await?;
                Ok(client)
            })?
        } else {
            let client = run_one(on, async move { C::connect(&uri).await })?;
            let task = |id| {
                let client: C = client.clone();
                async move { client.find_one(id).await }
            };
            run_some(on, (0..operations).map(task).collect())?;
            client
        };
        times.push(start.elapsed());
        cpus.push(cpu_time().saturating_sub(cpu));
        on.block_on(client.shutdown());
        // What the client leaves behind must not disturb the next.
        thread::sleep(Duration::from_millis(20));
    }
    let (time, cpu) = (median(times), median(cpus));
    println!("time={} cpu={}", time.as_micros(), cpu.as_micros());
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A client whose first connection has been used.
fn warm<C: RowClient>(on: &impl Executor, uri: &str) -> Result<C> {
    let uri = with_pool(uri, CONNECTIONS);
    let client = run_one(on, async move {
        let client = C::connect(&uri).await?;
        client.ping().await?;
        Ok(client)
    })?;
    thread::sleep(SETTLE);
    Ok(client)
}

/// Uses as many connections as the pool may have, all at once.
fn fill<C: RowClient>(on: &impl Executor, client: &C) -> Result {
    let tasks = (0..CONNECTIONS).map(|_| {
        let client = client.clone();
        async move { client.find_slowly(BUSY).await }
    });
    run_some(on, tasks.collect())?;
    thread::sleep(SETTLE);
    Ok(())
}

/// Bytes that a further idle connection keeps, its server session included.
fn heap<C: RowClient>(on: &impl Executor, uri: &str) -> Result {
    let client = warm::<C>(on, uri)?;
    allocations::start();
    fill(on, &client)?;
    let kept = allocations::stop_kept();
    println!("bytes={}", kept / (CONNECTIONS as i64 - 1));
    on.block_on(client.shutdown());
    Ok(())
}

/// What a client with idle connections costs.
fn idle<C: RowClient>(on: &impl Executor, uri: &str, time: Duration) -> Result {
    let client = warm::<C>(on, uri)?;
    fill(on, &client)?;
    thread::sleep(SETTLE);
    let (start, cpu) = (Instant::now(), cpu_time());
    thread::sleep(time);
    let cpu = cpu_time().saturating_sub(cpu);
    let per_second = cpu.as_secs_f64() * 1e6 / start.elapsed().as_secs_f64();
    println!("cpu={per_second:.1}");
    on.block_on(client.shutdown());
    Ok(())
}

/// The tasks that a client keeps, after operations and with an idle connection.
fn background<C: RowClient>(on: &impl Executor, uri: &str, tasks: impl Fn() -> usize) -> Result {
    let before = tasks();
    let client = warm::<C>(on, uri)?;
    println!("tasks={}", tasks() - before);
    on.block_on(client.shutdown());
    Ok(())
}

/// Operations for somebody who counts system calls.
fn calls<C: RowClient>(on: &impl Executor, uri: &str, callers: i64, times: i64) -> Result {
    let client = warm::<C>(on, uri)?;
    let tasks = (0..callers).map(|_| {
        let client = client.clone();
        async move {
            for id in 0..times {
                client.find_one(id).await?;
            }
            Ok(())
        }
    });
    run_some(on, tasks.collect())?;
    on.block_on(client.shutdown());
    Ok(())
}

/// The write that took longest so far, and how many failed.
#[derive(Clone, Copy, Default)]
struct Writes {
    longest: Duration,
    ended: u128,
    count: u64,
    failed: u64,
}

/// Writes one after the other. `mark` on the standard input forgets what was; `tell` prints when the
/// longest write since then ended, in microseconds of the wall clock.
fn step_down<C: RowClient>(on: &impl Executor, uri: &str) -> Result {
    let uri = uri.to_owned();
    let client: C = run_one(on, async move { C::connect(&uri).await })?;
    let (writes, stop) = (
        Arc::new(Mutex::new(Writes::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let (seen, stopped) = (Arc::clone(&writes), Arc::clone(&stop));
    let writer = client.clone();
    let write = async move {
        while !stopped.load(Ordering::Relaxed) {
            let start = Instant::now();
            let result = writer.insert_one().await;
            let (took, at) = (start.elapsed(), SystemTime::UNIX_EPOCH.elapsed()?);
            let mut writes = seen.lock().map_err(|_| "a panic")?;
            writes.count += 1;
            if let Err(error) = result {
                eprintln!("write {} failed: {error}", writes.count);
                writes.failed += 1;
            }
            if took > writes.longest {
                writes.longest = took;
                writes.ended = at.as_micros();
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let listened = listen(&writes);
            stop.store(true, Ordering::Relaxed);
            listened
        });
        run_one(on, write)
    })?;
    on.block_on(client.shutdown());
    Ok(())
}

fn listen(writes: &Mutex<Writes>) -> Result {
    let mut out = std::io::stdout();
    writeln!(out, "ready").and_then(|()| out.flush())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut writes = writes.lock().map_err(|_| "a panic")?;
        if line == "mark" {
            *writes = Writes::default();
        }
        let Writes {
            longest,
            ended,
            count,
            failed,
        } = *writes;
        drop(writes);
        let longest = longest.as_micros();
        writeln!(
            out,
            "ended={ended} longest={longest} count={count} failed={failed}"
        )
        .and_then(|()| out.flush())?;
    }
    Ok(())
}
