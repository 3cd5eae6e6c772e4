//! Deadlines, and whose they are.

use std::collections::{BTreeMap, BTreeSet};

use super::TimerTag;
use crate::time::Instant;

/// Deadlines, each with its reason; at most one for each reason.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, TimerTag)>,
    at: BTreeMap<TimerTag, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, tag: TimerTag, at: Option<Instant>) {
        let at = at.filter(|at| *at != Instant::MAX);
        let old = match at {
            Some(at) => self.at.insert(tag, at),
            None => self.at.remove(&tag),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, tag));
        }
        self.queue.extend(at.map(|at| (at, tag)));
    }

    pub(super) fn first(&self) -> Option<(Instant, TimerTag)> {
        self.queue.first().copied()
    }

    /// Takes all that are due: each is set again by whoever handles it.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<TimerTag> {
        let mut due = Vec::new();
        while let Some((at, tag)) = self.first().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, tag));
            self.at.remove(&tag);
            due.push(tag);
        }
        due
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.at.clear();
    }
}
