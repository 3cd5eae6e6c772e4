//! Operations of cursors that were saved.

use bson::Document;

use super::{Done, Output, missing};
use crate::unified::{Stop, arguments::Args, entities::CursorEntity};

pub(super) async fn execute(
    cursor: &tokio::sync::Mutex<CursorEntity>,
    name: &str,
    args: Args,
) -> Done {
    let mut cursor = cursor.lock().await;
    match name {
        "iterateUntilDocumentOrError" => {
            args.finish()?;
            let found = next(&mut cursor).await?;
            found.map_or_else(
                || Err(Stop::from("the cursor ended without a document").into()),
                |document| Ok(Output::Value(document.into())),
            )
        }
        "close" => {
            args.finish()?;
            *cursor = CursorEntity::Closed;
            Ok(Output::Nothing)
        }
        "iterateOnce" => {
            args.finish()?;
            let CursorEntity::Plain(cursor) = &mut *cursor else {
                return Err(missing("iterateOnce in a session", "cursor").into());
            };
            if !cursor.try_advance().await? {
                return Ok(Output::Nothing);
            }
            let document: Document = cursor.deserialize_current()?;
            Ok(Output::Value(document.into()))
        }
        _ => Err(missing(name, "cursor").into()),
    }
}

async fn next(cursor: &mut CursorEntity) -> Result<Option<Document>, super::Failure> {
    match cursor {
        CursorEntity::Plain(cursor) => Ok(if cursor.advance().await? {
            Some(cursor.deserialize_current()?)
        } else {
            None
        }),
        CursorEntity::InSession(cursor, session) => {
            let mut guard = session.lock().await;
            let session = guard.as_mut().ok_or(Stop::from("the session was ended"))?;
            Ok(cursor.next(session).await.transpose()?)
        }
        CursorEntity::Closed => Err(Stop::from("the cursor was closed").into()),
    }
}
