//! Date-times of several crates as those of BSON, for `#[serde(with = "date_time")]`.

use bson::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// A type that stands for a date-time of BSON, or for one that may be missing.
pub trait AsDateTime: Sized {
    /// The milliseconds since 1970 in UTC; `Ok(None)` for a null.
    ///
    /// # Errors
    ///
    /// When BSON cannot express the date-time.
    fn to_millis(&self) -> Result<Option<i64>, OutOfRange>;

    /// The date-time of so many milliseconds since 1970 in UTC, or of a null.
    ///
    /// # Errors
    ///
    /// When the type cannot express it.
    fn from_millis(millis: Option<i64>) -> Result<Self, OutOfRange>;
}

/// A date-time that a type cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutOfRange {
    /// It is too early or too late.
    Range,
    /// It is null, and the type is not an `Option`.
    Null,
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Range => "the date-time is too early or too late for the type",
            Self::Null => "a date-time was expected, not null",
        })
    }
}

impl std::error::Error for OutOfRange {}

impl<T: AsDateTime> AsDateTime for Option<T> {
    fn to_millis(&self) -> Result<Option<i64>, OutOfRange> {
        self.as_ref().map_or(Ok(None), T::to_millis)
    }

    fn from_millis(millis: Option<i64>) -> Result<Self, OutOfRange> {
        millis
            .map(|millis| T::from_millis(Some(millis)))
            .transpose()
    }
}

/// Serializes a date-time.
///
/// # Errors
///
/// When BSON cannot express it, and those of the serializer.
pub fn serialize<T: AsDateTime, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value.to_millis().map_err(ser::Error::custom)? {
        None => serializer.serialize_none(),
        Some(millis) => DateTime::from_millis(millis).serialize(serializer),
    }
}

/// Deserializes a date-time.
///
/// # Errors
///
/// When the type cannot express it, and those of the deserializer.
pub fn deserialize<'de, T: AsDateTime, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let found = Option::<DateTime>::deserialize(deserializer)?;
    T::from_millis(found.map(DateTime::timestamp_millis)).map_err(de::Error::custom)
}
