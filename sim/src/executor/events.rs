//! The queue of what will happen: by time, and in the order of scheduling.

use std::{cmp::Reverse, collections::BinaryHeap, task::Waker};

use mongo_client_driver::Instant;

use crate::net::SharedPipe;

/// So many cancelled events may wait in the queue, beside as many as there are others.
const CANCELLED_MAX: usize = 64;

/// Something that happens at an instant.
pub(crate) enum Event {
    Call(Box<dyn FnOnce() + Send>),
    Wake(Waker),
    Deliver(SharedPipe, usize),
    Close(SharedPipe, std::io::ErrorKind),
}

/// The name of an event that is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventId {
    sequence: u64,
    place: u32,
}

struct Place {
    sequence: u64,
    event: Option<Event>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Events {
    queue: BinaryHeap<Reverse<(Instant, EventId)>>,
    places: Vec<Place>,
    free: Vec<u32>,
    sequence: u64,
    cancelled: usize,
}

impl Events {
    pub(super) fn schedule(&mut self, at: Instant, event: Event) -> EventId {
        let sequence = self.sequence;
        self.sequence += 1;
        let new = Place {
            sequence,
            event: Some(event),
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = new;
                place
            }
            None => {
                self.places.push(new);
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let id = EventId { sequence, place };
        self.queue.push(Reverse((at, id)));
        id
    }

    /// The waker of an event that is one.
    pub(super) fn waker(&self, id: EventId) -> Option<&Waker> {
        let place = self.places.get(id.place as usize)?;
        match &place.event {
            Some(Event::Wake(waker)) if place.sequence == id.sequence => Some(waker),
            _ => None,
        }
    }

    fn take(&mut self, id: EventId) -> Option<Event> {
        let place = self.places.get_mut(id.place as usize)?;
        if place.sequence != id.sequence {
            return None;
        }
        let event = place.event.take()?;
        self.free.push(id.place);
        Some(event)
    }

    /// Forgets an event; it is returned, to be dropped without the world's lock.
    pub(super) fn cancel(&mut self, id: EventId) -> Option<Event> {
        let event = self.take(id)?;
        self.cancelled += 1;
        if self.cancelled > CANCELLED_MAX + self.queue.len() / 2 {
            self.cancelled = 0;
            let places = &self.places;
            self.queue.retain(|Reverse((_, id))| {
                let place = &places[id.place as usize];
                place.sequence == id.sequence && place.event.is_some()
            });
        }
        Some(event)
    }

    /// When the next event is due. Takes those away that were cancelled.
    pub(super) fn next(&mut self) -> Option<Instant> {
        loop {
            let Reverse((at, id)) = *self.queue.peek()?;
            let place = &self.places[id.place as usize];
            if place.sequence == id.sequence && place.event.is_some() {
                return Some(at);
            }
            self.queue.pop();
            self.cancelled = self.cancelled.saturating_sub(1);
        }
    }

    /// The next event, that [`Self::next`] has found.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse((_, id)) = self.queue.pop()?;
        self.take(id)
    }
}
