//! What the verbs share that list something: as descriptions through a cursor, or as names.

use mongo_client_core::error::Result;

use super::reply;
use crate::{
    cursor::{Cursor, SessionCursor},
    session::ClientSession,
};

/// A verb that lists: in a session of its own or in one of the caller's.
macro_rules! listing {
    ($(#[$doc:meta])* $name:ident, $options:ty, $setters:ident) => {
        $(#[$doc])*
        #[must_use = "verbs do nothing unless awaited or run"]
        #[derive(Debug)]
        pub struct $name<'a, S = ImplicitSession> {
            pub(super) place: &'a Place,
            pub(super) options: Option<Box<$options>>,
            pub(super) session: S,
        }

        $setters!(impl ['a, S] $name<'a, S>);

        impl<'a> $name<'a> {
            fn new(place: &'a Place) -> Self {
                Self {
                    place,
                    options: None,
                    session: ImplicitSession,
                }
            }

            /// Runs in a session of the caller's.
            pub fn session<'s>(
                self,
                value: impl Into<&'s mut ClientSession>,
            ) -> $name<'a, ExplicitSession<'s>> {
                $name {
                    place: self.place,
                    options: self.options,
                    session: ExplicitSession(value.into()),
                }
            }
        }
    };
}
pub(super) use listing;

/// The names of all that a cursor gives.
pub(super) async fn names(mut cursor: Cursor<()>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while cursor.advance().await? {
        names.push(reply::name(cursor.current())?);
    }
    Ok(names)
}

/// As [`names`], in a session of the caller's.
pub(super) async fn names_in(
    mut cursor: SessionCursor<()>,
    session: &mut ClientSession,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while cursor.advance(session).await? {
        names.push(reply::name(cursor.current())?);
    }
    Ok(names)
}
