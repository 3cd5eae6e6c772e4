//! The line between the controller and a peer: `key=value` pairs, a turn a line.
//!
//! The peer says `ready`, then answers each turn with its measures or with `error` and a sentence.
//! It ends when its standard input does, so that it cannot outlive its controller.

use std::{
    fmt::{self, Write as _},
    io::{BufRead, Write},
    str::FromStr,
    time::Duration,
};

use crate::{Case, Error, Executor, Peer, Result, load::Load};

/// One turn of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The server.
    pub uri: String,
    /// What to run.
    pub case: Case,
    /// How many callers run it at once.
    pub concurrency: usize,
    /// `maxPoolSize`.
    pub pool: usize,
    /// How long to run before measuring.
    pub warm: Duration,
    /// How long to measure.
    pub time: Duration,
    /// Half of the operations per caller whose allocations are counted afterwards; 0 is none.
    pub count: u64,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "case={} concurrency={} pool={} warm={} time={} count={} uri={}",
            self.case,
            self.concurrency,
            self.pool,
            self.warm.as_millis(),
            self.time.as_millis(),
            self.count,
            self.uri
        )
    }
}

impl FromStr for Turn {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        Ok(Self {
            uri: field(line, "uri")?.to_owned(),
            case: field(line, "case")?.parse()?,
            concurrency: field(line, "concurrency")?.parse()?,
            pool: field(line, "pool")?.parse()?,
            warm: Duration::from_millis(field(line, "warm")?.parse()?),
            time: Duration::from_millis(field(line, "time")?.parse()?),
            count: field(line, "count")?.parse()?,
        })
    }
}

/// What a turn gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Operations per second.
    pub rate: f64,
    /// Half of the operations took less, in microseconds.
    pub p50: f64,
    /// 99 of 100 operations took less, in microseconds.
    pub p99: f64,
    /// The peer's processor time per operation, user and system, in microseconds.
    pub cpu: f64,
    /// Allocations per operation, where they were counted.
    pub allocations: Option<f64>,
    /// Allocated bytes per operation, where they were counted.
    pub bytes: Option<f64>,
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            p50,
            p99,
            cpu,
            ..
        } = self;
        write!(f, "rate={rate} p50={p50} p99={p99} cpu={cpu}")?;
        if let (Some(allocations), Some(bytes)) = (self.allocations, self.bytes) {
            write!(f, " allocations={allocations} bytes={bytes}")?;
        }
        Ok(())
    }
}

impl FromStr for Measures {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let optional = |name| match field(line, name) {
            Ok(value) => value.parse().map(Some),
            Err(_) => Ok(None),
        };
        Ok(Self {
            rate: field(line, "rate")?.parse()?,
            p50: field(line, "p50")?.parse()?,
            p99: field(line, "p99")?.parse()?,
            cpu: field(line, "cpu")?.parse()?,
            allocations: optional("allocations")?,
            bytes: optional("bytes")?,
        })
    }
}

fn field<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    let pair = pairs.find(|(key, _)| *key == name);
    let value = pair.map(|(_, value)| value);
    value.ok_or_else(|| format!("no {name} in: {line}").into())
}

/// Takes turns until the controller ends.
///
/// # Errors
///
/// When the controller cannot be heard or answered.
pub fn serve<P: Peer>(on: &impl Executor) -> Result {
    let mut peers = Clients::<P>::default();
    let mut out = std::io::stdout();
    writeln!(out, "ready").and_then(|()| out.flush())?;
    for line in std::io::stdin().lock().lines() {
        let measures = line?.parse().and_then(|turn| peers.take(&turn, on));
        let mut answer = String::new();
        match measures {
            Ok(measures) => write!(answer, "{measures}")?,
            Err(error) => write!(answer, "error {error}")?,
        }
        let answer = answer.replace('\n', " ");
        writeln!(out, "{answer}").and_then(|()| out.flush())?;
    }
    Ok(())
}

/// Clients, which live as long as the process: the next turn finds the pool warm.
struct Clients<P> {
    all: Vec<(String, usize, P)>,
    next: i64,
}

impl<P> Default for Clients<P> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            next: 0,
        }
    }
}

impl<P: Peer> Clients<P> {
    fn take(&mut self, turn: &Turn, on: &impl Executor) -> Result<Measures> {
        let known = |(uri, pool, _): &(String, usize, P)| (uri, *pool) == (&turn.uri, turn.pool);
        let index = match self.all.iter().position(known) {
            Some(index) => index,
            None => {
                let peer = on.block_on(P::connect(&turn.uri, turn.pool))?;
                self.all.push((turn.uri.clone(), turn.pool, peer));
                self.all.len() - 1
            }
        };
        let peer = &self.all[index].2;
        let workers = on.block_on(peer.workers(turn.case, turn.concurrency))?;
        let mut load = Load::new(workers, self.next);
        let outcome = measure(&mut load, turn, on);
        self.next = load.next();
        outcome
    }
}

fn measure<W: crate::Worker>(
    load: &mut Load<W>,
    turn: &Turn,
    on: &impl Executor,
) -> Result<Measures> {
    load.run_for(on, turn.warm)?;
    let timed = load.run_for(on, turn.time)?;
    let ops = timed.times.count() as f64;
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let mut measures = Measures {
        rate: ops / timed.wall.as_secs_f64(),
        p50: micros(timed.times.quantile(0.5)),
        p99: micros(timed.times.quantile(0.99)),
        cpu: timed.cpu.as_secs_f64() * 1e6 / ops,
        allocations: None,
        bytes: None,
    };
    if turn.count > 0 {
        // The difference takes out what starting the callers allocates.
        let (short, long) = (load.count(on, turn.count)?, load.count(on, 3 * turn.count)?);
        let ops = (long.times.count() - short.times.count()) as f64;
        let more = |long: u64, short: u64| long.saturating_sub(short) as f64 / ops;
        measures.allocations = Some(more(long.allocations.0, short.allocations.0));
        measures.bytes = Some(more(long.allocations.1, short.allocations.1));
    }
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_survives_the_line() {
        let turn = Turn {
            uri: "mongodb://127.0.0.1:27017/?a=b&c=d".to_owned(),
            case: Case::FindOneTyped,
            concurrency: 64,
            pool: 10,
            warm: Duration::from_millis(100),
            time: Duration::from_millis(500),
            count: 20,
        };
        assert_eq!(turn.to_string().parse::<Turn>().unwrap(), turn);
    }

    #[test]
    fn measures_survive_the_line_with_and_without_a_count() {
        let mut measures = Measures {
            rate: 12_345.6,
            p50: 1.5,
            p99: 99.25,
            cpu: 17.0,
            allocations: None,
            bytes: None,
        };
        assert_eq!(measures.to_string().parse::<Measures>().unwrap(), measures);
        measures.allocations = Some(66.0);
        measures.bytes = Some(35_592.0);
        assert_eq!(measures.to_string().parse::<Measures>().unwrap(), measures);
    }

    #[test]
    fn a_line_without_a_field_is_refused_by_name() {
        let error = "case=ping pool=10".parse::<Turn>().unwrap_err();
        assert_eq!(error.to_string(), "no uri in: case=ping pool=10");
    }
}
