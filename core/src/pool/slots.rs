//! The records of established connections, found in O(1) by the lease token's slot.

use bson::oid::ObjectId;

use super::types::LeaseToken;
use crate::id::{ConnId, Generation};

/// Where an established connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Available,
    Draining,
    Leased,
    /// Leased to a cursor, for as long as it is open.
    Pinned,
}

/// What the pool knows of an established connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) id: ConnId,
    pub(super) generation: Generation,
    pub(super) service_id: Option<ObjectId>,
    pub(super) place: Place,
}

/// A slab of records; slots are reused, connection ids are not.
#[derive(Debug, Default)]
pub(super) struct Slots {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    places: [usize; 4],
}

impl Slots {
    pub(super) fn count(&self, place: Place) -> usize {
        self.places[place as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Keeps a record; its slot.
    pub(super) fn insert(&mut self, record: Record) -> u32 {
        self.places[record.place as usize] += 1;
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            return slot;
        }
        self.records.push(Some(record));
        u32::try_from(self.records.len() - 1).expect("connection ids are u32, so slots fit too")
    }

    /// The record in a slot, if it is of that connection.
    pub(super) fn get(&self, slot: u32, id: ConnId) -> Option<&Record> {
        self.at(slot).filter(|r| r.id == id)
    }

    /// The record in a slot.
    pub(super) fn at(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize)?.as_ref()
    }

    /// Changes a connection's place.
    pub(super) fn set_place(&mut self, slot: u32, place: Place) {
        if let Some(Some(record)) = self.records.get_mut(slot as usize) {
            self.places[record.place as usize] -= 1;
            self.places[place as usize] += 1;
            record.place = place;
        }
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.records.get_mut(slot as usize)?.take()?;
        self.places[record.place as usize] -= 1;
        self.free.push(slot);
        Some(record)
    }

    /// The token for a lease of the connection in a slot.
    pub(super) fn token(&self, slot: u32) -> Option<LeaseToken> {
        let record = self.at(slot)?;
        Some(LeaseToken {
            id: record.id,
            generation: record.generation,
            slot,
        })
    }

    /// All records, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn check_invariants(&self) {
        for place in [
            Place::Available,
            Place::Draining,
            Place::Leased,
            Place::Pinned,
        ] {
            let counted = self.iter().filter(|r| r.place == place).count();
            assert_eq!(counted, self.count(place), "{place:?} is counted wrongly");
        }
        assert_eq!(self.iter().count(), self.len(), "the free list is wrong");
    }
}
