//! The reply to `hello` (or the legacy hello), parsed once for connections, monitors and topology.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, RawDocument, Timestamp, oid::ObjectId};

use crate::{
    error::{Error, Result},
    nesting,
    net::ServerAddress,
};

/// The most hosts that a list may name. Replica sets have at most 50 members; each host gets a pool
/// and a monitor, so a hostile reply must not name as many as fit into a message.
pub(crate) const HOSTS_MAX: usize = 1000;

/// When a server's state last changed, as it counts (SDAM: "TopologyVersion").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyVersion {
    /// The server's process.
    pub process_id: ObjectId,
    /// The count of changes in that process.
    pub counter: i64,
}

impl TopologyVersion {
    /// Reads `{processId, counter}`; `None` when a field is missing or of another type.
    #[must_use]
    pub fn parse(doc: &Document) -> Option<Self> {
        let counter = match doc.get("counter")? {
            Bson::Int64(n) => *n,
            Bson::Int32(n) => i64::from(*n),
            _ => return None,
        };
        Some(Self {
            process_id: doc.get_object_id("processId").ok()?,
            counter,
        })
    }

    /// The document that an awaitable hello sends back.
    #[must_use]
    pub fn to_document(self) -> Document {
        bson::doc! { "processId": self.process_id, "counter": self.counter }
    }
}

/// What a server says of itself.
///
/// Absent fields are `None` or empty; host lists are in lower case.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HelloReply {
    /// Whether the command succeeded.
    pub ok: bool,
    /// `isWritablePrimary`, or the legacy `ismaster`.
    pub is_writable_primary: bool,
    /// `helloOk`: the server knows `hello`.
    pub hello_ok: bool,
    /// `secondary`.
    pub secondary: bool,
    /// `arbiterOnly`.
    pub arbiter_only: bool,
    /// `hidden`.
    pub hidden: bool,
    /// `isreplicaset`: a member that is not initialised (RSGhost).
    pub is_replica_set: bool,
    /// `msg`: "isdbgrid" for a mongos.
    pub msg: Option<String>,
    /// `setName`.
    pub set_name: Option<String>,
    /// `setVersion`.
    pub set_version: Option<i64>,
    /// `electionId`.
    pub election_id: Option<ObjectId>,
    /// `hosts`.
    pub hosts: Vec<ServerAddress>,
    /// `passives`.
    pub passives: Vec<ServerAddress>,
    /// `arbiters`.
    pub arbiters: Vec<ServerAddress>,
    /// `primary`.
    pub primary: Option<ServerAddress>,
    /// `me`.
    pub me: Option<ServerAddress>,
    /// `tags`.
    pub tags: BTreeMap<String, String>,
    /// `lastWrite.lastWriteDate`, in milliseconds since the Unix epoch.
    pub last_write_date: Option<i64>,
    /// `lastWrite.opTime`.
    pub last_write_op_time: Option<Bson>,
    /// `minWireVersion` (0 when absent).
    pub min_wire_version: i32,
    /// `maxWireVersion` (0 when absent).
    pub max_wire_version: i32,
    /// `maxBsonObjectSize` (16 MiB when absent).
    pub max_bson_object_size: usize,
    /// `maxMessageSizeBytes` (48,000,000 when absent).
    pub max_message_size_bytes: usize,
    /// `maxWriteBatchSize` (100,000 when absent).
    pub max_write_batch_size: usize,
    /// `logicalSessionTimeoutMinutes`: sessions are supported when present.
    pub logical_session_timeout: Option<Duration>,
    /// `topologyVersion`.
    pub topology_version: Option<TopologyVersion>,
    /// `serviceId`, behind a load balancer.
    pub service_id: Option<ObjectId>,
    /// `connectionId`: the server's id of the connection.
    pub connection_id: Option<i64>,
    /// `compression`: the compressors that the server shares with the client's list.
    pub compression: Vec<String>,
    /// `saslSupportedMechs`.
    pub sasl_supported_mechs: Option<Vec<String>>,
    /// `$clusterTime`, as sent.
    pub cluster_time: Option<Document>,
    /// `operationTime`.
    pub operation_time: Option<Timestamp>,
    /// The whole reply, but for what belongs to a login (`speculativeAuthenticate`): this is shown.
    pub raw: Document,
}

fn integer(doc: &Document, key: &str) -> Option<i64> {
    match doc.get(key)? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) if n.is_finite() => Some(*n as i64),
        _ => None,
    }
}

fn truth(doc: &Document, key: &str) -> bool {
    match doc.get(key) {
        Some(Bson::Boolean(b)) => *b,
        Some(Bson::Int32(n)) => *n != 0,
        Some(Bson::Int64(n)) => *n != 0,
        Some(Bson::Double(n)) => *n != 0.0,
        _ => false,
    }
}

fn text(doc: &Document, key: &str) -> Option<String> {
    doc.get_str(key).ok().map(str::to_owned)
}

fn address(field: &str, value: &str) -> Result<ServerAddress> {
    ServerAddress::parse(value)
        .map(ServerAddress::with_default_port)
        .map_err(|e| Error::invalid_response(format!("hello reply: field {field}: {e}")))
}

fn addresses(doc: &Document, key: &str) -> Result<Vec<ServerAddress>> {
    let Some(Bson::Array(list)) = doc.get(key) else {
        return Ok(Vec::new());
    };
    if list.len() > HOSTS_MAX {
        return Err(Error::invalid_response(format!(
            "hello reply: field {key}: more than {HOSTS_MAX} hosts"
        )));
    }
    list.iter()
        .map(|item| match item {
            Bson::String(s) => address(key, s),
            _ => Err(Error::invalid_response(format!(
                "hello reply: field {key}: not a string"
            ))),
        })
        .collect()
}

fn size(doc: &Document, key: &str, default: usize) -> usize {
    integer(doc, key)
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .unwrap_or(default)
}

impl HelloReply {
    /// Parses a reply; unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) that names the
    /// field. A reply with `ok: 0` parses; see [`Self::ok`].
    pub fn parse(reply: &RawDocument) -> Result<Self> {
        Self::from_document(nesting::to_document("hello reply", reply)?)
    }

    /// What of the reply concerns the connection that it came on: neither the lists of hosts nor
    /// the reply itself, which would be most of what an idle connection takes.
    pub(crate) fn of_connection(&self) -> Self {
        Self {
            ok: self.ok,
            is_writable_primary: self.is_writable_primary,
            hello_ok: self.hello_ok,
            secondary: self.secondary,
            arbiter_only: self.arbiter_only,
            hidden: self.hidden,
            is_replica_set: self.is_replica_set,
            msg: self.msg.clone(),
            set_name: self.set_name.clone(),
            set_version: self.set_version,
            election_id: self.election_id,
            hosts: Vec::new(),
            passives: Vec::new(),
            arbiters: Vec::new(),
            primary: None,
            me: None,
            tags: BTreeMap::new(),
            last_write_date: self.last_write_date,
            last_write_op_time: None,
            min_wire_version: self.min_wire_version,
            max_wire_version: self.max_wire_version,
            max_bson_object_size: self.max_bson_object_size,
            max_message_size_bytes: self.max_message_size_bytes,
            max_write_batch_size: self.max_write_batch_size,
            logical_session_timeout: self.logical_session_timeout,
            topology_version: self.topology_version,
            service_id: self.service_id,
            connection_id: self.connection_id,
            compression: Vec::new(),
            sasl_supported_mechs: None,
            cluster_time: None,
            operation_time: self.operation_time,
            raw: Document::new(),
        }
    }

    /// Parses a reply that is already a [`Document`].
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn from_document(mut doc: Document) -> Result<Self> {
        doc.remove("speculativeAuthenticate");
        let wire = |key| {
            integer(&doc, key)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(0)
        };
        let tags = doc.get_document("tags").map(|tags| {
            tags.iter()
                .filter_map(|(k, v)| v.as_str().map(|v| (k.clone(), v.to_owned())))
                .collect()
        });
        let strings = |list: &Vec<Bson>| {
            list.iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let last_write = doc.get_document("lastWrite").ok();
        let single = |key: &str| match doc.get_str(key) {
            Ok(value) if !value.is_empty() => address(key, value).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            ok: truth(&doc, "ok"),
            is_writable_primary: truth(&doc, "isWritablePrimary") || truth(&doc, "ismaster"),
            hello_ok: truth(&doc, "helloOk"),
            secondary: truth(&doc, "secondary"),
            arbiter_only: truth(&doc, "arbiterOnly"),
            hidden: truth(&doc, "hidden"),
            is_replica_set: truth(&doc, "isreplicaset"),
            msg: text(&doc, "msg"),
            set_name: text(&doc, "setName"),
            set_version: integer(&doc, "setVersion"),
            election_id: doc.get_object_id("electionId").ok(),
            hosts: addresses(&doc, "hosts")?,
            passives: addresses(&doc, "passives")?,
            arbiters: addresses(&doc, "arbiters")?,
            primary: single("primary")?,
            me: single("me")?,
            tags: tags.unwrap_or_default(),
            last_write_date: last_write
                .and_then(|w| w.get_datetime("lastWriteDate").ok())
                .map(|d| d.timestamp_millis()),
            last_write_op_time: last_write.and_then(|w| w.get("opTime").cloned()),
            min_wire_version: wire("minWireVersion"),
            max_wire_version: wire("maxWireVersion"),
            max_bson_object_size: size(&doc, "maxBsonObjectSize", 16 * 1024 * 1024),
            max_message_size_bytes: size(&doc, "maxMessageSizeBytes", 48_000_000),
            max_write_batch_size: size(&doc, "maxWriteBatchSize", 100_000),
            logical_session_timeout: integer(&doc, "logicalSessionTimeoutMinutes")
                .and_then(|m| u64::try_from(m).ok())
                .map(|m| Duration::from_secs(m.saturating_mul(60))),
            topology_version: doc
                .get_document("topologyVersion")
                .ok()
                .and_then(TopologyVersion::parse),
            service_id: doc.get_object_id("serviceId").ok(),
            connection_id: integer(&doc, "connectionId"),
            compression: doc
                .get_array("compression")
                .map(strings)
                .unwrap_or_default(),
            sasl_supported_mechs: doc.get_array("saslSupportedMechs").map(strings).ok(),
            cluster_time: doc.get_document("$clusterTime").ok().cloned(),
            operation_time: doc.get_timestamp("operationTime").ok(),
            raw: doc,
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::nesting::tests::nested;

    #[test]
    fn a_list_of_too_many_hosts_is_refused() {
        for field in ["hosts", "passives", "arbiters"] {
            for (count, accepted) in [(HOSTS_MAX, true), (HOSTS_MAX + 1, false)] {
                let list: Vec<_> = (0..count).map(|n| Bson::from(format!("h{n}"))).collect();
                let reply = HelloReply::from_document(bson::doc! { "ok": 1, field: list });
                assert_eq!(reply.is_ok(), accepted, "{count} {field}");
                if let Err(error) = reply {
                    assert!(error.to_string().contains(field), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_reply_that_is_nested_too_deeply_is_refused() {
        let reply = rawdoc! { "ok": 1, "tags": nested(100_000, 3) };
        let error = HelloReply::parse(&reply).unwrap_err();
        assert!(error.to_string().contains("hello reply"), "{error}");
    }
}
