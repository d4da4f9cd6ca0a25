//! Who read the trail lately: reading it is an entry, but not one for every page and every look of a dashboard.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use keepwell_jobs::store::audit::AuditFilter;
use keepwell_workers::clock::UnixMs;

/// For how long somebody who goes on reading the same leaves no further entry, in milliseconds.
const SAME_READING_MS: i64 = 10 * 60_000;

/// Readings that are remembered. When there are more, all are forgotten: that makes entries, and hides none.
const READINGS_MAX: usize = 1_000;

/// When who read what.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<String, UnixMs>>);

impl Readers {
    /// Whether that `operator` reads what matches `filter`, whatever its stretch of time, is still to be told.
    pub(super) fn is_news(&self, operator: &str, filter: &AuditFilter, now_ms: UnixMs) -> bool {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes it news too.
        let told = readings.get(&reading(operator, filter)).copied();
        told.is_none_or(|told_ms| !(told_ms..told_ms + SAME_READING_MS).contains(&now_ms))
    }

    /// Remembers that it was told.
    pub(super) fn told(&self, operator: &str, filter: &AuditFilter, now_ms: UnixMs) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readings.len() >= READINGS_MAX {
            readings.clear();
        }
        readings.insert(reading(operator, filter), now_ms);
    }
}

fn reading(operator: &str, filter: &AuditFilter) -> String {
    // What a relative instant means is another one every time.
    let filter = AuditFilter { since_ms: None, until_ms: None, ..filter.clone() };
    format!("{operator} {:?}", filter.asked())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_who_reads_on_is_told_of_again_after_ten_minutes_or_with_something_else() {
        let readers = Readers::default();
        let of = |subject: Option<&str>, since_ms| AuditFilter {
            subject: subject.map(str::to_owned),
            since_ms,
            ..AuditFilter::default()
        };
        assert!(readers.is_news("uid 0", &of(None, None), 0));
        assert!(readers.is_news("uid 0", &of(None, None), 0), "it was not told yet");
        readers.told("uid 0", &of(None, None), 0);
        assert!(!readers.is_news("uid 0", &of(None, Some(7)), SAME_READING_MS - 1));
        assert!(readers.is_news("uid 0", &of(None, None), SAME_READING_MS));
        assert!(readers.is_news("uid 0", &of(None, None), -1));
        assert!(readers.is_news("uid 0", &of(Some("cus_1"), None), 1));
        assert!(readers.is_news("uid 1", &of(None, None), 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let readers = Readers::default();
        for number in 0..2 * READINGS_MAX {
            readers.told(&number.to_string(), &AuditFilter::default(), 0);
            assert!(!readers.is_news(&number.to_string(), &AuditFilter::default(), 1));
        }
        assert!(readers.0.lock().unwrap().len() <= READINGS_MAX);
    }
}
