//! When something is due: at even distances, or by the calendar of a time zone.

use std::{fmt, str::FromStr as _};

use chrono::DateTime;
use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

use crate::{calendar::Calendar, words};

/// The longest distance between ticks, in milliseconds: 31 days. Whatever is due more seldom has a date.
const EVERY_MS_MAX: i64 = 31 * 86_400_000;

/// The longest expression, in bytes.
const CRON_BYTES_MAX: usize = 200;

/// Which instants are ticks. A pure function of time: every node sees the same ones.
#[derive(Debug, Clone)]
pub struct Timing(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Every { every_ms: i64 },
    Calendar(Box<Calendar>),
}

/// It is not clear when something is due.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// No span of time.
    #[error("`{0}` is no span of time; write 30s, 15m, 6h or 7d")]
    Span(String),
    /// Too often or too seldom.
    #[error("`every` is from 1s to 31d; what is due more seldom is a matter of `cron`")]
    Every,
    /// No time zone.
    #[error(
        "`{0}` is no time zone of the IANA database; zones are named like Europe/Berlin, America/New_York or UTC"
    )]
    Zone(String),
    /// No expression.
    #[error(
        "`{0}` is no cron expression; it has six fields, or seven with years: second, minute, hour, day of the month, \
         month, day of the week (SUN to SAT, or 1 to 7 from Sunday on), as in `0 30 3 * * MON-FRI`"
    )]
    Cron(String),
    /// An expression like 31 February.
    #[error("`{0}` names a day that never comes")]
    Never(String),
}

impl Timing {
    /// A tick every `span` (`30s`, `15m`, `6h`, `7d`), counted from 1970 in UTC, so that all nodes count alike.
    pub fn every(span: &str) -> Result<Self, TimingError> {
        let every_ms = span_ms(span)?;
        if !(1_000..=EVERY_MS_MAX).contains(&every_ms) {
            return Err(TimingError::Every);
        }
        Ok(Self(Kind::Every { every_ms }))
    }

    /// The ticks that the cron `expression` (with seconds) names in the time zone `zone`. Must have one after
    /// `now_ms`.
    pub fn cron(expression: &str, zone: &str, now_ms: UnixMs) -> Result<Self, TimingError> {
        let zone = Tz::from_str(zone).map_err(|_| TimingError::Zone(shown(zone)))?;
        let wrong = || TimingError::Cron(shown(expression));
        if expression.len() > CRON_BYTES_MAX {
            return Err(wrong());
        }
        let parsed = cron::Schedule::from_str(expression.trim()).map_err(|_| wrong())?;
        let calendar = Calendar::new(parsed, zone);
        if calendar.next_after(now_ms).is_none() {
            return Err(TimingError::Never(shown(expression)));
        }
        Ok(Self(Kind::Calendar(Box::new(calendar))))
    }

    /// The first tick behind `after_ms`; `None` if there is none any more.
    pub fn next_after(&self, after_ms: UnixMs) -> Option<UnixMs> {
        match &self.0 {
            Kind::Every { every_ms } => after_ms.div_euclid(*every_ms).checked_add(1)?.checked_mul(*every_ms),
            Kind::Calendar(calendar) => calendar.next_after(after_ms),
        }
    }

    /// The ticks behind `after_ms` and until `until_ms`, that instant included, earliest first.
    pub fn between(&self, after_ms: UnixMs, until_ms: UnixMs) -> impl Iterator<Item = UnixMs> + '_ {
        let first = self.next_after(after_ms);
        std::iter::successors(first, |tick_ms| self.next_after(*tick_ms))
            .take_while(move |tick_ms| *tick_ms <= until_ms)
    }

    /// The last tick behind `after_ms` and until `until_ms`, found without going through all of them.
    pub fn last_between(&self, after_ms: UnixMs, until_ms: UnixMs) -> Option<UnixMs> {
        let next_in = |after_ms: UnixMs| self.next_after(after_ms).filter(|tick_ms| *tick_ms <= until_ms);
        let mut last = next_in(after_ms)?;
        // Behind `last` and until `none` there may be others; behind `none` there are not.
        let mut none = until_ms;
        while last < none {
            let middle = last + (none - last) / 2;
            match next_in(middle) {
                Some(later) => last = later,
                None => none = middle,
            }
            if none - last <= 1 {
                return Some(next_in(last).unwrap_or(last));
            }
        }
        Some(last)
    }

    /// How many ticks there are behind `after_ms` and until `until_ms`; of more than `count_max`, so many.
    pub fn count_between(&self, after_ms: UnixMs, until_ms: UnixMs, count_max: u64) -> u64 {
        match &self.0 {
            Kind::Every { every_ms } => {
                let ticks = until_ms.div_euclid(*every_ms).saturating_sub(after_ms.div_euclid(*every_ms));
                u64::try_from(ticks).unwrap_or(0).min(count_max)
            }
            Kind::Calendar(_) => {
                let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
                self.between(after_ms, until_ms).take(count_max).count() as u64
            }
        }
    }

    /// When it is due, for people: `every hour at minute 0, Europe/Berlin`.
    pub fn words(&self) -> String {
        match &self.0 {
            Kind::Every { every_ms } => words::every(*every_ms),
            Kind::Calendar(calendar) => words::calendar(calendar),
        }
    }

    /// What the clock on the wall of its time zone shows at `at_ms`: `2027-03-28 03:00:00 +02:00`.
    pub fn wall(&self, at_ms: UnixMs) -> String {
        let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
        at.with_timezone(&self.zone()).format("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    /// The time zone that it goes by; UTC if it goes by none.
    pub fn zone(&self) -> Tz {
        match &self.0 {
            Kind::Every { .. } => Tz::UTC,
            Kind::Calendar(calendar) => calendar.zone,
        }
    }
}

/// As it is kept in the ledger, to know it again.
impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every { every_ms } => write!(f, "every {every_ms} ms"),
            Kind::Calendar(calendar) => {
                write!(f, "{} {}", calendar.expression.source(), calendar.zone.name())
            }
        }
    }
}

/// A span of time: `30s`, `15m`, `6h`, `7d`; in milliseconds.
pub fn span_ms(text: &str) -> Result<i64, TimingError> {
    let wrong = || TimingError::Span(shown(text));
    let unit_ms = match text.chars().next_back().ok_or_else(wrong)? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * unit_ms)
}

/// What somebody wrote, as far as it fits into a message.
fn shown(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
