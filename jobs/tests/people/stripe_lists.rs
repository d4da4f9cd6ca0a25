//! How Stripe's lists are asked for, and what is made of everything that may come back.

use std::time::Duration;

use keepwell_jobs::outbound::stripe::{
    Question, StripeClient, StripeOptions,
    list::{EventsAsked, Page},
};
use keepwell_workers::{
    clock::{ManualClock, SharedClock},
    id::JobId,
    outcome::Outcome,
};
use serde_json::json;

use crate::support::{
    NOW_MS, NOW_S,
    stripe::{API_KEY, FakeStripe, Manner},
};

fn client(stripe: &FakeStripe, account: Option<&str>) -> StripeClient {
    let clock: SharedClock = ManualClock::at(NOW_MS);
    let url = stripe.url();
    let options = StripeOptions { api_base: &url, api_key: API_KEY, account, in_flight_max: 1, clock };
    StripeClient::new(&options).expect("a client")
}

async fn events(client: &StripeClient, after: Option<&str>) -> Result<Page, Outcome> {
    let types = ["invoice.payment_failed".to_owned()];
    let asked = EventsAsked { since_s: NOW_S - 60, until_s: NOW_S, types: &types, undelivered: false };
    client.events(&asked, after, JobId::new(NOW_MS)).await
}

/// One that lists so many events, `evt_0` the oldest.
async fn listing(count: i64) -> FakeStripe {
    let stripe = FakeStripe::start().await;
    for number in 0..count {
        stripe.lists(json!({
            "id": format!("evt_{number}"), "object": "event", "type": "invoice.payment_failed", "created": NOW_S,
        }));
    }
    stripe
}

#[tokio::test]
async fn a_list_is_read_page_by_page_newest_first_and_ends() {
    let stripe = listing(130).await;
    let client = client(&stripe, Some("acct_1"));
    let first = events(&client, None).await.expect("a page");
    assert_eq!((first.items.len(), first.next.as_deref()), (100, Some("evt_30")));
    let last = events(&client, first.next.as_deref()).await.expect("a page");
    assert_eq!((last.items.len(), last.next), (30, None));
    let asked = stripe.asked();
    assert!(asked[1].path.ends_with("&limit=100&starting_after=evt_30"), "{}", asked[1].path);
    assert_eq!(asked[1].account.as_deref(), Some("acct_1"));
    stripe.lists_nothing();
    assert_eq!(events(&client, None).await, Ok(Page { items: vec![], next: None }));
}

#[tokio::test]
async fn whatever_may_pass_with_a_list_is_tried_again() {
    let stripe = listing(1).await;
    let says = |status, body: &str| Manner::Says(status, vec![], body.to_owned());
    for manner in [
        says(500, "{}"),
        says(200, "<html>a captive portal</html>"),
        says(200, r#"{"object":"list","data":[],"has_more":true}"#),
        Manner::HangsUp,
        Manner::Garbage,
        Manner::Truncated,
    ] {
        stripe.next([manner.clone()]);
        let outcome = events(&client(&stripe, None), None).await.expect_err("no page");
        assert!(matches!(outcome, Outcome::Retry { .. }), "{manner:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let stripe = listing(130).await;
    stripe.next([Manner::Floods]);
    let page = events(&client(&stripe, None), None).await.expect("a page");
    assert_eq!((page.items.len(), page.next.as_deref()), (10, Some("evt_120")));
}

#[tokio::test]
async fn a_key_without_the_leave_for_a_list_is_told_which_one() {
    let stripe = listing(1).await;
    stripe.always(Manner::Says(403, vec![], "{}".to_owned()));
    let client = client(&stripe, None);
    let events = events(&client, None).await.expect_err("no page");
    let subscriptions = client.subscriptions(None, JobId::new(NOW_MS)).await.expect_err("no page");
    for (outcome, words) in [(events, "leave to read events"), (subscriptions, "leave to read subscriptions")]
    {
        let Outcome::Dead { error } = outcome else { panic!("{outcome:?}") };
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn too_many_requests_quiet_lists_and_confirmations_alike_and_otherwise_neither_waits_for_the_other() {
    let stripe = listing(1).await;
    let client = client(&stripe, None);
    let question = |subscription| Question {
        subscription,
        account: None,
        livemode: None,
        since_ms: NOW_MS,
        job: JobId::new(NOW_MS),
    };
    // Pages ask as often as they may, and a confirmation is let in.
    let mut pages = 0;
    let outcome = loop {
        match events(&client, None).await {
            Ok(_) => pages += 1,
            Err(outcome) => break outcome,
        }
        assert!(pages < 10, "pages have no pace");
    };
    assert!(matches!(outcome, Outcome::Snooze { .. }), "{outcome:?}");
    assert!(client.subscription(&question("sub_1")).await.is_ok());
    stripe.next([Manner::Says(429, vec![("Retry-After", "7")], "{}".to_owned())]);
    assert!(client.subscription(&question("sub_2")).await.is_err());
    let before = stripe.asked().len();
    let Err(Outcome::Snooze { after }) = events(&client, None).await else { panic!("a page came") };
    assert!(after > Duration::from_secs(4), "{after:?}");
    assert_eq!(stripe.asked().len(), before);
}
