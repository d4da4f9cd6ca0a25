//! The time that a report is about, and its parts.

use keepwell_workers::clock::UnixMs;

use crate::care::grace::DAY_MS;

/// The longest period of a report, in days: a leap year.
pub const PERIOD_DAYS_MAX: i64 = 366;

/// Parts of a period in a chart, at most.
const PARTS_MAX: i64 = 31;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// From an instant up to another one, which is not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first instant.
    pub from_ms: UnixMs,
    /// The first instant after it.
    pub to_ms: UnixMs,
}

/// A period that cannot be reported on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// It ends before it begins, or as it does.
    #[error("the period ends before it begins: let `to` be later than `from`")]
    Empty,
    /// It is longer than [`PERIOD_DAYS_MAX`].
    #[error("a report is about at most 366 days: ask for several")]
    TooLong,
    /// It ends later than now, and nobody knows what will be.
    #[error("the period ends in the future, of which nothing is known: let it end now, or earlier")]
    Future,
}

impl Period {
    /// From `from_ms` up to `to_ms`, asked for at `now_ms`.
    pub fn new(from_ms: UnixMs, to_ms: UnixMs, now_ms: UnixMs) -> Result<Self, PeriodError> {
        if to_ms > now_ms {
            return Err(PeriodError::Future);
        }
        match to_ms.saturating_sub(from_ms) {
            ..=0 => Err(PeriodError::Empty),
            length_ms if length_ms > PERIOD_DAYS_MAX * DAY_MS => Err(PeriodError::TooLong),
            _ => Ok(Self { from_ms, to_ms }),
        }
    }

    /// Whether `at_ms` lies in it.
    pub fn has(self, at_ms: UnixMs) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }

    /// Its parts in a chart: whole hours, as few as make no more than 31 parts. The last one may be shorter.
    pub fn parts(self) -> Vec<Period> {
        self.cut(self.part_ms()).collect()
    }

    /// Pieces of `length_ms`, the earliest first. The last one may be shorter.
    pub fn cut(self, length_ms: i64) -> impl Iterator<Item = Period> {
        let mut from_ms = self.from_ms;
        std::iter::from_fn(move || {
            let to_ms = from_ms.saturating_add(length_ms).min(self.to_ms);
            let piece = Self { from_ms, to_ms };
            from_ms = to_ms;
            (piece.from_ms < piece.to_ms).then_some(piece)
        })
    }

    /// Which of its [`Period::parts`] `at_ms` lies in.
    pub fn part_of(self, at_ms: UnixMs) -> Option<usize> {
        let part = at_ms.saturating_sub(self.from_ms) / self.part_ms();
        if self.has(at_ms) { usize::try_from(part).ok() } else { None }
    }

    /// How many days it has: of 24 hours from its beginning on, and what is left of them belongs to the last one, for
    /// those of the calendar have 23 to 25.
    pub fn days(self) -> i64 {
        ((self.to_ms.saturating_sub(self.from_ms) + DAY_MS / 2) / DAY_MS).max(1)
    }

    /// Which of its [`Period::days`] `at_ms` lies in, from 0 on.
    pub fn day_of(self, at_ms: UnixMs) -> i64 {
        (at_ms.saturating_sub(self.from_ms) / DAY_MS).clamp(0, self.days() - 1)
    }

    fn part_ms(self) -> i64 {
        let length_ms = self.to_ms.saturating_sub(self.from_ms);
        let hours = (length_ms + PARTS_MAX * HOUR_MS - 1) / (PARTS_MAX * HOUR_MS);
        hours.max(1) * HOUR_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_lies_in_the_past_and_is_a_year_at_most() {
        let now_ms = 1_000 * DAY_MS;
        assert_eq!(Period::new(now_ms, now_ms, now_ms), Err(PeriodError::Empty));
        assert_eq!(Period::new(now_ms - 1, now_ms + 1, now_ms), Err(PeriodError::Future));
        assert_eq!(Period::new(now_ms - 367 * DAY_MS, now_ms, now_ms), Err(PeriodError::TooLong));
        assert!(Period::new(now_ms - 366 * DAY_MS, now_ms, now_ms).is_ok());
    }

    #[test]
    fn a_month_has_as_many_days_as_the_calendar_though_clocks_are_put_forward_or_back() {
        for (hours, days) in [(1, 1), (23, 1), (25, 1), (24 * 30 - 1, 30), (24 * 31 + 1, 31), (24 * 365, 365)]
        {
            let period = Period { from_ms: 77, to_ms: 77 + hours * HOUR_MS };
            assert_eq!(period.days(), days, "{hours} h");
            assert_eq!((period.day_of(77), period.day_of(period.to_ms - 1)), (0, days - 1), "{hours} h");
        }
    }

    #[test]
    fn the_parts_of_a_period_are_all_of_it_and_few() {
        for hours in [31, 62, 31 * 24] {
            let period = Period { from_ms: 0, to_ms: hours * 3_600_000 };
            assert_eq!(period.parts().len(), 31, "{hours} h");
        }
        for hours in [1, 5, 24, 31, 32, 24 * 7, 24 * 30, 24 * 366] {
            let period = Period { from_ms: 77, to_ms: 77 + hours * HOUR_MS + 5 };
            let parts = period.parts();
            assert!(parts.len() <= PARTS_MAX as usize, "{hours} h: {} parts", parts.len());
            assert_eq!((parts[0].from_ms, parts[parts.len() - 1].to_ms), (period.from_ms, period.to_ms));
            for (index, part) in parts.iter().enumerate() {
                assert_eq!(period.part_of(part.from_ms), Some(index));
                assert_eq!(period.part_of(part.to_ms - 1), Some(index));
            }
            assert_eq!((period.part_of(76), period.part_of(period.to_ms)), (None, None));
        }
    }
}
