//! Schedules as they are written down. Whether one makes sense, whoever ticks it says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::choices::{MissedTicks, OverlappingTicks};
use crate::schema::{Kind, SettingType};

/// One item of `schedules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {
    /// What it is called.
    pub name: String,
    /// A cron expression with seconds; either this or `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The time between ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The kind of its jobs.
    pub kind: String,
    /// The lane of its jobs.
    #[serde(default = "lane")]
    pub lane: String,
    /// What its jobs are given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub payload: Map<String, Value>,
    /// What becomes of a tick that comes while the job of the one before is owed.
    #[serde(default = "overlap")]
    pub overlap: OverlappingTicks,
    /// What becomes of ticks that were missed.
    #[serde(default = "missed")]
    pub missed: MissedTicks,
    /// How long ago they may have been missed.
    #[serde(default = "window")]
    pub window: String,
    /// By how much a job is held back at most.
    #[serde(default = "jitter")]
    pub jitter: String,
}

impl ScheduleEntry {
    /// One called `name` whose jobs are of `kind`, of which nothing else is said.
    pub fn new(name: &str, kind: &str) -> Self {
        Self {
            name: name.to_owned(),
            cron: None,
            time_zone: None,
            every: None,
            kind: kind.to_owned(),
            lane: lane(),
            payload: Map::new(),
            overlap: overlap(),
            missed: missed(),
            window: window(),
            jitter: jitter(),
        }
    }
}

fn lane() -> String {
    "background".to_owned()
}

fn overlap() -> OverlappingTicks {
    OverlappingTicks::Wait
}

fn missed() -> MissedTicks {
    MissedTicks::Once
}

fn window() -> String {
    "1d".to_owned()
}

fn jitter() -> String {
    "0s".to_owned()
}

impl SettingType for ScheduleEntry {
    const KIND: Kind = Kind::Schedule;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_a_schedule_is_what_harms_least() {
        let entry: ScheduleEntry = serde_json::from_str(r#"{"name":"a","every":"1h","kind":"b"}"#).unwrap();
        assert_eq!(
            (entry.lane.as_str(), entry.window.as_str(), entry.jitter.as_str()),
            ("background", "1d", "0s")
        );
        assert_eq!((entry.overlap, entry.missed), (OverlappingTicks::Wait, MissedTicks::Once));
        assert_eq!(entry, ScheduleEntry { every: Some("1h".to_owned()), ..ScheduleEntry::new("a", "b") });
        for wrong in [r#"{"every":"1h","kind":"b"}"#, r#"{"name":"a","kind":"b","evry":"1h"}"#] {
            assert!(serde_json::from_str::<ScheduleEntry>(wrong).is_err(), "{wrong}");
        }
    }
}
