//! Instants as the API writes and reads them: RFC 3339, in UTC, to the millisecond.

use chrono::{DateTime, SecondsFormat, Utc};
use keepwell_workers::clock::UnixMs;

/// `2026-01-31T12:00:00.000Z`. An instant that no calendar reaches is written as the epoch.
pub(crate) fn rfc3339(instant_ms: UnixMs) -> String {
    DateTime::<Utc>::from_timestamp_millis(instant_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads an instant of any offset.
pub(crate) fn parse(text: &str) -> Option<UnixMs> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_utc_to_the_millisecond() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_instant_is_read_with_any_offset_or_not_at_all() {
        assert_eq!(parse("2023-11-14T23:13:20.123+01:00"), Some(1_700_000_000_123));
        for bad in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
