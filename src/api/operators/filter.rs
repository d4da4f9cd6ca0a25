//! What a list of jobs is narrowed down to, read from the query of a URL.

use std::str::FromStr;

use keepwell_jobs::kinds;
use keepwell_workers::{clock::UnixMs, id::JobId, ledger::JobFilter};

use super::super::instant;

/// Jobs on a page when nobody says how many.
pub(super) const LIMIT: u32 = 50;

/// Jobs on a page, at most; the ledger's own bound.
const LIMIT_MAX: u32 = 500;

/// The longest value of a filter, in bytes; nothing that can be searched for is longer.
pub(super) const VALUE_BYTES_MAX: usize = 1_000;

/// A page of a list of jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct JobQuery {
    pub(super) filter: JobFilter,
    pub(super) cursor: Option<JobId>,
    pub(super) limit: u32,
}

impl JobQuery {
    /// Reads `pairs`. Canaries that went well are left out unless `kind`, `subject` or `q` asks for something;
    /// those that did not are jobs like others. The error says what would have been right. `now_ms` is what
    /// `since=15m` counts back from.
    pub(super) fn read(pairs: &[(String, String)], now_ms: UnixMs) -> Result<Self, String> {
        let mut query = Self { limit: LIMIT, ..Self::default() };
        let filter = &mut query.filter;
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            if value.len() > VALUE_BYTES_MAX {
                return Err(format!("`{name}` is longer than {VALUE_BYTES_MAX} bytes"));
            }
            match name.as_str() {
                "state" => filter.state = Some(parse(value)?),
                "kind" => filter.kind = Some(value.clone()),
                "lane" => filter.lane = Some(parse(value)?),
                "subject" => filter.subject = Some(value.clone()),
                "since" => filter.since_ms = Some(read_instant(name, value, now_ms)?),
                "until" => filter.until_ms = Some(read_instant(name, value, now_ms)?),
                "q" => filter.text = Some(value.clone()),
                "limit" => query.limit = read_limit(value)?,
                "cursor" => query.cursor = Some(read_cursor(value)?),
                _ => {
                    return Err(format!(
                        "there is no filter `{name}`; the filters are state, kind, lane, subject, since, until, \
                         q, limit and cursor"
                    ));
                }
            }
        }
        if filter.kind.is_none() && filter.subject.is_none() && filter.text.is_none() {
            // One every few seconds: nobody would find anything else on the first pages.
            filter.except_done_of = Some(kinds::CRISIS_CANARY.to_owned());
        }
        Ok(query)
    }
}

fn parse<T: FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn read_limit(value: &str) -> Result<u32, String> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("`limit` is a number from 1 to {LIMIT_MAX}"))
}

pub(super) fn read_cursor(value: &str) -> Result<JobId, String> {
    value.parse().map_err(|_| "`cursor` is what `next` of the page before said".to_owned())
}

/// An instant, or how long ago it was: `90s`, `15m`, `36h`, `7d`.
pub(super) fn read_instant(name: &str, value: &str, now_ms: UnixMs) -> Result<UnixMs, String> {
    instant::parse(value).or_else(|| read_span(value).map(|ago_ms| now_ms.saturating_sub(ago_ms))).ok_or_else(|| {
        format!("`{name}` is an instant such as 2027-01-31T12:00:00Z, or how long ago it was: 90s, 15m, 36h, 7d")
    })
}

/// A length of time such as 90s, 15m, 36h or 7d, in milliseconds.
pub(super) fn read_span(value: &str) -> Option<i64> {
    let unit_ms = match value.chars().next_back()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let number: u32 = value[..value.len() - 1].parse().ok()?;
    i64::from(number).checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use keepwell_workers::{lane::Lane, state::State};

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<JobQuery, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        JobQuery::read(&pairs, 1_700_000_000_000)
    }

    #[test]
    fn every_filter_is_read() {
        let id = JobId::new(5);
        let query = read(&[
            ("state", "dead"),
            ("kind", "stripe.event"),
            ("lane", "crisis"),
            ("subject", "cus_1"),
            ("since", "2023-11-14T22:13:20Z"),
            ("until", "15m"),
            ("q", "evt_1"),
            ("limit", "500"),
            ("cursor", &id.to_string()),
        ])
        .unwrap();
        assert_eq!((query.filter.state, query.filter.lane), (Some(State::Dead), Some(Lane::Crisis)));
        assert_eq!(query.filter.kind.as_deref(), Some("stripe.event"));
        assert_eq!(query.filter.subject.as_deref(), Some("cus_1"));
        assert_eq!(query.filter.since_ms, Some(1_700_000_000_000));
        assert_eq!(query.filter.until_ms, Some(1_700_000_000_000 - 900_000));
        assert_eq!(query.filter.text.as_deref(), Some("evt_1"));
        assert_eq!((query.limit, query.cursor), (500, Some(id)));
    }

    #[test]
    fn without_filters_there_is_a_first_page_of_everything() {
        let query = read(&[("state", "")]).unwrap();
        assert_eq!((query.limit, query.cursor, query.filter.state), (LIMIT, None, None));
    }

    #[test]
    fn canaries_that_went_well_are_left_out_unless_something_is_asked_for_that_may_be_one() {
        let left_out = |pairs: &[(&str, &str)]| read(pairs).unwrap().filter.except_done_of.is_some();
        assert!(left_out(&[]) && left_out(&[("state", "done"), ("lane", "crisis"), ("since", "1h")]));
        for name in ["kind", "subject", "q"] {
            assert!(!left_out(&[(name, "canary")]), "{name}");
        }
    }

    #[test]
    fn a_bad_value_is_answered_with_what_is_allowed() {
        for (name, value, hint) in [
            ("state", "running", "owed, done, dead and cancelled"),
            ("lane", "fast", "crisis, therapeutic, realtime, standard and background"),
            ("since", "yesterday", "2027-01-31T12:00:00Z"),
            ("until", "5é", "15m"),
            ("limit", "0", "from 1 to 500"),
            ("limit", "501", "from 1 to 500"),
            ("cursor", "2", "`next`"),
            ("status", "dead", "the filters are state,"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(hint), "{name}={value}: {error}");
        }
        assert!(read(&[("q", &"x".repeat(1_001))]).is_err());
    }
}
