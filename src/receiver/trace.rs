//! The W3C trace context under which an event was sent.

use http::HeaderMap;

/// The only `traceparent` header, if it is of the form `version-trace-parent-flags` that every version so far has:
/// lowercase hexadecimal digits, neither id all zeros. Anything else is as good as none.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut fields = value.split('-');
    let mut field = |length: usize| {
        let digits = fields.next()?;
        let is_hex = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        (digits.len() == length && is_hex).then_some(digits)
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
    let is_valid = fields.next().is_none() && version != "ff" && !is_zero(trace) && !is_zero(parent);
    is_valid.then_some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("traceparent", HeaderValue::from_str(line).unwrap());
        }
        traceparent(&headers).map(str::to_owned)
    }

    #[test]
    fn a_valid_trace_context_is_kept_and_any_other_is_dropped() {
        assert_eq!(read(&[GOOD]).as_deref(), Some(GOOD));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[GOOD, GOOD]), None);
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("00-4", "ff-4"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD[..54],
            &format!("{GOOD}-extra"),
            &format!("{GOOD} "),
            &GOOD.replace('4', "g"),
        ] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
    }
}
