//! The topology machine: facts in, ordered actions out.
//!
//! It decides what the deployment looks like, which servers exist, what state and generation their
//! pools have, and which events the application hears. It does not run checks (see
//! [`monitor`](crate::monitor)), choose servers (see [`select`](crate::select)) or resolve names.
//! Follows "Server Discovery and Monitoring", "Load Balancers" (monitoring) and "Polling SRV
//! Records".
//!
//! Invariants:
//! 1. Every server of the description has pool orders, and no other server has.
//! 2. Server ids are never reused; epochs and generations of a pool never decrease.
//! 3. A pool is ordered ready before the view that shows its server is published, and cleared after.
//! 4. After `close` nothing but the remaining actions leaves.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bson::{RawDocumentBuf, oid::ObjectId};

use super::{
    AppError, CheckOutcome, ServerDescription, ServerType, TopologyAction, TopologyConfig,
    TopologyDescription, TopologyTimer, TopologyType, TopologyView,
    draft::Draft,
    error_rules::{Verdict, judge, supersedes, topology_version},
    pools::PoolOrders,
    publish::PoolOrder,
    rtt::RttStats,
    rules,
    srv::{self, SrvClock},
};
use crate::{
    error::Error,
    event::sdam::{SdamEvent, TopologyClosedEvent, TopologyOpeningEvent},
    hello::HelloReply,
    id::{Generation, ServerId},
    marks::{self, Mark},
    net::ServerAddress,
    op::reply,
    rng::Rng,
    time::Instant,
};

/// What is known of a deployment, and the rules that change it.
#[derive(Debug)]
pub struct Topology {
    pub(super) config: TopologyConfig,
    pub(super) draft: Draft,
    pub(super) description: Arc<TopologyDescription>,
    pub(super) view: Arc<TopologyView>,
    pub(super) pools: BTreeMap<ServerId, PoolOrders>,
    pub(super) rtts: BTreeMap<ServerId, RttStats>,
    pub(super) actions: VecDeque<TopologyAction>,
    pub(super) closed: bool,
    srv: Option<SrvClock>,
    rng: Rng,
}

impl Topology {
    /// Starts a topology; its first actions open it, add the seeds and publish a first view.
    #[must_use]
    pub fn new(config: TopologyConfig, now: Instant) -> Self {
        let nothing = Arc::new(Draft::empty().describe(&config));
        let mut topology = Self {
            draft: Draft::empty(),
            view: Arc::new(TopologyView {
                version: 0,
                description: Arc::clone(&nothing),
                generations: BTreeMap::new(),
                closed: false,
                last_dropped: None,
            }),
            description: nothing,
            pools: BTreeMap::new(),
            rtts: BTreeMap::new(),
            actions: VecDeque::new(),
            closed: false,
            srv: config.srv.as_ref().map(|srv| SrvClock::start(srv, now)),
            rng: Rng::from_seed(config.rng_seed),
            config,
        };
        topology.open();
        topology
    }

    fn open(&mut self) {
        self.emit(SdamEvent::TopologyOpening(TopologyOpeningEvent {
            topology_id: self.config.id,
        }));
        let nothing = std::mem::replace(&mut self.draft, Draft::initial(&self.config));
        self.announce_topology(Arc::new(self.draft.describe(&self.config)));
        self.announce_servers(&nothing, None);
        if self.draft.topology_type != TopologyType::LoadBalanced {
            self.publish();
            return;
        }
        // Load Balancers: the one server is usable at once, and stays so.
        let mut draft = self.draft.clone();
        let balancers: Vec<ServerId> = draft.servers.keys().copied().collect();
        for server in draft.servers.values_mut() {
            let mut balancer = ServerDescription::unknown(server.address.clone());
            balancer.server_type = ServerType::LoadBalancer;
            *server = Arc::new(balancer);
        }
        let subject = balancers.first().map(|id| (*id, PoolOrder::Ready));
        self.adopt(draft, subject);
    }

    /// A check of a server ended, or an application's connection got its hello reply.
    pub fn handle_check(&mut self, server: ServerId, outcome: CheckOutcome, now: Instant) {
        let Some(address) = self.checked_address(server) else {
            return;
        };
        match outcome {
            CheckOutcome::Success { hello, rtt } if hello.ok => {
                self.check_succeeded(server, address, hello, rtt, now);
            }
            // Monitors tell of a hello with an error as a failure; other callers need not.
            CheckOutcome::Success { hello, .. } => {
                self.check_failed(server, address, &refused(&hello), now);
            }
            CheckOutcome::Failure { error } => self.check_failed(server, address, &error, now),
        }
    }

    /// The address of a server that can be checked: part of the topology, not a load balancer.
    fn checked_address(&self, server: ServerId) -> Option<ServerAddress> {
        if self.closed || self.config.load_balanced {
            return None;
        }
        self.draft.servers.get(&server).map(|s| s.address.clone())
    }

    fn check_succeeded(
        &mut self,
        server: ServerId,
        address: ServerAddress,
        hello: Box<HelloReply>,
        rtt: Option<Duration>,
        now: Instant,
    ) {
        let stats = self.rtts.entry(server).or_default();
        if let Some(sample) = rtt {
            stats.add(sample);
        }
        let (average, min) = (stats.average(), stats.min());
        let current = self.draft.servers[&server].topology_version;
        // Strictly older ones only: an equal version may come with a newer setVersion or lag.
        if supersedes(current, hello.topology_version, false) {
            marks::reached(Mark::TopologyCheckStale);
            return;
        }
        marks::reached(Mark::TopologyCheckSucceeded);
        let mut new = ServerDescription::known(address, Arc::from(hello), now);
        new.average_round_trip_time = average;
        new.min_round_trip_time = min;
        self.replace(server, new, PoolOrder::Ready);
    }

    fn check_failed(
        &mut self,
        server: ServerId,
        address: ServerAddress,
        error: &Error,
        now: Instant,
    ) {
        marks::reached(match error.is_network_timeout() {
            true => Mark::TopologyCheckTimeout,
            false => Mark::TopologyCheckFailed,
        });
        self.rtts.entry(server).or_default().reset();
        let new = ServerDescription::failed(address, error.clone(), None, Some(now));
        let order = PoolOrder::Clear {
            interrupt_in_use: error.is_network_timeout(),
            cause: error.clone(),
        };
        self.replace(server, new, order);
    }

    /// Replaces the description of a server and draws the conclusions for all.
    fn replace(&mut self, server: ServerId, new: ServerDescription, order: PoolOrder) {
        let mut draft = self.draft.clone();
        let deposed = rules::apply(&mut draft, server, new, self.config.seeds.len());
        let order = match order {
            PoolOrder::Ready if !is_usable(&draft, server) => PoolOrder::Keep,
            order => order,
        };
        self.adopt(draft, Some((server, order)));
        for id in deposed {
            marks::reached(Mark::TopologyDeposed);
            if self.draft.servers.contains_key(&id) {
                self.actions.push_back(TopologyAction::CheckNow { id });
            }
        }
    }

    /// The round-trip time probe of a server has a sample.
    pub fn handle_rtt(&mut self, server: ServerId, sample: Duration, _now: Instant) {
        if self.checked_address(server).is_none() {
            return;
        }
        let stats = self.rtts.entry(server).or_default();
        stats.add(sample);
        let (average, min) = (stats.average(), stats.min());
        let Some(place) = self.draft.servers.get_mut(&server) else {
            return;
        };
        // An unknown server has no round-trip time; the samples count when it is known again.
        if place.server_type == ServerType::Unknown
            || (place.average_round_trip_time == average && place.min_round_trip_time == min)
        {
            return;
        }
        let mut new = ServerDescription::clone(place);
        new.average_round_trip_time = average;
        new.min_round_trip_time = min;
        *place = Arc::new(new);
        self.description = Arc::new(self.draft.describe(&self.config));
        self.publish();
    }

    /// A connection of the application failed, or a command on it did.
    pub fn handle_app_error(&mut self, server: ServerId, app: &AppError, now: Instant) {
        let Some(current) = self.draft.servers.get(&server).filter(|_| !self.closed) else {
            marks::reached(Mark::SdamErrorUnknownServer);
            return;
        };
        let error_version = topology_version(&app.error);
        if app.generation != self.generation(server, app.service_id) {
            marks::reached(Mark::SdamErrorStaleGeneration);
            return;
        }
        if supersedes(current.topology_version, error_version, true) {
            marks::reached(Mark::SdamErrorStaleVersion);
            return;
        }
        let verdict = judge(app);
        if self.config.load_balanced {
            self.balanced_app_error(server, app, verdict);
            return;
        }
        let (address, error) = (current.address.clone(), app.error.clone());
        let clear = PoolOrder::Clear {
            interrupt_in_use: false,
            cause: error.clone(),
        };
        match verdict {
            Verdict::Ignore => {}
            Verdict::Suspect => {
                self.actions
                    .push_back(TopologyAction::CheckNow { id: server });
            }
            Verdict::StateChange { shutdown } => {
                let new = ServerDescription::failed(address, error, error_version, Some(now));
                let order = if shutdown { clear } else { PoolOrder::Keep };
                self.replace(server, new, order);
                self.actions
                    .push_back(TopologyAction::CheckNow { id: server });
            }
            Verdict::Unreachable => {
                let new = ServerDescription::failed(address, error, None, Some(now));
                self.replace(server, new, clear);
                self.actions
                    .push_back(TopologyAction::CancelCheck { id: server });
            }
        }
    }

    /// Behind a load balancer only the pool's connections to the one service are concerned.
    fn balanced_app_error(&mut self, server: ServerId, app: &AppError, verdict: Verdict) {
        let concerned = matches!(
            verdict,
            Verdict::StateChange { shutdown: true } | Verdict::Unreachable
        );
        let (true, Some(service)) = (concerned, app.service_id) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&server) {
            let directive = pool.clear_service(service, app.error.clone());
            self.actions.push_back(TopologyAction::Pool {
                id: server,
                directive,
            });
        }
    }

    /// A lookup of the SRV records ended: the verified hosts and the least TTL, or why not.
    ///
    /// No hosts count as a failure: the topology stays as it is.
    pub fn handle_srv(
        &mut self,
        records: Result<(Vec<ServerAddress>, Duration), Error>,
        now: Instant,
    ) {
        let Some(polling) = self.config.srv.as_ref().filter(|_| !self.closed) else {
            return;
        };
        match records {
            Ok((hosts, ttl)) if !hosts.is_empty() => {
                self.srv = Some(SrvClock::after_success(polling, ttl, now));
                if !self.polls_srv() {
                    return;
                }
                let mut draft = self.draft.clone();
                srv::apply(&mut draft, hosts, polling.max_hosts, &mut self.rng);
                if !draft.servers.keys().eq(self.draft.servers.keys()) {
                    self.adopt(draft, None);
                }
            }
            _ => {
                let heartbeat = self.config.heartbeat_frequency;
                self.srv = Some(SrvClock::after_failure(heartbeat, now));
            }
        }
    }

    fn polls_srv(&self) -> bool {
        !self.closed
            && matches!(
                self.draft.topology_type,
                TopologyType::Sharded | TopologyType::Unknown
            )
    }

    /// An operation waits for a server: asks every monitor for an immediate check.
    pub fn request_check(&mut self, _now: Instant) {
        if self.closed || self.config.load_balanced {
            return;
        }
        for id in self.draft.servers.keys() {
            self.actions.push_back(TopologyAction::CheckNow { id: *id });
        }
    }

    /// Ends the topology: all servers are removed, and the last view says that it is closed.
    pub fn close(&mut self, _now: Instant) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.adopt(self.draft.emptied(), None);
        self.emit(SdamEvent::TopologyClosed(TopologyClosedEvent {
            topology_id: self.config.id,
        }));
    }

    /// When to call [`Self::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TopologyTimer)> {
        match self.srv {
            Some(SrvClock::Due(at)) if self.polls_srv() => Some((at, TopologyTimer::SrvRescan)),
            _ => None,
        }
    }

    /// The time of [`Self::poll_timeout`] has come; harmless when it has not.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((at, TopologyTimer::SrvRescan)) = self.poll_timeout()
            && at <= now
        {
            self.srv = Some(SrvClock::Resolving);
            self.actions.push_back(TopologyAction::ResolveSrv);
        }
    }

    /// The next action; `None` when nothing is to be done at present.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<TopologyAction> {
        self.actions.pop_front()
    }

    /// The view that was published last.
    #[must_use]
    pub fn view(&self) -> Arc<TopologyView> {
        Arc::clone(&self.view)
    }

    /// The number that the id of the next server gets: where a topology that follows this one
    /// begins to count ([`TopologyConfig::first_server`]).
    #[must_use]
    pub fn next_server(&self) -> u32 {
        self.draft.next_id()
    }

    /// The generation that a server's pool was ordered to have; of one service behind a load
    /// balancer.
    #[must_use]
    pub fn generation(&self, server: ServerId, service_id: Option<ObjectId>) -> Generation {
        let service_id = service_id.filter(|_| self.config.load_balanced);
        self.pools
            .get(&server)
            .map_or_else(Generation::default, |pool| pool.generation(service_id))
    }

    /// Panics when an invariant of the machine is broken.
    ///
    /// # Panics
    ///
    /// On a bug of this machine only.
    #[cfg(any(test, feature = "check"))]
    pub fn check_invariants(&self) {
        let servers = &self.draft.servers;
        assert!(
            servers.keys().eq(self.pools.keys()),
            "every server has pool orders, and no other"
        );
        assert!(
            servers.keys().eq(self.rtts.keys()),
            "every server has round-trip times, and no other"
        );
        let primaries = servers
            .values()
            .filter(|s| s.server_type == ServerType::RsPrimary)
            .count();
        match self.draft.topology_type {
            TopologyType::ReplicaSetWithPrimary => assert_eq!(primaries, 1, "one primary"),
            TopologyType::Single => assert_eq!(servers.len(), 1, "one server"),
            _ => assert_eq!(primaries, 0, "no primary"),
        }
        assert!(
            Arc::ptr_eq(&self.view.description, &self.description),
            "the present description is published"
        );
    }
}

/// Whether the server's pool may hand out connections (SDAM: "Connection Pool Management").
fn is_usable(draft: &Draft, server: ServerId) -> bool {
    draft.servers.get(&server).is_some_and(|s| {
        s.server_type.is_data_bearing()
            || (draft.topology_type == TopologyType::Single && s.server_type != ServerType::Unknown)
    })
}

/// The error of a hello reply with `ok: 0`.
pub(crate) fn refused(hello: &HelloReply) -> Error {
    match RawDocumentBuf::try_from(&hello.raw) {
        Ok(raw) => reply::command_error(&raw).unwrap_or_else(|error| error),
        Err(error) => Error::from(error),
    }
}
