//! Operations of sessions.

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
        _ => Err(missing(name, "session").into()),
    }
}
