//! What the receiver counts. Metrics and the health report read it; nothing is ever reset.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use keepwell_workers::clock::UnixMs;

use super::{incidents::Incidents, refusal::Refusal};

/// The upper edges of the buckets of [`ReceiverStats::validation`], in microseconds. Measured: the HMAC of a 2 KiB
/// event takes 2 µs on a processor with SHA instructions and 28 µs on one without, that of 1 MiB 0.9 ms.
pub const VALIDATION_EDGES_US: &[u64] =
    &[10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000];

/// The upper edges of the buckets of [`ReceiverStats::answers`], in microseconds.
pub const ANSWER_EDGES_US: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// Counters of one receiver. All of them only grow, except the gauges of what is open now.
#[derive(Debug)]
pub struct ReceiverStats {
    /// Webhook requests of any kind.
    pub requests: Counter,
    /// Requests whose signature was good and fresh.
    pub valid: Counter,
    /// Events recorded for the first time.
    pub recorded: Counter,
    /// Events that had been recorded before.
    pub duplicates: Counter,
    /// Recorded events of a type that nobody handles.
    pub unhandled: Counter,
    /// Recorded events of another mode or account than their source is for.
    pub set_aside: Counter,
    /// Requests of crisis sources let in although the general places were taken.
    pub crisis_exemptions: Counter,
    /// How long verification took.
    pub validation: Histogram,
    /// From the request's headers to its answer, of verified requests.
    pub answers: Histogram,
    /// Connections open now.
    pub connections: Gauge,
    /// Webhooks in flight now.
    pub in_flight: Gauge,
    /// What looked like an attack, for the audit trail.
    pub incidents: Incidents,
    blocked: [Counter; Refusal::ALL.len()],
    /// The refusal's index in the low 8 bits, the instant above them; 0 is never.
    last_blocked: AtomicU64,
    /// The same of security violations only.
    last_violation: AtomicU64,
}

impl ReceiverStats {
    /// Counters at zero.
    pub fn new() -> Self {
        Self {
            requests: Counter::default(),
            valid: Counter::default(),
            recorded: Counter::default(),
            duplicates: Counter::default(),
            unhandled: Counter::default(),
            set_aside: Counter::default(),
            crisis_exemptions: Counter::default(),
            validation: Histogram::new(VALIDATION_EDGES_US),
            answers: Histogram::new(ANSWER_EDGES_US),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            blocked: Default::default(),
            last_blocked: AtomicU64::new(0),
            last_violation: AtomicU64::new(0),
            incidents: Incidents::default(),
        }
    }

    /// Requests refused for `reason`.
    pub fn blocked(&self, reason: Refusal) -> u64 {
        self.blocked[reason as usize].get()
    }

    /// Requests refused for any reason.
    pub fn blocked_total(&self) -> u64 {
        Refusal::ALL.into_iter().map(|reason| self.blocked(reason)).sum()
    }

    /// The last refusal and its instant.
    pub fn last_blocked(&self) -> Option<(Refusal, UnixMs)> {
        unpack(self.last_blocked.load(Relaxed))
    }

    /// Requests refused because they could not prove where they came from.
    pub fn violations(&self) -> u64 {
        Refusal::ALL.into_iter().filter(|it| it.is_violation()).map(|it| self.blocked(it)).sum()
    }

    /// The last of these refusals and its instant.
    pub fn last_violation(&self) -> Option<(Refusal, UnixMs)> {
        unpack(self.last_violation.load(Relaxed))
    }

    pub(super) fn block(&self, reason: Refusal, now_ms: UnixMs) {
        self.blocked[reason as usize].add();
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        let packed = now_ms << 8 | reason as u64;
        self.last_blocked.store(packed, Relaxed);
        if reason.is_violation() {
            self.last_violation.store(packed, Relaxed);
        }
    }
}

fn unpack(packed: u64) -> Option<(Refusal, UnixMs)> {
    let reason = *Refusal::ALL.get((packed & 0xff) as usize)?;
    (packed != 0).then_some((reason, (packed >> 8) as UnixMs))
}

impl Default for ReceiverStats {
    fn default() -> Self {
        Self::new()
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// How many of something there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// How many there are now.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(super) fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Durations, counted by size.
#[derive(Debug)]
pub struct Histogram {
    edges_us: &'static [u64],
    /// One bucket per edge, and a last one for what is beyond them all.
    buckets: Box<[Counter]>,
    sum_ns: AtomicU64,
}

impl Histogram {
    fn new(edges_us: &'static [u64]) -> Self {
        Self {
            edges_us,
            buckets: (0..=edges_us.len()).map(|_| Counter::default()).collect(),
            sum_ns: AtomicU64::new(0),
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed))
    }

    /// Their mean; zero if there are none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed).checked_div(self.count()).unwrap_or(0))
    }

    /// Each bucket's upper edge in microseconds (`None` for the last one, which has none) and how many durations lie
    /// in it, above the edge before. Not cumulated.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let edges = self.edges_us.iter().copied().map(Some).chain([None]);
        edges.zip(self.buckets.iter().map(Counter::get))
    }

    pub(super) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[self.edges_us.partition_point(|edge| *edge < us)].add();
        self.sum_ns.fetch_add(ns, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_under_the_first_edge_that_is_not_below_it() {
        let histogram = Histogram::new(&[10, 100]);
        for us in [0, 10, 11, 100, 101, 1_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(Some(10), 2), (Some(100), 2), (None, 2)]);
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum(), Duration::from_micros(1_000_222));
        assert_eq!(histogram.mean(), Duration::from_nanos(166_703_666));
    }

    #[test]
    fn refusals_are_counted_by_reason_and_the_last_one_is_known() {
        let stats = ReceiverStats::new();
        assert_eq!(stats.last_blocked(), None);
        stats.block(Refusal::SignatureInvalid, 5);
        stats.block(Refusal::SignatureInvalid, 6);
        stats.block(Refusal::BodyTooLarge, 1_700_000_000_123);
        assert_eq!(stats.blocked(Refusal::SignatureInvalid), 2);
        assert_eq!(stats.blocked_total(), 3);
        assert_eq!(stats.last_blocked(), Some((Refusal::BodyTooLarge, 1_700_000_000_123)));
    }

    #[test]
    fn the_last_violation_is_still_known_after_a_refusal_that_is_none() {
        let stats = ReceiverStats::new();
        stats.block(Refusal::RateLimited, 6);
        stats.block(Refusal::Busy, 7);
        assert_eq!(stats.last_violation(), Some((Refusal::RateLimited, 6)));
        assert_eq!((stats.violations(), stats.blocked_total()), (1, 2));
    }
}
