//! What schedules add to the payload of their jobs.

use chrono::DateTime;
use keepwell_workers::clock::UnixMs;

/// The tick that a job is for, as `scheduled_for` in its payload says it.
pub(crate) fn scheduled_ms(scheduled_for: Option<&str>) -> Result<Option<UnixMs>, &'static str> {
    let Some(text) = scheduled_for else { return Ok(None) };
    let at =
        DateTime::parse_from_rfc3339(text).map_err(|_| "`scheduled_for` is not an instant (RFC 3339)")?;
    Ok(Some(at.timestamp_millis()))
}
