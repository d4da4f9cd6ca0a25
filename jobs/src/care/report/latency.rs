//! How long answers took: the mean, percentiles, and how they are spread.

use serde::{Deserialize, Serialize};

/// Where the buckets of the spread end, in milliseconds; the limits of the protocols (50, 100, 200, 300) are among
/// them.
pub const BOUNDS_MS: [u64; 12] = [5, 10, 20, 50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000];

/// What a number of answers amounts to. A percentile is the nearest rank: an answer that was really given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How many answers.
    pub count: u64,
    /// The mean, in milliseconds.
    pub average_ms: Option<f64>,
    /// The fastest, in milliseconds.
    pub fastest_ms: Option<f64>,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 90 of 100 took no longer, in milliseconds.
    pub p90_ms: Option<f64>,
    /// 95 of 100 took no longer, in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99 of 100 took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// 999 of 1000 took no longer, in milliseconds.
    pub p999_ms: Option<f64>,
    /// The slowest, in milliseconds.
    pub slowest_ms: Option<f64>,
}

/// How many answers took no longer than this, and longer than the bucket before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Its end, in milliseconds; `None` for whatever took longer than the last one.
    pub up_to_ms: Option<u64>,
    /// How many.
    pub count: u64,
}

impl Latency {
    /// Of answers that took so many microseconds each.
    pub fn of(took_us: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = took_us.into_iter().collect();
        sorted.sort_unstable();
        let count = sorted.len() as u128;
        let sum: u128 = sorted.iter().map(|took| u128::from(*took)).sum();
        // Rounded to the nearest microsecond.
        let average = (sum + count / 2).checked_div(count).map(|us| us as f64 / 1_000.0);
        let rank = |of_1000: usize| {
            let rank = (sorted.len() * of_1000).div_ceil(1_000).saturating_sub(1);
            sorted.get(rank).map(|us| milliseconds(*us))
        };
        Self {
            count: sorted.len() as u64,
            average_ms: average,
            fastest_ms: sorted.first().map(|us| milliseconds(*us)),
            p50_ms: rank(500),
            p90_ms: rank(900),
            p95_ms: rank(950),
            p99_ms: rank(990),
            p999_ms: rank(999),
            slowest_ms: sorted.last().map(|us| milliseconds(*us)),
        }
    }
}

/// How answers that took so many microseconds each are spread over [`BOUNDS_MS`].
pub fn spread(took_us: impl IntoIterator<Item = u64>) -> Vec<Bucket> {
    let ends = BOUNDS_MS.into_iter().map(Some).chain([None]);
    let mut buckets: Vec<Bucket> = ends.map(|up_to_ms| Bucket { up_to_ms, count: 0 }).collect();
    for took_us in took_us {
        let fits = |bucket: &&mut Bucket| bucket.up_to_ms.is_none_or(|end_ms| took_us <= end_ms * 1_000);
        if let Some(bucket) = buckets.iter_mut().find(fits) {
            bucket.count += 1;
        }
    }
    buckets
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_answers_that_were_given() {
        // 1, 2 … 1000 ms, in no order.
        let latency = Latency::of((1..=1_000).map(|n| (n * 7 % 1_000 + 1) * 1_000));
        let expected = Latency {
            count: 1_000,
            average_ms: Some(500.5),
            fastest_ms: Some(1.0),
            p50_ms: Some(500.0),
            p90_ms: Some(900.0),
            p95_ms: Some(950.0),
            p99_ms: Some(990.0),
            p999_ms: Some(999.0),
            slowest_ms: Some(1_000.0),
        };
        assert_eq!(latency, expected);
        assert_eq!(Latency::of([]), Latency::default());
        let one = Latency::of([1_234]);
        assert_eq!((one.average_ms, one.p50_ms, one.p999_ms), (Some(1.234), Some(1.234), Some(1.234)));
        assert_eq!(Latency::of([1, 2]).average_ms, Some(0.002), "1.5 microseconds are 2");
    }

    #[test]
    fn an_answer_at_a_limit_has_kept_it() {
        let buckets = spread([5_000, 100_000, 100_001, 5_000_000, 5_000_001]);
        let filled: Vec<_> =
            buckets.iter().filter(|it| it.count > 0).map(|it| (it.up_to_ms, it.count)).collect();
        assert_eq!(filled, [(Some(5), 1), (Some(100), 1), (Some(150), 1), (Some(5_000), 1), (None, 1)]);
    }
}
