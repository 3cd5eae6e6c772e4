//! Names of collections.

use std::{fmt, str::FromStr};

use mongo_client_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The full name of a collection: database and collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Namespace {
    /// The database.
    pub db: String,
    /// The collection.
    pub coll: String,
}

impl Namespace {
    /// The collection `coll` of the database `db`.
    pub fn new(db: impl Into<String>, coll: impl Into<String>) -> Self {
        Self {
            db: db.into(),
            coll: coll.into(),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

impl FromStr for Namespace {
    type Err = Error;

    /// Splits at the first dot: names of databases contain none.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((db, coll)) if !db.is_empty() && !coll.is_empty() => Ok(Self::new(db, coll)),
            _ => Err(Error::invalid_argument(
                "a namespace has the form database.collection",
            )),
        }
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_splits_at_the_first_dot() {
        let namespace: Namespace = "db.a.b".parse().unwrap();
        assert_eq!(namespace, Namespace::new("db", "a.b"));
        assert_eq!(namespace.to_string(), "db.a.b");
        for bad in ["", "db", "db.", ".coll"] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?}");
        }
    }
}
