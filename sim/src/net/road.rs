//! One connection: two lanes, what its two ends know of each other, and where it stands.

use std::collections::VecDeque;

use super::lane::Lane;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ToClient = 0,
    ToServer = 1,
}

/// Who has a connection: a client, and the client's own name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The client.
    pub(crate) client: usize,
    /// Its name for the connection.
    pub(crate) tag: u64,
}

/// How a connection ended at the client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Eof,
    Reset,
}

/// Where the opening of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The dial is on its way to the server.
    Dialled,
    /// The server has taken it, the answer is on its way.
    Accepted,
    /// Both know.
    Done,
}

#[derive(Debug)]
pub(crate) struct Road {
    pub(crate) server: Option<usize>,
    pub(crate) owner: Owner,
    pub(crate) opening: Opening,
    /// A step of the opening is held up.
    pub(crate) waiting: bool,
    pub(crate) lanes: [Lane; 2],
    /// The client has not closed its end.
    pub(crate) client_open: bool,
    /// The server has taken the connection and neither closed it nor heard of its end.
    pub(crate) server_open: bool,
    /// Nobody is there: what is sent is lost.
    pub(crate) silent: Option<u64>,
    /// What the client finds after the bytes that have arrived.
    pub(crate) ended: Option<Ended>,
    /// The client wants to hear when it can write.
    pub(crate) wants_to_write: bool,
    /// An event is under way that says so.
    pub(crate) write_armed: bool,
}

impl Road {
    pub(crate) fn new(server: Option<usize>, owner: Owner) -> Self {
        Self {
            server,
            owner,
            opening: Opening::Dialled,
            waiting: false,
            lanes: [Lane::default(), Lane::default()],
            client_open: true,
            server_open: false,
            silent: None,
            ended: None,
            wants_to_write: false,
            write_armed: false,
        }
    }

    pub(crate) fn lane(&mut self, way: Way) -> &mut Lane {
        &mut self.lanes[way as usize]
    }

    /// Whether neither end will ask for it again.
    pub(crate) fn is_over(&self) -> bool {
        !self.client_open && !self.server_open
    }
}

/// Connections by their numbers, which count up from 1 and are not used again.
#[derive(Debug, Default)]
pub(crate) struct Roads {
    first: u64,
    table: VecDeque<Option<Box<Road>>>,
}

impl Roads {
    pub(crate) fn insert(&mut self, road: Road) -> u64 {
        self.first = self.first.max(1);
        self.table.push_back(Some(Box::new(road)));
        self.first + self.table.len() as u64 - 1
    }

    fn place(&self, connection: u64) -> usize {
        let place = connection.wrapping_sub(self.first);
        usize::try_from(place).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, connection: u64) -> Option<&Road> {
        self.table.get(self.place(connection))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, connection: u64) -> Option<&mut Road> {
        let place = self.place(connection);
        self.table.get_mut(place)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, connection: u64) {
        let place = self.place(connection);
        if let Some(road) = self.table.get_mut(place) {
            *road = None;
        }
        while self.table.front().is_some_and(Option::is_none) {
            self.table.pop_front();
            self.first += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Road)> {
        let numbered = (self.first..).zip(&self.table);
        numbered.filter_map(|(n, road)| Some((n, road.as_deref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Road)> {
        let numbered = (self.first..).zip(&mut self.table);
        numbered.filter_map(|(n, road)| Some((n, road.as_deref_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_used_again() {
        let owner = Owner { client: 0, tag: 0 };
        let mut roads = Roads::default();
        let one = roads.insert(Road::new(Some(0), owner));
        let two = roads.insert(Road::new(Some(1), owner));
        roads.remove(one);
        assert!(roads.get(one).is_none());
        roads.remove(two);
        let three = roads.insert(Road::new(Some(2), owner));
        assert_eq!((one, two, three), (1, 2, 3));
        assert_eq!(roads.get(three).unwrap().server, Some(2));
        assert_eq!(roads.iter().count(), 1);
    }
}
