//! Read and write concerns: what they ask for, and how the server speaks of them.

use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};

use crate::{
    failure::{
        BAD_VALUE, FAILED_TO_PARSE, Failure, INVALID_OPTIONS, Result, UNKNOWN_WRITE_CONCERN,
        UNSATISFIABLE_WRITE_CONCERN, WRITE_CONCERN_TIMEOUT,
    },
    store::value::{show_document, whole},
    wire::Command,
};

/// How far a write must have got before it is acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WriteConcern {
    pub(crate) w: W,
    pub(crate) timeout: Option<Duration>,
    /// As error information shows it: `w`, the timeout, and whether the client gave it.
    shown: (Option<Bson>, i64, bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum W {
    Majority,
    Members(usize),
    /// A mode by tags, which no simulated set has.
    Named(String),
}

impl WriteConcern {
    /// Parses a command's concern; sets without one default to the majority.
    pub(crate) fn parse(command: &Command, replicated: bool) -> Result<Self> {
        let given = command.get_document("writeConcern");
        let empty = Document::new();
        let fields = given.unwrap_or(&empty);
        let w = match fields.get("w") {
            None if replicated && given.is_none_or(Document::is_empty) => W::Majority,
            None => W::Members(1),
            Some(Bson::String(name)) if name == "majority" => W::Majority,
            Some(Bson::String(name)) if !replicated => {
                let message = format!(
                    "cannot use non-majority 'w' mode \"{name}\" when a host is not a member of a \
                     replica set"
                );
                return Err(Failure::new(BAD_VALUE, message));
            }
            Some(Bson::String(name)) => W::Named(name.clone()),
            Some(other) => match whole(other) {
                Some(n @ 0..=50) => W::Members(usize::try_from(n).unwrap_or(0)),
                Some(n) => {
                    let message = format!(
                        "w has to be a non-negative number and not greater than 50; found: {n}"
                    );
                    return Err(Failure::new(FAILED_TO_PARSE, message));
                }
                None => {
                    let message = "w has to be a number, string, or object";
                    return Err(Failure::new(FAILED_TO_PARSE, message));
                }
            },
        };
        if !replicated && matches!(w, W::Members(2..)) {
            let message = "cannot use 'w' > 1 when a host is not replicated";
            return Err(Failure::new(BAD_VALUE, message));
        }
        let millis = fields.get("wtimeout").and_then(whole).unwrap_or(0);
        Ok(Self {
            w,
            timeout: u64::try_from(millis)
                .ok()
                .filter(|n| *n > 0)
                .map(Duration::from_millis),
            shown: (fields.get("w").cloned(), millis, given.is_some()),
        })
    }

    /// Why a set of so many members can never satisfy it.
    pub(crate) fn unsatisfiable(&self, members: usize) -> Option<Document> {
        let (code, message) = match &self.w {
            W::Members(n) if *n > members => (
                UNSATISFIABLE_WRITE_CONCERN,
                "Not enough data-bearing nodes".to_owned(),
            ),
            W::Named(name) => (
                UNKNOWN_WRITE_CONCERN,
                format!("No write concern mode named '{name}' found in replica set configuration"),
            ),
            _ => return None,
        };
        Some(self.error(code, &message, Document::new()))
    }

    pub(crate) fn timed_out(&self) -> Document {
        let message = "waiting for replication timed out";
        self.error(WRITE_CONCERN_TIMEOUT, message, doc! { "wtimeout": true })
    }

    /// A `writeConcernError`.
    pub(crate) fn error(&self, code: i32, message: &str, mut info: Document) -> Document {
        let (w, millis, given) = &self.shown;
        let provenance = if *given {
            "clientSupplied"
        } else {
            "implicitDefault"
        };
        let concern = doc! {
            "w": w.clone().unwrap_or_else(|| Bson::from("majority")),
            "wtimeout": small(*millis),
            "provenance": provenance,
        };
        info.insert("writeConcern", concern);
        doc! {
            "code": code,
            "codeName": crate::failure::code_name(code),
            "errmsg": message,
            "errInfo": info,
        }
    }
}

fn small(n: i64) -> Bson {
    i32::try_from(n).map_or(Bson::Int64(n), Bson::Int32)
}

/// What a read may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Linearizable,
    Local,
    Majority,
    /// The majority-committed state of a time.
    Snapshot(Timestamp),
}

/// A command's read concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadConcern {
    pub(crate) level: Level,
    pub(crate) after: Option<Timestamp>,
    /// The state of this time is wanted; without a time, the last that a majority has.
    pub(crate) snapshot: Option<Option<Timestamp>>,
}

impl ReadConcern {
    pub(crate) fn parse(command: &Command, name: &str, supported: bool) -> Result<Self> {
        let mut this = Self {
            level: Level::Local,
            after: None,
            snapshot: None,
        };
        let Some(concern) = command.get_document("readConcern") else {
            return Ok(this);
        };
        this.level = match concern.get_str("level").unwrap_or("local") {
            "available" | "local" => Level::Local,
            "linearizable" => Level::Linearizable,
            "majority" => Level::Majority,
            "snapshot" => {
                this.snapshot = Some(None);
                Level::Majority
            }
            _ => {
                let message = "readConcern.level must be either 'local', 'majority', \
                               'linearizable', 'available', or 'snapshot'";
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
        };
        if !supported && this.level != Level::Local {
            let mut shown = concern.clone();
            shown.insert("provenance", "clientSupplied");
            let message = format!(
                "Command {name} does not support {{ readConcern: {} }} :: caused by :: read concern \
                 not supported",
                show_document(&shown)
            );
            return Err(Failure::new(INVALID_OPTIONS, message));
        }
        this.after = concern.get_timestamp("afterClusterTime").ok();
        this.at(concern, name)?;
        Ok(this)
    }

    /// Checks what goes with the level `snapshot`, and takes its time.
    fn at(&mut self, concern: &Document, name: &str) -> Result<()> {
        let time = match concern.get("atClusterTime") {
            None => None,
            Some(Bson::Timestamp(time)) => Some(*time),
            Some(other) => {
                let found = crate::store::value::type_name(other);
                let message = format!(
                    "\"atClusterTime\" had the wrong type. Expected timestamp, found {found}"
                );
                return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
            }
        };
        let invalid = |message: &str| Err(Failure::new(INVALID_OPTIONS, message));
        if self.snapshot.is_none() {
            return match time {
                Some(_) => {
                    invalid("atClusterTime field can be set only if level is equal to snapshot")
                }
                None => Ok(()),
            };
        }
        if time.is_some() && self.after.is_some() {
            return invalid(
                "Specifying a timestamp for readConcern snapshot in a causally consistent session \
                 is not allowed. See https://docs.mongodb.com/manual/core/\
                 read-isolation-consistency-recency/#causal-consistency",
            );
        }
        if !["aggregate", "distinct", "find"].contains(&name) {
            let mut shown = concern.clone();
            shown.insert("provenance", "clientSupplied");
            let what = if name == "count" {
                "read concern snapshot"
            } else {
                "read concern"
            };
            return invalid(&format!(
                "Command {name} does not support {{ readConcern: {} }} :: caused by :: {what} not \
                 supported",
                show_document(&shown)
            ));
        }
        self.snapshot = Some(time);
        Ok(())
    }
}
