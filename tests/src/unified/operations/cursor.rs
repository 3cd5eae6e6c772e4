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
            let found = step(&mut cursor, false).await?;
            found.map_or_else(
                || Err(Stop::from("the cursor ended without a document").into()),
                |document| Ok(Output::Value(document.into())),
            )
        }
        "close" => {
            args.finish()?;
            match std::mem::replace(&mut *cursor, CursorEntity::Closed) {
                CursorEntity::Plain(cursor) => cursor.close().await,
                CursorEntity::InSession(cursor, session) => {
                    let mut guard = session.lock().await;
                    if let Some(session) = guard.as_mut() {
                        cursor.close(session).await;
                    }
                }
                CursorEntity::Closed => {}
            }
            Ok(Output::Nothing)
        }
        "iterateOnce" => {
            args.finish()?;
            let found = step(&mut cursor, true).await?;
            Ok(found.map_or(Output::Nothing, |document| Output::Value(document.into())))
        }
        _ => Err(missing(name, "cursor").into()),
    }
}

/// Goes to the next document; `once`: with one exchange at most.
async fn step(cursor: &mut CursorEntity, once: bool) -> Result<Option<Document>, super::Failure> {
    match cursor {
        CursorEntity::Plain(cursor) => {
            let advanced = if once {
                cursor.try_advance().await?
            } else {
                cursor.advance().await?
            };
            Ok(advanced.then(|| cursor.deserialize_current()).transpose()?)
        }
        CursorEntity::InSession(cursor, session) => {
            let mut guard = session.lock().await;
            let session = guard.as_mut().ok_or(Stop::from("the session was ended"))?;
            let advanced = if once {
                cursor.try_advance(session).await?
            } else {
                cursor.advance(session).await?
            };
            Ok(advanced.then(|| cursor.deserialize_current()).transpose()?)
        }
        CursorEntity::Closed => Err(Stop::from("the cursor was closed").into()),
    }
}
