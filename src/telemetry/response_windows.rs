//! How crises were answered in the last minute, five minutes and hour (003: real-time crisis monitoring), in memory
//! that does not grow: each window is sixty slots, each slot a histogram, and the oldest goes as a new one comes.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_workers::clock::{SharedClock, UnixMs};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

/// The names of the windows, and how long each of their slots is, in milliseconds.
const WINDOWS: [(&str, i64); 3] = [("1m", 1_000), ("5m", 5_000), ("1h", 60_000)];

/// Slots of a window.
const SLOTS: usize = 60;

/// Buckets of a slot. Each ends 15 % above the one before: the first at 0.1 ms, the last at 87 s.
const BUCKETS: usize = 96;

/// Buckets for every factor of ten.
const BUCKETS_PER_DECADE: f64 = 16.0;

/// Where the first bucket ends, in microseconds.
const FIRST_US: f64 = 100.0;

/// What is told of a window.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)];

/// What one stretch of time has seen.
#[derive(Debug, Clone)]
struct Slot {
    /// Which stretch: its begin divided by its length.
    number: i64,
    counts: [u32; BUCKETS],
    in_time: u64,
    answered: u64,
    failed: u64,
    max: Duration,
}

impl Slot {
    const fn new(number: i64) -> Self {
        Self { number, counts: [0; BUCKETS], in_time: 0, answered: 0, failed: 0, max: Duration::ZERO }
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.in_time += other.in_time;
        self.answered += other.answered;
        self.failed += other.failed;
        self.max = self.max.max(other.max);
    }

    /// The time that `share` (0 to 1) of the answers kept, rounded up to the end of a bucket.
    fn quantile(&self, share: f64) -> Duration {
        let rank = (self.answered as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        place.map_or(self.max, |place| end_of(place).min(self.max))
    }
}

/// The bucket that a time falls into.
fn bucket_of(time: Duration) -> usize {
    let decades = (time.as_secs_f64() * 1e6 / FIRST_US).log10();
    // Anything below the first, no time at all included, is in the first.
    ((decades * BUCKETS_PER_DECADE).ceil().max(0.0) as usize).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end_of(place: usize) -> Duration {
    Duration::from_secs_f64(FIRST_US * 10_f64.powf(place as f64 / BUCKETS_PER_DECADE) / 1e6)
}

/// Sixty slots of one length.
#[derive(Debug)]
struct Ring {
    slot_ms: i64,
    slots: Vec<Slot>,
}

impl Ring {
    fn slot(&mut self, now_ms: UnixMs) -> Option<&mut Slot> {
        let number = now_ms.div_euclid(self.slot_ms);
        let slot = self.slots.get_mut(number.rem_euclid(SLOTS as i64) as usize)?;
        if slot.number != number {
            *slot = Slot::new(number);
        }
        Some(slot)
    }

    fn sum(&self, now_ms: UnixMs) -> Slot {
        let last = now_ms.div_euclid(self.slot_ms);
        let mut sum = Slot::new(last);
        let window = last.saturating_sub(SLOTS as i64 - 1)..=last;
        for slot in self.slots.iter().filter(|slot| window.contains(&slot.number)) {
            sum.add(slot);
        }
        sum
    }
}

/// What a window amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSummary {
    /// `1m`, `5m` or `1h`.
    pub window: &'static str,
    /// Crises that were answered.
    pub answered: u64,
    /// Those of them that were answered within their own limit.
    pub in_time: u64,
    /// Crises that nothing answers.
    pub failed: u64,
    /// The times that half, 95 % and 99 % of the answers kept, at most 15 % too long; `None` without an answer.
    pub quantiles: Option<[Duration; 3]>,
    /// How long the slowest answer took, exactly.
    pub max: Option<Duration>,
}

impl WindowSummary {
    /// The share of all crises that were answered within their own limit, from 0 to 1; 1 if there was none.
    pub fn in_time_share(&self) -> f64 {
        let all = self.answered + self.failed;
        if all == 0 { 1.0 } else { self.in_time as f64 / all as f64 }
    }
}

/// The windows of this process.
#[derive(Debug)]
pub struct ResponseWindows {
    rings: Mutex<[Ring; WINDOWS.len()]>,
    clock: SharedClock,
}

impl ResponseWindows {
    /// Nothing was answered yet.
    pub(super) fn new(clock: SharedClock) -> Arc<Self> {
        // No time is in the stretch before all others.
        let rings = WINDOWS.map(|(_, slot_ms)| Ring { slot_ms, slots: vec![Slot::new(i64::MIN); SLOTS] });
        Arc::new(Self { rings: Mutex::new(rings), clock })
    }

    /// A crisis was answered, which took `time` and may take `limit`.
    pub(super) fn answered(&self, time: Duration, limit: Duration) {
        self.in_each(|slot| {
            if let Some(count) = slot.counts.get_mut(bucket_of(time)) {
                *count = count.saturating_add(1);
            }
            slot.answered += 1;
            slot.in_time += u64::from(time <= limit);
            slot.max = slot.max.max(time);
        });
    }

    /// Nothing answers a crisis.
    pub(super) fn failed(&self) {
        self.in_each(|slot| slot.failed += 1);
    }

    /// What each window amounts to now, the shortest first.
    pub fn summaries(&self) -> [WindowSummary; WINDOWS.len()] {
        let now_ms = self.clock.now_ms();
        let rings = self.lock();
        let sums = rings.each_ref().map(|ring| ring.sum(now_ms));
        drop(rings);
        let mut names = WINDOWS.iter().map(|(name, _)| *name);
        sums.map(|sum| WindowSummary {
            window: names.next().unwrap_or_default(),
            answered: sum.answered,
            in_time: sum.in_time,
            failed: sum.failed,
            quantiles: (sum.answered > 0).then(|| QUANTILES.map(|(_, share)| sum.quantile(share))),
            max: (sum.answered > 0).then_some(sum.max),
        })
    }

    fn in_each(&self, change: impl Fn(&mut Slot)) {
        let now_ms = self.clock.now_ms();
        for ring in &mut *self.lock() {
            ring.slot(now_ms).into_iter().for_each(&change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Ring; WINDOWS.len()]> {
        // Counts that a panic interrupted are off by one at most.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells Prometheus what the windows amount to whenever it asks.
#[derive(Debug)]
pub(super) struct WindowMetrics(pub(super) Arc<ResponseWindows>);

impl Collector for WindowMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let summaries = self.0.summaries();
        let mut times = encoder.encode_descriptor(
            "crisis_response_recent",
            "The time that a share of recent crises kept, at most 15 % too long; 1 is the slowest",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for summary in &summaries {
            let quantiles = summary
                .quantiles
                .into_iter()
                .flat_map(|times| QUANTILES.into_iter().zip(times).map(|((name, _), time)| (name, time)));
            for (quantile, time) in quantiles.chain(summary.max.map(|max| ("1", max))) {
                let labels = [("window", summary.window), ("quantile", quantile)];
                ConstGauge::new(time.as_secs_f64()).encode(times.encode_family(&labels)?)?;
            }
        }
        let mut shares = encoder.encode_descriptor(
            "crisis_response_recent_in_time_ratio",
            "The share of recent crises that were answered within their own limit; 1 if there was none",
            None,
            MetricType::Gauge,
        )?;
        for summary in &summaries {
            let share = ConstGauge::new(summary.in_time_share());
            share.encode(shares.encode_family(&[("window", summary.window)])?)?;
        }
        let mut counts = encoder.encode_descriptor(
            "crisis_response_recent_crises",
            "Recent crises",
            None,
            MetricType::Gauge,
        )?;
        for summary in &summaries {
            let late = summary.answered - summary.in_time;
            for (result, count) in [("in_time", summary.in_time), ("late", late), ("failed", summary.failed)]
            {
                let labels = [("window", summary.window), ("result", result)];
                ConstGauge::new(count).encode(counts.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::clock::ManualClock;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    #[test]
    fn a_time_is_known_to_the_end_of_its_bucket() {
        assert_eq!((bucket_of(Duration::ZERO), bucket_of(Duration::MAX)), (0, BUCKETS - 1));
        for us in [99, 101, 1_000, 20_000, 99_999, 200_001, 60_000_000] {
            let (time, end) = (Duration::from_micros(us), end_of(bucket_of(Duration::from_micros(us))));
            assert!(
                time <= end && end.as_secs_f64() < time.as_secs_f64().max(1e-4) * 1.16,
                "{time:?} {end:?}"
            );
        }
    }

    #[test]
    fn a_window_tells_of_what_lies_in_it_and_of_nothing_else() {
        let clock = ManualClock::at(1_700_000_000_000);
        let windows = ResponseWindows::new(clock.clone());
        let [minute, ..] = windows.summaries();
        assert_eq!((minute.quantiles, minute.max), (None, None));
        assert!((minute.in_time_share() - 1.0).abs() < f64::EPSILON, "nothing was violated");

        for ms in 1..=98 {
            windows.answered(Duration::from_millis(ms), LIMIT);
        }
        windows.answered(Duration::from_millis(201), LIMIT);
        windows.failed();
        for summary in windows.summaries() {
            let WindowSummary { answered, in_time, failed, max, .. } = summary;
            assert_eq!((answered, in_time, failed), (99, 98, 1), "{}", summary.window);
            assert!((summary.in_time_share() - 0.98).abs() < 1e-9);
            let quantiles = summary.quantiles.unwrap().map(|time| time.as_secs_f64() * 1_000.0);
            for (quantile, exact) in quantiles.into_iter().zip([50.0, 95.0, 201.0]) {
                assert!((exact..exact * 1.16).contains(&quantile), "{quantile} is not about {exact}");
            }
            assert_eq!(max, Some(Duration::from_millis(201)));
        }
        let counts = || windows.summaries().map(|summary| summary.answered);
        for (by_ms, expected) in [(59_000, [99, 99, 99]), (2_000, [0, 99, 99]), (240_000, [0, 0, 99])] {
            clock.advance_ms(by_ms);
            assert_eq!(counts(), expected, "after {by_ms} ms more");
        }
        clock.advance_ms(3_600_000);
        assert_eq!(counts(), [0, 0, 0]);
        // What lies ahead of a clock that was set back is not of late.
        windows.answered(LIMIT, LIMIT);
        clock.advance_ms(-7_200_000);
        assert_eq!(counts(), [0, 0, 0]);
        windows.answered(LIMIT, LIMIT);
        assert_eq!(counts(), [1, 1, 1]);
    }
}
