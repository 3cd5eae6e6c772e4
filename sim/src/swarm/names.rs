//! The name server of clients that find the routers by SRV records.
//!
//! It knows the records of one name. Its messages are written apart from the client's resolver.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::plan::{Plan, SRV_HOST};
use crate::choices::Choices;

/// How long an answer takes.
pub(super) const LATENCY: Duration = Duration::from_millis(3);

const TYPE_SRV: u16 = 33;
/// So that the records are asked for often.
const TTL: u32 = 5;
/// The response code of a server that does not want to answer.
const REFUSED: u8 = 5;
const NXDOMAIN: u8 = 3;

/// Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub(super) struct Names(Arc<Mutex<State>>);

struct State {
    /// The routers.
    all: Vec<(String, u16)>,
    /// What is said of them.
    records: Vec<(String, u16)>,
    ttl: u32,
    silent: bool,
    code: u8,
    /// What is not as it should be, and what of that a client was told.
    faults: BTreeSet<&'static str>,
    felt: BTreeSet<&'static str>,
}

impl Names {
    pub(super) fn new(plan: &Plan) -> Self {
        let targets = plan.addresses().into_iter().filter_map(|address| {
            let (host, port) = address.rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?))
        });
        let all: Vec<(String, u16)> = targets.collect();
        Self(Arc::new(Mutex::new(State {
            records: all.clone(),
            all,
            ttl: TTL,
            silent: false,
            code: 0,
            faults: BTreeSet::new(),
            felt: BTreeSet::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a fault strike.
    pub(super) fn strike(&self, kind: &'static str, choices: &mut dyn Choices) {
        let mut state = self.lock();
        let state = &mut *state;
        match kind {
            "srv-changed" => {
                // At least one router is left; a host without a server may come.
                let first = choices.draw("router of records", state.all.len() as u64) as usize;
                let more = choices.draw("more routers", state.all.len() as u64) as usize;
                let len = state.all.len();
                let kept = (0..=more).map(|n| state.all[(first + n) % len].clone());
                state.records = kept.collect();
                if choices.draw("stranger in records", 3) == 0 {
                    let stranger = String::from("stranger.swarm.test");
                    state.records.push((stranger, 27_099));
                }
            }
            "srv-refused" => state.code = [REFUSED, NXDOMAIN][choices.draw("code", 2) as usize],
            "srv-silent" => state.silent = true,
            // None at all, hardly any, and more than the signed numbers have.
            _ => state.ttl = [0, 1, 0x8000_0000, u32::MAX][choices.draw("ttl", 4) as usize],
        }
        state.faults.insert(kind);
    }

    /// All is well again.
    pub(super) fn heal(&self) {
        let mut state = self.lock();
        state.records = state.all.clone();
        (state.ttl, state.silent, state.code) = (TTL, false, 0);
        state.faults.clear();
    }

    /// The faults that clients have felt since this was asked last.
    pub(super) fn take_felt(&self) -> BTreeSet<&'static str> {
        std::mem::take(&mut self.lock().felt)
    }

    /// Answers a question, or does not.
    pub(super) fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let asked = question.get(12..)?;
        let end = asked.iter().position(|byte| *byte == 0)?;
        let kind = u16::from_be_bytes([*asked.get(end + 1)?, *asked.get(end + 2)?]);
        let (name, asked) = (asked.get(..end)?, asked.get(..end + 5)?);
        let mut state = self.lock();
        let state = &mut *state;
        state.felt.append(&mut state.faults);
        if state.silent {
            return None;
        }
        let service = encoded(&format!("_mongodb._tcp.{SRV_HOST}"));
        let known = kind == TYPE_SRV && name.eq_ignore_ascii_case(&service[..service.len() - 1]);
        let records: &[(String, u16)] = match known && state.code == 0 {
            true => &state.records,
            false => &[],
        };
        let mut out = question.get(..2)?.to_vec();
        // A response, with recursion wanted and available; then the counts of the four sections.
        out.extend([0x81, 0x80 | state.code, 0, 1, 0]);
        out.push(u8::try_from(records.len()).unwrap_or(0));
        out.extend([0; 4]);
        out.extend(asked);
        for (host, port) in records {
            // The owner is the name of the question.
            out.extend([0xc0, 12]);
            out.extend(TYPE_SRV.to_be_bytes());
            out.extend([0, 1]);
            out.extend(state.ttl.to_be_bytes());
            let host = encoded(host);
            let len = u16::try_from(6 + host.len()).unwrap_or(0);
            out.extend(len.to_be_bytes());
            // Priority and weight come before the port.
            out.extend([0, 0, 0, 0]);
            out.extend(port.to_be_bytes());
            out.extend(host);
        }
        Some(out)
    }
}

/// A name as labels with their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use mongo_client_core::{
        dns::{DnsAction, Resolver, ResolverConfig, SrvQuery},
        time::Instant,
    };

    use super::*;
    use crate::{
        choices::Listed,
        swarm::plan::{Mode, Profile, Topology},
    };

    /// What the client's resolver makes of an answer: the hosts and the TTL; `None` of silence.
    fn look_up(names: &Names) -> Option<Result<(usize, u32), String>> {
        let server = ([10, 0, 0, 53], 53).into();
        let query = SrvQuery::new(SRV_HOST, "mongodb").without_txt();
        let config = ResolverConfig::new(vec![server]);
        let mut resolver = Resolver::new(query, config, &mut |out: &mut [u8]| out.fill(7), now());
        loop {
            match resolver.poll_action()? {
                DnsAction::Done(Ok(found)) => {
                    let ttl = found.min_ttl.as_secs();
                    return Some(Ok((found.hosts.len(), u32::try_from(ttl).unwrap())));
                }
                DnsAction::Done(Err(fault)) => return Some(Err(fault.to_string())),
                DnsAction::SendDatagram { bytes, .. } => {
                    let answer = names.answer(&bytes)?;
                    resolver.handle_datagram(server, &answer, now());
                }
                _ => {}
            }
        }
    }

    fn now() -> Instant {
        Instant::from_nanos(1)
    }

    fn names() -> Names {
        let mut plan = Plan::draw(1, Profile::Calm, Mode::Engine, &mut Listed::new([]));
        plan.topology = Topology::Routers(3);
        Names::new(&plan)
    }

    #[test]
    fn the_records_of_all_routers_are_found() {
        let names = names();
        assert_eq!(look_up(&names), Some(Ok((3, TTL))));
        assert!(names.take_felt().is_empty());
    }

    #[test]
    fn a_fault_is_felt_once_and_until_all_is_well_again() {
        let cases = [
            ("srv-changed", Some(Some((2, TTL)))),
            ("srv-refused", Some(None)),
            ("srv-silent", None),
            ("srv-ttl", Some(Some((3, 0)))),
        ];
        for (kind, expected) in cases {
            let names = names();
            // The first router alone, and a stranger; refused; no time.
            names.strike(kind, &mut Listed::new([]));
            for _ in 0..2 {
                assert_eq!(look_up(&names).map(Result::ok), expected, "{kind}");
            }
            assert_eq!(names.take_felt(), BTreeSet::from([kind]));
            names.heal();
            assert_eq!(look_up(&names), Some(Ok((3, TTL))), "{kind}");
            assert!(names.take_felt().is_empty(), "{kind}");
        }
    }
}
