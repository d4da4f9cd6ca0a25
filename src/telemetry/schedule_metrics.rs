//! How schedules stand, in the form that Prometheus reads.

use std::fmt;

use keepwell_schedules::board::{Board, Standing};
use keepwell_workers::clock::SharedClock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Reads the board whenever somebody asks for metrics, so that what nobody ticks any more is seen to be late.
#[derive(Debug)]
pub(crate) struct ScheduleMetrics {
    pub(crate) board: Board,
    pub(crate) clock: SharedClock,
}

/// What is told of a schedule as a number.
type Reading = fn(&Standing) -> i64;

const COUNTERS: [(&str, &str, Reading); 2] = [
    ("schedule_fired", "Ticks that have fired, on all nodes", |standing| standing.row.fired as i64),
    ("schedule_skipped", "Ticks that were left out, on all nodes", |standing| standing.row.skipped as i64),
];

const GAUGES: [(&str, &str, Reading); 4] = [
    (
        "schedule_overdue_seconds",
        "For how long its next tick has been waiting to be decided on; 0 if it is yet to come",
        |standing| standing.overdue_ms / 1_000,
    ),
    (
        "schedule_held_back_seconds",
        "For how long it has left out ticks because the job of an earlier one is still owed",
        |standing| standing.held_back_ms / 1_000,
    ),
    ("schedule_last_tick_timestamp_seconds", "The last tick that fired; 0 if none has", |standing| {
        standing.row.last_tick_ms.unwrap_or(0) / 1_000
    }),
    ("schedule_paused", "Whether it is paused", |standing| i64::from(standing.row.paused.is_some())),
];

impl Collector for ScheduleMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let standings = self.board.read(self.clock.now_ms());
        if standings.is_empty() {
            return Ok(());
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for standing in &standings {
                let counter = ConstCounter::new(u64::try_from(read(standing)).unwrap_or(0));
                counter.encode(family.encode_family(&[("schedule", standing.row.name.as_str())])?)?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for standing in &standings {
                let gauge = ConstGauge::new(read(standing));
                gauge.encode(family.encode_family(&[("schedule", standing.row.name.as_str())])?)?;
            }
        }
        Ok(())
    }
}
