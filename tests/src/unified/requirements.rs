//! Where a case can run: `runOnRequirements` against what is known of a deployment.

use std::fmt;

use bson::{Bson, Document};
use serde::Deserialize;

use super::{matching, version::Version};

/// What a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyKind {
    /// One server.
    Single,
    /// A replica set.
    ReplicaSet,
    /// Routers.
    Sharded,
    /// A load balancer before routers.
    LoadBalanced,
}

impl TopologyKind {
    /// The name in test files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::ReplicaSet => "replicaset",
            Self::Sharded => "sharded",
            Self::LoadBalanced => "load-balanced",
        }
    }
}

/// What is known of a deployment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its kind.
    pub topology: TopologyKind,
    /// The servers' version.
    pub version: Version,
    /// Whether users must log in.
    pub auth: bool,
    /// All server parameters.
    pub parameters: Document,
}

/// One of the alternatives of `runOnRequirements`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The oldest version.
    pub min_server_version: Option<String>,
    /// The newest version.
    pub max_server_version: Option<String>,
    /// The kinds.
    pub topologies: Option<Vec<String>>,
    /// `require`, `forbid` or `allow`.
    pub serverless: Option<String>,
    /// Parameters with these values.
    pub server_parameters: Option<Document>,
    /// Whether users must log in.
    pub auth: Option<bool>,
    /// A mechanism that the servers must offer.
    pub auth_mechanism: Option<String>,
    /// Whether client-side encryption must, or must not, be there.
    pub csfle: Option<Bson>,
}

/// Why a requirement is not met: the reasons that the report counts.
///
/// Ordered by how far the case is from running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    /// There is such a deployment, but not with this setting.
    Parameter(String),
    /// There is no deployment with, or without, users.
    Auth,
    /// It needs a mechanism that the servers do not offer.
    Mechanism(String),
    /// It needs a newer server.
    NewerServer,
    /// It is for older servers.
    OlderServer,
    /// It needs a real cluster of routers and shards.
    Sharding,
    /// It needs a load balancer.
    LoadBalancer,
    /// It needs another kind of deployment.
    Topology,
    /// It needs a serverless deployment.
    Serverless,
    /// It needs client-side encryption.
    Encryption,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "server parameter {name}"),
            Self::Auth => f.write_str("needs other authentication"),
            Self::Mechanism(name) => write!(f, "needs {name}"),
            Self::NewerServer => f.write_str("newer server"),
            Self::OlderServer => f.write_str("older server"),
            Self::Sharding => f.write_str("real sharding"),
            Self::LoadBalancer => f.write_str("load balancer"),
            Self::Topology => f.write_str("needs another topology"),
            Self::Serverless => f.write_str("serverless"),
            Self::Encryption => f.write_str("encryption"),
        }
    }
}

impl Requirement {
    /// Whether a deployment meets it.
    ///
    /// # Errors
    ///
    /// The worst reason why it does not; a text when the requirement makes no sense.
    pub fn check(&self, facts: &Facts) -> Result<Result<(), Unmet>, String> {
        let mut unmet = Vec::new();
        let version = |text: &Option<String>| text.as_deref().map(Version::parse).transpose();
        if version(&self.min_server_version)?.is_some_and(|min| facts.version < min) {
            unmet.push(Unmet::NewerServer);
        }
        if version(&self.max_server_version)?.is_some_and(|max| facts.version > max) {
            unmet.push(Unmet::OlderServer);
        }
        if let Some(topologies) = &self.topologies
            && !topologies.iter().any(|name| name == facts.topology.name())
        {
            let only = |names: &[&str]| topologies.iter().all(|t| names.contains(&t.as_str()));
            unmet.push(if only(&["load-balanced"]) {
                Unmet::LoadBalancer
            } else if only(&["sharded", "sharded-replicaset", "load-balanced"]) {
                Unmet::Sharding
            } else {
                Unmet::Topology
            });
        }
        if self.serverless.as_deref() == Some("require") {
            unmet.push(Unmet::Serverless);
        }
        if self.auth.is_some_and(|auth| auth != facts.auth) {
            unmet.push(Unmet::Auth);
        }
        if let Some(mechanism) = &self.auth_mechanism
            && !offers(facts, mechanism)
        {
            unmet.push(Unmet::Mechanism(mechanism.clone()));
        }
        for (name, wanted) in self.server_parameters.iter().flatten() {
            if !facts
                .parameters
                .get(name)
                .is_some_and(|is| matching::same(wanted, is))
            {
                unmet.push(Unmet::Parameter(name.clone()));
            }
        }
        if self
            .csfle
            .as_ref()
            .is_some_and(|csfle| *csfle != Bson::Boolean(false))
        {
            unmet.push(Unmet::Encryption);
        }
        Ok(unmet.into_iter().max().map_or(Ok(()), Err))
    }
}

fn offers(facts: &Facts, mechanism: &str) -> bool {
    let offered = facts.parameters.get_array("authenticationMechanisms");
    offered.into_iter().flatten().any(|one| {
        one.as_str()
            .is_some_and(|one| one.eq_ignore_ascii_case(mechanism))
    })
}

/// Whether a deployment meets one of the alternatives; without any it does.
///
/// # Errors
///
/// The alternative that is nearest to being met decides the reason; a text when one makes no sense.
pub(super) fn check_any(
    alternatives: Option<&[Requirement]>,
    facts: &Facts,
) -> Result<Result<(), Unmet>, String> {
    let Some(alternatives) = alternatives else {
        return Ok(Ok(()));
    };
    let mut nearest = None;
    for alternative in alternatives {
        match alternative.check(facts)? {
            Ok(()) => return Ok(Ok(())),
            Err(unmet) => nearest = Some(nearest.map_or(unmet.clone(), |n: Unmet| n.min(unmet))),
        }
    }
    Ok(nearest.map_or(Ok(()), Err))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn facts() -> Facts {
        Facts {
            topology: TopologyKind::ReplicaSet,
            version: Version::parse("6.0.5").unwrap(),
            auth: false,
            parameters: doc! { "a": 1_i64, "authenticationMechanisms": ["SCRAM-SHA-1"] },
        }
    }

    fn reason(json: serde_json::Value) -> Option<Unmet> {
        let list: Vec<Requirement> = serde_json::from_value(json).unwrap();
        check_any(Some(&list), &facts()).unwrap().err()
    }

    #[test]
    fn one_alternative_is_enough() {
        let json = serde_json::json!([
            { "minServerVersion": "8.0" },
            { "minServerVersion": "4.0", "topologies": ["single", "replicaset"], "auth": false },
        ]);
        assert_eq!(reason(json), None);
        assert_eq!(check_any(None, &facts()), Ok(Ok(())));
    }

    #[test]
    fn the_nearest_alternative_gives_the_reason() {
        let cases = [
            (
                serde_json::json!([{ "minServerVersion": "7" }]),
                Unmet::NewerServer,
            ),
            (
                serde_json::json!([{ "maxServerVersion": "4.4.99" }]),
                Unmet::OlderServer,
            ),
            (
                serde_json::json!([
                    { "topologies": ["load-balanced"] },
                    { "topologies": ["sharded"], "minServerVersion": "4.4" },
                ]),
                Unmet::Sharding,
            ),
            (serde_json::json!([{ "auth": true }]), Unmet::Auth),
            (
                serde_json::json!([{ "authMechanism": "MONGODB-OIDC" }]),
                Unmet::Mechanism("MONGODB-OIDC".into()),
            ),
            (serde_json::json!([{ "csfle": true }]), Unmet::Encryption),
            (
                serde_json::json!([{ "serverParameters": { "a": 2 } }]),
                Unmet::Parameter("a".into()),
            ),
        ];
        for (json, want) in cases {
            assert_eq!(reason(json.clone()), Some(want), "{json}");
        }
        let met = serde_json::json!([{
            "serverParameters": { "a": 1 }, "authMechanism": "scram-sha-1", "csfle": false,
        }]);
        assert_eq!(reason(met), None);
    }
}
