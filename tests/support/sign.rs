//! Signatures as Stripe and the app make them, written down here once more so that the daemon's own code is not its
//! judge.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header `Stripe-Signature` for `body`, signed at `at_s` (seconds since the Unix epoch).
pub fn stripe(secret: &str, at_s: i64, body: &[u8]) -> String {
    let signature = hex::encode(hmac(secret.as_bytes(), &[at_s.to_string().as_bytes(), b".", body]));
    format!("t={at_s},v1={signature}")
}

/// The headers of Standard Webhooks for the message `id`, signed at `at_s` (seconds since the Unix epoch).
pub fn standard_webhooks(secret: &str, id: &str, at_s: i64, body: &[u8]) -> [(&'static str, String); 3] {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("a secret in base64");
    let at = at_s.to_string();
    let signature = STANDARD.encode(hmac(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", body]));
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn a_message_is_signed_as_the_standard_webhooks_libraries_sign_it() {
    // The example of the specification's own reference implementations.
    let [_, _, (_, signature)] = standard_webhooks(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}
