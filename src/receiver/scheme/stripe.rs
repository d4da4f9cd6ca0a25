//! The scheme `stripe`: one header, `Stripe-Signature: t=<unix seconds>,v1=<hexadecimal digits>[,v1=…]`.
//!
//! The message is the digits of `t`, a dot and the raw body. A rolled secret overlaps with its successor for up to a
//! day, during which Stripe sends one `v1` for each. Other schemes in the header (`v0` on test events) prove nothing.

use http::HeaderMap;
use keepwell_workers::clock::UnixMs;

use super::{
    HEADER_BYTES_MAX, SIGNATURES_MAX, SignatureError, Verified,
    secret::{Secret, SecretSet, Tag},
    timestamp,
};

/// The name of the header.
pub const HEADER: &str = "stripe-signature";

/// How old a signature may be unless configured otherwise, in seconds (the default of Stripe's own libraries).
pub const TOLERANCE_S: u64 = 300;

/// How much further than the tolerance a signature may lie ahead, in seconds: Stripe's clock and ours may differ.
const AHEAD_S: u64 = 2;

/// What a well-formed header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeader<'header> {
    /// The digits of `t`, as they were signed.
    pub timestamp: &'header [u8],
    /// The value of `t`, in seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// Every readable `v1`. An unreadable one cannot match and is left out.
    pub signatures: Vec<Tag>,
}

/// Reads the header strictly where it matters: at most [`HEADER_BYTES_MAX`], exactly one canonical `t`, one to
/// [`SIGNATURES_MAX`] `v1`. The order of elements is free; unknown ones and ones without `=` are passed over.
pub fn parse_header(header: &[u8]) -> Result<SignatureHeader<'_>, SignatureError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(SignatureError::Malformed);
    }
    let mut time = None;
    let mut signatures = Vec::with_capacity(2);
    let mut signature_count = 0;
    for element in header.split(|byte| *byte == b',') {
        if let Some(digits) = element.strip_prefix(b"t=") {
            let seconds = timestamp::parse(digits).ok_or(SignatureError::Malformed)?;
            if time.replace((digits, seconds)).is_some() {
                return Err(SignatureError::Malformed);
            }
        } else if let Some(digits) = element.strip_prefix(b"v1=") {
            signature_count += 1;
            signatures.extend(read_tag(digits));
        }
    }
    match time {
        Some((timestamp, timestamp_s)) if (1..=SIGNATURES_MAX).contains(&signature_count) => {
            Ok(SignatureHeader { timestamp, timestamp_s, signatures })
        }
        _ => Err(SignatureError::Malformed),
    }
}

/// Verifies a request: any `v1` of the only `Stripe-Signature` header, made of this body by any secret valid at
/// `now_ms`, at most `tolerance_s` seconds ago.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &SecretSet,
    tolerance_s: u64,
    now_ms: UnixMs,
) -> Result<Verified, SignatureError> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(SignatureError::Missing)?;
    if values.next().is_some() {
        return Err(SignatureError::Malformed);
    }
    let header = parse_header(value.as_bytes())?;
    let signer = secrets
        .signer(&[header.timestamp, b".", body], &header.signatures, now_ms)
        .ok_or(SignatureError::NoMatch)?;
    timestamp::check(header.timestamp_s, now_ms, tolerance_s, tolerance_s.saturating_add(AHEAD_S))?;
    Ok(Verified { secret_id: signer.id().clone(), timestamp_s: header.timestamp_s, message_id: None })
}

/// The header that `secret` makes of `body` at `timestamp_s`, in seconds since the Unix epoch.
pub fn sign(secret: &Secret, timestamp_s: u64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let tag = secret.tag(&[timestamp.as_bytes(), b".", body]);
    format!("t={timestamp},v1={}", hex::encode(tag))
}

/// Reads 64 lowercase hexadecimal digits; anything else is not something that Stripe signs.
fn read_tag(digits: &[u8]) -> Option<Tag> {
    let mut tag = Tag::default();
    let lowercase = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (lowercase && hex::decode_to_slice(digits, &mut tag).is_ok()).then_some(tag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const BODY: &[u8] = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
    /// Made of [`BODY`] with `whsec_test_secret` by the header generators of Stripe's libraries for Python (16.1) and
    /// Node (23.1), which agree.
    const HEADER_OF_BODY: &str =
        "t=1700000000,v1=4f1cd7feda9826e746b7d482c4badebb657398df1099e1046364f6196a230150";
    const GOOD: &str = "v1=4f1cd7feda9826e746b7d482c4badebb657398df1099e1046364f6196a230150";

    fn secrets(texts: &[&str]) -> SecretSet {
        SecretSet::new(texts.iter().map(|text| Secret::stripe(*text, text).unwrap()).collect()).unwrap()
    }

    fn verify_at(header: &[u8], now_ms: i64) -> Result<Verified, SignatureError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(header).unwrap());
        verify(&headers, BODY, &secrets(&["whsec_test_secret"]), TOLERANCE_S, now_ms)
    }

    #[test]
    fn headers_made_by_stripes_own_libraries_verify() {
        let verified = verify_at(HEADER_OF_BODY.as_bytes(), NOW_MS).unwrap();
        assert_eq!(verified.timestamp_s, 1_700_000_000);
        assert_eq!(&*verified.secret_id, "whsec_test_secret");

        let body = r#"{"id":"evt_ünïcødé","object":"event","emoji":"💛"}"#;
        let header = "t=1700000000,v1=b0a33f2b2e934db5709fb082c59d32cca75d772d25c7a4722c28cf67af2a59d4";
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static(header));
        let verified = verify(&headers, body.as_bytes(), &secrets(&["whsec_c2VjcmV0"]), TOLERANCE_S, NOW_MS);
        assert!(verified.is_ok());
    }

    #[test]
    fn a_header_that_we_sign_is_the_one_that_stripe_would_send() {
        let secret = Secret::stripe("s", "whsec_test_secret").unwrap();
        assert_eq!(sign(&secret, 1_700_000_000, BODY), HEADER_OF_BODY);
    }

    #[test]
    fn what_surrounds_a_good_signature_does_not_invalidate_it() {
        for header in [
            format!("{HEADER_OF_BODY},"),
            format!("{HEADER_OF_BODY},v1=bad_signature"),
            format!("{HEADER_OF_BODY},v1=potato,v1=,v1"),
            format!("{GOOD},t=1700000000"),
            format!("v0=decoy,,noise,t=1700000000,=,{GOOD},v2=later"),
            format!("t=1700000000,v1={},{GOOD}", "0".repeat(64)),
            format!("t=1700000000,{}{GOOD}", "v1=x,".repeat(15)),
        ] {
            assert!(verify_at(header.as_bytes(), NOW_MS).is_ok(), "{header}");
        }
        let mut latin = HEADER_OF_BODY.as_bytes().to_vec();
        latin.extend(b",note=\xff\xfe");
        assert!(verify_at(&latin, NOW_MS).is_ok());
    }

    #[test]
    fn a_header_that_is_not_of_the_form_is_malformed() {
        for header in [
            String::new(),
            "bad_header".into(),
            "i'm not even a real signature header".into(),
            "t=1700000000".into(),
            GOOD.into(),
            HEADER_OF_BODY.replace("v1=", "v0="),
            HEADER_OF_BODY.replace("v1=", "V1="),
            HEADER_OF_BODY.replace(",v1", ", v1"),
            HEADER_OF_BODY.replace("t=", "t=+"),
            HEADER_OF_BODY.replace("t=", "t=0"),
            HEADER_OF_BODY.replace("t=", "t=-"),
            HEADER_OF_BODY.replace(",v1", " ,v1"),
            HEADER_OF_BODY.replace("t=1700000000", "t="),
            HEADER_OF_BODY.replace("t=1700000000", "t=99999999999999999999999"),
            format!("t=1700000000,{HEADER_OF_BODY}"),
            format!("t=1700000000,{}{GOOD}", "v1=x,".repeat(16)),
            format!("{HEADER_OF_BODY},{}", "x".repeat(HEADER_BYTES_MAX)),
        ] {
            assert_eq!(verify_at(header.as_bytes(), NOW_MS), Err(SignatureError::Malformed), "{header}");
        }
    }

    #[test]
    fn a_signature_of_anything_else_does_not_match() {
        for header in [
            HEADER_OF_BODY.replace("t=1700000000", "t=1700000001"),
            HEADER_OF_BODY.replace("4f1c", "5f1c"),
            HEADER_OF_BODY.replace("4f1c", "4F1C"),
            HEADER_OF_BODY.replace("0150", "015"),
            HEADER_OF_BODY.replace("0150", "01500"),
            "t=1700000000,v1=bad_signature".into(),
            "t=18446744073709551615,v1=0".into(),
        ] {
            assert_eq!(verify_at(header.as_bytes(), NOW_MS), Err(SignatureError::NoMatch), "{header}");
        }
    }

    #[test]
    fn a_good_signature_is_good_for_as_long_as_the_tolerance() {
        let at = |now_ms| verify_at(HEADER_OF_BODY.as_bytes(), now_ms).map(drop);
        assert_eq!(at(NOW_MS + 300_000), Ok(()));
        assert_eq!(at(NOW_MS + 300_001), Err(SignatureError::TooOld));
        assert_eq!(at(NOW_MS - 302_000), Ok(()));
        assert_eq!(at(NOW_MS - 302_001), Err(SignatureError::InFuture));
    }

    #[test]
    fn the_age_of_a_signature_is_told_only_to_who_can_sign() {
        let forged = HEADER_OF_BODY.replace("4f1c", "5f1c");
        assert_eq!(verify_at(forged.as_bytes(), NOW_MS + 900_000), Err(SignatureError::NoMatch));
    }

    #[test]
    fn one_header_is_one_header() {
        let mut headers = HeaderMap::new();
        let verify = |headers: &HeaderMap| {
            verify(headers, BODY, &secrets(&["whsec_test_secret"]), TOLERANCE_S, NOW_MS).map(drop)
        };
        assert_eq!(verify(&headers), Err(SignatureError::Missing));
        headers.append(HEADER, HeaderValue::from_static(HEADER_OF_BODY));
        assert_eq!(verify(&headers), Ok(()));
        headers.append(HEADER, HeaderValue::from_static(HEADER_OF_BODY));
        assert_eq!(verify(&headers), Err(SignatureError::Malformed));
    }

    #[test]
    fn a_rolled_secret_overlaps_with_its_successor_and_then_ends() {
        let old = Secret::stripe("old", "whsec_old").unwrap().valid_until_ms(NOW_MS + 1);
        let new = Secret::stripe("new", "whsec_new").unwrap().valid_from_ms(NOW_MS);
        let set = SecretSet::new(vec![old.clone(), new.clone()]).unwrap();
        let signer = |header: &str, now_ms| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(header).unwrap());
            verify(&headers, BODY, &set, TOLERANCE_S, now_ms).map(|verified| verified.secret_id.to_string())
        };
        let (by_old, by_new) = (sign(&old, 1_700_000_000, BODY), sign(&new, 1_700_000_000, BODY));
        let by_both = format!("{by_old},{}", by_new.split_once(',').unwrap().1);
        assert_eq!(signer(&by_old, NOW_MS), Ok("old".into()));
        assert_eq!(signer(&by_new, NOW_MS), Ok("new".into()));
        assert!(signer(&by_both, NOW_MS).is_ok());
        assert_eq!(signer(&by_old, NOW_MS + 1), Err(SignatureError::NoMatch));
        assert_eq!(signer(&by_new, NOW_MS - 1), Err(SignatureError::NoMatch));
        assert_eq!(signer(&by_both, NOW_MS + 1), Ok("new".into()));
    }
}
