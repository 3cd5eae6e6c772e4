//! How faults strike the network, how they end, and what dials meet.

use std::{io, time::Duration};

use mongo_client_core::time::Instant;

use super::{
    conditions::{Active, Conditions, Dial, Names},
    fault::{Fault, FaultKind, Nature},
    lane::{Arrival, Cut},
    network::{Delivery, Item, Network},
    road::{Ended, Opening, Way},
};
use crate::swarm::Observation;

/// What the looking-up of a name gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// When it is known.
    pub(crate) at: Instant,
    /// Whether the name exists.
    pub(crate) found: bool,
    /// How many of its addresses, the first ones, have nobody behind them.
    pub(crate) dead: u64,
    /// Whether a dial of those is refused; otherwise it has no end.
    pub(crate) refused: bool,
}

impl Network {
    /// Lets a fault strike. Faults of clocks and of servers among themselves are not the network's.
    pub(crate) fn inject(&mut self, fault: &Fault, now: Instant) -> Vec<Delivery> {
        self.see(now);
        self.fault_last += 1;
        let id = self.fault_last;
        self.unfelt.insert(id, fault.kind);
        match fault.kind.nature() {
            Nature::Clock => {}
            Nature::Once => return self.strike(fault, id),
            Nature::Lasting | Nature::Names => {
                let until = self.now + fault.lasts;
                let fault = fault.clone();
                self.active.push(Active { id, fault, until });
                if until < Instant::MAX {
                    self.at(until, Item::FaultEnds);
                }
                self.review();
            }
        }
        Vec::new()
    }

    /// Ends all faults that last.
    pub(crate) fn heal(&mut self, now: Instant) {
        self.see(now);
        self.active.clear();
        for (_, road) in self.roads.iter_mut() {
            for lane in &mut road.lanes {
                lane.cut = None;
                lane.cut_in_next = None;
                lane.corrupt = None;
            }
        }
        self.review();
    }

    pub(super) fn expire(&mut self) {
        let now = self.now;
        self.active.retain(|active| active.until > now);
        self.review();
    }

    /// Which servers are cut off from the others, if that has changed since this was asked last.
    pub(crate) fn take_parted(&mut self) -> Option<Option<Vec<usize>>> {
        if !std::mem::take(&mut self.parted_is_new) {
            return None;
        }
        if let Some((_, fault)) = self.parted {
            self.feel(fault);
        }
        Some(self.parted.as_ref().map(|(servers, _)| servers.clone()))
    }

    /// Brings everything in line with the faults that are active.
    pub(super) fn review(&mut self) {
        let parted = self.active.iter().rev();
        let parted = parted.filter(|a| a.fault.kind == FaultKind::PartitionServers);
        let parted = parted.map(|a| (a.fault.servers.clone(), a.id)).next();
        self.parted_is_new |= parted != self.parted;
        self.parted = parted;
        self.names = Names::of(&self.active);
        let mut freed = Vec::new();
        for (server, conditions) in self.conditions.iter_mut().enumerate() {
            let reviewed = Conditions::of(server, &self.active);
            if conditions.is_slower_than(&reviewed) {
                freed.push(server);
            }
            *conditions = reviewed;
        }
        let roads: Vec<_> = self.roads.iter().map(|(n, r)| (n, r.server)).collect();
        for (connection, server) in roads {
            self.hold_or_release(connection);
            if server.is_some_and(|server| freed.contains(&server)) {
                self.hasten(connection);
            }
        }
    }

    /// What a slow link has not moved yet goes on at the speed of a good one.
    fn hasten(&mut self, connection: u64) {
        for way in [Way::ToClient, Way::ToServer] {
            let first = self.now + self.latency();
            if let Some(road) = self.roads.get_mut(connection) {
                road.lane(way).hasten(first);
            }
            self.arm(connection, way);
        }
    }

    fn hold_or_release(&mut self, connection: u64) {
        let Some(road) = self.roads.get(connection) else {
            return;
        };
        let held = road.server.and_then(|s| self.conditions.get(s));
        let held = held.map_or([None; 2], |conditions| conditions.held);
        let waiting = road.waiting;
        let mut released = false;
        for way in [Way::ToClient, Way::ToServer] {
            let hold = held[way as usize].is_some();
            let is_held = self
                .roads
                .get(connection)
                .is_some_and(|r| r.lanes[way as usize].is_held());
            if hold == is_held {
                continue;
            }
            let first = if hold {
                self.now
            } else {
                self.retransmission()
            };
            if let Some(road) = self.roads.get_mut(connection) {
                if hold {
                    road.lane(way).hold();
                } else {
                    road.lane(way).release(first);
                }
            }
            released |= !hold;
            self.arm(connection, way);
        }
        if released && waiting {
            let at = self.retransmission();
            if let Some(road) = self.roads.get_mut(connection) {
                road.waiting = false;
            }
            self.at(at, Item::Open(connection));
        }
    }

    /// When something is sent again that got lost: TCP waits longer and longer.
    fn retransmission(&mut self) -> Instant {
        let wait = 1 + self.choices.draw("retransmission ms", 400);
        self.now + Duration::from_millis(wait)
    }

    /// A fault that strikes connections once. What the host has to hand on at once is returned.
    fn strike(&mut self, fault: &Fault, id: u64) -> Vec<Delivery> {
        let open = self.roads.iter().filter(|(_, road)| {
            road.opening == Opening::Done
                && road.client_open
                && road.ended.is_none()
                && road.server.is_some_and(|server| fault.strikes(server))
        });
        let mut struck: Vec<u64> = open.map(|(connection, _)| connection).collect();
        // All of them, or one.
        if struck.len() > 1 && self.choices.draw("strikes one", 2) == 1 {
            let one = self.choices.draw("struck connection", struck.len() as u64);
            struck = vec![struck[usize::try_from(one).unwrap_or(0)]];
        }
        let left = usize::try_from(fault.size).unwrap_or(usize::MAX);
        let mut deliveries = Vec::new();
        for connection in struck {
            let first = self.now + self.latency();
            let Some(road) = self.roads.get_mut(connection) else {
                continue;
            };
            let cut = |left, reset| {
                Some(Cut {
                    left,
                    reset,
                    fault: id,
                })
            };
            match fault.kind {
                FaultKind::Reset => {
                    road.lane(Way::ToClient).abort();
                    self.end_at_client(connection, Ended::Reset);
                    self.feel(id);
                    deliveries.push(Delivery::ToClient { connection });
                }
                FaultKind::ResetInReply => road.lane(Way::ToClient).cut = cut(left, true),
                FaultKind::ResetInRequest => road.lane(Way::ToServer).cut = cut(left, true),
                FaultKind::FinInFrame => road.lane(Way::ToClient).cut_in_next = cut(0, false),
                FaultKind::FinBetweenFrames => {
                    road.lane(Way::ToClient).end(Arrival::Fin, first);
                    self.arm(connection, Way::ToClient);
                    self.feel(id);
                }
                FaultKind::CorruptByte => road.lane(Way::ToClient).corrupt = Some(id),
                _ => {}
            }
        }
        deliveries
    }

    /// A step of an opening: the dial reaches the server, or the answer the client.
    pub(super) fn open(&mut self, connection: u64) -> Option<Delivery> {
        let road = self.roads.get(connection)?;
        if !road.client_open {
            return None;
        }
        let Some(server) = road.server else {
            return self.fail(connection, io::ErrorKind::ConnectionRefused);
        };
        let opening = road.opening;
        let conditions = self.conditions.get(server).cloned().unwrap_or_default();
        let way = match opening {
            Opening::Dialled => Way::ToServer,
            Opening::Accepted => Way::ToClient,
            Opening::Done => return None,
        };
        // The dial is sent again when the way is free, and so is the answer to it.
        if let Some(fault) = conditions.held[way as usize] {
            self.feel(fault);
            let road = self.roads.get_mut(connection)?;
            road.waiting = true;
            for (way, held) in [Way::ToClient, Way::ToServer]
                .into_iter()
                .zip(conditions.held)
            {
                if held.is_some() {
                    road.lane(way).hold();
                }
            }
            return None;
        }
        if opening == Opening::Accepted {
            return self.opened(connection);
        }
        let Some((dial, fault)) = conditions.dial else {
            return Some(Delivery::Dial { connection, server });
        };
        self.feel(fault);
        match dial {
            Dial::Hang => None,
            Dial::Refuse => {
                let at = self.now + self.latency();
                self.at(at, Item::Fail(connection, io::ErrorKind::ConnectionRefused));
                None
            }
            Dial::Unreachable(after) => {
                let at = self.now + after;
                self.at(at, Item::Fail(connection, io::ErrorKind::HostUnreachable));
                None
            }
            Dial::Silence => {
                let at = self.now + self.latency();
                let road = self.roads.get_mut(connection)?;
                road.silent = Some(fault);
                road.opening = Opening::Accepted;
                self.at(at, Item::Open(connection));
                None
            }
        }
    }

    fn opened(&mut self, connection: u64) -> Option<Delivery> {
        self.roads.get_mut(connection)?.opening = Opening::Done;
        self.hold_or_release(connection);
        self.observe(&Observation::Connected { connection });
        Some(Delivery::Connected { connection })
    }

    pub(super) fn fail(&mut self, connection: u64, why: io::ErrorKind) -> Option<Delivery> {
        let owner = self.owner(connection)?;
        self.roads.remove(connection);
        self.observe(&Observation::DialFailed { connection });
        Some(Delivery::DialFailed {
            connection,
            owner,
            why,
        })
    }

    /// A server answers a [`Delivery::Dial`].
    pub(crate) fn answer(&mut self, connection: u64, taken: bool) {
        let at = self.now + self.latency();
        let Some(road) = self.roads.get_mut(connection) else {
            return;
        };
        if taken {
            road.server_open = true;
            road.opening = Opening::Accepted;
            self.at(at, Item::Open(connection));
        } else {
            self.at(at, Item::Fail(connection, io::ErrorKind::ConnectionRefused));
        }
    }

    /// A client looks a name up.
    pub(crate) fn look_up(&mut self, now: Instant) -> Lookup {
        self.see(now);
        let mut lookup = Lookup {
            at: self.now,
            found: true,
            dead: 0,
            refused: false,
        };
        let names = self.names;
        if let Some((time, fault)) = names.slow {
            lookup.at = self.now + time;
            self.feel(fault);
        }
        if let Some(fault) = names.missing {
            lookup.found = false;
            self.feel(fault);
        } else if let Some((dead, fault)) = names.dead {
            lookup.dead = dead;
            lookup.refused = self.choices.draw("dead address refuses", 2) == 0;
            self.feel(fault);
        }
        lookup
    }
}
