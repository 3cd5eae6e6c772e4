//! How long operations took: a histogram whose buckets are at most 3 % wide.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^37 ns, which is more than two minutes.
const BUCKETS: usize = 33 * STEPS as usize;

/// Durations from nanoseconds to minutes.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
        }
    }
}

impl Histogram {
    /// Adds a duration; one beyond the last bucket counts there.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos).min(BUCKETS - 1)] += 1;
        self.count += 1;
    }

    /// Adds what another one has recorded.
    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to += from;
        }
        self.count += other.count;
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The duration in nanoseconds below which this share of all durations is; 0 without any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return middle(index as u64);
            }
        }
        0
    }
}

/// The bucket of a duration: its highest bits.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let power = nanos.ilog2() - STEP_BITS;
    (u64::from(power) * STEPS + (nanos >> power)) as usize
}

/// The middle of a bucket.
fn middle(bucket: u64) -> u64 {
    if bucket < 2 * STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) << power) + (1 << power >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_three_percent_wide_and_none_is_skipped() {
        let mut last = 0;
        for nanos in (0..10_000).chain((0..200).map(|n| 10_000 + n * n * 700_000)) {
            let at = bucket(nanos);
            assert!(at >= last && (nanos > 10_000 || at - last <= 1), "{nanos}");
            last = at;
            let off = middle(at as u64).abs_diff(nanos) as f64;
            assert!(off <= nanos as f64 * 0.016, "{nanos}: off by {off}");
        }
        assert!(bucket(1 << 36) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_thousand_even_durations() {
        let mut halves = [Histogram::default(), Histogram::default()];
        for micros in 1..=1_000_u64 {
            halves[(micros % 2) as usize].record(Duration::from_micros(micros));
        }
        let [mut all, other] = halves;
        all.merge(&other);
        assert_eq!(all.count(), 1_000);
        let near = |share: f64, micros: f64| {
            let off = all.quantile(share) as f64 / (micros * 1_000.0) - 1.0;
            assert!(off.abs() < 0.03, "{share}: {}", all.quantile(share));
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }

    #[test]
    fn what_is_beyond_the_last_bucket_counts_there() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(0.5) > 1 << 36);
    }
}
