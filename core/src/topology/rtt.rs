//! Round-trip times of a server: weighted average and recent minimum (Server Monitoring:
//! "Measuring RTT").

use std::{collections::VecDeque, time::Duration};

/// How many samples the minimum looks back at.
const RECENT_LEN_MAX: usize = 10;
/// With fewer samples than this the minimum counts as zero.
const RECENT_LEN_MIN: usize = 2;

/// The exponentially weighted average after one more sample (alpha is 0.2).
#[must_use]
pub fn update_rtt(average: Option<Duration>, sample: Duration) -> Duration {
    let Some(average) = average else {
        return sample;
    };
    let nanos = (sample.as_nanos() + 4 * average.as_nanos()) / 5;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The round-trip times of one server since its last failed check.
#[derive(Clone, Debug, Default)]
pub struct RttStats {
    average: Option<Duration>,
    recent: VecDeque<Duration>,
}

impl RttStats {
    /// Takes a sample.
    pub fn add(&mut self, sample: Duration) {
        self.average = Some(update_rtt(self.average, sample));
        if self.recent.len() == RECENT_LEN_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(sample);
    }

    /// Forgets all samples: a check failed.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The weighted average; `None` before the first sample.
    #[must_use]
    pub fn average(&self) -> Option<Duration> {
        self.average
    }

    /// The least of the last ten samples; zero until there are two.
    #[must_use]
    pub fn min(&self) -> Duration {
        if self.recent.len() < RECENT_LEN_MIN {
            return Duration::ZERO;
        }
        self.recent.iter().min().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn average_weighs_a_new_sample_by_one_fifth() {
        assert_eq!(update_rtt(None, 10 * MS), 10 * MS);
        assert_eq!(update_rtt(Some(10 * MS), 20 * MS), 12 * MS);
    }

    #[test]
    fn average_does_not_overflow() {
        assert!(update_rtt(Some(Duration::MAX), Duration::MAX) >= Duration::from_secs(1 << 30));
    }

    #[test]
    fn minimum_needs_two_samples_and_forgets_the_eleventh() {
        let mut stats = RttStats::default();
        stats.add(MS);
        assert_eq!(stats.min(), Duration::ZERO);
        stats.add(3 * MS);
        assert_eq!(stats.min(), MS);
        for _ in 0..9 {
            stats.add(2 * MS);
        }
        assert_eq!(stats.min(), 2 * MS, "the first sample is the eleventh back");
        stats.reset();
        assert_eq!((stats.average(), stats.min()), (None, Duration::ZERO));
    }
}
