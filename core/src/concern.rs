//! Read and write concerns (specification: "Read and Write Concern").

use std::time::Duration;

use bson::{Bson, Document, doc};

use crate::error::{Error, Result};

/// How durable and how isolated the data returned by a read must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadConcern {
    /// The level.
    pub level: ReadConcernLevel,
}

/// The level of a [`ReadConcern`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadConcernLevel {
    /// `available`.
    Available,
    /// `linearizable`.
    Linearizable,
    /// `local`.
    Local,
    /// `majority`.
    Majority,
    /// `snapshot`.
    Snapshot,
    /// A level that this version does not know.
    Custom(String),
}

impl ReadConcernLevel {
    /// The name that is sent to the server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Available => "available",
            Self::Linearizable => "linearizable",
            Self::Local => "local",
            Self::Majority => "majority",
            Self::Snapshot => "snapshot",
            Self::Custom(name) => name,
        }
    }
}

impl From<&str> for ReadConcernLevel {
    fn from(name: &str) -> Self {
        match name {
            "available" => Self::Available,
            "linearizable" => Self::Linearizable,
            "local" => Self::Local,
            "majority" => Self::Majority,
            "snapshot" => Self::Snapshot,
            other => Self::Custom(other.to_owned()),
        }
    }
}

impl ReadConcern {
    /// Level `majority`.
    #[must_use]
    pub fn majority() -> Self {
        ReadConcernLevel::Majority.into()
    }

    /// Level `local`.
    #[must_use]
    pub fn local() -> Self {
        ReadConcernLevel::Local.into()
    }

    /// Level `linearizable`.
    #[must_use]
    pub fn linearizable() -> Self {
        ReadConcernLevel::Linearizable.into()
    }

    /// Level `available`.
    #[must_use]
    pub fn available() -> Self {
        ReadConcernLevel::Available.into()
    }

    /// Level `snapshot`.
    #[must_use]
    pub fn snapshot() -> Self {
        ReadConcernLevel::Snapshot.into()
    }

    /// A level by name.
    #[must_use]
    pub fn custom(level: impl AsRef<str>) -> Self {
        ReadConcernLevel::from(level.as_ref()).into()
    }

    /// The document that is sent to the server.
    #[must_use]
    pub fn to_document(&self) -> Document {
        doc! { "level": self.level.as_str() }
    }
}

impl From<ReadConcernLevel> for ReadConcern {
    fn from(level: ReadConcernLevel) -> Self {
        Self { level }
    }
}

/// How many servers must acknowledge a write, and how durably.
///
/// Empty (all `None`) means the server's default and is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteConcern {
    /// How many members, or which, must acknowledge.
    pub w: Option<Acknowledgment>,
    /// How long the server may wait for the acknowledgment (milliseconds on the wire).
    pub w_timeout: Option<Duration>,
    /// Whether the write must have reached the on-disk journal.
    pub journal: Option<bool>,
    /// Whether the write must have been synced to disk: what `journal` means on servers that have
    /// a journal, which all supported ones have. Cannot be used with `journal`.
    pub fsync: Option<bool>,
}

/// Who must acknowledge a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acknowledgment {
    /// A custom write concern name (a tag set of the replica set's configuration).
    Custom(String),
    /// A majority of the voting members.
    Majority,
    /// This many members; 0 for no acknowledgment.
    Nodes(u32),
}

impl From<u32> for Acknowledgment {
    fn from(nodes: u32) -> Self {
        Self::Nodes(nodes)
    }
}

impl From<&str> for Acknowledgment {
    fn from(name: &str) -> Self {
        if name == "majority" {
            Self::Majority
        } else {
            Self::Custom(name.to_owned())
        }
    }
}

impl From<String> for Acknowledgment {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<Acknowledgment> for WriteConcern {
    fn from(w: Acknowledgment) -> Self {
        Self {
            w: Some(w),
            ..Self::default()
        }
    }
}

impl WriteConcern {
    /// `w: n`.
    #[must_use]
    pub fn nodes(n: u32) -> Self {
        Acknowledgment::Nodes(n).into()
    }

    /// `w: "majority"`.
    #[must_use]
    pub fn majority() -> Self {
        Acknowledgment::Majority.into()
    }

    /// `w: name`.
    #[must_use]
    pub fn custom(name: impl AsRef<str>) -> Self {
        Acknowledgment::from(name.as_ref()).into()
    }

    /// Whether the server answers writes with this concern: everything but `w: 0`.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.w != Some(Acknowledgment::Nodes(0))
    }

    /// Whether nothing is set, so that the server's default applies and nothing is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses combinations that have no meaning (specification: "Inconsistent WriteConcern").
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) naming the option.
    pub fn validate(&self) -> Result<()> {
        if self.w == Some(Acknowledgment::Nodes(0)) && self.journal == Some(true) {
            return Err(Error::invalid_argument(
                "write concern: w=0 cannot be used with journal",
            ));
        }
        if self.fsync == Some(true) {
            let other = match self.w {
                Some(Acknowledgment::Nodes(0)) => Some("w=0"),
                _ if self.journal == Some(true) => Some("journal"),
                _ => None,
            };
            if let Some(other) = other {
                return Err(Error::invalid_argument(format!(
                    "write concern: fsync cannot be used with {other}"
                )));
            }
        }
        if let Some(Acknowledgment::Nodes(n)) = self.w
            && i32::try_from(n).is_err()
        {
            return Err(Error::invalid_argument("write concern: w is too large"));
        }
        if let Some(t) = self.w_timeout
            && i64::try_from(t.as_millis()).is_err()
        {
            return Err(Error::invalid_argument(
                "write concern: wtimeoutMS is too large",
            ));
        }
        Ok(())
    }

    /// The document that is sent to the server (`w`, `wtimeout`, `j`, `fsync`).
    #[must_use]
    pub fn to_document(&self) -> Document {
        let mut out = Document::new();
        match &self.w {
            None => {}
            Some(Acknowledgment::Nodes(n)) => {
                out.insert(
                    "w",
                    i32::try_from(*n).map_or(Bson::Int64(i64::from(*n)), Bson::Int32),
                );
            }
            Some(Acknowledgment::Majority) => {
                out.insert("w", "majority");
            }
            Some(Acknowledgment::Custom(name)) => {
                out.insert("w", name);
            }
        }
        if let Some(t) = self.w_timeout {
            let ms = i64::try_from(t.as_millis()).unwrap_or(i64::MAX);
            out.insert(
                "wtimeout",
                i32::try_from(ms).map_or(Bson::Int64(ms), Bson::Int32),
            );
        }
        if let Some(j) = self.journal {
            out.insert("j", j);
        }
        if let Some(fsync) = self.fsync {
            out.insert("fsync", fsync);
        }
        out
    }
}
