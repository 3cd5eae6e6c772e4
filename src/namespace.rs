//! Names of databases and collections, and the rules for them (the server's; PyMongo checks the
//! same).

use std::{fmt, str::FromStr};

use mongo_client_core::error::{Error, ErrorKind, Result};
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

    /// As [`Self::new`], for names that may be invalid.
    ///
    /// # Errors
    ///
    /// Those of [`Self::validate`].
    pub fn checked(db: impl Into<String>, coll: impl Into<String>) -> Result<Self> {
        let namespace = Self::new(db, coll);
        namespace.validate()?;
        Ok(namespace)
    }

    /// Checks both names by the rules that operations check them by: making a database or a
    /// collection never fails, but its operations do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] that names the rule and the character.
    pub fn validate(&self) -> Result<()> {
        check_database(&self.db)?;
        check_collection(&self.db, &self.coll)
    }
}

/// The most bytes of a database's name.
const DATABASE_MAX: usize = 63;

/// The most bytes of database, dot and collection.
const NAMESPACE_MAX: usize = 255;

#[cold]
fn invalid<T>(name: &str, rule: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidName {
        name: name.to_owned(),
        rule: rule.into(),
    }))
}

/// Letters, digits, `_` and `-`.
const PLAIN: [bool; 256] = {
    let (mut plain, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        byte += 1;
    }
    plain
};

/// Whether a name is of plain characters only, and no longer than `max`: fine anywhere.
#[inline]
fn is_plain(name: &str, max: usize) -> bool {
    let plain = |byte: u8| PLAIN[usize::from(byte)];
    !name.is_empty() && name.len() <= max && name.bytes().all(plain)
}

/// Checks the name of a database.
#[inline]
pub(crate) fn check_database(name: &str) -> Result<()> {
    if is_plain(name, DATABASE_MAX) {
        return Ok(());
    }
    check_special_database(name)
}

fn check_special_database(name: &str) -> Result<()> {
    // Users of other systems (X.509, LDAP) are kept under this name.
    if name == "$external" {
        return Ok(());
    }
    if name.is_empty() {
        return invalid(name, "a database's name must not be empty");
    }
    if name.len() > DATABASE_MAX {
        return invalid(name, "a database's name has at most 63 bytes");
    }
    let forbidden = |b: &u8| matches!(b, b'/' | b'\\' | b'.' | b' ' | b'"' | b'$' | 0);
    match name.bytes().find(|b| forbidden(b)) {
        None => Ok(()),
        Some(byte) => invalid(
            name,
            format!("a database's name must not contain {:?}", char::from(byte)),
        ),
    }
}

/// Checks the name of a collection of this database.
#[inline]
pub(crate) fn check_collection(db: &str, name: &str) -> Result<()> {
    if is_plain(name, NAMESPACE_MAX.saturating_sub(db.len() + 1)) {
        return Ok(());
    }
    check_special_collection(db, name)
}

fn check_special_collection(db: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return invalid(name, "a collection's name must not be empty");
    }
    if db.len() + 1 + name.len() > NAMESPACE_MAX {
        return invalid(
            name,
            "a collection's name has at most 255 bytes with its database and the dot",
        );
    }
    if name.starts_with('.') || name.ends_with('.') {
        return invalid(name, "a collection's name must not begin or end with '.'");
    }
    let (mut previous, mut dollar) = (0, false);
    for byte in name.bytes() {
        match byte {
            0 => return invalid(name, "a collection's name must not contain '\\0'"),
            b'.' if previous == b'.' => {
                return invalid(name, "a collection's name must not contain \"..\"");
            }
            b'$' => dollar = true,
            _ => {}
        }
        previous = byte;
    }
    // Names of the server's own.
    if dollar && !name.starts_with("oplog.$main") && !name.starts_with("$cmd") {
        return invalid(name, "a collection's name must not contain '$'");
    }
    Ok(())
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

    fn rule(result: Result<()>) -> String {
        match *result.unwrap_err().kind {
            ErrorKind::InvalidName { name, rule } => {
                assert!(!rule.contains(&name) || name.len() < 3, "{rule}");
                rule
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_databases_name_is_refused_with_the_character_that_it_must_not_contain() {
        for (bad, named) in [
            ("a.b", "'.'"),
            ("a/b", "'/'"),
            ("a\\b", r"'\\'"),
            ("a b", "' '"),
            ("a$b", "'$'"),
            ("a\"b", "'\"'"),
            ("a\0b", r"'\0'"),
            ("", "empty"),
        ] {
            let rule = rule(check_database(bad));
            assert!(rule.contains(named), "{bad:?}: {rule}");
        }
        assert!(rule(check_database(&"x".repeat(64))).contains("63 bytes"));
        assert!(rule(check_database(&"\u{e9}".repeat(32))).contains("63 bytes"));
        for good in ["a", "a-b", "$external", &"x".repeat(63)] {
            check_database(good).unwrap();
        }
    }

    #[test]
    fn a_collections_name_is_refused_with_the_rule_that_it_breaks() {
        for (bad, named) in [
            ("", "empty"),
            (".a", "begin or end"),
            ("a.", "begin or end"),
            ("a..b", "\"..\""),
            ("a$b", "'$'"),
            ("x.oplog.$main", "'$'"),
            ("a\0b", r"'\0'"),
        ] {
            let rule = rule(check_collection("db", bad));
            assert!(rule.contains(named), "{bad:?}: {rule}");
        }
        assert!(rule(check_collection("db", &"x".repeat(253))).contains("255 bytes"));
        for good in [
            "a.b",
            "oplog.$main",
            "$cmd.aggregate",
            "a b",
            &"x".repeat(252),
        ] {
            check_collection("db", good).unwrap();
        }
    }

    #[test]
    fn a_checked_namespace_has_valid_names() {
        Namespace::checked("db", "a.b").unwrap();
        assert!(rule(Namespace::checked("d.b", "a").map(drop)).contains("database"));
        assert!(rule(Namespace::checked("db", "a..b").map(drop)).contains("collection"));
    }
}
