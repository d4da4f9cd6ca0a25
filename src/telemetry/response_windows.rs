//! How crises were answered in the last minute, five minutes and hour (003: real-time crisis monitoring), in memory
//! that does not grow: each window is sixty slots, each slot a histogram, and the oldest goes as a new one comes.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use keepwell_jobs::care::severity::is_late;
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

/// Between which times answers are told apart, in microseconds; what is faster or slower counts as one of these.
const TIMES_US: RangeInclusive<u64> = 1..=87_000_000;

/// Digits that a time is known to: 1 %, for 10 KiB a slot.
const DIGITS: u8 = 2;

/// What is told of a window.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)];

/// What one stretch of time has seen.
#[derive(Debug, Clone)]
struct Slot {
    /// Which stretch: its begin divided by its length.
    number: i64,
    /// How long answers took, in microseconds.
    times: Histogram<u32>,
    in_time: u64,
    failed: u64,
    max: Duration,
}

impl Slot {
    #[expect(clippy::expect_used, reason = "its bounds are constants that a test has made one of")]
    fn new(number: i64) -> Self {
        let times = Histogram::new_with_bounds(*TIMES_US.start(), *TIMES_US.end(), DIGITS);
        let times = times.expect("the bounds of a histogram");
        Self { number, times, in_time: 0, failed: 0, max: Duration::ZERO }
    }

    fn answered(&mut self, time: Duration, limit: Duration) {
        self.times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.in_time += u64::from(!is_late(time, limit));
        self.max = self.max.max(time);
    }

    #[expect(clippy::expect_used, reason = "all of them have the same bounds")]
    fn add(&mut self, other: &Self) {
        self.times.add(&other.times).expect("histograms of the same bounds");
        self.in_time += other.in_time;
        self.failed += other.failed;
        self.max = self.max.max(other.max);
    }

    /// The time that `share` (0 to 1) of the answers kept.
    fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.times.value_at_quantile(share)).min(self.max)
    }
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
    /// The times that half, 95 % and 99 % of the answers kept, at most 1 % too long; `None` without an answer.
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
        self.in_each(|slot| slot.answered(time, limit));
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
            answered: sum.times.len(),
            in_time: sum.in_time,
            failed: sum.failed,
            quantiles: (!sum.times.is_empty()).then(|| QUANTILES.map(|(_, share)| sum.quantile(share))),
            max: (!sum.times.is_empty()).then_some(sum.max),
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
            "The time that a share of recent crises kept, at most 1 % too long; 1 is the slowest",
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
    fn a_time_is_known_to_one_in_a_hundred_and_none_is_too_short_or_too_long_to_count() {
        for us in [0, 99, 101, 1_000, 20_000, 99_999, 200_001, 60_000_000, u64::MAX] {
            let mut slot = Slot::new(0);
            let time = Duration::from_micros(us);
            slot.answered(time, LIMIT);
            slot.answered(Duration::MAX, LIMIT);
            let known = slot.quantile(0.5).as_micros() as f64;
            let exact = us.min(*TIMES_US.end()) as f64;
            assert!((exact..=exact * 1.01).contains(&known), "{time:?} is known as {known} us");
            assert_eq!(slot.times.len(), 2);
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
                assert!((exact..exact * 1.01).contains(&quantile), "{quantile} is not about {exact}");
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
