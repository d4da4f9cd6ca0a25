//! When the digest is due.

use chrono::{DateTime, Duration};
use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

/// The day whose digest was due last at `now_ms`, as in `2027-03-28`: it is due at `hour` o'clock in `zone`. `None`
/// beyond the years of the calendar.
pub fn digest_day(now_ms: UnixMs, hour: u32, zone: Tz) -> Option<String> {
    let local = DateTime::from_timestamp_millis(now_ms)?.with_timezone(&zone).naive_local();
    // By the clock on the wall: an hour that is skipped or comes twice makes no second digest.
    let day = local.checked_sub_signed(Duration::hours(i64::from(hour)))?.date();
    Some(day.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_due_once_a_day_by_the_clock_on_the_wall() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let day = |text: &str| digest_day(at(text), 8, chrono_tz::Europe::Berlin).unwrap();
        assert_eq!(day("2027-03-27T06:59:59Z"), "2027-03-26");
        assert_eq!(day("2027-03-27T07:00:00Z"), "2027-03-27");
        // Summer time has begun.
        assert_eq!(
            (day("2027-03-28T05:59:59Z"), day("2027-03-28T06:00:00Z")),
            ("2027-03-27".into(), "2027-03-28".into())
        );
        assert_eq!(digest_day(i64::MAX, 8, Tz::UTC), None);
    }
}
