//! The seconds that a signature covers.

use keepwell_workers::clock::UnixMs;

use super::SignatureError;

/// Reads the one way to write a number of seconds: digits, no sign, no leading zero, nothing behind them.
pub(super) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0_u64, |seconds, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        seconds.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a signature made at `timestamp_s` is at most `past_s` old and at most `future_s` ahead at `now_ms`.
///
/// Compared in milliseconds: in whole seconds a signature would be good for up to a second too long. The width of the
/// arithmetic leaves room for every `u64`, so no timestamp and no tolerance overflows.
pub(super) fn check(
    timestamp_s: u64,
    now_ms: UnixMs,
    past_s: u64,
    future_s: u64,
) -> Result<(), SignatureError> {
    let age_ms = i128::from(now_ms) - i128::from(timestamp_s) * 1000;
    if age_ms > i128::from(past_s) * 1000 {
        Err(SignatureError::TooOld)
    } else if -age_ms > i128::from(future_s) * 1000 {
        Err(SignatureError::InFuture)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_of_a_number_is_a_timestamp() {
        assert_eq!(parse(b"0"), Some(0));
        assert_eq!(parse(b"1700000000"), Some(1_700_000_000));
        assert_eq!(parse(b"18446744073709551615"), Some(u64::MAX));
        let refused: [&[u8]; 12] = [
            b"",
            b"00",
            b"01700000000",
            b"+1700000000",
            b"-1",
            b"1700000000 ",
            b" 1700000000",
            b"1.7e9",
            b"0x10",
            b"18446744073709551616",
            b"99999999999999999999999999999999",
            "１".as_bytes(),
        ];
        for digits in refused {
            assert_eq!(parse(digits), None, "{}", String::from_utf8_lossy(digits));
        }
    }

    #[test]
    fn the_edges_of_the_tolerance_are_exact_to_the_millisecond() {
        let at = |now_ms| check(1_000, now_ms, 300, 302);
        assert_eq!(at(1_300_000), Ok(()));
        assert_eq!(at(1_300_001), Err(SignatureError::TooOld));
        assert_eq!(at(1_000_000 - 302_000), Ok(()));
        assert_eq!(at(1_000_000 - 302_001), Err(SignatureError::InFuture));
    }

    #[test]
    fn no_timestamp_and_no_tolerance_overflows() {
        assert_eq!(check(u64::MAX, 0, 300, 300), Err(SignatureError::InFuture));
        assert_eq!(check(u64::MAX, i64::MIN, u64::MAX, 0), Err(SignatureError::InFuture));
        assert_eq!(check(0, i64::MAX, 300, 300), Err(SignatureError::TooOld));
        assert_eq!(check(0, i64::MAX, u64::MAX, u64::MAX), Ok(()));
    }
}
