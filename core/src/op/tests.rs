use std::{sync::Arc, time::Duration};

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc, oid::ObjectId, rawdoc};

use super::*;
use crate::{
    concern::{ReadConcern, WriteConcern},
    error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, SYSTEM_OVERLOADED_ERROR},
    hello::TopologyVersion,
    id::{OperationId, ServerId},
    net::ServerAddress,
    options::{ServerApi, ServerApiVersion, SessionOptions},
    read_preference::{ReadPreference, ReadPreferenceOptions},
    rng::Rng,
    session::{ClusterTime, ServerSession, SessionState},
    time::Instant,
    topology::{ServerDescription, ServerType, TopologyType},
    wire::Reply,
};

const NOW: Instant = Instant::from_nanos(1_000_000_000);

fn context() -> OperationContext {
    OperationContext {
        operation_id: OperationId(7),
        retry_reads: true,
        retry_writes: true,
        max_adaptive_retries: 2,
        enable_overload_retargeting: false,
        server_api: None,
        deadline: None,
    }
}

fn find() -> CommandSpec {
    let mut spec = CommandSpec::new("find", "db", rawdoc! { "find": "coll" });
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    spec
}

fn insert() -> CommandSpec {
    let mut spec = CommandSpec::new("insert", "db", rawdoc! { "insert": "coll" });
    spec.retryability = Retryability::Write;
    spec
}

fn facts(server_type: ServerType) -> ConnFacts {
    ConnFacts {
        max_wire_version: 17,
        max_bson_object_size: 16 << 20,
        max_message_size: 48_000_000,
        max_write_batch_size: 100_000,
        sessions_supported: true,
        server_type,
        service_id: None,
    }
}

fn with_server(mut session: SessionState) -> SessionState {
    let server = ServerSession::new(&mut |out: &mut [u8]| out.fill(3), NOW);
    session.set_server(server);
    session
}

fn explicit() -> SessionState {
    with_server(SessionState::explicit(&SessionOptions::default()).unwrap())
}

fn ok() -> Reply {
    Reply::from_document(rawdoc! { "ok": 1, "n": 1 })
}

fn failure(code: i32, labels: &[&str]) -> Reply {
    let mut reply = doc! { "ok": 0, "code": code, "codeName": "Name", "errmsg": "text" };
    reply.insert("errorLabels", labels.to_vec());
    Reply::from_document(RawDocumentBuf::try_from(&reply).unwrap())
}

fn network() -> Error {
    std::io::ErrorKind::ConnectionReset.into()
}

/// Drives one operation against a server of a given kind.
struct Rig {
    op: Operation,
    session: Option<SessionState>,
    facts: ConnFacts,
    topology: TopologyType,
    version: Option<TopologyVersion>,
    rng: Rng,
    now: Instant,
}

impl Rig {
    fn new(spec: CommandSpec, context: OperationContext) -> Self {
        Self {
            op: Operation::new(spec, context),
            session: Some(with_server(SessionState::implicit())),
            facts: facts(ServerType::RsPrimary),
            topology: TopologyType::ReplicaSetWithPrimary,
            version: None,
            rng: Rng::from_seed(1),
            now: NOW,
        }
    }

    fn on(mut self, server: ServerType, topology: TopologyType) -> Self {
        self.facts.server_type = server;
        self.topology = topology;
        self
    }

    fn with_session(mut self, session: Option<SessionState>) -> Self {
        self.session = session;
        self
    }

    fn select(&mut self, server: u32) {
        let address = ServerAddress::tcp("host", 1000 + server as u16);
        let selected = Selected {
            server: ServerId(server),
            description: Arc::new(ServerDescription {
                server_type: self.facts.server_type,
                min_round_trip_time: Duration::from_millis(5),
                topology_version: self.version,
                ..ServerDescription::unknown(address.clone())
            }),
            address: Arc::new(address),
            topology_type: self.topology,
        };
        self.op.selected(selected);
        assert!(matches!(self.op.want(), Want::Lease(id) if id == ServerId(server)));
    }

    fn check_out(&mut self) -> Result<Document, Error> {
        self.check_out_at(None)
    }

    fn check_out_at(&mut self, time: Option<&ClusterTime>) -> Result<Document, Error> {
        let facts = self.facts;
        self.op
            .checked_out(&facts, self.session.as_mut(), time, self.now)?;
        let Want::Exchange(request) = self.op.want() else {
            panic!("{:?}", self.op.want());
        };
        let raw = RawDocument::from_bytes(&request.document).expect("a whole document");
        Ok(Document::try_from(raw).expect("well-formed BSON"))
    }

    /// The command of the next attempt on server 1.
    fn send(&mut self) -> Document {
        self.select(1);
        self.check_out().unwrap()
    }

    fn reply(&mut self, reply: Reply) -> Progress {
        self.op
            .replied(reply, self.session.as_mut(), self.now, &mut self.rng)
    }

    fn fail(&mut self, error: Error, stage: Stage) -> Progress {
        let failure = Failure { error, stage };
        self.op
            .failed(failure, self.session.as_mut(), self.now, &mut self.rng)
    }
}

fn is_continue(progress: &Progress) -> bool {
    matches!(progress, Progress::Continue)
}

#[track_caller]
fn error_of(progress: Progress) -> Error {
    match progress {
        Progress::Done(Err(error)) => error,
        other => panic!("expected an error: {other:?}"),
    }
}

const SENT: Stage = Stage::Exchange { sent: true };

mod histories;
mod refusals;
mod requests;
mod retries;
