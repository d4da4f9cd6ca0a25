//! Requests that are signed well, badly and not at all.

use super::{
    rig::{
        APP, NOW_S, Rig, STRIPE, app_secret, event, post, signed, signed_by_app, stripe_event, stripe_secret,
    },
    table::{Case, run},
};
use crate::receiver::scheme::{
    secret::{Secret, SecretSet},
    standard_webhooks, stripe,
};

#[tokio::test]
async fn a_stripe_event_is_taken_exactly_when_its_signature_is_good() {
    let rig = Rig::start().await;
    let old = Secret::stripe("old", "whsec_old").unwrap().valid_until_ms(NOW_S as i64 * 1000);
    let rolled = Secret::stripe("rolled", "whsec_rolled").unwrap();
    rig.sources[0]
        .replace_secrets(SecretSet::new(vec![stripe_secret(), old.clone(), rolled.clone()]).unwrap());

    let body = event("evt_1");
    let body = body.as_bytes();
    let sign = |secret: &Secret, timestamp_s| stripe::sign(secret, timestamp_s, body);
    let good = sign(&stripe_secret(), NOW_S);
    let tag = good.split_once("v1=").unwrap().1;
    let under = |header: &str| post(STRIPE, &format!("Stripe-Signature: {header}\r\n"), body);
    let mut altered = stripe_event("evt_1");
    *altered.last_mut().unwrap() = b' ';
    let mut latin = format!("POST {STRIPE} HTTP/1.1\r\nContent-Length: {}\r\nStripe-Signature: ", body.len())
        .into_bytes();
    latin.extend(b"note=\xff\xfe,");
    latin.extend(format!("{good}\r\n\r\n").as_bytes());
    latin.extend(body);

    let cases: Vec<Case> = vec![
        ("a good signature", under(&good), "200 new"),
        ("the same event again", under(&good), "200 again"),
        ("signed afresh for a retry", under(&sign(&stripe_secret(), NOW_S - 60)), "200 again"),
        ("signed with the rolled secret", under(&sign(&rolled, NOW_S)), "200 again"),
        ("a trailing comma", under(&format!("{good},")), "200 again"),
        ("elements without `=`", under(&format!("x,,{good}")), "200 again"),
        ("another order", under(&format!("v1={tag},t={NOW_S}")), "200 again"),
        ("a decoy of another scheme", under(&format!("{good},v0={tag}")), "200 again"),
        ("an unreadable signature beside it", under(&format!("{good},v1=potato")), "200 again"),
        (
            "the 16th of 16 signatures",
            under(&format!("t={NOW_S},{}v1={tag}", "v1=x,".repeat(15))),
            "200 again",
        ),
        ("bytes that are no ASCII beside it", latin, "200 again"),
        (
            "the header's name in capitals",
            post(STRIPE, &format!("STRIPE-SIGNATURE: {good}\r\n"), body),
            "200 again",
        ),
        ("no signature", post(STRIPE, "", body), "400 signature_missing"),
        ("an empty signature", under(""), "400 signature_malformed"),
        ("words", under("i'm not even a real signature header"), "400 signature_malformed"),
        ("the good header twice", post(STRIPE, &signed(body).repeat(2), body), "400 signature_malformed"),
        ("no `t`", under(&format!("v1={tag}")), "400 signature_malformed"),
        ("two `t`", under(&format!("t={NOW_S},{good}")), "400 signature_malformed"),
        ("an empty `t`", under(&format!("t=,v1={tag}")), "400 signature_malformed"),
        ("a `t` with a sign", under(&format!("t=+{NOW_S},v1={tag}")), "400 signature_malformed"),
        ("a `t` with a leading zero", under(&format!("t=0{NOW_S},v1={tag}")), "400 signature_malformed"),
        ("a `t` that overflows", under(&format!("t=9{NOW_S}{NOW_S},v1={tag}")), "400 signature_malformed"),
        ("only a decoy", under(&format!("t={NOW_S},v0={tag}")), "400 signature_malformed"),
        (
            "17 signatures",
            under(&format!("t={NOW_S},{}v1={tag}", "v1=x,".repeat(16))),
            "400 signature_malformed",
        ),
        ("more than 4 KiB", under(&format!("{good},{}", "x".repeat(4096))), "400 signature_malformed"),
        ("a body altered in one byte", altered, "400 signature_invalid"),
        ("another `t`", under(&format!("t={},v1={tag}", NOW_S + 1)), "400 signature_invalid"),
        ("capital digits", under(&format!("t={NOW_S},v1={}", tag.to_uppercase())), "400 signature_invalid"),
        ("half a signature", under(&format!("t={NOW_S},v1={}", &tag[..32])), "400 signature_invalid"),
        (
            "an unknown secret",
            under(&sign(&Secret::stripe("x", "whsec_x").unwrap(), NOW_S)),
            "400 signature_invalid",
        ),
        ("the other source's secret", under(&sign(&app_secret(), NOW_S)), "400 signature_invalid"),
        ("an expired secret", under(&sign(&old, NOW_S)), "400 signature_invalid"),
        ("the last second of the tolerance", under(&sign(&stripe_secret(), NOW_S - 300)), "200 again"),
        ("a second too old", under(&sign(&stripe_secret(), NOW_S - 301)), "400 timestamp_too_old"),
        ("as far ahead as may be", under(&sign(&stripe_secret(), NOW_S + 302)), "200 again"),
        ("a second too far ahead", under(&sign(&stripe_secret(), NOW_S + 303)), "400 timestamp_in_future"),
        ("the end of time", under(&sign(&stripe_secret(), u64::MAX)), "400 timestamp_in_future"),
        ("the beginning of time", under(&sign(&stripe_secret(), 0)), "400 timestamp_too_old"),
        ("old and forged", under(&format!("t=1,v1={tag}")), "400 signature_invalid"),
    ];
    run(rig, cases).await;
}

#[tokio::test]
async fn an_app_signal_is_taken_exactly_when_its_signature_is_good() {
    let body = br#"{"type":"crisis.signal","data":{"customer":"cus_1"}}"#;
    let signature = standard_webhooks::sign(&app_secret(), "msg_1", NOW_S, body);
    let under = |id: &str, timestamp: &str, signature: &str| {
        let headers = format!(
            "webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n"
        );
        post(APP, &headers, body)
    };
    let now = NOW_S.to_string();
    let at = |timestamp_s: u64| {
        under(
            "msg_1",
            &timestamp_s.to_string(),
            &standard_webhooks::sign(&app_secret(), "msg_1", timestamp_s, body),
        )
    };
    let long = "x".repeat(256);
    let cases: Vec<Case> = vec![
        ("a good signature", post(APP, &signed_by_app("msg_1", body), body), "200 new"),
        ("the same again", under("msg_1", &now, &signature), "200 again"),
        ("another id over the same body", post(APP, &signed_by_app("msg_2", body), body), "200 new"),
        ("the longest id", post(APP, &signed_by_app(&long[..255], body), body), "200 new"),
        (
            "one good signature among bad ones",
            under("msg_1", &now, &format!("v1,AAAA v1a,x {signature}")),
            "200 again",
        ),
        ("five minutes ago", at(NOW_S - 300), "200 again"),
        ("five minutes ahead", at(NOW_S + 300), "200 again"),
        ("more than five minutes ago", at(NOW_S - 301), "400 timestamp_too_old"),
        ("more than five minutes ahead", at(NOW_S + 301), "400 timestamp_in_future"),
        ("no headers", post(APP, "", body), "400 signature_missing"),
        (
            "no id",
            post(APP, &signed_by_app("msg_1", body).replace("webhook-id", "x"), body),
            "400 signature_missing",
        ),
        ("Stripe's scheme", post(APP, &signed(body), body), "400 signature_missing"),
        (
            "each header twice",
            post(APP, &signed_by_app("msg_1", body).repeat(2), body),
            "400 signature_malformed",
        ),
        ("an id with a dot", post(APP, &signed_by_app("msg.1", body), body), "400 signature_malformed"),
        ("an id that is too long", post(APP, &signed_by_app(&long, body), body), "400 signature_malformed"),
        ("an empty id", under("", &now, &signature), "400 signature_malformed"),
        (
            "a timestamp with a fraction",
            under("msg_1", "1700000000.5", &signature),
            "400 signature_malformed",
        ),
        ("only an asymmetric signature", under("msg_1", &now, "v1a,AAAA"), "400 signature_malformed"),
        (
            "17 signatures",
            under("msg_1", &now, &format!("{signature} {}", "v1,x ".repeat(16))),
            "400 signature_malformed",
        ),
        ("another id", under("msg_9", &now, &signature), "400 signature_invalid"),
        ("another timestamp", under("msg_1", "1700000001", &signature), "400 signature_invalid"),
        (
            "base64 without its padding",
            under("msg_1", &now, signature.trim_end_matches('=')),
            "400 signature_invalid",
        ),
    ];
    run(Rig::start().await, cases).await;
}

#[tokio::test]
async fn secrets_can_be_swapped_while_the_receiver_runs() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "200 new");
    let other = Secret::stripe("other", "whsec_other").unwrap();
    rig.sources[0].replace_secrets(SecretSet::new(vec![other.clone()]).unwrap());
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "400 signature_invalid");
    let body = event("evt_2");
    let header = format!("Stripe-Signature: {}\r\n", stripe::sign(&other, NOW_S, body.as_bytes()));
    assert_eq!(rig.send(&post(STRIPE, &header, body.as_bytes())).await, "200 new");
    rig.sources[0].replace_secrets(SecretSet::default());
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "400 signature_invalid");
    rig.stop().await;
}
