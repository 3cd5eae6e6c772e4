//! Step-down: from the new primary's first answer as such to the end of the next write.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bson::doc;
use xtask::cluster::{Cluster, Plan};
use xtask::wire::{Wire, is_true};
use xtask::{Context, Failure, Result, process};

use super::{Programs, ROUNDS, Row, Target, median, value};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn rows(peers: &Programs) -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-step-down", Plan::replica_set(3))?;
    let uri = format!("{}&w=1", cluster.uri());
    let (mut ours, mut official) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        ours.round(&cluster, &peers.peer, &uri)?;
        if let Ok(program) = &peers.official {
            official.round(&cluster, program, &uri)?;
        }
    }
    let both = peers.official.is_ok();
    let row = |name: &str, unit, ours, official: f64, limit| Row {
        name: name.to_owned(),
        unit,
        ours,
        official: both.then_some(official),
        target: Target::Figure(limit),
    };
    Ok(vec![
        row(
            "new primary's answer to next write",
            "ms",
            median(ours.times),
            median(official.times),
            8.0,
        ),
        row(
            "writes failed meanwhile",
            "writes",
            ours.failed,
            official.failed,
            0.0,
        ),
    ])
}

#[derive(Default)]
struct Rounds {
    /// Milliseconds.
    times: Vec<f64>,
    failed: f64,
}

impl Rounds {
    /// Lets the primary step down while a peer writes.
    fn round(&mut self, cluster: &Cluster, program: &Path, uri: &str) -> Result {
        let mut writer = Writer::start(program, uri)?;
        // The writer has found the primary.
        let warm = Instant::now();
        while value(&writer.ask("tell")?, "count")? < 50.0 {
            patience(warm, "the first writes")?;
            thread::sleep(Duration::from_millis(5));
        }
        let primary = wait_for_primary(cluster, None)?;
        writer.ask("mark")?;
        let mut wires: Vec<Wire> = (0..cluster.len())
            .map(|member| cluster.connect(member))
            .collect::<Result<_>>()?;
        wires[primary].admin(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 5 })?;
        let stepped = Instant::now();
        let seen = 'seen: loop {
            for (member, wire) in wires.iter_mut().enumerate() {
                let hello = wire.admin(doc! { "hello": 1 })?;
                if member != primary && is_true(&hello, "isWritablePrimary") {
                    break 'seen wall_clock()?;
                }
            }
            patience(stepped, "a new primary")?;
            thread::sleep(Duration::from_millis(1));
        };
        thread::sleep(Duration::from_millis(300));
        let line = writer.ask("tell")?;
        self.times.push((value(&line, "ended")? - seen) / 1e3);
        self.failed += value(&line, "failed")?;
        writer.end()?;
        // The old primary may not stand again for a while; then any may.
        thread::sleep(Duration::from_secs(5));
        wait_for_primary(cluster, None).map(drop)
    }
}

fn wait_for_primary(cluster: &Cluster, not: Option<usize>) -> Result<usize> {
    let start = Instant::now();
    loop {
        if let Some(primary) = cluster.primary().filter(|member| Some(*member) != not) {
            return Ok(primary);
        }
        patience(start, "a primary")?;
        thread::sleep(Duration::from_millis(20));
    }
}

fn patience(start: Instant, what: &str) -> Result {
    if start.elapsed() > PATIENCE {
        return Err(Failure::new(format!("waited in vain for {what}")));
    }
    Ok(())
}

/// Microseconds since the Unix epoch.
#[expect(clippy::cast_precision_loss, reason = "microseconds fit")]
fn wall_clock() -> Result<f64> {
    let time = SystemTime::UNIX_EPOCH.elapsed();
    let time = time.context(|| "the clock".to_owned())?;
    Ok(time.as_micros() as f64)
}

/// A peer that writes all the time.
struct Writer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn start(program: &Path, uri: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["row", "step-down", uri]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| process::missing(&command, &error))?;
        let output = child.stdout.take();
        let mut this = Self {
            input: child.stdin.take(),
            output: BufReader::new(output.ok_or_else(|| Failure::new("no pipe"))?),
            child,
        };
        this.line()?;
        Ok(this)
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        let input = self.input.as_mut();
        let input = input.ok_or_else(|| Failure::new("the writer has ended"))?;
        writeln!(input, "{question}")
            .and_then(|()| input.flush())
            .context(|| "the writer does not listen".to_owned())?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        match read.context(|| "the writer does not answer".to_owned())? {
            0 => Err(Failure::new("the writer has ended")),
            _ => Ok(line),
        }
    }

    fn end(mut self) -> Result {
        drop(self.input.take());
        let status = self.child.wait().context(|| "the writer".to_owned())?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("the writer: {status}"))),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
