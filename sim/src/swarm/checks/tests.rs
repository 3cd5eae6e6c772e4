//! Observations for the tests of single invariants.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::{Binary, Document, RawDocument, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use mongo_client_core::{
    error::Error,
    event::{
        cmap::{
            CmapEvent, ConnectionCheckedOutEvent, ConnectionCheckoutFailedEvent,
            ConnectionCheckoutFailedReason, ConnectionClosedEvent, ConnectionClosedReason,
            ConnectionEvent, ConnectionReadyEvent, PoolClearedEvent, PoolCreatedEvent, PoolEvent,
            PoolEventOptions,
        },
        command::{CommandEvent, CommandFailedEvent, CommandStartedEvent, ConnectionInfo},
        sdam::{
            SdamEvent, ServerHeartbeatFailedEvent, ServerHeartbeatStartedEvent,
            ServerHeartbeatSucceededEvent, ServerOpeningEvent, TopologyClosedEvent,
            TopologyDescriptionChangedEvent, TopologyOpeningEvent,
        },
    },
    id::{OperationId, TopologyId},
    net::ServerAddress,
    time::Instant,
    topology::{ServerDescription, ServerType, TopologyDescription, TopologyType},
};

use super::{Part, Suite, all, names};
use crate::{
    Seeded,
    swarm::{
        observe::{Check, ClientCounts, End, Observation, OpFacts, OpKind, Outcome, Phase},
        plan::{Mode, Plan, Profile},
    },
};

/// OP_MSG flags: no reply is wanted, or another one follows.
pub(super) const SILENT: u32 = 2;
pub(super) const MORE: u32 = 2;

pub(super) fn message(id: i32, to: i32, flags: u32, document: &RawDocument) -> Vec<u8> {
    let body = document.as_bytes();
    let len = i32::try_from(16 + 5 + body.len()).unwrap();
    let header = [len, id, to, 2013].map(i32::to_le_bytes).concat();
    [&header, &flags.to_le_bytes()[..], &[0], body].concat()
}

pub(super) fn plan() -> Plan {
    Plan::draw(1, Profile::Swarm, Mode::Driver, &mut Seeded::new(1))
}

pub(super) fn ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

pub(super) fn address() -> ServerAddress {
    ServerAddress::parse("m0.test:27017").unwrap()
}

/// One part, and what it is told.
pub(super) struct Run {
    suite: Suite,
    now: Instant,
    pub(super) documents: BTreeMap<&'static str, Vec<Document>>,
}

impl Run {
    pub(super) fn of(part: impl Part + 'static) -> Self {
        Self {
            suite: Suite::new(vec![Box::new(part)]),
            now: ms(1_000),
            documents: BTreeMap::new(),
        }
    }

    pub(super) fn at(&mut self, at: u64) {
        self.now = ms(at);
    }

    pub(super) fn tell(&mut self, what: &Observation<'_>) -> Result<(), String> {
        self.suite.observe(self.now, what)
    }

    pub(super) fn dial_result(&mut self, connection: u64) -> Result<(), String> {
        self.tell(&Observation::Dialled {
            connection,
            client: 0,
            server: Some(0),
        })
    }

    pub(super) fn dial(&mut self, connection: u64) {
        self.dial_result(connection).unwrap();
    }

    pub(super) fn close(&mut self, connection: u64) -> Result<(), String> {
        self.tell(&Observation::Closed {
            connection,
            by_client: false,
        })
    }

    pub(super) fn close_client(&mut self) -> Result<(), String> {
        self.tell(&Observation::ClientClosed { client: 0 })
    }

    pub(super) fn client(&mut self, connection: u64, bytes: &[u8]) -> Result<(), String> {
        self.tell(&Observation::ClientBytes { connection, bytes })
    }

    pub(super) fn server(&mut self, connection: u64, bytes: &[u8]) -> Result<(), String> {
        self.tell(&Observation::ServerBytes { connection, bytes })
    }

    /// Sends a `ping`.
    pub(super) fn ask(&mut self, connection: u64, id: i32, op: Option<u64>) -> Result<(), String> {
        let mut document = rawdoc! { "ping": 1 };
        if let Some(op) = op {
            document.append(bson::cstr!("comment"), format!("op-{op}"));
        }
        self.client(connection, &message(id, 0, 0, &document))
    }

    /// Sends an `update` in a session.
    pub(super) fn ask_in(
        &mut self,
        connection: u64,
        id: i32,
        op: Option<u64>,
        session: u8,
        txn: Option<i64>,
    ) -> Result<(), String> {
        let session = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![session; 16],
        };
        let mut document = rawdoc! { "update": "counters", "lsid": { "id": session } };
        if let Some(txn) = txn {
            document.append(bson::cstr!("txnNumber"), txn);
        }
        if let Some(op) = op {
            document.append(bson::cstr!("comment"), format!("op-{op}"));
        }
        self.client(connection, &message(id, 0, 0, &document))
    }

    pub(super) fn answer(
        &mut self,
        connection: u64,
        to: i32,
        document: &RawDocument,
    ) -> Result<(), String> {
        self.server(connection, &message(to + 1_000, to, 0, document))
    }

    pub(super) fn begin(
        &mut self,
        op: u64,
        change: impl FnOnce(&mut OpFacts),
    ) -> Result<(), String> {
        let mut facts = OpFacts {
            op,
            client: 0,
            kind: OpKind::Find,
            document: 0,
            acknowledged: true,
            majority: true,
            retryable: true,
            deadline: None,
        };
        change(&mut facts);
        self.tell(&Observation::Began(&facts))
    }

    pub(super) fn end(&mut self, op: u64, replies: Vec<RawDocumentBuf>) -> Result<(), String> {
        let outcome = Outcome::Done { replies };
        self.tell(&Observation::Ended {
            op,
            outcome: &outcome,
        })
    }

    pub(super) fn fail_with(&mut self, op: u64, error: Error) -> Result<(), String> {
        let outcome = Outcome::Failed(error);
        self.tell(&Observation::Ended {
            op,
            outcome: &outcome,
        })
    }

    pub(super) fn fail_op(&mut self, op: u64) -> Result<(), String> {
        self.fail_with(op, broken())
    }

    pub(super) fn drop_op(&mut self, op: u64) -> Result<(), String> {
        self.tell(&Observation::Dropped { op, polls: 1 })
    }

    pub(super) fn cmap(&mut self, event: CmapEvent) -> Result<(), String> {
        let event = &event;
        self.tell(&Observation::Cmap { client: 0, event })
    }

    pub(super) fn sdam(&mut self, event: SdamEvent) -> Result<(), String> {
        let event = &event;
        self.tell(&Observation::Sdam { client: 0, event })
    }

    pub(super) fn command(&mut self, event: CommandEvent) -> Result<(), String> {
        let event = &event;
        self.tell(&Observation::Command { client: 0, event })
    }

    pub(super) fn counts(&mut self, change: impl FnOnce(&mut ClientCounts)) -> Result<(), String> {
        let mut counts = ClientCounts {
            client: 0,
            phase: Phase::Safety,
            quiet: false,
            pending: 0,
            pools: Vec::new(),
            operations: 0,
            waiting: 0,
            sessions_idle: 0,
            sockets: 0,
            tasks: 0,
            timers: 0,
        };
        change(&mut counts);
        self.tell(&Observation::Counts(&counts))
    }

    pub(super) fn finish(&mut self) -> Result<(), String> {
        let end = End {
            plan: &plan(),
            documents: &self.documents,
            elapsed: Duration::from_secs(60),
            events: 1,
        };
        self.suite.finish(&end)
    }
}

fn broken() -> Error {
    Error::from(std::io::ErrorKind::ConnectionReset)
}

fn of_pool() -> PoolEvent {
    PoolEvent { address: address() }
}

fn of_connection(connection_id: u32) -> ConnectionEvent {
    ConnectionEvent {
        address: address(),
        connection_id,
    }
}

pub(super) fn pool_created() -> CmapEvent {
    CmapEvent::PoolCreated(PoolCreatedEvent {
        address: address(),
        options: PoolEventOptions::default(),
    })
}

pub(super) fn pool_ready() -> CmapEvent {
    CmapEvent::PoolReady(of_pool())
}

pub(super) fn pool_closed() -> CmapEvent {
    CmapEvent::PoolClosed(of_pool())
}

pub(super) fn cleared() -> CmapEvent {
    CmapEvent::PoolCleared(PoolClearedEvent {
        address: address(),
        service_id: None,
        interrupt_in_use_connections: false,
    })
}

pub(super) fn created(id: u32) -> CmapEvent {
    CmapEvent::ConnectionCreated(of_connection(id))
}

pub(super) fn ready(id: u32) -> CmapEvent {
    CmapEvent::ConnectionReady(ConnectionReadyEvent {
        address: address(),
        connection_id: id,
        duration: Duration::ZERO,
    })
}

pub(super) fn closed(id: u32) -> CmapEvent {
    CmapEvent::ConnectionClosed(ConnectionClosedEvent {
        address: address(),
        connection_id: id,
        reason: ConnectionClosedReason::Stale,
        error: None,
    })
}

pub(super) fn checkout_started() -> CmapEvent {
    CmapEvent::ConnectionCheckoutStarted(of_pool())
}

pub(super) fn checkout_failed() -> CmapEvent {
    CmapEvent::ConnectionCheckoutFailed(ConnectionCheckoutFailedEvent {
        address: address(),
        reason: ConnectionCheckoutFailedReason::Timeout,
        error: None,
        duration: Duration::ZERO,
    })
}

pub(super) fn checked_out(id: u32, waited_ms: u64) -> CmapEvent {
    CmapEvent::ConnectionCheckedOut(ConnectionCheckedOutEvent {
        address: address(),
        connection_id: id,
        duration: Duration::from_millis(waited_ms),
    })
}

pub(super) fn checked_in(id: u32) -> CmapEvent {
    CmapEvent::ConnectionCheckedIn(of_connection(id))
}

fn connection() -> ConnectionInfo {
    ConnectionInfo::new(1, None, address())
}

pub(super) fn command(request_id: i32, command: Document) -> CommandEvent {
    CommandEvent::Started(CommandStartedEvent {
        command,
        db: String::from("test"),
        command_name: String::from("ping"),
        request_id,
        operation_id: OperationId(1),
        connection: connection(),
        service_id: None,
    })
}

pub(super) fn command_failed(request_id: i32) -> CommandEvent {
    CommandEvent::Failed(CommandFailedEvent {
        duration: Duration::ZERO,
        failure: broken(),
        db: String::from("test"),
        command_name: String::from("ping"),
        request_id,
        operation_id: OperationId(1),
        connection: connection(),
        service_id: None,
    })
}

pub(super) fn opening() -> SdamEvent {
    SdamEvent::TopologyOpening(TopologyOpeningEvent {
        topology_id: TopologyId(1),
    })
}

pub(super) fn topology_closed() -> SdamEvent {
    SdamEvent::TopologyClosed(TopologyClosedEvent {
        topology_id: TopologyId(1),
    })
}

pub(super) fn server_opening() -> SdamEvent {
    SdamEvent::ServerOpening(ServerOpeningEvent {
        address: address(),
        topology_id: TopologyId(1),
    })
}

pub(super) fn started(awaited: bool) -> SdamEvent {
    SdamEvent::ServerHeartbeatStarted(ServerHeartbeatStartedEvent {
        server_address: address(),
        awaited,
        driver_connection_id: 0,
        server_connection_id: None,
    })
}

pub(super) fn succeeded(awaited: bool, reply: Document) -> SdamEvent {
    SdamEvent::ServerHeartbeatSucceeded(ServerHeartbeatSucceededEvent {
        duration: Duration::ZERO,
        reply,
        server_address: address(),
        awaited,
        driver_connection_id: 0,
        server_connection_id: None,
    })
}

pub(super) fn failed() -> SdamEvent {
    SdamEvent::ServerHeartbeatFailed(ServerHeartbeatFailedEvent {
        duration: Duration::ZERO,
        failure: broken(),
        server_address: address(),
        awaited: false,
        driver_connection_id: 0,
        server_connection_id: None,
    })
}

/// A view of the set `rs` whose members have these types.
pub(super) fn view(
    types: &[ServerType],
    change: impl FnOnce(&mut TopologyDescription),
) -> SdamEvent {
    let servers = types.iter().enumerate().map(|(number, server_type)| {
        let text = format!("m{number}.test:{}", 27_017 + number);
        let mut server = ServerDescription::unknown(ServerAddress::parse(&text).unwrap());
        server.server_type = *server_type;
        server
    });
    let mut view = TopologyDescription::new(TopologyType::Unknown, servers);
    view.set_name = Some(String::from("rs"));
    change(&mut view);
    let new_description = Arc::new(view);
    SdamEvent::TopologyDescriptionChanged(Box::new(TopologyDescriptionChangedEvent {
        topology_id: TopologyId(1),
        previous_description: Arc::clone(&new_description),
        new_description,
    }))
}

#[test]
fn the_name_of_the_check_is_that_of_the_violated_invariant() {
    let mut check = all(&plan()).pop().unwrap();
    let dropped = Observation::Dropped { op: 1, polls: 0 };
    assert!(check.observe(ms(1), &dropped).is_err());
    assert_eq!(check.name(), "ticket-settles-once");
}

#[test]
fn every_invariant_has_a_name_of_its_own() {
    let mut plan = plan();
    plan.faults.clear();
    let mut all = names(&plan);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), count), (22, 22));
    plan.profile = Profile::HostileBytes;
    assert!(names(&plan).len() < count);
}
