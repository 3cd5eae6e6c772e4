//! The first step: which server an operation goes to, and the wait for one.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use mongo_client_core::{
    error::{Error, ErrorKind},
    id::ServerId,
    op::{Failure, Progress, Selected, Stage, Target, Want},
    select::{Criteria, Selection, describe_failure, select_beside, select_with},
    time::Instant,
    topology::{ServerDescription, TopologyType},
};

use super::run::{Run, Step};
use crate::{
    server::Server,
    trace,
    view_cell::{Snapshot, ViewWaiter},
    wait::{Deadline, Tick},
};

/// Counts an operation on its server from selection to its end (selection: "operationCount").
pub(super) struct OpCount(pub(super) Arc<Server>);

impl OpCount {
    fn new(server: Arc<Server>) -> Self {
        server.operations.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for OpCount {
    fn drop(&mut self) {
        self.0.operations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A wait for a server.
pub(super) struct ServerWait<'a> {
    waiter: ViewWaiter<'a>,
    deadline: Instant,
    /// Ends at the deadline, or before it with the hold of a server.
    timer: Deadline<'a>,
    /// The view for which a check was asked for.
    asked: Option<Arc<Snapshot>>,
}

impl Run<'_> {
    /// Finds a server, waiting for the topology to change where there is none.
    pub(super) fn poll_select(
        &mut self,
        cx: &mut Context<'_>,
        tick: &mut Tick<'_>,
    ) -> Poll<Progress> {
        let shared = self.shared;
        let mut patient = true;
        loop {
            if let Err(error) = shared.check_since(self.entered) {
                return Poll::Ready(self.not_selected(error, tick));
            }
            let Want::Server {
                target,
                deprioritized,
            } = self.operation.want()
            else {
                return Poll::Ready(Progress::Continue);
            };
            let snapshot = shared.views.load();
            let load = |id| snapshot.servers.get(&id).map_or(0, |s| s.load());
            let draw = |below| shared.rng.with("select", |rng| rng.below(below));
            let mut selection = select_with(&snapshot.view, target, deprioritized, load, draw);
            let mut hold = self.hold_of(&selection, tick);
            // A read may go to another server meanwhile.
            if let (Some(_), Selection::Server { server, .. }) = (hold, &selection)
                && let Some(other) =
                    select_beside(&snapshot.view, server, target, deprioritized, load, draw)
            {
                (selection, hold) = (other, None);
            }
            let hold = match selection {
                Selection::Server {
                    id,
                    server: description,
                    topology_type,
                } => {
                    if hold.is_none() || !patient {
                        let server = snapshot.servers.get(&id);
                        let selected = self.selected(id, server, topology_type, description, tick);
                        return Poll::Ready(selected);
                    }
                    hold
                }
                Selection::Incompatible(error) | Selection::Invalid(error) => {
                    return Poll::Ready(self.not_selected(error, tick));
                }
                Selection::None => None,
            };
            let wait = match &mut self.step {
                Step::Selecting(wait) => wait,
                _ if matches!(target, Target::Server(id) if shared.is_former(*id)) => {
                    // It holds a cursor that was closed with its topology.
                    return Poll::Ready(self.not_selected(Error::new(ErrorKind::Closed), tick));
                }
                step => {
                    let mut deadline = tick.now() + shared.settings.server_selection_timeout;
                    if let Some(at) = self.operation.deadline() {
                        deadline = deadline.min(at);
                    }
                    *step = Step::Selecting(ServerWait {
                        waiter: shared.views.waiter(),
                        deadline,
                        timer: Deadline::new(shared, deadline),
                        asked: None,
                    });
                    continue;
                }
            };
            if hold.is_none() {
                self.waited.waiting(shared, &self.operation, wait.deadline);
            }
            // Once per view: a future that is polled often asks no more often.
            if wait
                .asked
                .as_ref()
                .is_none_or(|view| !Arc::ptr_eq(view, &snapshot))
            {
                shared.request_check();
                wait.asked = Some(Arc::clone(&snapshot));
            }
            let wake = hold.map_or(wait.deadline, |until| until.min(wait.deadline));
            if wait.timer.at() != wake {
                wait.timer = Deadline::new(shared, wake);
            }
            if wait.timer.poll(cx).is_ready() {
                tick.renew();
                if hold.is_some() {
                    patient = false;
                    continue;
                }
                let mut criteria = Criteria::new(target.clone());
                criteria.deprioritized.extend_from_slice(deprioritized);
                let message = describe_failure(&snapshot.view, &criteria);
                let error = Error::new(ErrorKind::ServerSelection { message }).with_timeout();
                return Poll::Ready(self.not_selected(error, tick));
            }
            if !wait.waiter.park(&snapshot, cx) {
                continue;
            }
            // Only then, so that a death is either seen here or wakes the waiter.
            return match shared.ensure_alive() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(self.not_selected(error, tick)),
            };
        }
    }

    /// Until when a selected server is held.
    #[inline]
    fn hold_of(&self, selection: &Selection, tick: &mut Tick<'_>) -> Option<Instant> {
        let Selection::Server { id, server, .. } = selection else {
            return None;
        };
        let version = server.topology_version;
        self.operation.hold(*id, version, || tick.now())
    }

    fn selected(
        &mut self,
        id: ServerId,
        server: Option<&Arc<Server>>,
        topology_type: TopologyType,
        description: Arc<ServerDescription>,
        tick: &mut Tick<'_>,
    ) -> Progress {
        if let Step::Selecting(_) = self.step {
            self.step = Step::Next;
        }
        let Some(server) = server else {
            let error = Error::internal("a view without its server");
            return self.not_selected(error, tick);
        };
        trace::selected(self.shared, &self.operation, Ok(server));
        self.server = Some(OpCount::new(Arc::clone(server)));
        self.operation.selected(Selected {
            server: id,
            address: Arc::clone(&server.address),
            description,
            topology_type,
        });
        Progress::Continue
    }

    fn not_selected(&mut self, error: Error, tick: &mut Tick<'_>) -> Progress {
        self.step = Step::Next;
        trace::selected(self.shared, &self.operation, Err(&error));
        let failure = Failure {
            error,
            stage: Stage::Selection,
        };
        self.shared.rng.with("retry", |rng| {
            self.operation.failed(failure, None, tick.now(), rng)
        })
    }
}
