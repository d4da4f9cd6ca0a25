//! When an emergency contact can be reached: `08:00-22:00` in a time zone, several such, over midnight too.

use chrono::{DateTime, Days, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

/// Stretches of a day that are looked at.
const STRETCHES_MAX: usize = 8;

/// Hours of every day. Empty is always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours(Vec<(NaiveTime, NaiveTime)>);

impl Hours {
    /// Reads `text`. What nobody understands is always: in doubt somebody is called.
    pub fn read(text: &str) -> Self {
        let stretches = text.split([',', ';']).take(STRETCHES_MAX).map(stretch).collect::<Option<Vec<_>>>();
        Self(stretches.unwrap_or_default())
    }

    /// Whether `at_ms` lies within them; the end of a stretch does not belong to it.
    pub fn hold(&self, at_ms: UnixMs, zone: Tz) -> bool {
        let Some(at) = DateTime::from_timestamp_millis(at_ms) else { return true };
        let time = at.with_timezone(&zone).time();
        self.0.is_empty()
            || self.0.iter().any(|(from, until)| {
                if from < until { (from..until).contains(&&time) } else { time >= *from || time < *until }
            })
    }

    /// The next instant after `at_ms` at which a stretch begins; `None` if they are always.
    pub fn next_begin_ms(&self, at_ms: UnixMs, zone: Tz) -> Option<UnixMs> {
        let today = DateTime::from_timestamp_millis(at_ms)?.with_timezone(&zone).date_naive();
        let days = (0..3).filter_map(|days| today.checked_add_days(Days::new(days)));
        let begins = days.flat_map(|day| self.0.iter().map(move |(from, _)| day.and_time(*from)));
        let instants = begins.filter_map(|local| {
            // An hour that summer time leaves out begins an hour later.
            let later = || zone.from_local_datetime(&(local + chrono::TimeDelta::hours(1))).earliest();
            zone.from_local_datetime(&local).earliest().or_else(later)
        });
        instants.map(|instant| instant.timestamp_millis()).filter(|begin_ms| *begin_ms > at_ms).min()
    }
}

fn stretch(text: &str) -> Option<(NaiveTime, NaiveTime)> {
    let (from, until) = text.split_once(['-', '–'])?;
    Some((time(from)?, time(until)?))
}

fn time(text: &str) -> Option<NaiveTime> {
    let text = text.trim();
    if text == "24:00" {
        return Some(NaiveTime::MIN);
    }
    NaiveTime::parse_from_str(text, "%H:%M").or_else(|_| NaiveTime::parse_from_str(text, "%H:%M:%S")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> UnixMs {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn hours_are_those_of_the_contacts_own_time_zone() {
        let (hours, vienna) = (Hours::read("08:00-12:00, 14:00-22:00"), chrono_tz::Europe::Vienna);
        for (at, hold) in [
            ("2026-07-01T08:00:00+02:00", true),
            ("2026-07-01T07:59:59+02:00", false),
            ("2026-07-01T12:00:00+02:00", false),
            ("2026-07-01T21:59:59+02:00", true),
            ("2026-07-01T22:00:00+02:00", false),
            ("2026-07-01T07:00:00Z", true),
        ] {
            assert_eq!(hours.hold(ms(at), vienna), hold, "{at}");
        }
        assert!(!hours.hold(ms("2026-07-01T08:00:00+02:00"), chrono_tz::America::New_York));
    }

    #[test]
    fn hours_over_midnight_and_to_the_end_of_the_day_hold() {
        let utc = chrono_tz::UTC;
        for (text, at, hold) in [
            ("20:00-06:00", "2026-07-01T23:00:00Z", true),
            ("20:00-06:00", "2026-07-01T05:59:00Z", true),
            ("20:00-06:00", "2026-07-01T06:00:00Z", false),
            ("09:00-24:00", "2026-07-01T23:59:59Z", true),
            ("09:00-24:00", "2026-07-01T00:00:00Z", false),
            ("00:00-00:00", "2026-07-01T12:00:00Z", true),
        ] {
            assert_eq!(Hours::read(text).hold(ms(at), utc), hold, "{text} {at}");
        }
    }

    #[test]
    fn what_nobody_understands_is_always() {
        for text in ["", "24/7", "always", "mornings", "8-22", "25:00-26:00", "08:00-", "08:00-12:00,soon"] {
            let hours = Hours::read(text);
            assert_eq!((hours.hold(0, Tz::UTC), hours.next_begin_ms(0, Tz::UTC)), (true, None), "{text}");
        }
        assert!(Hours::read("08:00-09:00").hold(UnixMs::MAX, Tz::UTC));
    }

    #[test]
    fn the_next_hours_begin_today_or_tomorrow_and_after_a_change_of_the_clocks() {
        let (hours, berlin) = (Hours::read("08:00-12:00,14:00-22:00"), chrono_tz::Europe::Berlin);
        for (at, begin) in [
            ("2026-07-01T03:00:00+02:00", "2026-07-01T08:00:00+02:00"),
            ("2026-07-01T08:00:00+02:00", "2026-07-01T14:00:00+02:00"),
            ("2026-07-01T13:00:00+02:00", "2026-07-01T14:00:00+02:00"),
            ("2026-07-01T23:00:00+02:00", "2026-07-02T08:00:00+02:00"),
            ("2026-10-24T23:00:00+02:00", "2026-10-25T08:00:00+01:00"),
        ] {
            assert_eq!(hours.next_begin_ms(ms(at), berlin), Some(ms(begin)), "{at}");
        }
        // At two o'clock summer time begins: there is no half past two.
        let night = Hours::read("02:30-04:00");
        let begin = night.next_begin_ms(ms("2026-03-29T01:00:00+01:00"), berlin);
        assert_eq!(begin, Some(ms("2026-03-29T03:30:00+02:00")));
    }
}
