//! The types that stand for date-times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::DateTime;

use super::date_time::{AsDateTime, OutOfRange};

/// Implements the trait by two functions: to milliseconds, and from them.
macro_rules! date_time {
    ($type:ty, |$value:ident| $to:expr, |$millis:ident| $from:expr) => {
        impl AsDateTime for $type {
            fn to_millis(&self) -> Result<Option<i64>, OutOfRange> {
                let $value = self;
                let millis: Option<i64> = $to;
                millis.map(Some).ok_or(OutOfRange::Range)
            }

            fn from_millis(millis: Option<i64>) -> Result<Self, OutOfRange> {
                let $millis: i64 = millis.ok_or(OutOfRange::Null)?;
                let value: Option<Self> = $from;
                value.ok_or(OutOfRange::Range)
            }
        }
    };
}

date_time!(DateTime, |value| Some(value.timestamp_millis()), |millis| {
    Some(Self::from_millis(millis))
});

date_time!(SystemTime, |value| system_millis(*value), |millis| {
    let distance = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
});

fn system_millis(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok(),
        Err(before) => {
            let nanos = i128::try_from(before.duration().as_nanos()).ok()?;
            i64::try_from((-nanos).div_euclid(NANOS)).ok()
        }
    }
}

/// Nanoseconds in a millisecond.
const NANOS: i128 = 1_000_000;

#[cfg(feature = "chrono-0_4")]
mod chrono_types {
    use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};

    use super::{AsDateTime, OutOfRange};

    date_time!(
        DateTime<Utc>,
        |value| Some(value.timestamp_millis()),
        |millis| Self::from_timestamp_millis(millis)
    );
    date_time!(
        DateTime<FixedOffset>,
        |value| Some(value.timestamp_millis()),
        |millis| DateTime::<Utc>::from_timestamp_millis(millis).map(Into::into)
    );
    date_time!(
        NaiveDateTime,
        |value| Some(value.and_utc().timestamp_millis()),
        |millis| DateTime::<Utc>::from_timestamp_millis(millis).map(|time| time.naive_utc())
    );
}

#[cfg(feature = "time-0_3")]
mod time_types {
    use time::{OffsetDateTime, PrimitiveDateTime};

    use super::{AsDateTime, NANOS, OutOfRange};

    fn millis_of(time: OffsetDateTime) -> Option<i64> {
        i64::try_from(time.unix_timestamp_nanos().div_euclid(NANOS)).ok()
    }

    fn of_millis(millis: i64) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * NANOS).ok()
    }

    date_time!(OffsetDateTime, |value| millis_of(*value), |millis| {
        of_millis(millis)
    });
    date_time!(
        PrimitiveDateTime,
        |value| millis_of(value.assume_utc()),
        |millis| of_millis(millis).map(|time| Self::new(time.date(), time.time()))
    );
}

#[cfg(feature = "jiff-0_2")]
mod jiff_types {
    use jiff::{Timestamp, Zoned, civil::DateTime, tz::TimeZone};

    use super::{AsDateTime, NANOS, OutOfRange};

    fn millis_of(time: Timestamp) -> Option<i64> {
        i64::try_from(time.as_nanosecond().div_euclid(NANOS)).ok()
    }

    date_time!(Timestamp, |value| millis_of(*value), |millis| {
        Self::from_millisecond(millis).ok()
    });
    date_time!(Zoned, |value| millis_of(value.timestamp()), |millis| {
        Timestamp::from_millisecond(millis)
            .ok()
            .map(|time| time.to_zoned(TimeZone::UTC))
    });
    date_time!(
        DateTime,
        |value| {
            let zoned = value.to_zoned(TimeZone::UTC).ok();
            zoned.and_then(|zoned| millis_of(zoned.timestamp()))
        },
        |millis| {
            let time = Timestamp::from_millisecond(millis).ok();
            time.map(|time| time.to_zoned(TimeZone::UTC).datetime())
        }
    );
}
