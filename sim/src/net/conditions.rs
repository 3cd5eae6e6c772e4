//! What the faults that last do to the way to each server.

use std::time::Duration;

use mongo_client_core::time::Instant;

use super::{
    fault::{Fault, FaultKind, Nature},
    lane::Pace,
    road::Way,
};

/// A fault that lasts.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) fault: Fault,
    pub(super) until: Instant,
}

/// What a dial meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Hang,
    Refuse,
    Silence,
    Unreachable(Duration),
}

/// The state of the way to one server. Each part names the fault that it is of.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) dial: Option<(Dial, u64)>,
    pub(super) held: [Option<u64>; 2],
    pub(super) clog: Option<(Instant, u64)>,
    pub(super) pace: Option<(Pace, u64)>,
    pub(super) partial: Option<(u64, u64)>,
}

impl Conditions {
    /// The sum of all faults that strike a server; of two that do the same, the later one.
    pub(super) fn of(server: usize, active: &[Active]) -> Self {
        let mut this = Self::default();
        for Active { id, fault, until } in active {
            if fault.strikes(server) {
                this.add(*id, fault, *until);
            }
        }
        this
    }

    /// Whether bytes have been given times by a fault that is over in the other state.
    pub(super) fn is_slower_than(&self, other: &Self) -> bool {
        (self.pace.is_some() && self.pace != other.pace)
            || (self.clog.is_some() && self.clog != other.clog)
    }

    fn add(&mut self, id: u64, fault: &Fault, until: Instant) {
        let most = fault.size.max(1);
        match fault.kind {
            FaultKind::AcceptSilence => self.dial = Some((Dial::Silence, id)),
            FaultKind::ConnectHang => self.dial = Some((Dial::Hang, id)),
            FaultKind::Refuse => self.dial = Some((Dial::Refuse, id)),
            FaultKind::Unreachable => {
                let after = Duration::from_millis(fault.size);
                self.dial = Some((Dial::Unreachable(after), id));
            }
            FaultKind::BlackHole | FaultKind::Partition => self.held = [Some(id); 2],
            FaultKind::BlackHoleToClient | FaultKind::PartitionToClient => {
                self.held[Way::ToClient as usize] = Some(id);
            }
            FaultKind::BlackHoleToServer | FaultKind::PartitionToServer => {
                self.held[Way::ToServer as usize] = Some(id);
            }
            FaultKind::Clog => self.clog = Some((until, id)),
            FaultKind::Resegment => self.pace = Some((Pace::Pieces(most), id)),
            FaultKind::SlowLink => self.pace = Some((Pace::Slow(most), id)),
            FaultKind::Trickle => self.pace = Some((Pace::Trickle, id)),
            FaultKind::PartialWrites => self.partial = Some((most, id)),
            _ => {}
        }
    }
}

/// What the faults that last do to names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) missing: Option<u64>,
    pub(super) slow: Option<(Duration, u64)>,
    pub(super) dead: Option<(u64, u64)>,
}

impl Names {
    pub(super) fn of(active: &[Active]) -> Self {
        let mut this = Self::default();
        for Active { id, fault, .. } in active {
            if fault.kind.nature() != Nature::Names {
                continue;
            }
            match fault.kind {
                FaultKind::DnsNotFound => this.missing = Some(*id),
                FaultKind::DnsSlow => this.slow = Some((Duration::from_millis(fault.size), *id)),
                FaultKind::DnsSeveral => this.dead = Some((fault.size.clamp(1, 4), *id)),
                _ => {}
            }
        }
        this
    }
}
