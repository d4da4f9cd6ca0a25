//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which is held against the answer's own `Date`, so that
//! nobody's clock has to be right.

use std::time::Duration;

use chrono::DateTime;
use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// How long an answer with `headers` asks to wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let instant = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        Some(DateTime::parse_from_rfc2822(text).ok()?.timestamp())
    };
    let seconds = instant(RETRY_AFTER)?.saturating_sub(instant(DATE)?);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(retry_after_text: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(retry_after_text))]);
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nonsense_asks_for_nothing() {
        let noon = Some("Wed, 21 Oct 2026 12:00:00 GMT");
        assert_eq!((asked("7", None), asked(" 0 ", None), asked("7", noon)), (Some(7), Some(0), Some(7)));
        assert_eq!(asked("Wed, 21 Oct 2026 12:01:30 GMT", noon), Some(90));
        assert_eq!(asked("Wed, 21 Oct 2026 11:00:00 GMT", noon), Some(0));
        assert_eq!(asked("Wed, 21 Oct 2026 12:01:30 GMT", None), None);
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(asked(nonsense, noon), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
