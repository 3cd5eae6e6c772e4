//! Finding a server for an operation.

use super::{Engine, Flow, Op, Wait};
use crate::{
    engine::{Phase, TimerTag},
    error::{Error, ErrorKind},
    op::{Selected, Stage, Want},
    select::{Criteria, Selection, describe_failure, select, select_beside},
};

impl Engine {
    /// Finds a server, or waits for the topology to change.
    pub(super) fn select(&mut self, op: &mut Op) -> Flow {
        self.release(op);
        if self.phase == Phase::Closed {
            return Flow::Done(Err(Error::new(ErrorKind::Shutdown)));
        }
        let (Some(running), Some(view), Some(operation)) =
            (&self.running, self.tables.view.clone(), &mut op.operation)
        else {
            return Flow::Done(Err(Error::internal("a selection without a topology")));
        };
        let Want::Server {
            target,
            deprioritized,
        } = operation.want()
        else {
            return Flow::Continue;
        };
        let mut criteria = Criteria::new(target.clone());
        criteria.deprioritized.extend_from_slice(deprioritized);
        let (until, asked) = match op.wait {
            Wait::Server { until, asked } => (until, asked),
            _ => {
                let until = self.now + running.settings.server_selection_timeout;
                (op.command.deadline.map_or(until, |at| at.min(until)), None)
            }
        };
        // Whatever comes next, a later selection has a time limit of its own.
        op.wait = Wait::Start;
        let servers = &self.tables.servers;
        let load = |id| servers.get(&id).map_or(0, |server| server.operations);
        let mut selection = select(&view, &criteria, load, &mut self.rng);
        let mut hold = None;
        if let Selection::Server { id, server, .. } = &selection {
            hold = operation.hold(*id, server.topology_version, || self.now);
            let draw = |below| self.rng.below(below);
            let (target, skip) = (&criteria.target, &criteria.deprioritized);
            // A read may go to another server meanwhile.
            if hold.is_some()
                && let Some(other) = select_beside(&view, server, target, skip, load, draw)
            {
                (selection, hold) = (other, None);
            }
        }
        match selection {
            Selection::Server {
                id,
                server,
                topology_type,
            } if hold.is_none() || self.now >= until => {
                self.tables.timers.set(TimerTag::Op(op.id), None);
                if let Some(target) = self.tables.servers.get_mut(&id) {
                    target.operations += 1;
                    op.counted = Some(id);
                }
                let selected = Selected {
                    server: id,
                    address: std::sync::Arc::new(server.address.clone()),
                    description: server,
                    topology_type,
                };
                operation.selected(selected);
                Flow::Continue
            }
            Selection::Incompatible(error) | Selection::Invalid(error) => {
                self.failed(op, error, Stage::Selection)
            }
            Selection::None if self.now >= until => {
                let message = describe_failure(&view, &criteria);
                let error = Error::new(ErrorKind::ServerSelection { message }).with_timeout();
                self.failed(op, error, Stage::Selection)
            }
            Selection::Server { .. } | Selection::None => {
                let wake = hold.map_or(until, |hold| hold.min(until));
                self.tables.timers.set(TimerTag::Op(op.id), Some(wake));
                self.selecting.insert(op.id);
                if asked != Some(view.version) {
                    let now = self.now;
                    self.with_topology(|t| t.request_check(now));
                }
                let asked = Some(view.version);
                Flow::Wait(Wait::Server { until, asked })
            }
        }
    }

    /// There is a new view: all who wait for a server look at it, in the order of their coming.
    pub(in crate::engine) fn select_again(&mut self) {
        for id in std::mem::take(&mut self.selecting) {
            if let Some(op) = self.ops.remove(&id) {
                self.advance(op);
            }
        }
    }
}
