//! What a client should know of its deployment: the pseudo-code of the specification "Server
//! Discovery and Monitoring", written down once more, over the documents of hello replies.

use std::collections::BTreeMap;

use bson::{Bson, Document, oid::ObjectId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mongos,
    RsArbiter,
    RsGhost,
    RsOther,
    RsPrimary,
    RsSecondary,
    Standalone,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    ReplicaSetNoPrimary,
    ReplicaSetWithPrimary,
    Sharded,
    Single,
    Unknown,
}

/// A topologyVersion: the process and its counter.
pub(super) type Version = (ObjectId, i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) kind: Kind,
    pub(super) version: Option<Version>,
}

const UNKNOWN: Server = Server {
    kind: Kind::Unknown,
    version: None,
};

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) shape: Shape,
    pub(super) set_name: Option<String>,
    pub(super) max_election: Option<ObjectId>,
    pub(super) max_version: Option<i64>,
    pub(super) servers: BTreeMap<String, Server>,
    seeds: usize,
}

/// An address as it is compared: in lower case, with its port.
pub(super) fn address(text: &str) -> String {
    let text = text.to_lowercase();
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => text,
        _ => format!("{text}:27017"),
    }
}

fn truth(hello: &Document, field: &str) -> bool {
    match hello.get(field) {
        Some(Bson::Boolean(value)) => *value,
        Some(Bson::Int32(n)) => *n != 0,
        Some(Bson::Double(n)) => *n != 0.0,
        _ => false,
    }
}

fn integer(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

fn kind(hello: &Document) -> Kind {
    if !truth(hello, "ok") {
        Kind::Unknown
    } else if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        Kind::Mongos
    } else if hello.get_str("setName").is_ok() {
        if truth(hello, "hidden") {
            Kind::RsOther
        } else if truth(hello, "isWritablePrimary") || truth(hello, "ismaster") {
            Kind::RsPrimary
        } else if truth(hello, "secondary") {
            Kind::RsSecondary
        } else if truth(hello, "arbiterOnly") {
            Kind::RsArbiter
        } else {
            Kind::RsOther
        }
    } else if truth(hello, "isreplicaset") {
        Kind::RsGhost
    } else {
        Kind::Standalone
    }
}

fn version(hello: &Document) -> Option<Version> {
    let version = hello.get_document("topologyVersion").ok()?;
    let process = version.get_object_id("processId").ok()?;
    Some((process, integer(version.get("counter"))?))
}

fn hosts(hello: &Document) -> Vec<String> {
    let lists = ["hosts", "passives", "arbiters"];
    let lists = lists.iter().filter_map(|list| hello.get_array(list).ok());
    let names = lists.flatten().filter_map(Bson::as_str);
    names.map(address).collect()
}

impl Reference {
    pub(super) fn new(seeds: &[String], set_name: Option<&str>) -> Self {
        let servers = seeds.iter().map(|seed| (address(seed), UNKNOWN));
        Self {
            shape: match set_name {
                Some(_) => Shape::ReplicaSetNoPrimary,
                None => Shape::Unknown,
            },
            set_name: set_name.map(String::from),
            max_election: None,
            max_version: None,
            servers: servers.collect(),
            seeds: seeds.len(),
        }
    }

    /// The records of the deployment's name have a host that is new.
    pub(super) fn open(&mut self, server: &str) {
        let server = String::from(server);
        self.servers.entry(server).or_insert(UNKNOWN);
    }

    /// They have it no more.
    pub(super) fn close(&mut self, server: &str) {
        self.servers.remove(server);
    }

    /// A check failed, or an application found the server unreachable or changed.
    pub(super) fn lost(&mut self, server: &str, version: Option<Version>) {
        if let Some(place) = self.servers.get_mut(server) {
            *place = Server { version, ..UNKNOWN };
            if self.shape == Shape::ReplicaSetWithPrimary {
                self.check_if_has_primary();
            }
        }
    }

    /// A check succeeded.
    pub(super) fn hello(&mut self, server: &str, hello: &Document) {
        let new = Server {
            kind: kind(hello),
            version: version(hello),
        };
        let Some(place) = self.servers.get_mut(server) else {
            return;
        };
        if let (Some(current), Some(new)) = (place.version, new.version)
            && current.0 == new.0
            && current.1 > new.1
        {
            return;
        }
        *place = new;
        use Kind as K;
        use Shape as S;
        match (self.shape, new.kind) {
            (S::Single, _) => {
                let name = hello.get_str("setName").ok();
                if self.set_name.is_some() && self.set_name.as_deref() != name {
                    self.servers.insert(String::from(server), UNKNOWN);
                }
            }
            (S::Unknown, K::Unknown | K::RsGhost) => {}
            (S::Unknown, K::Standalone) => {
                if self.seeds == 1 {
                    self.shape = S::Single;
                } else {
                    self.servers.remove(server);
                }
            }
            (S::Unknown, K::Mongos) => self.shape = S::Sharded,
            (S::Sharded, K::Unknown | K::Mongos) => {}
            (S::Sharded, _) => drop(self.servers.remove(server)),
            (S::Unknown | S::ReplicaSetNoPrimary, K::RsSecondary | K::RsArbiter | K::RsOther) => {
                self.shape = S::ReplicaSetNoPrimary;
                self.update_without_primary(server, hello);
            }
            (S::ReplicaSetWithPrimary, K::RsSecondary | K::RsArbiter | K::RsOther) => {
                let other_set = self.set_name.as_deref() != hello.get_str("setName").ok();
                if other_set || other_name(server, hello) {
                    self.servers.remove(server);
                }
                self.check_if_has_primary();
            }
            (_, K::RsPrimary) => self.update_from_primary(server, hello),
            (S::ReplicaSetNoPrimary, K::Unknown | K::RsGhost) => {}
            (S::ReplicaSetWithPrimary, K::Unknown | K::RsGhost) => self.check_if_has_primary(),
            (S::ReplicaSetNoPrimary | S::ReplicaSetWithPrimary, K::Standalone | K::Mongos) => {
                self.servers.remove(server);
                self.check_if_has_primary();
            }
        }
    }

    fn check_if_has_primary(&mut self) {
        let primary = self.servers.values().any(|s| s.kind == Kind::RsPrimary);
        self.shape = match primary {
            true => Shape::ReplicaSetWithPrimary,
            false => Shape::ReplicaSetNoPrimary,
        };
    }

    fn accepts_set(&mut self, hello: &Document) -> bool {
        let name = hello.get_str("setName").ok();
        if self.set_name.is_none() {
            self.set_name = name.map(String::from);
        }
        self.set_name.as_deref() == name
    }

    fn add_missing(&mut self, hello: &Document) {
        for host in hosts(hello) {
            self.servers.entry(host).or_insert(UNKNOWN);
        }
    }

    fn update_without_primary(&mut self, server: &str, hello: &Document) {
        if !self.accepts_set(hello) {
            self.servers.remove(server);
            return;
        }
        self.add_missing(hello);
        if other_name(server, hello) {
            self.servers.remove(server);
        }
    }

    fn update_from_primary(&mut self, server: &str, hello: &Document) {
        if !self.accepts_set(hello) {
            self.servers.remove(server);
            return self.check_if_has_primary();
        }
        if self.is_stale(hello) {
            self.servers.insert(String::from(server), UNKNOWN);
            return self.check_if_has_primary();
        }
        for (other, description) in &mut self.servers {
            if other != server && description.kind == Kind::RsPrimary {
                *description = UNKNOWN;
            }
        }
        let listed = hosts(hello);
        self.servers.retain(|host, _| listed.contains(host));
        self.add_missing(hello);
        self.check_if_has_primary();
    }

    /// Whether a later election is known; otherwise this one is remembered.
    fn is_stale(&mut self, hello: &Document) -> bool {
        let election = hello.get_object_id("electionId").ok();
        let version = integer(hello.get("setVersion"));
        if integer(hello.get("maxWireVersion")).unwrap_or(0) >= 17 {
            let known = (self.max_election, self.max_version);
            if (election, version) < known {
                return true;
            }
            (self.max_election, self.max_version) = (election, version);
            return false;
        }
        if let (Some(new_version), Some(new_election)) = (version, election) {
            if let (Some(max_version), Some(max_election)) = (self.max_version, self.max_election)
                && (max_version > new_version
                    || (max_version == new_version && max_election > new_election))
            {
                return true;
            }
            self.max_election = election;
        }
        if version.is_some() && version > self.max_version {
            self.max_version = version;
        }
        false
    }
}

fn other_name(server: &str, hello: &Document) -> bool {
    hello.get_str("me").is_ok_and(|me| address(me) != server)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn member(field: &str, election: u8) -> Document {
        doc! {
            "ok": 1, "setName": "rs", field: true, "maxWireVersion": 17, "setVersion": 1,
            "hosts": ["a:1", "B:2", "c:3"], "electionId": ObjectId::from_bytes([election; 12]),
        }
    }

    #[test]
    fn a_set_is_found_from_one_seed_and_loses_its_primary() {
        let mut known = Reference::new(&[String::from("a:1")], Some("rs"));
        known.hello("a:1", &member("secondary", 0));
        assert_eq!(known.shape, Shape::ReplicaSetNoPrimary);
        assert_eq!(known.servers.len(), 3);
        known.hello("b:2", &member("isWritablePrimary", 2));
        assert_eq!(known.shape, Shape::ReplicaSetWithPrimary);
        known.lost("b:2", None);
        assert_eq!(known.shape, Shape::ReplicaSetNoPrimary);
    }

    #[test]
    fn the_primary_of_an_older_election_is_stale() {
        let seeds = ["a:1", "b:2", "c:3"].map(String::from);
        let mut known = Reference::new(&seeds, Some("rs"));
        known.hello("a:1", &member("isWritablePrimary", 2));
        known.hello("b:2", &member("isWritablePrimary", 1));
        assert_eq!(known.servers["b:2"].kind, Kind::Unknown);
        assert_eq!(known.servers["a:1"].kind, Kind::RsPrimary);
        known.hello("c:3", &member("isWritablePrimary", 3));
        assert_eq!(known.servers["a:1"].kind, Kind::Unknown);
    }

    #[test]
    fn an_older_state_of_a_server_is_ignored() {
        let process = ObjectId::from_bytes([1; 12]);
        let at = |field: &str, counter: i64| {
            let mut hello = member(field, 2);
            let version = doc! { "processId": process, "counter": counter };
            hello.insert("topologyVersion", version);
            hello
        };
        let mut known = Reference::new(&[String::from("a:1")], Some("rs"));
        known.hello("a:1", &at("isWritablePrimary", 5));
        known.hello("a:1", &at("secondary", 4));
        assert_eq!(known.servers["a:1"].kind, Kind::RsPrimary);
        known.hello("a:1", &at("secondary", 5));
        assert_eq!(known.servers["a:1"].kind, Kind::RsSecondary);
    }
}
