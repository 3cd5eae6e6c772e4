//! The connection that a cursor keeps behind a load balancer, where each of its commands must reach
//! the service that holds it.
//!
//! [`Pin`] says when a lease stays with the cursor and when it goes back to its pool; whoever owns
//! leases does so. Specification: "Load Balancers", "Behaviour With Cursors".
//!
//! | state | the next command | a command has failed | has opened, or left open | has ended the cursor |
//! |---|---|---|---|---|
//! | empty | any connection | empty, back | kept | empty, back |
//! | lent | none: it is lost | kept | kept | empty, back |
//! | kept | that connection | | | |

use std::mem;

use bson::{RawBsonRef, RawDocument};

use crate::{
    error::Error,
    op::reply::{field, integer},
};

/// The connection of a cursor; see the [module](self). `L` is a lease of it.
#[derive(Debug)]
pub struct Pin<L>(State<L>);

#[derive(Debug)]
enum State<L> {
    /// No command has opened a cursor.
    Empty,
    /// No command is under way, but one may have been given up.
    Kept(L),
    /// A command has the connection, or it is lost.
    Lent,
}

/// What a command of a cursor does for a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Pick<L> {
    /// It opens the cursor: any connection will do.
    Any,
    /// The connection of the cursor is gone, and the cursor with it: see [`gone`].
    Gone,
    /// The connection of the cursor.
    This(L),
}

/// How a command of a cursor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It failed, or was given up. One that belongs to a cursor leaves the connection there, so
    /// that its service is not mistaken and a broken one is not replaced.
    Failed,
    /// It succeeded, and the server has a cursor.
    Open,
    /// It succeeded, and the server has no cursor any more.
    Over,
}

impl Ended {
    /// The end of a command whose reply was a success.
    #[must_use]
    pub fn of_reply(reply: &RawDocument) -> Self {
        let cursor = field(reply, "cursor").ok().flatten();
        let id = cursor
            .and_then(RawBsonRef::as_document)
            .and_then(|cursor| field(cursor, "id").ok().flatten())
            .and_then(integer);
        match id {
            Some(id) if id != 0 => Self::Open,
            _ => Self::Over,
        }
    }
}

/// What becomes of the lease of a command that has ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease that is not kept goes back to its pool"]
pub enum Taken<L> {
    /// It goes back to its pool.
    Back(L),
    /// It is the cursor's from now on: its pool is to be told.
    First,
    /// It stays with the cursor.
    Kept,
}

impl<L> Default for Pin<L> {
    fn default() -> Self {
        Self(State::Empty)
    }
}

impl<L> Pin<L> {
    /// Whether the cursor has a connection, or had one.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !matches!(self.0, State::Empty)
    }

    /// Whether the cursor had a connection that is of no use any more: no command can follow.
    #[must_use]
    pub fn is_lost(&self, is_usable: impl FnOnce(&L) -> bool) -> bool {
        match &self.0 {
            State::Empty => false,
            State::Kept(lease) => !is_usable(lease),
            State::Lent => true,
        }
    }

    /// The connection, while no command has it.
    #[must_use]
    pub fn kept(&self) -> Option<&L> {
        match &self.0 {
            State::Kept(lease) => Some(lease),
            State::Empty | State::Lent => None,
        }
    }

    /// Lends the connection to a command.
    pub fn lend(&mut self) -> Pick<L> {
        match mem::replace(&mut self.0, State::Lent) {
            State::Kept(lease) => Pick::This(lease),
            State::Lent => Pick::Gone,
            State::Empty => {
                self.0 = State::Empty;
                Pick::Any
            }
        }
    }

    /// A command is over: takes its connection, or says that it goes back to its pool.
    pub fn take_back(&mut self, lease: L, ended: Ended) -> Taken<L> {
        let first = match (&self.0, ended) {
            (_, Ended::Over) | (State::Empty, Ended::Failed) => {
                self.0 = State::Empty;
                return Taken::Back(lease);
            }
            (state, _) => matches!(state, State::Empty),
        };
        self.0 = State::Kept(lease);
        if first { Taken::First } else { Taken::Kept }
    }

    /// Ends the cursor: gives out the connection that goes back to its pool.
    #[must_use]
    pub fn end(&mut self) -> Option<L> {
        match mem::replace(&mut self.0, State::Empty) {
            State::Kept(lease) => Some(lease),
            State::Empty | State::Lent => None,
        }
    }
}

/// Why no command can follow [`Pick::Gone`].
#[must_use]
pub fn gone() -> Error {
    Error::invalid_argument("cursor: the connection that it was bound to is gone")
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    #[test]
    fn a_reply_tells_whether_the_server_has_a_cursor() {
        let cursor = |id: i64| rawdoc! { "ok": 1, "cursor": { "id": id, "firstBatch": [] } };
        let over: [RawDocumentBuf; 4] = [
            cursor(0),
            rawdoc! { "ok": 1, "cursor": {} },
            rawdoc! { "ok": 1, "cursor": "none" },
            rawdoc! { "ok": 1, "cursorsKilled": [7_i64] },
        ];
        for reply in over {
            assert_eq!(Ended::of_reply(&reply), Ended::Over, "{reply:?}");
        }
        for id in [1, -1, i64::MAX] {
            assert_eq!(Ended::of_reply(&cursor(id)), Ended::Open);
        }
    }

    #[test]
    fn a_connection_is_kept_from_the_opening_of_a_cursor_to_its_end() {
        let mut pin = Pin::default();
        assert_eq!(pin.lend(), Pick::Any);
        assert_eq!(pin.take_back(1, Ended::Failed), Taken::Back(1));
        assert_eq!(pin.take_back(2, Ended::Over), Taken::Back(2));
        assert!(!pin.is_used());
        assert_eq!(pin.take_back(3, Ended::Open), Taken::First);
        for ended in [Ended::Open, Ended::Failed] {
            assert_eq!(pin.lend(), Pick::This(3));
            assert_eq!(pin.kept(), None);
            assert_eq!(pin.take_back(3, ended), Taken::Kept);
            assert_eq!(pin.kept(), Some(&3));
        }
        assert_eq!(pin.lend(), Pick::This(3));
        assert_eq!(pin.take_back(3, Ended::Over), Taken::Back(3));
        assert!(!pin.is_used());
    }

    #[test]
    fn a_connection_that_does_not_come_back_is_lost() {
        let mut pin = Pin::default();
        assert!(!pin.is_lost(|_| false));
        assert_eq!(pin.take_back(1, Ended::Open), Taken::First);
        assert!(pin.is_lost(|_| false) && !pin.is_lost(|_| true));
        assert_eq!(pin.lend(), Pick::This(1));
        assert!(pin.is_lost(|_| true) && pin.is_used());
        assert_eq!(pin.lend(), Pick::Gone);
        assert_eq!(pin.end(), None);
    }
}
