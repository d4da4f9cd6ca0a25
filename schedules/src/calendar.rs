//! Cron expressions on the calendar of a time zone. What an expression names is what people see on the wall, and that
//! has hours which are missing once a year and others which come twice.
//!
//! * An expression that names **every hour** goes by time as it passes: in the hour that comes twice it fires in both,
//!   in the one that is missing not at all, and what fires every fifteen minutes goes on doing so.
//! * An expression that names **some hours** fires once for each time that it names: in the hour that comes twice only
//!   in the first, and for times in the missing one at the instant at which that hour would have begun.
//!
//! The expressions themselves are the `cron` crate's; its own iterators skip the second of two hours, so it is only
//! asked about times on the wall.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use cron::TimeUnitSpec as _;
use keepwell_workers::clock::UnixMs;

/// How far apart an offset is looked at when it is searched for changes, in seconds. No zone changes its offset and
/// changes it back within less.
const STRIDE_SECONDS: i64 = 6 * 60 * 60;

/// Longer than any change of offset has ever been (a zone that goes over the date line skips or repeats a day), in
/// seconds.
const CHANGE_SECONDS_MAX: i64 = 26 * 60 * 60;

/// Hours of a day.
const HOURS: u32 = 24;

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    pub(crate) expression: cron::Schedule,
    pub(crate) zone: Tz,
    every_hour: bool,
}

impl Calendar {
    pub(crate) fn new(expression: cron::Schedule, zone: Tz) -> Self {
        let every_hour = expression.hours().count() == HOURS;
        Self { expression, zone, every_hour }
    }

    /// The first tick behind `after_ms`; `None` if there is none any more.
    pub(crate) fn next_after(&self, after_ms: UnixMs) -> Option<UnixMs> {
        let after = after_ms.div_euclid(1_000);
        let next = if self.every_hour { self.next_passing(after) } else { self.next_named(after) };
        next.map(|seconds| seconds.saturating_mul(1_000))
    }

    /// The first second behind `after` at which the wall shows what the expression names.
    fn next_passing(&self, after: i64) -> Option<i64> {
        let (mut from, mut offset) = (after, self.offset(after)?);
        loop {
            let found = self.next_on_wall(from.checked_add(offset)?).map(|wall| wall - offset);
            // Where nothing is left this year, a day that comes twice may still hold something.
            let until = found.unwrap_or(from.saturating_add(CHANGE_SECONDS_MAX));
            match self.first_change(from, until, offset) {
                None => return found,
                // From there on, that very second included.
                Some(change) => (from, offset) = (change - 1, self.offset(change)?),
            }
        }
    }

    /// The first second behind `after` at which a time begins that the expression names.
    fn next_named(&self, after: i64) -> Option<i64> {
        let mut wall = after.checked_add(self.offset(after)?)?;
        loop {
            wall = self.next_on_wall(wall)?;
            let begins = self.begins(wall)?;
            // In the second of two hours, what is named was in the first.
            if begins > after {
                return Some(begins);
            }
        }
    }

    /// When the wall shows `wall` for the first time, or would have if it had not been skipped.
    fn begins(&self, wall: i64) -> Option<i64> {
        let shown = self.zone.offset_from_local_datetime(&naive(wall)?);
        if let Some(offset) = shown.earliest() {
            return Some(wall - i64::from(offset.fix().local_minus_utc()));
        }
        // The wall goes past it in one second: the first at which it shows more.
        let (mut less, mut more) = (wall - CHANGE_SECONDS_MAX, wall + CHANGE_SECONDS_MAX);
        while more - less > 1 {
            let middle = less + (more - less) / 2;
            if middle + self.offset(middle)? > wall {
                more = middle;
            } else {
                less = middle;
            }
        }
        Some(more)
    }

    /// The first second behind `from`, and at `until` at the latest, at which the offset is not `offset` any more.
    fn first_change(&self, from: i64, until: i64, offset: i64) -> Option<i64> {
        // The second at `from` itself may still have the offset before.
        let mut same = from + 1;
        if same <= until && self.offset(same)? != offset {
            return Some(same);
        }
        while same < until {
            let mut other = same.saturating_add(STRIDE_SECONDS).min(until);
            if self.offset(other)? == offset {
                same = other;
                continue;
            }
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                if self.offset(middle)? == offset {
                    same = middle;
                } else {
                    other = middle;
                }
            }
            return Some(other);
        }
        None
    }

    /// What the wall shows next behind `wall` that the expression names, both in seconds as if the wall were in UTC.
    fn next_on_wall(&self, wall: i64) -> Option<i64> {
        self.expression.after(&naive(wall)?.and_utc()).next().map(|next| next.timestamp())
    }

    /// How far the zone is ahead of UTC at the second `at`, in seconds. `None` where calendars end.
    fn offset(&self, at: i64) -> Option<i64> {
        let utc = naive(at)?;
        Some(i64::from(self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()))
    }
}

/// The second `at`, as long as it is well inside what calendars know.
fn naive(at: i64) -> Option<NaiveDateTime> {
    let utc = DateTime::<Utc>::from_timestamp(at, 0)?.naive_utc();
    // What adds to it may not leave the calendar.
    utc.checked_add_signed(TimeDelta::days(400))?;
    Some(utc)
}
