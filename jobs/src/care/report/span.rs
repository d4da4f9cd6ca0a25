//! The hour, day or month that a report on schedule is about: the last one that is over.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

use super::period::Period;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How long a report on schedule looks back (003: a compliance report every hour).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// An hour, which begins where one begins in UTC.
    Hour,
    /// A day of the calendar.
    Day,
    /// A month of the calendar.
    Month,
}

impl Span {
    /// Every span.
    pub const ALL: [Span; 3] = [Span::Hour, Span::Day, Span::Month];

    /// Its name in a schedule's payload.
    pub const fn name(self) -> &'static str {
        match self {
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Month => "month",
        }
    }

    /// The span called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.name() == name)
    }

    /// The last of its kind that is over at `at_ms`, on the calendar of `zone`; `None` beyond all calendars.
    pub fn ended_by(self, at_ms: UnixMs, zone: Tz) -> Option<Period> {
        if self == Span::Hour {
            let to_ms = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
            return Some(Period { from_ms: to_ms.checked_sub(HOUR_MS)?, to_ms });
        }
        let today = DateTime::from_timestamp_millis(at_ms)?.with_timezone(&zone).date_naive();
        let (first, last) = match self {
            Span::Month => {
                let first = today.with_day(1)?;
                (first.checked_sub_months(Months::new(1))?, first)
            }
            _ => (today.checked_sub_days(Days::new(1))?, today),
        };
        Some(Period { from_ms: begins(first, zone)?, to_ms: begins(last, zone)? })
    }
}

/// When `day` begins in `zone`. Where clocks are put forward at midnight it begins an hour later.
fn begins(day: NaiveDate, zone: Tz) -> Option<UnixMs> {
    let midnight = day.and_time(NaiveTime::MIN);
    let at = |hours| zone.from_local_datetime(&(midnight + TimeDelta::hours(hours))).earliest();
    at(0).or_else(|| at(1)).map(|begin| begin.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(instant: &str) -> UnixMs {
        DateTime::parse_from_rfc3339(instant).unwrap().timestamp_millis()
    }

    #[test]
    fn a_report_on_schedule_is_about_the_last_hour_day_or_month_that_is_over() {
        for (span, at, zone, from, to) in [
            (Span::Hour, "2026-11-21T10:05:00Z", Tz::UTC, "2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"),
            (Span::Hour, "2026-11-21T10:00:00Z", Tz::UTC, "2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"),
            (Span::Day, "2026-11-21T23:59:59.999Z", Tz::UTC, "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            (Span::Month, "2027-01-01T00:00:00Z", Tz::UTC, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Span::Month, "2028-03-31T12:00:00Z", Tz::UTC, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            // It is the 1st in Berlin already, and clocks were set back in that month.
            (
                Span::Month,
                "2026-10-31T23:30:00Z",
                Tz::Europe__Berlin,
                "2026-09-30T22:00:00Z",
                "2026-10-31T23:00:00Z",
            ),
            // A day of 23 hours.
            (
                Span::Day,
                "2026-03-30T05:00:00Z",
                Tz::Europe__Berlin,
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // A day without a midnight.
            (
                Span::Day,
                "2024-03-31T12:00:00Z",
                Tz::Asia__Beirut,
                "2024-03-29T22:00:00Z",
                "2024-03-30T22:00:00Z",
            ),
            (
                Span::Day,
                "2024-04-01T12:00:00Z",
                Tz::Asia__Beirut,
                "2024-03-30T22:00:00Z",
                "2024-03-31T21:00:00Z",
            ),
        ] {
            let expected = Period { from_ms: ms(from), to_ms: ms(to) };
            assert_eq!(span.ended_by(ms(at), zone), Some(expected), "{span:?} at {at}");
        }
    }

    #[test]
    fn the_periods_of_a_span_follow_one_another_without_a_gap() {
        for (span, step_ms) in [(Span::Hour, HOUR_MS), (Span::Day, 6 * HOUR_MS), (Span::Month, 24 * HOUR_MS)]
        {
            let mut last: Option<Period> = None;
            let begin_ms = ms("2026-01-10T00:00:00Z");
            for tick in 0..500 {
                let period = span.ended_by(begin_ms + tick * step_ms, Tz::America__New_York).unwrap();
                assert!(period.to_ms <= begin_ms + tick * step_ms, "it is over");
                if let Some(last) = last.filter(|last| *last != period) {
                    assert_eq!(last.to_ms, period.from_ms, "{span:?}");
                }
                last = Some(period);
            }
        }
    }

    #[test]
    fn every_span_keeps_its_name() {
        assert_eq!(Span::ALL.map(Span::name), ["hour", "day", "month"]);
        assert_eq!(Span::ALL.map(|span| Span::from_name(span.name())), Span::ALL.map(Some));
        assert_eq!(Span::from_name("year"), None);
    }
}
