//! How fields of your own types are stored: date-times of other crates, and UUIDs of old drivers.
//!
//! Each module is for serde's attribute `with`, and works for a value as well as for an `Option` of
//! it:
//!
//! ```
//! use mongo_client::{bson::Uuid, serde_helpers::{date_time, uuid_java_legacy}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Visit {
//!     #[serde(with = "uuid_java_legacy")]
//!     visitor: Uuid,
//!     #[serde(with = "date_time")]
//!     began: std::time::SystemTime,
//!     #[serde(with = "date_time", default)]
//!     ended: Option<std::time::SystemTime>,
//! }
//! ```
//!
//! | Feature | Types of date-times |
//! | --- | --- |
//! | | [`bson::DateTime`], [`std::time::SystemTime`] |
//! | `chrono-0_4` | aware: `DateTime<Utc>`, `DateTime<FixedOffset>` (read as UTC); naive: `NaiveDateTime` |
//! | `time-0_3` | aware: `OffsetDateTime` (read as UTC); naive: `PrimitiveDateTime` |
//! | `jiff-0_2` | aware: `Timestamp`, `Zoned` (read as UTC); naive: `civil::DateTime` |
//!
//! BSON has milliseconds since 1970 in UTC: finer parts are cut off towards the past, and naive
//! types are taken as UTC. A date-time that the other side cannot express is an error.
//!
//! The modules for UUIDs take [`bson::Uuid`], and with the feature `uuid-1` also `uuid::Uuid`. For
//! untyped documents there is [`UuidRepresentation`](crate::options::UuidRepresentation).

pub mod date_time;
mod date_time_types;
mod uuid;

pub use self::uuid::{
    AsUuid, uuid_csharp_legacy, uuid_java_legacy, uuid_python_legacy, uuid_standard,
};
