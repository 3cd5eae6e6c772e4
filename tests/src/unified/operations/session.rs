//! Operations of sessions.

use bson::Bson;
use mongo_client::ClientSession;

use super::{Done, Output, missing};
use crate::unified::{arguments::Args, entities::SessionEntity};

pub(super) async fn execute(entity: &SessionEntity, name: &str, args: Args) -> Done {
    match name {
        "endSession" => {
            args.finish()?;
            // Dropping a session gives it back; a second end has no effect.
            drop(entity.session.lock().await.take());
            Ok(Output::Nothing)
        }
        "getSnapshotTime" => {
            args.finish()?;
            let guard = entity.session.lock().await;
            let time = guard.as_ref().and_then(ClientSession::snapshot_time);
            Ok(time.map_or(Output::Nothing, |time| Output::Value(Bson::Timestamp(time))))
        }
        _ => Err(missing(name, "session").into()),
    }
}
