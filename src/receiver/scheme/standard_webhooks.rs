//! The scheme `standard-webhooks` (<https://www.standardwebhooks.com>): the headers `webhook-id`, `webhook-timestamp`
//! and `webhook-signature`, the last a list `v1,<base64> v1,<base64> …` separated by blanks.
//!
//! The message is the id, a dot, the digits of the timestamp, a dot and the raw body. Only symmetric signatures (`v1`)
//! are verified; `v1a` and versions to come are passed over.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use keepwell_workers::clock::UnixMs;

use super::{
    HEADER_BYTES_MAX, SIGNATURES_MAX, SignatureError, Verified,
    secret::{Secret, SecretSet, Tag},
    timestamp,
};

/// The header with the message's id, the same for every attempt to deliver it.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the seconds since the Unix epoch at which this attempt was signed.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far a signature may lie in the past or the future unless configured otherwise, in seconds (the tolerance of the
/// reference libraries).
pub const TOLERANCE_S: u64 = 300;

/// The longest id that is taken, in bytes.
pub const ID_BYTES_MAX: usize = 255;

/// What well-formed headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders<'headers> {
    /// The message's id.
    pub id: &'headers str,
    /// The digits of the timestamp, as they were signed.
    pub timestamp: &'headers [u8],
    /// When it was signed, in seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// Every readable `v1`. An unreadable one cannot match and is left out.
    pub signatures: Vec<Tag>,
}

/// Reads the three headers, each of which must be there exactly once. The id is 1 to [`ID_BYTES_MAX`] visible ASCII
/// characters other than the dot, which separates it from the timestamp in the message.
pub fn parse_headers(headers: &HeaderMap) -> Result<SignatureHeaders<'_>, SignatureError> {
    let id = only(headers, ID_HEADER)?;
    let timestamp = only(headers, TIMESTAMP_HEADER)?;
    let signatures = only(headers, SIGNATURE_HEADER)?;
    let id = std::str::from_utf8(id)
        .ok()
        .filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()))
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.'))
        .ok_or(SignatureError::Malformed)?;
    Ok(SignatureHeaders {
        id,
        timestamp,
        timestamp_s: timestamp::parse(timestamp).ok_or(SignatureError::Malformed)?,
        signatures: read_signatures(signatures)?,
    })
}

/// Verifies a request: any `v1` made of this id, timestamp and body by any secret valid at `now_ms`, at most
/// `tolerance_s` seconds away from now.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &SecretSet,
    tolerance_s: u64,
    now_ms: UnixMs,
) -> Result<Verified, SignatureError> {
    let SignatureHeaders { id, timestamp, timestamp_s, signatures } = parse_headers(headers)?;
    let signer = secrets
        .signer(&[id.as_bytes(), b".", timestamp, b".", body], &signatures, now_ms)
        .ok_or(SignatureError::NoMatch)?;
    timestamp::check(timestamp_s, now_ms, tolerance_s, tolerance_s)?;
    Ok(Verified { secret_id: signer.id().clone(), timestamp_s, message_id: Some(id.to_owned()) })
}

/// The `webhook-signature` that `secret` makes of `body` under `id` at `timestamp_s`, in seconds since the Unix epoch.
pub fn sign(secret: &Secret, id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let tag = secret.tag(&[id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(tag))
}

fn only<'headers>(headers: &'headers HeaderMap, name: &str) -> Result<&'headers [u8], SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(SignatureError::Missing)?.as_bytes();
    if values.next().is_some() || value.len() > HEADER_BYTES_MAX {
        return Err(SignatureError::Malformed);
    }
    Ok(value)
}

fn read_signatures(list: &[u8]) -> Result<Vec<Tag>, SignatureError> {
    let mut signatures = Vec::with_capacity(2);
    let mut signature_count = 0;
    for signature in list.split(|byte| *byte == b' ') {
        if let Some(text) = signature.strip_prefix(b"v1,") {
            signature_count += 1;
            let mut tag = [0; 33];
            if let Ok(32) = STANDARD.decode_slice(text, &mut tag) {
                signatures.extend(tag.first_chunk::<32>());
            }
        }
    }
    if (1..=SIGNATURES_MAX).contains(&signature_count) {
        Ok(signatures)
    } else {
        Err(SignatureError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The example of the specification, which the reference library for JavaScript (1.1) signs alike.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const TIMESTAMP: &str = "1614265330";
    const NOW_MS: i64 = 1_614_265_330_000;

    fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(ID_HEADER, id), (TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)] {
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn verify_at(headers: &HeaderMap, now_ms: i64) -> Result<Verified, SignatureError> {
        let secrets = SecretSet::new(vec![Secret::standard_webhooks("s", SECRET).unwrap()]).unwrap();
        verify(headers, BODY, &secrets, TOLERANCE_S, now_ms)
    }

    #[test]
    fn headers_made_by_the_reference_library_verify() {
        let verified = verify_at(&headers(ID, TIMESTAMP, SIGNATURE), NOW_MS).unwrap();
        assert_eq!(verified.message_id.as_deref(), Some(ID));
        let secret = Secret::standard_webhooks("s", SECRET).unwrap();
        assert_eq!(sign(&secret, ID, 1_614_265_330, BODY), SIGNATURE);
        let body = r#"{"type":"crisis.signal","data":{"customer":"cus_ü"}}"#;
        assert_eq!(
            sign(&secret, "msg_1", 1_700_000_000, body.as_bytes()),
            "v1,q+g36cbzgNSOrM8tR5YldI1u5kuXcgCLiqFKauj9jkE="
        );
    }

    #[test]
    fn any_one_of_several_signatures_is_enough() {
        for list in [
            format!("v1,AAAA {SIGNATURE}"),
            format!("{SIGNATURE} v1,notbase64!"),
            format!(
                "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== {SIGNATURE}"
            ),
            format!("  {SIGNATURE}  "),
            format!("{}{SIGNATURE}", "v1,x ".repeat(15)),
        ] {
            assert!(verify_at(&headers(ID, TIMESTAMP, &list), NOW_MS).is_ok(), "{list}");
        }
    }

    #[test]
    fn a_signature_of_anything_else_does_not_match() {
        for (id, timestamp, signature) in [
            ("msg_other", TIMESTAMP, SIGNATURE.to_owned()),
            (ID, "1614265331", SIGNATURE.to_owned()),
            (ID, TIMESTAMP, SIGNATURE.replace("g0hM", "h0hM")),
            (ID, TIMESTAMP, SIGNATURE.replace("OE=", "OE")),
            (ID, TIMESTAMP, SIGNATURE.replace("OE=", "OF=")),
            (ID, TIMESTAMP, "v1,".to_owned()),
            (ID, TIMESTAMP, format!("v1,{}", "A".repeat(400))),
        ] {
            let headers = headers(id, timestamp, &signature);
            assert_eq!(
                verify_at(&headers, NOW_MS),
                Err(SignatureError::NoMatch),
                "{id} {timestamp} {signature}"
            );
        }
    }

    #[test]
    fn headers_that_are_not_of_the_form_are_malformed() {
        let long = "x".repeat(ID_BYTES_MAX + 1);
        let many = "v1,x ".repeat(SIGNATURES_MAX + 1);
        let huge = format!("{SIGNATURE} {}", "x".repeat(HEADER_BYTES_MAX));
        for (id, timestamp, signature) in [
            ("", TIMESTAMP, SIGNATURE),
            ("msg.1", TIMESTAMP, SIGNATURE),
            ("msg 1", TIMESTAMP, SIGNATURE),
            ("msg_ü", TIMESTAMP, SIGNATURE),
            (&long, TIMESTAMP, SIGNATURE),
            (ID, "", SIGNATURE),
            (ID, "+1614265330", SIGNATURE),
            (ID, "01614265330", SIGNATURE),
            (ID, "1614265330.0", SIGNATURE),
            (ID, "hello", SIGNATURE),
            (ID, TIMESTAMP, ""),
            (ID, TIMESTAMP, "v1"),
            (ID, TIMESTAMP, "V1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            (ID, TIMESTAMP, "v1a,hnO3f9T8"),
            (ID, TIMESTAMP, &many),
            (ID, TIMESTAMP, &huge),
        ] {
            let headers = headers(id, timestamp, signature);
            assert_eq!(
                verify_at(&headers, NOW_MS),
                Err(SignatureError::Malformed),
                "{id} {timestamp} {signature}"
            );
        }
    }

    #[test]
    fn each_header_is_there_exactly_once() {
        for name in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
            let mut without = headers(ID, TIMESTAMP, SIGNATURE);
            let value = without.remove(name).unwrap();
            assert_eq!(verify_at(&without, NOW_MS), Err(SignatureError::Missing), "{name}");
            let mut twice = headers(ID, TIMESTAMP, SIGNATURE);
            twice.append(name, value);
            assert_eq!(verify_at(&twice, NOW_MS), Err(SignatureError::Malformed), "{name}");
        }
    }

    #[test]
    fn a_good_signature_is_good_for_the_tolerance_in_both_directions() {
        let at = |now_ms| verify_at(&headers(ID, TIMESTAMP, SIGNATURE), now_ms).map(drop);
        assert_eq!(at(NOW_MS + 300_000), Ok(()));
        assert_eq!(at(NOW_MS + 300_001), Err(SignatureError::TooOld));
        assert_eq!(at(NOW_MS - 300_000), Ok(()));
        assert_eq!(at(NOW_MS - 300_001), Err(SignatureError::InFuture));
    }
}
