//! What a replica set consists of: its members and their rôles, as `replSetReconfig` takes them.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, doc};

use crate::{
    failure::{Failure, Result},
    store::value::{float, show_document, truthy, whole},
};

const INVALID: i32 = 93;
const INCOMPATIBLE: i32 = 103;

/// One member of a replica set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MemberConfig {
    /// Its address, `host:port`.
    pub address: String,
    /// It votes and holds no data.
    pub arbiter: bool,
    /// How far its data is kept behind the primary's.
    pub delay: Duration,
    /// Clients are not told of it; its priority must be 0.
    pub hidden: bool,
    /// Who is preferred as primary; a member with 0 is never elected.
    pub priority: f64,
    /// What read preferences can ask for.
    pub tags: BTreeMap<String, String>,
    /// Whether it votes in elections and counts for majorities.
    pub votes: bool,
    id: Option<i32>,
}

impl MemberConfig {
    /// A member that holds data, votes, and may be elected.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            arbiter: false,
            delay: Duration::ZERO,
            hidden: false,
            priority: 1.0,
            tags: BTreeMap::new(),
            votes: true,
            id: None,
        }
    }

    /// A member that votes and holds no data.
    #[must_use]
    pub fn arbiter(address: impl Into<String>) -> Self {
        Self {
            arbiter: true,
            priority: 0.0,
            ..Self::new(address)
        }
    }

    /// A member that clients are not told of, and whose data is kept behind by a time.
    #[must_use]
    pub fn hidden(address: impl Into<String>, delay: Duration) -> Self {
        Self {
            delay,
            hidden: true,
            priority: 0.0,
            ..Self::new(address)
        }
    }

    fn electable(&self) -> bool {
        !self.arbiter && self.priority > 0.0
    }

    fn parse(fields: &Document) -> Result<Self> {
        let invalid = |what: &str| {
            let shown = show_document(fields);
            let message = format!("member: {shown} :: caused by :: {what}");
            Failure::new(INVALID, message)
        };
        const KNOWN: [&str; 9] = [
            "_id",
            "arbiterOnly",
            "buildIndexes",
            "hidden",
            "host",
            "priority",
            "secondaryDelaySecs",
            "tags",
            "votes",
        ];
        if let Some(field) = fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(invalid(&format!(
                "BSON field 'MemberConfig.{field}' is an unknown field."
            )));
        }
        let missing = |field: &str| {
            invalid(&format!(
                "BSON field 'MemberConfig.{field}' is missing but a required field"
            ))
        };
        let id = fields.get("_id").and_then(whole);
        let id = id.ok_or_else(|| missing("_id"))?;
        let host = fields.get_str("host").map_err(|_| missing("host"))?;
        let flag = |name: &str| fields.get(name).is_some_and(truthy);
        let delay = fields.get("secondaryDelaySecs").and_then(whole);
        let arbiter = flag("arbiterOnly");
        let tags = fields.get_document("tags").ok().into_iter().flatten();
        let tags = tags.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let usual = if arbiter { 0.0 } else { 1.0 };
        let this = Self {
            address: host.to_owned(),
            arbiter,
            delay: Duration::from_secs(delay.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)),
            hidden: flag("hidden"),
            priority: fields.get("priority").and_then(float).unwrap_or(usual),
            tags: tags.collect(),
            votes: fields.get("votes").is_none_or(truthy),
            id: i32::try_from(id).ok(),
        };
        if this.priority > 0.0 && this.hidden {
            return Err(invalid("priority must be 0 when hidden=true"));
        }
        if this.priority > 0.0 && !this.delay.is_zero() {
            return Err(invalid(
                "priority must be 0 when secondaryDelaySecs is used",
            ));
        }
        if this.priority > 0.0 && !this.votes {
            return Err(invalid("priority must be 0 when non-voting (votes:0)"));
        }
        Ok(this)
    }

    fn show(&self) -> Document {
        let tags = self.tags.iter().map(|(k, v)| (k.clone(), Bson::from(v)));
        doc! {
            "_id": self.id,
            "host": &self.address,
            "arbiterOnly": self.arbiter,
            "buildIndexes": true,
            "hidden": self.hidden,
            "priority": self.priority,
            "tags": tags.collect::<Document>(),
            "secondaryDelaySecs": i64::try_from(self.delay.as_secs()).unwrap_or(i64::MAX),
            "votes": i32::from(self.votes),
        }
    }
}

/// One version of a set's configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) version: i64,
    pub(crate) term: i64,
    pub(crate) members: Vec<MemberConfig>,
    /// The server of each member.
    pub(super) servers: Vec<usize>,
}

impl Config {
    /// A configuration of servers at these addresses; `None` when one of them is not there.
    pub(super) fn new(
        version: i64,
        term: i64,
        mut members: Vec<MemberConfig>,
        addresses: &[String],
    ) -> Option<Self> {
        let server = |m: &MemberConfig| addresses.iter().position(|known| *known == m.address);
        let servers = members.iter().map(server).collect::<Option<Vec<_>>>()?;
        let last = members.iter().filter_map(|m| m.id).max();
        let new = members.iter_mut().filter(|m| m.id.is_none());
        for (id, member) in (last.map_or(0, |id| id.saturating_add(1))..).zip(new) {
            member.id = Some(id);
        }
        Some(Self {
            version,
            term,
            members,
            servers,
        })
    }

    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        (self.term, self.version) > (other.term, other.version)
    }

    /// The place of a server among the members.
    pub(super) fn place(&self, server: usize) -> Option<usize> {
        self.servers.iter().position(|known| *known == server)
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = usize> {
        let pairs = self.members.iter().zip(&self.servers);
        pairs.filter(|(m, _)| m.votes).map(|(_, server)| *server)
    }

    /// How many votes elect.
    pub(super) fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// How many members must have an entry for it to be committed.
    pub(super) fn write_majority(&self) -> usize {
        let holders = self.members.iter().filter(|m| m.votes && !m.arbiter);
        self.majority().min(holders.count())
    }

    /// The members that hold data.
    pub(crate) fn holders(&self) -> usize {
        self.members.iter().filter(|m| !m.arbiter).count()
    }

    /// The addresses of the members of a kind that clients are told of.
    pub(crate) fn hosts(&self, kind: Visible) -> impl Iterator<Item = &str> {
        let wanted = move |m: &&MemberConfig| {
            !m.hidden
                && kind
                    == match (m.arbiter, m.priority > 0.0) {
                        (true, _) => Visible::Arbiter,
                        (false, true) => Visible::Host,
                        (false, false) => Visible::Passive,
                    }
        };
        let members = self.members.iter().filter(wanted);
        members.map(|m| m.address.as_str())
    }

    /// The configuration as `replSetGetConfig` shows it.
    pub(crate) fn show(&self, set: &str) -> Document {
        let members: Vec<Document> = self.members.iter().map(MemberConfig::show).collect();
        doc! {
            "_id": set,
            "version": i32::try_from(self.version).unwrap_or(i32::MAX),
            "term": self.term,
            "members": members,
            "protocolVersion": 1_i64,
            "writeConcernMajorityJournalDefault": true,
        }
    }

    /// Whether a server may be primary.
    pub(super) fn is_electable(&self, server: usize) -> bool {
        let place = self.place(server);
        place.is_some_and(|place| self.members[place].electable())
    }
}

/// How `hello` lists a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visible {
    Arbiter,
    Host,
    Passive,
}

/// A configuration that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    version: i64,
    pub(super) members: Vec<MemberConfig>,
}

impl Wanted {
    pub(crate) fn parse(config: &Document, set: &str) -> Result<Self> {
        let missing = |field: &str| {
            let message =
                format!("BSON field 'ReplSetConfig.{field}' is missing but a required field");
            Failure::new(INVALID, message)
        };
        let name = config.get_str("_id").map_err(|_| missing("_id"))?;
        let version = config.get("version").and_then(whole);
        let version = version.ok_or_else(|| missing("version"))?;
        let members = config
            .get_array("members")
            .map_err(|_| missing("members"))?;
        let members = members.iter().filter_map(Bson::as_document);
        let members: Vec<MemberConfig> = members.map(MemberConfig::parse).collect::<Result<_>>()?;
        if name != set {
            let message = format!(
                "Rejecting reconfig where new config set name differs from command line set name, \
                 new config set name: {name}, old config set name: {set}"
            );
            return Err(Failure::new(INVALID, message));
        }
        let this = Self { version, members };
        this.check_alone()?;
        Ok(this)
    }

    fn check_alone(&self) -> Result<()> {
        let bad = |message: String| Err(Failure::new(INCOMPATIBLE, message));
        let members = &self.members;
        if members.is_empty() || members.len() > 50 {
            return bad(format!(
                "Replica set configuration contains {} members, but must have at least 1 and no \
                 more than  50",
                members.len()
            ));
        }
        for (later, member) in members.iter().enumerate() {
            for (earlier, other) in members[..later].iter().enumerate() {
                if member.address == other.address {
                    return bad(format!(
                        "Found two member configurations with same host field, members.{earlier}.host \
                         == members.{later}.host == {}",
                        member.address
                    ));
                }
                if member.id == other.id {
                    return bad(format!(
                        "Found two member configurations with same _id field, members.{earlier}._id \
                         == members.{later}._id == MemberId({})",
                        member.id.unwrap_or(0)
                    ));
                }
            }
        }
        if !members.iter().any(MemberConfig::electable) {
            return bad(
                "Replica set configuration must contain at least one non-arbiter member with \
                 priority > 0"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Checks the change from a configuration, on the server at an address.
    pub(super) fn check(&self, old: &Config, set: &str, me: &str, force: bool) -> Result<()> {
        let bad = |message: String| Err(Failure::new(INCOMPATIBLE, message));
        if self.version <= old.version && !force {
            return bad(format!(
                "New replica set configuration version and term must be greater than old, but \
                 {{version: {}, term: {}}} is not greater than {{version: {}, term: {}}} for replica \
                 set {set}",
                self.version, old.term, old.version, old.term
            ));
        }
        for member in &self.members {
            let before = old.members.iter().find(|m| m.id == member.id);
            if before.is_some_and(|b| b.address == member.address && b.arbiter != member.arbiter) {
                return bad(format!(
                    "New and old configurations differ in the setting of the arbiterOnly field for \
                     member {}; to make this change, remove then re-add the member",
                    member.address
                ));
            }
        }
        if force {
            return Ok(());
        }
        let voters = |members: &[MemberConfig]| -> Vec<String> {
            let voters = members.iter().filter(|m| m.votes);
            voters.map(|m| m.address.clone()).collect()
        };
        let (before, after) = (voters(&old.members), voters(&self.members));
        let added = after.iter().filter(|a| !before.contains(a)).count();
        let removed = before.iter().filter(|b| !after.contains(b)).count();
        if added + removed > 1 {
            return bad(
                "Non force replica set reconfig can only add or remove at most 1 voting member."
                    .to_owned(),
            );
        }
        let mine = self.members.iter().find(|m| m.address == me);
        if let Some(mine) = mine.filter(|m| !m.electable()) {
            let message = format!(
                "This node, {me}, with _id MemberId({}) is not electable under the new configuration \
                 with {{version: {}, term: {}}} for replica set {set}",
                mine.id.unwrap_or(0),
                self.version,
                old.term
            );
            return Err(Failure::new(104, message));
        }
        if mine.is_none() {
            let message = format!(
                "No host described in new configuration with {{version: {}, term: {}}} for replica \
                 set {set} maps to this node",
                self.version, old.term
            );
            return Err(Failure::new(74, message));
        }
        Ok(())
    }

    pub(super) fn version(&self, old: &Config) -> i64 {
        // A forced change leaps ahead, so that it is the newest wherever it meets another.
        if self.version > old.version {
            self.version
        } else {
            old.version + 10_000
        }
    }
}
