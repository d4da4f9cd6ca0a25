//! What people get: tiers, and where to find help.

use std::path::PathBuf;

use crate::values::HttpUrl;

settings! {
    /// The rules of care.
    pub struct Care in "care" {
        /// A file in the shape of the built-in `tiers.toml`, to be used instead: tiers, their features, and
        /// the prices that buy them.
        tiers_file: Option<PathBuf> => "/etc/keepwell/tiers.toml",
        /// A directory of texts of your own for people in need, one folder for each language with a file
        /// `messages.toml`, in the shape of the built-in ones: `de/messages.toml`. A text that is there replaces the
        /// built-in one; a text without the crisis line, or one that is too long, keeps the daemon from starting. One
        /// in English or German that presses somebody (`must`, `last chance`, `!`) is named in a warning at the start
        /// and by `keepwell check`; for other languages there is no list of such words.
        messages_dir: Option<PathBuf> => "/etc/keepwell/messages",
        /// The time within which a crisis must have been answered to count as compliant in health and metrics,
        /// in milliseconds. A critical one has half of it and a moderate one half as much again before the person is
        /// granted the basic set from memory and somebody is alerted. It never slows anything down; keepwell is always
        /// as fast as it can. The protocols allow 200: with more, people wait longer for the basic set, the daemon
        /// warns when it begins, and compliance reports hold every answer to the protocols all the same.
        crisis_response_ms: u64 where 1..=60_000,
        /// From this PHQ-9 score on a high-risk period begins, in which a payment that fails is a crisis. From 20 on
        /// the score itself is one; that cannot be configured.
        high_risk_phq9_score: u32 where 5..=20,
        /// From this GAD-7 score on a high-risk period begins. From 15 on the score itself is a crisis; that cannot
        /// be configured.
        high_risk_gad7_score: u32 where 5..=15,
        /// How long a high-risk period lasts after the assessment that began it, in days.
        high_risk_days: u32 where 1..=90,
        /// How long after a crisis was resolved payments that fail again and again open it again, in hours.
        crisis_window_hours: u32 where 0..=168,
        /// A PHQ-9 score that rises by so many points within `care.deterioration_days` is a rapid deterioration, and
        /// that is a crisis, unless the new score is below `care.deterioration_score_min`.
        deterioration_phq9_points: u32 where 3..=27,
        /// A GAD-7 score that rises by so many points within `care.deterioration_days` is a rapid deterioration,
        /// unless the new score is below `care.deterioration_score_min`.
        deterioration_gad7_points: u32 where 3..=21,
        /// Within how many days a rise of scores is rapid. Scores are remembered for twice as long, sealed.
        deterioration_days: u32 where 1..=90,
        /// The score of either instrument below which no rise is a deterioration, however rapid; up to 9 both call it
        /// mild. Every assessment from this score on goes through the crisis lane, because it may be one.
        deterioration_score_min: u32 where 5..=20,
    }
}

settings! {
    /// Where people find help at once. Shown with every message and answered from memory, whatever else is
    /// broken.
    pub struct CrisisResources in "crisis_resources" {
        /// The number to call.
        hotline: String,
        /// The number to send a text message to.
        text: String,
        /// The page to chat with somebody.
        chat_url: HttpUrl,
        /// The number to call from abroad.
        international: String,
        /// A file in the shape of the built-in `crisis-lines.toml`, to be used instead: crisis lines by country, told
        /// to whoever asks from there. Everybody else is told those above.
        lines_file: Option<PathBuf> => "/etc/keepwell/crisis-lines.toml",
    }
}
