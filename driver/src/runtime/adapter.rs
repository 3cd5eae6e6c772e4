//! What every adapter needs and none has to decide: one zero of time for the whole process, and
//! conversions. Nothing here reads a clock; the adapter hands its reading in.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mongo_client_core::time::{Instant, UnixMillis};

use super::DialTarget;

/// The zero of the monotonic clock; all adapters of a process share it, so that an instant of one
/// means the same to another. It is the first reading that any of them hands in.
static ZERO: OnceLock<std::time::Instant> = OnceLock::new();

/// A reading of the monotonic clock, as time since the process' zero.
#[inline]
#[must_use]
pub fn instant(reading: std::time::Instant) -> Instant {
    let since = reading.saturating_duration_since(*ZERO.get_or_init(|| reading));
    let seconds = since.as_secs().saturating_mul(1_000_000_000);
    Instant::from_nanos(seconds.saturating_add(since.subsec_nanos().into()))
}

/// The reading of the monotonic clock that stands for an instant; `None` if the platform cannot
/// represent it. `now` is any reading: it becomes the zero if there is none.
#[must_use]
pub fn reading(at: Instant, now: std::time::Instant) -> Option<std::time::Instant> {
    let zero = *ZERO.get_or_init(|| now);
    zero.checked_add(Duration::from_nanos(at.as_nanos()))
}

/// A reading of the wall clock; the limits of the type stand for times beyond them.
#[must_use]
pub fn unix_millis(reading: SystemTime) -> UnixMillis {
    UnixMillis(match reading.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
        }
    })
}

/// The address to bind a datagram socket to which speaks to `peer`.
#[must_use]
pub fn unspecified(peer: SocketAddr) -> SocketAddr {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// The error for a kind of target that an adapter or the platform does not have.
#[must_use]
pub fn unsupported(runtime: &str, target: &DialTarget) -> io::Error {
    let message = format!("{runtime} cannot dial {target:?} on this platform");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_way_there_and_back() {
        let now = std::time::Instant::now();
        let later = now + Duration::from_millis(1_500);
        // The first reading of the process may be the zero.
        let earlier = instant(now).as_nanos();
        assert_eq!(instant(later).as_nanos() - earlier, 1_500_000_000);
        assert_eq!(reading(instant(later), now), Some(later));
    }

    #[test]
    fn wall_clock_before_1970_is_negative() {
        assert_eq!(unix_millis(UNIX_EPOCH).0, 0);
        assert_eq!(unix_millis(UNIX_EPOCH + Duration::from_secs(2)).0, 2_000);
        assert_eq!(unix_millis(UNIX_EPOCH - Duration::from_secs(2)).0, -2_000);
    }

    #[test]
    fn datagram_sockets_are_bound_in_the_family_of_the_peer() {
        let v6: SocketAddr = "[::1]:53".parse().unwrap();
        assert!(unspecified(v6).is_ipv6());
        let v4: SocketAddr = "127.0.0.1:53".parse().unwrap();
        assert!(unspecified(v4).is_ipv4());
    }
}
