//! Which machine's action goes where: the only place that says so.
//!
//! The client is composed twice from the same machines: with locks and futures (the driver), and as
//! one object for event loops (`crate::engine`). Both drain a machine through a function of this
//! module into a type that implements its destinations, so the two differ in who holds what, not in
//! what happens. A new action of a machine is a new destination, which neither can forget.
//!
//! Nothing here keeps state or allocates. Every drain ends: a machine's actions are finite, and a
//! destination must not feed the machine that is being drained.

use std::{sync::Arc, time::Duration};

use bson::{RawDocument, oid::ObjectId};

use crate::{
    conn::{ConnError, Phase},
    error::{Error, RETRYABLE_ERROR, SYSTEM_OVERLOADED_ERROR},
    event::{
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    id::{ConnId, Generation, ServerId, Ticket},
    monitor::{Monitor, MonitorAction, RttAction, RttProbe},
    net::ServerAddress,
    op::reply::{self, Counts},
    pool::{Lease, Pool, PoolAction, PoolDirective, PoolError},
    session::SessionState,
    topology::{AppError, CheckOutcome, ErrorPhase, Topology, TopologyAction, TopologyView},
    wire::Reply,
};

/// Where the actions of a [`Topology`] go.
pub trait TopologyRoutes {
    /// Create a server: its pool and, unless load balanced, its monitor.
    fn add_server(&mut self, id: ServerId, address: ServerAddress);
    /// Stop a server's monitor and probe, and close its pool.
    fn remove_server(&mut self, id: ServerId);
    /// Apply a directive to a server's pool, and drain the pool.
    fn direct_pool(&mut self, id: ServerId, directive: PoolDirective);
    /// Tell a server's monitor to check soon.
    fn check_now(&mut self, id: ServerId);
    /// Tell a server's monitor to abandon its running check.
    fn cancel_check(&mut self, id: ServerId);
    /// Store the view and wake those who wait for a server.
    fn publish(&mut self, view: Arc<TopologyView>);
    /// Look the SRV records up once, and report by [`Topology::handle_srv`].
    fn resolve_srv(&mut self);
    /// Tell the application.
    fn event(&mut self, event: SdamEvent);
}

/// Takes the actions of a topology, in order.
pub fn topology(topology: &mut Topology, to: &mut impl TopologyRoutes) {
    while let Some(action) = topology.poll_action() {
        match action {
            TopologyAction::AddServer { id, address } => to.add_server(id, address),
            TopologyAction::RemoveServer { id } => to.remove_server(id),
            TopologyAction::Pool { id, directive } => to.direct_pool(id, directive),
            TopologyAction::CheckNow { id } => to.check_now(id),
            TopologyAction::CancelCheck { id } => to.cancel_check(id),
            TopologyAction::Publish(view) => to.publish(view),
            TopologyAction::ResolveSrv => to.resolve_srv(),
            TopologyAction::Event(event) => to.event(event),
        }
    }
}

/// Where the actions of a [`Pool`] go.
pub trait PoolRoutes<C> {
    /// A ticket has settled: hand its result to whoever waits.
    fn settle(&mut self, ticket: Ticket, result: Result<Lease<C>, PoolError>);
    /// Open a connection, and report by [`Pool::opened`] or [`Pool::open_failed`].
    fn open(&mut self, id: ConnId, generation: Generation);
    /// Destroy a connection: its payload, unless that is gone already.
    fn close(&mut self, id: ConnId, conn: Option<C>, why: ConnectionClosedReason);
    /// Stop what a connection does, wherever it is; it may be opening, in use or gone.
    fn interrupt(&mut self, id: ConnId);
    /// Tell the application.
    fn event(&mut self, event: CmapEvent);
}

/// Takes the actions of a pool, in order.
pub fn pool<C>(pool: &mut Pool<C>, to: &mut impl PoolRoutes<C>) {
    while let Some(action) = pool.poll_action() {
        match action {
            PoolAction::Grant { ticket, lease } => to.settle(ticket, Ok(lease)),
            PoolAction::Fail { ticket, error } => to.settle(ticket, Err(error)),
            PoolAction::Open { id, generation } => to.open(id, generation),
            PoolAction::Close { id, conn, why } => to.close(id, conn, why),
            PoolAction::Interrupt { id } => to.interrupt(id),
            PoolAction::Event(event) => to.event(event),
        }
    }
}

/// Where the actions of a [`Monitor`] go.
pub trait MonitorRoutes {
    /// Tell the application of a heartbeat.
    fn heartbeat(&mut self, event: SdamEvent);
    /// Tell the topology, by [`Topology::handle_check`].
    fn outcome(&mut self, outcome: CheckOutcome);
    /// The server streams its state: measure its round-trip times by an [`RttProbe`] from now on.
    /// Called at every drain while it does.
    fn probe(&mut self);
}

/// Takes the actions of a monitor, in order.
pub fn monitor(monitor: &mut Monitor, to: &mut impl MonitorRoutes) {
    while let Some(action) = monitor.poll_action() {
        match action {
            MonitorAction::Event(event) => to.heartbeat(event),
            MonitorAction::Outcome(outcome) => to.outcome(outcome),
        }
    }
    if monitor.is_streaming() {
        to.probe();
    }
}

/// Takes the samples of a probe, for [`Topology::handle_rtt`].
pub fn probe(probe: &mut RttProbe, mut sample: impl FnMut(Duration)) {
    while let Some(RttAction::Sample(rtt)) = probe.poll_action() {
        sample(rtt);
    }
}

/// What a failed connection means to the topology, for [`Topology::handle_app_error`]. CMAP: it
/// hears of the failure before the pool does.
///
/// `service_id` is what the connection's hello told, behind a load balancer.
#[must_use]
pub fn app_error(
    error: &ConnError,
    generation: Generation,
    service_id: Option<ObjectId>,
) -> AppError {
    let phase = match error.phase {
        Phase::Connect => ErrorPhase::Connect,
        Phase::Hello => ErrorPhase::Hello,
        Phase::Auth => ErrorPhase::Auth,
        Phase::Established => ErrorPhase::Established,
    };
    AppError {
        service_id,
        ..AppError::new(error.error.clone(), phase, generation)
    }
}

/// What an error reply means to the topology (SDAM: "not writable primary" and "node is
/// recovering"): the error of [`reply()`].
#[must_use]
pub fn reply_error(error: Error, generation: Generation, service_id: Option<ObjectId>) -> AppError {
    AppError {
        service_id,
        ..AppError::new(error, ErrorPhase::Established, generation)
    }
}

/// Reads what a reply says to everybody but its operation: hands its `$clusterTime` to `gossip`,
/// lets the session know of its times, and gives the error that it carries, or what it counts (see
/// [`ReplyFacts::counts`](reply::ReplyFacts::counts)).
///
/// After `Ok` the operation takes the reply by [`Operation::succeeded`](crate::op::Operation),
/// otherwise by its `replied`.
///
/// # Errors
///
/// The server's, or what is malformed.
#[inline]
pub fn reply(
    reply: &Reply,
    session: Option<&mut SessionState>,
    gossip: impl FnOnce(&RawDocument),
) -> Result<Option<Counts>, Error> {
    let facts = reply::facts_of(reply.as_bytes())?;
    if let Some(time) = facts.cluster_time {
        gossip(time);
    }
    if let Some(session) = session {
        session.observe(&facts);
    }
    if facts.ok && facts.write_concern_error.is_none() {
        return match facts.lost_primary {
            false => Ok(facts.counts()),
            true => Err(reply::lost_primary_error(reply.document())?),
        };
    }
    reply::check(reply.document()).map(|()| None)
}

/// The error of a monitor's connection. The labels of overload are a pool's to add (CMAP:
/// "Backpressure-enabled"); a failed check says nothing about load.
#[must_use]
pub fn check_error(error: ConnError) -> Error {
    let mut error = error.error;
    error.remove_label(SYSTEM_OVERLOADED_ERROR);
    error.remove_label(RETRYABLE_ERROR);
    error
}

#[cfg(test)]
mod tests {
    use std::io;

    use bson::rawdoc;

    use super::*;

    fn broken(phase: Phase) -> ConnError {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        ConnError::new(Error::io(error), phase)
    }

    fn answer(document: bson::RawDocumentBuf) -> Reply {
        Reply::from_document(document)
    }

    #[test]
    fn a_failed_connection_tells_how_far_it_came_and_to_which_service() {
        let service = ObjectId::from_bytes([3; 12]);
        for (phase, expected) in [
            (Phase::Connect, ErrorPhase::Connect),
            (Phase::Hello, ErrorPhase::Hello),
            (Phase::Auth, ErrorPhase::Auth),
            (Phase::Established, ErrorPhase::Established),
        ] {
            let app = app_error(&broken(phase), Generation(4), Some(service));
            assert_eq!((app.phase, app.generation), (expected, Generation(4)));
            assert_eq!(app.service_id, Some(service));
        }
    }

    #[test]
    fn a_failed_check_says_nothing_of_load() {
        let error = broken(Phase::Hello);
        assert!(error.error.contains_label(SYSTEM_OVERLOADED_ERROR));
        assert!(check_error(error).labels().is_empty());
    }

    #[test]
    fn a_reply_is_gossip_whether_it_is_an_error_or_not() {
        let time = rawdoc! { "clusterTime": bson::Timestamp { time: 5, increment: 1 } };
        let replies = [
            (rawdoc! { "ok": 1, "$clusterTime": time.clone() }, true),
            (
                rawdoc! { "ok": 0, "code": 10107, "errmsg": "not primary", "$clusterTime": time },
                false,
            ),
        ];
        for (document, succeeded) in replies {
            let mut told = 0;
            let result = reply(&answer(document), None, |_| told += 1);
            assert_eq!((result.is_ok(), told), (succeeded, 1));
        }
        let concern = rawdoc! {
            "ok": 1, "writeConcernError": { "code": 91, "errmsg": "going down" },
        };
        assert!(reply(&answer(concern), None, |_| {}).is_err());
        assert!(reply(&answer(rawdoc! { "n": 1 }), None, |_| {}).is_err());
    }
}
