//! How verbs with results in batches open their cursor.

use mongo_client_core::{cursor::CursorSpec, error::Result, op::CommandSpec};

use super::Place;
use crate::{
    client::{Pinned, SessionArg},
    cursor::{Cursor, SessionCursor},
    session::ClientSession,
};

/// Runs a command in a session of its own, which the cursor keeps.
///
/// A write that nobody acknowledges has no results.
pub(super) async fn open<T>(
    place: &Place,
    (spec, settings): (CommandSpec, CursorSpec),
) -> Result<Cursor<T>> {
    let client = &place.client;
    let acknowledged = spec.is_acknowledged();
    let mut session = None;
    let mut pinned = Pinned::default();
    let executed = client
        .execute_pinned(spec, SessionArg::Keep(&mut session), &mut pinned)
        .await?;
    if !acknowledged {
        return Ok(Cursor::empty(client.clone()));
    }
    Cursor::new(client.clone(), executed, settings, session, pinned)
}

/// Runs a command in a session of the caller's.
pub(super) async fn open_in<T>(
    place: &Place,
    (spec, settings): (CommandSpec, CursorSpec),
    session: &mut ClientSession,
) -> Result<SessionCursor<T>> {
    let client = &place.client;
    let mut pinned = Pinned::default();
    let executed = client
        .execute_pinned(spec, SessionArg::Explicit(session), &mut pinned)
        .await?;
    SessionCursor::new(client.clone(), executed, settings, session, pinned)
}
