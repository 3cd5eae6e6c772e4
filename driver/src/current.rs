//! The current server of a client, outside of operations: looks at the views, and waits for one
//! that has a server.

use std::{future::poll_fn, sync::Arc, task::Poll};

use mongo_client_core::{
    error::{Error, ErrorKind, Result},
    op::Target,
    select::{Criteria, Selection, describe_failure, select_with},
    topology::{ServerDescription, TopologyDescription},
};

use crate::{handle::Handle, shared::Shared, view_cell::Snapshot, wait::Deadline};

impl Handle {
    /// What is known of the deployment at this moment; `None` before the client has started.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<TopologyDescription>> {
        let shared = self.started()?;
        Some(Arc::clone(&shared.views.load().view.description))
    }

    /// The server that writes go to, as it is now or as soon as there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Self::ready`]; `ServerSelection` when none is found in time, and
    /// `IncompatibleServer`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn writable(&self) -> Result<Arc<ServerDescription>> {
        let shared = self.shared().await?;
        writable(shared).await
    }
}

async fn writable(shared: &Arc<Shared>) -> Result<Arc<ServerDescription>> {
    let entered = shared.enter()?;
    let deadline = shared.clock.now() + shared.settings.server_selection_timeout;
    let mut timer = Deadline::new(shared, deadline);
    let mut waiter = shared.views.waiter();
    let mut asked: Option<Arc<Snapshot>> = None;
    poll_fn(|cx| {
        loop {
            if let Err(error) = shared.check_since(entered) {
                return Poll::Ready(Err(error));
            }
            let snapshot = shared.views.load();
            let draw = |below| shared.rng.with("current", |rng| rng.below(below));
            match select_with(&snapshot.view, &Target::Write, &[], |_| 0, draw) {
                Selection::Server { server, .. } => return Poll::Ready(Ok(server)),
                Selection::Incompatible(error) | Selection::Invalid(error) => {
                    return Poll::Ready(Err(error));
                }
                Selection::None => {}
            }
            if asked.as_ref().is_none_or(|at| !Arc::ptr_eq(at, &snapshot)) {
                shared.request_check();
                asked = Some(Arc::clone(&snapshot));
            }
            if timer.poll(cx).is_ready() {
                let criteria = Criteria::new(Target::Write);
                let message = describe_failure(&snapshot.view, &criteria);
                let error = Error::new(ErrorKind::ServerSelection { message }).with_timeout();
                return Poll::Ready(Err(error));
            }
            if waiter.park(&snapshot, cx) {
                // Only then, so that a death is either seen here or wakes the waiter.
                return match shared.ensure_alive() {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
        }
    })
    .await
}
