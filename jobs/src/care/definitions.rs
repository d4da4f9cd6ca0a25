//! What the words of the crisis safety protocols mean in numbers where the protocols give none: high-risk period,
//! crisis window, rapid deterioration. The configuration can say otherwise (`care.*`).

use keepwell_workers::clock::UnixMs;

use super::{assessment::Instrument, grace::DAY_MS};

/// From this PHQ-9 score on a high-risk period begins: the instrument's own line to moderately severe depression.
pub const HIGH_RISK_PHQ9_SCORE: u32 = 15;
/// From this GAD-7 score on a high-risk period begins: the instrument's own line to moderate anxiety, from which on
/// further evaluation is recommended.
pub const HIGH_RISK_GAD7_SCORE: u32 = 10;
/// How long a high-risk period lasts, in days: both instruments ask about the last two weeks.
pub const HIGH_RISK_DAYS: u32 = 14;
/// How long a crisis window stays open after the crisis was resolved, in hours: the first three days after discharge
/// are those in which relapses are most frequent.
pub const CRISIS_WINDOW_HOURS: u32 = 72;
/// A rise of so many PHQ-9 points is a clinically significant change.
pub const DETERIORATION_PHQ9_POINTS: u32 = 5;
/// A rise of so many GAD-7 points is a clinically significant change.
pub const DETERIORATION_GAD7_POINTS: u32 = 4;
/// Within so many days a significant rise is rapid.
pub const DETERIORATION_DAYS: u32 = 14;
/// Below this score (of either instrument: the line to moderate) a rise is none that calls for help.
pub const DETERIORATION_SCORE_MIN: u32 = 10;

/// What the words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definitions {
    /// From this PHQ-9 score on a high-risk period begins.
    pub high_risk_phq9_score: u32,
    /// From this GAD-7 score on a high-risk period begins.
    pub high_risk_gad7_score: u32,
    /// How long a high-risk period lasts, in days.
    pub high_risk_days: u32,
    /// How long a crisis window stays open after the crisis was resolved, in hours.
    pub crisis_window_hours: u32,
    /// The rise of the PHQ-9 score that is a deterioration.
    pub deterioration_phq9_points: u32,
    /// The rise of the GAD-7 score that is a deterioration.
    pub deterioration_gad7_points: u32,
    /// Within how many days it is a rapid one.
    pub deterioration_days: u32,
    /// The score of either instrument below which no rise is a deterioration.
    pub deterioration_score_min: u32,
}

impl Default for Definitions {
    fn default() -> Self {
        Self {
            high_risk_phq9_score: HIGH_RISK_PHQ9_SCORE,
            high_risk_gad7_score: HIGH_RISK_GAD7_SCORE,
            high_risk_days: HIGH_RISK_DAYS,
            crisis_window_hours: CRISIS_WINDOW_HOURS,
            deterioration_phq9_points: DETERIORATION_PHQ9_POINTS,
            deterioration_gad7_points: DETERIORATION_GAD7_POINTS,
            deterioration_days: DETERIORATION_DAYS,
            deterioration_score_min: DETERIORATION_SCORE_MIN,
        }
    }
}

impl Definitions {
    /// Until when a high-risk period lasts that began at `at_ms`; not included.
    pub const fn high_risk_ends_ms(&self, at_ms: UnixMs) -> UnixMs {
        at_ms.saturating_add(self.high_risk_ms())
    }

    /// How long a high-risk period lasts, in milliseconds.
    pub const fn high_risk_ms(&self) -> i64 {
        self.high_risk_days as i64 * DAY_MS
    }

    /// Until when a crisis window stays open after a "resolved"; included.
    pub const fn window_ends_ms(&self, resolved_ms: UnixMs) -> UnixMs {
        resolved_ms.saturating_add(self.crisis_window_hours as i64 * 60 * 60 * 1_000)
    }

    /// The rise of this instrument's score that is a deterioration.
    pub const fn deterioration_points(&self, instrument: Instrument) -> u32 {
        match instrument {
            Instrument::Phq9 => self.deterioration_phq9_points,
            Instrument::Gad7 => self.deterioration_gad7_points,
        }
    }

    /// How long a score is looked back upon, in milliseconds.
    pub const fn deterioration_ms(&self) -> i64 {
        self.deterioration_days as i64 * DAY_MS
    }
}
