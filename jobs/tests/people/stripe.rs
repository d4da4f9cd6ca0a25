//! What is asked of Stripe, and what is made of everything that may come back.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::outbound::stripe::{Answer, Question, StripeClient, StripeError, StripeOptions};
use keepwell_workers::{
    clock::{ManualClock, SharedClock},
    id::JobId,
    outcome::Outcome,
};
use serde_json::{Value, json};

use crate::support::{
    NOW_MS, NOW_S,
    stripe::{API_KEY, Asked, FakeStripe, Manner},
};

/// A client of `stripe` with `api_key`.
fn client(stripe: &FakeStripe, api_key: &str) -> StripeClient {
    let clock: SharedClock = ManualClock::at(NOW_MS);
    let url = stripe.url();
    let options = StripeOptions { api_base: &url, api_key, account: None, in_flight_max: 2, clock };
    StripeClient::new(&options).expect("a client")
}

/// A question about `subscription` that no earlier answer settles.
fn question(subscription: &str) -> Question<'_> {
    Question { subscription, account: None, livemode: Some(false), since_ms: NOW_MS, job: JobId::new(NOW_MS) }
}

fn active() -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "livemode": false,
        "cancel_at_period_end": true, "latest_invoice": "in_1",
        "items": { "data": [{ "price": { "id": "price_basic_monthly" }, "current_period_end": 1_800_000_000 }] },
    })
}

async fn ask(client: &StripeClient) -> Result<Arc<Answer>, Outcome> {
    client.subscription(&question("sub_1")).await
}

fn retried(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { .. })
}

#[tokio::test]
async fn a_subscription_is_asked_for_as_documented_and_read() {
    let stripe = FakeStripe::start().await;
    stripe.knows(active());
    stripe.at("Tue, 14 Nov 2023 22:13:30 GMT");
    let client = client(&stripe, API_KEY);
    let question = Question { account: Some("acct_1"), ..question("sub_1") };
    let answer = client.subscription(&question).await.expect("an answer");
    let shown = answer.shown.subscription.as_ref().expect("a subscription");
    assert_eq!(
        (shown.status.name(), shown.prices.as_slice()),
        ("active", &["price_basic_monthly".to_owned()][..])
    );
    assert_eq!((shown.period_end_s, shown.cancel_at_s), (Some(1_800_000_000), Some(1_800_000_000)));
    assert_eq!(answer.customer.as_deref(), Some("cus_1"));
    // By Stripe's own clock, and a second before, because a second has a beginning and an end.
    assert_eq!(
        (answer.shown.asked_ms, answer.shown.until_s, answer.shown.from_s),
        (NOW_MS, NOW_S + 10, NOW_S + 9)
    );
    let asked = Asked {
        path: "/v1/subscriptions/sub_1".into(),
        account: Some("acct_1".into()),
        version: Some("2020-08-27".into()),
    };
    assert_eq!(stripe.asked(), [asked]);
    stripe.at("Wed, 14 Nov 2029 22:13:30 GMT");
    let answer = ask(&client).await.expect("an answer");
    assert_eq!(answer.shown.until_s, NOW_S, "a time that cannot be is not believed");
}

#[tokio::test]
async fn whatever_may_pass_is_tried_again() {
    let stripe = FakeStripe::start().await;
    stripe.knows(active());
    let says = |status, body: &str| Manner::Says(status, vec![], body.to_owned());
    for manner in [
        says(500, "{}"),
        says(502, "<html>Bad Gateway</html>"),
        says(409, r#"{"error":{"code":"lock_timeout"}}"#),
        says(200, "<html>a captive portal</html>"),
        says(200, "{}"),
        says(200, r#"{"id":"sub_1","object":"invoice","status":"active"}"#),
        says(200, r#"{"id":"sub_2","object":"subscription","status":"active"}"#),
        says(200, r#"{"id":"sub_1","object":"subscription"}"#),
        Manner::HangsUp,
        Manner::Garbage,
        Manner::Truncated,
        Manner::Floods,
    ] {
        stripe.next([manner.clone()]);
        let outcome = ask(&client(&stripe, API_KEY)).await.expect_err("no answer");
        assert!(retried(&outcome), "{manner:?}: {outcome:?}");
    }
    assert!(ask(&client(&stripe, API_KEY)).await.is_ok());
}

#[tokio::test]
async fn nobody_there_is_tried_again() {
    let url = {
        let stripe = FakeStripe::start().await;
        stripe.url()
    };
    let clock: SharedClock = ManualClock::at(NOW_MS);
    let options = StripeOptions { api_base: &url, api_key: API_KEY, account: None, in_flight_max: 2, clock };
    let outcome = ask(&StripeClient::new(&options).expect("a client")).await.expect_err("no answer");
    assert!(retried(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_set_up_is_said_once_and_not_tried_again() {
    let stripe = FakeStripe::start().await;
    stripe.knows(active());
    let moved = Manner::Says(301, vec![("Location", "https://elsewhere.example/")], String::new());
    let forbidden = Manner::Says(403, vec![], r#"{"error":{"type":"invalid_request_error"}}"#.into());
    let elsewhere =
        "No such subscription: 'sub_1'; a similar object exists in live mode, but a test mode key was used.";
    let elsewhere = json!({ "error": { "code": "resource_missing", "message": elsewhere } }).to_string();
    for (manner, key, words) in [
        (Manner::Answers, "rk_test_wrong", "check `stripe.api_key`"),
        (forbidden, API_KEY, "leave to read subscriptions"),
        (moved, API_KEY, "stripe.api_base"),
        (Manner::Says(404, vec![], "<html>not here</html>".into()), API_KEY, "stripe.api_base"),
        (Manner::Says(404, vec![], elsewhere), API_KEY, "mode"),
    ] {
        stripe.next([manner.clone()]);
        let outcome = ask(&client(&stripe, key)).await.expect_err("no answer");
        let Outcome::Dead { error } = outcome else { panic!("{manner:?}: {outcome:?}") };
        assert!(error.contains(words) && error.contains("access is as it was"), "{error}");
    }
    // A test key cannot know live subscriptions, and is not even asked with.
    let before = stripe.asked().len();
    let live = Question { livemode: Some(true), ..question("sub_1") };
    let outcome = client(&stripe, API_KEY).subscription(&live).await.expect_err("no answer");
    assert!(matches!(outcome, Outcome::Dead { .. }), "{outcome:?}");
    assert_eq!(stripe.asked().len(), before);
}

#[tokio::test]
async fn a_subscription_that_stripe_does_not_know_is_gone() {
    let stripe = FakeStripe::start().await;
    let answer = ask(&client(&stripe, API_KEY)).await.expect("an answer");
    assert_eq!(answer.shown.subscription, None);
}

#[tokio::test]
async fn an_id_that_is_none_of_stripes_reaches_no_other_address() {
    let stripe = FakeStripe::start().await;
    let client = client(&stripe, API_KEY);
    for id in ["", "../customers", "sub_1?expand[]=customer", "sub_1/x", "sub 1", "süb"] {
        let outcome = client.subscription(&question(id)).await.expect_err("no answer");
        assert!(matches!(outcome, Outcome::Dead { .. }), "{id}: {outcome:?}");
    }
    assert_eq!(stripe.asked(), []);
}

#[tokio::test]
async fn too_many_requests_quiet_every_question_for_as_long_as_stripe_asks() {
    let stripe = FakeStripe::start().await;
    stripe.knows(active());
    stripe.next([Manner::Says(429, vec![("Retry-After", "7")], "{}".into())]);
    let client = client(&stripe, API_KEY);
    let outcome = ask(&client).await.expect_err("no answer");
    let Outcome::Retry { after, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(after, Some(Duration::from_secs(7)));
    let outcome = client.subscription(&question("sub_2")).await.expect_err("too early");
    let Outcome::Snooze { after } = outcome else { panic!("{outcome:?}") };
    assert!(after > Duration::from_secs(4) && after < Duration::from_secs(10), "{after:?}");
    assert_eq!(stripe.asked().len(), 1);
}

#[tokio::test]
async fn a_retry_after_that_never_ends_is_bounded() {
    let stripe = FakeStripe::start().await;
    stripe.next([Manner::Says(503, vec![("Retry-After", "99999999")], String::new())]);
    let outcome = ask(&client(&stripe, API_KEY)).await.expect_err("no answer");
    assert!(
        matches!(outcome, Outcome::Retry { after: Some(wait), .. } if wait == Duration::from_secs(3_600)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_answer_serves_all_who_waited_for_it_and_nobody_who_came_later() {
    let stripe = FakeStripe::start().await;
    stripe.knows(active());
    let client = client(&stripe, API_KEY);
    for _ in 0..5 {
        let waited = Question { since_ms: NOW_MS - 1, ..question("sub_1") };
        assert!(client.subscription(&waited).await.is_ok());
    }
    assert_eq!(stripe.asked().len(), 1);
    assert!(ask(&client).await.is_ok());
    assert_eq!(stripe.asked().len(), 2);
    client.forget("sub_1");
    let waited = Question { since_ms: NOW_MS - 1, ..question("sub_1") };
    assert!(client.subscription(&waited).await.is_ok());
    assert_eq!(stripe.asked().len(), 3);
}

#[tokio::test]
async fn a_stripe_that_hangs_holds_no_more_than_its_share() {
    let stripe = Arc::new(FakeStripe::start().await);
    stripe.always(Manner::Hangs);
    let client = client(&stripe, API_KEY);
    let mut asking = tokio::task::JoinSet::new();
    let places: Vec<_> = (0..2)
        .map(|number| {
            let client = client.clone();
            asking
                .spawn(async move { client.subscription(&question(&format!("sub_{number}"))).await.is_ok() })
        })
        .collect();
    let taken = async {
        while stripe.asked().len() < places.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken).await.expect("both places are taken");
    let outcome = ask(&client).await.expect_err("all places are taken");
    assert!(matches!(outcome, Outcome::Snooze { .. }), "{outcome:?}");
    assert_eq!(stripe.under_way_max(), 2);
    stripe.let_go();
    assert_eq!(asking.join_all().await, [true, true]);
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let stripe = FakeStripe::start().await;
    let client = client(&stripe, "rk_test_wrong_and_secret");
    let outcome = ask(&client).await.expect_err("no answer");
    for text in [format!("{client:?}"), format!("{outcome:?}")] {
        assert!(!text.contains("secret") && !text.contains("rk_test"), "{text}");
    }
    let clock: SharedClock = ManualClock::at(NOW_MS);
    let options = StripeOptions {
        api_base: "https://api.stripe.com",
        api_key: "rk\n1",
        account: None,
        in_flight_max: 1,
        clock,
    };
    let error = StripeClient::new(&options).expect_err("no key");
    assert!(matches!(error, StripeError::Key), "{error:?}");
    assert!(!format!("{options:?}").contains("rk\\n1"), "the options hide it too");
}
