//! The queue of waiting checkouts: first come, first served.
//!
//! A checkout that settles elsewhere than at the front leaves a dead entry behind, which is skipped
//! later or swept out when dead entries outnumber the live ones; so every step is O(1) amortised
//! or, by ticket, O(log n).
//!
//! Invariant: the checkouts for which a connection is being opened come before all others.

use std::collections::VecDeque;

use crate::{
    id::{ConnId, Ticket},
    time::Instant,
};

/// Dead entries that are tolerated whatever the number of live ones.
const DEAD_MAX: usize = 16;

/// A waiting checkout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) started: Instant,
    /// The connection that is being opened for it.
    pub(super) opening: Option<ConnId>,
}

#[derive(Debug)]
struct Entry {
    waiter: Waiter,
    live: bool,
}

#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// In the order of tickets.
    entries: VecDeque<Entry>,
    live: usize,
    issued: u64,
}

impl WaitQueue {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Appends a checkout.
    pub(super) fn push(&mut self, started: Instant) -> Ticket {
        self.issued += 1;
        let ticket = Ticket(self.issued);
        self.entries.push_back(Entry {
            waiter: Waiter {
                ticket,
                started,
                opening: None,
            },
            live: true,
        });
        self.live += 1;
        ticket
    }

    /// Takes the checkout that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Waiter> {
        while let Some(entry) = self.entries.pop_front() {
            if entry.live {
                self.live -= 1;
                return Some(entry.waiter);
            }
        }
        None
    }

    /// Takes a checkout by ticket.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let at = self.position(ticket)?;
        let entry = &mut self.entries[at];
        entry.live = false;
        let waiter = entry.waiter;
        self.live -= 1;
        while self.entries.front().is_some_and(|e| !e.live) {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.live + DEAD_MAX {
            self.entries.retain(|e| e.live);
        }
        Some(waiter)
    }

    /// Notes which connection is being opened for a checkout.
    pub(super) fn bind(&mut self, ticket: Ticket, opening: Option<ConnId>) {
        if let Some(at) = self.position(ticket) {
            self.entries[at].waiter.opening = opening;
        }
    }

    /// The first checkout for which no connection is being opened.
    pub(super) fn first_unbound(&self) -> Option<Ticket> {
        self.iter().find(|w| w.opening.is_none()).map(|w| w.ticket)
    }

    /// Takes the checkouts for which no connection is being opened, in order.
    pub(super) fn take_unbound(&mut self) -> Vec<Waiter> {
        let mut taken = Vec::new();
        self.entries.retain(|e| {
            if e.live && e.waiter.opening.is_none() {
                taken.push(e.waiter);
            }
            e.live && e.waiter.opening.is_some()
        });
        self.live = self.entries.len();
        taken
    }

    /// The waiting checkouts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.entries.iter().filter(|e| e.live).map(|e| &e.waiter)
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.entries
            .binary_search_by_key(&ticket, |e| e.waiter.ticket)
            .ok()
            .filter(|at| self.entries[*at].live)
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn check_invariants(&self) {
        let live = self.entries.iter().filter(|e| e.live).count();
        assert_eq!(live, self.live, "the count of live tickets is wrong");
        assert!(
            self.entries.len() <= 2 * self.live + DEAD_MAX + 1,
            "dead tickets pile up"
        );
        let tickets: Vec<_> = self.entries.iter().map(|e| e.waiter.ticket).collect();
        assert!(tickets.is_sorted(), "tickets are out of order");
        let bound: Vec<_> = self.iter().map(|w| w.opening.is_none()).collect();
        assert!(bound.is_sorted(), "a bound ticket follows an unbound one");
    }
}
