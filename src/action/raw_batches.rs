//! `batch` of the verbs that give cursors: their results as the server sent them.

use mongo_client_core::{cursor::CursorSpec, error::Result, op::CommandSpec};

use super::{
    Aggregate, ExplicitSession, Find, ImplicitSession, ListCollections, ListIndexes, Place,
    RunCursorCommand, action, aggregate,
    drop::existing,
    find, list_collections, list_indexes,
    open::{open, open_in},
    run_command,
};
use crate::cursor::{Cursor, RawBatchCursor, SessionCursor, SessionRawBatchCursor};

/// Runs a verb for whole batches; made by `batch` of the verbs that give cursors.
#[must_use = "verbs do nothing unless awaited or run"]
pub struct RawBatches<'a, S = ImplicitSession> {
    place: &'a Place,
    built: Result<(CommandSpec, CursorSpec)>,
    /// Whether a collection that does not exist has no results, in place of an error.
    lenient: bool,
    session: S,
}

/// Leaves out the command: it may hold secrets.
impl<S> std::fmt::Debug for RawBatches<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawBatches").finish_non_exhaustive()
    }
}

impl RawBatches<'_> {
    async fn perform(self) -> Result<RawBatchCursor> {
        let opened = open(self.place, self.built?).await;
        let cursor = match self.lenient {
            true => existing(opened)?,
            false => Some(opened?),
        };
        let none = || Cursor::empty(self.place.client.clone());
        Ok(RawBatchCursor::new(cursor.unwrap_or_else(none)))
    }
}

impl RawBatches<'_, ExplicitSession<'_>> {
    async fn perform(self) -> Result<SessionRawBatchCursor> {
        let opened = open_in(self.place, self.built?, self.session.0).await;
        let cursor = match self.lenient {
            true => existing(opened)?,
            false => Some(opened?),
        };
        let none = || SessionCursor::empty(self.place.client.clone());
        Ok(SessionRawBatchCursor::new(cursor.unwrap_or_else(none)))
    }
}

action!(impl ['a] RawBatches<'a> => RawBatchCursor, crate::sync::RawBatchCursor);
action!(
    impl ['a] RawBatches<'a, ExplicitSession<'a>>
        => SessionRawBatchCursor, crate::sync::SessionRawBatchCursor
);

/// Gives a verb its `batch`.
macro_rules! batches {
    (impl [$($generics:tt)*] $target:ty, $lenient:literal, |$verb:ident| $build:expr) => {
        impl<'a, $($generics)*> $target {
            /// Asks for whole batches, undecoded: awaiting gives a [`RawBatchCursor`], or a
            /// [`SessionRawBatchCursor`] in a caller's session.
            pub fn batch(self) -> RawBatches<'a, S> {
                let $verb = self;
                RawBatches {
                    place: $verb.place,
                    built: $build,
                    lenient: $lenient,
                    session: $verb.session,
                }
            }
        }
    };
}

batches!(impl [S, T] Aggregate<'a, S, T>, false, |verb| {
    aggregate::build(&verb.place.scope, &verb.pipeline, verb.options.as_deref())
});
batches!(impl [T, S] Find<'a, T, S>, false, |verb| {
    find::build(&verb.place.scope, &verb.filter, verb.options.as_deref())
});
batches!(impl [S] ListCollections<'a, S>, false, |verb| {
    list_collections::build(&verb.place.scope, false, verb.options.as_deref())
});
batches!(impl [S] ListIndexes<'a, S>, true, |verb| {
    list_indexes::build(&verb.place.scope, verb.options.as_deref())
});
batches!(impl [S] RunCursorCommand<'a, S>, false, |verb| {
    let scope = &verb.place.scope;
    verb.command
        .and_then(|command| run_command::build_cursor(scope, command, verb.options))
});
