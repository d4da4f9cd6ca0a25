//! What no webhook has brought is fetched from Stripe, and is then the same as if one had.
//!
//! The command line blocks the thread that waits for it, and Stripe answers on another one.

use serde_json::{Value, json};

use super::{
    access, app,
    event::{Event, SHAPES},
    nothing_owed, on_both,
    said::Said,
    signal, stripe, taken,
};
use crate::support::{
    daemon::Daemon,
    door::now_s,
    eventually,
    stripe::{API_KEY, FakeStripe, Manner},
};

async fn daemon_asking(stripe: &FakeStripe, settings: &[(&str, &str)]) -> Daemon {
    let url = stripe.url();
    let asking = [("KEEPWELL_STRIPE__API_KEY", API_KEY), ("KEEPWELL_STRIPE__API_BASE", &url)];
    Daemon::start_with(&[&asking[..], settings].concat()).await
}

/// An event that was made `ago_s` seconds ago.
fn made(event_type: &str, person: &str, ago_s: i64) -> Event {
    Event::of(SHAPES[0], event_type, person).with("/created", now_s() - ago_s)
}

/// What the command said; how far it had come in between is left out.
fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    let said = Said::of(&daemon.keepwell(&[&["stripe", "backfill"], arguments].concat()));
    let is_progress = |line: &&str| line.starts_with("pages so far");
    let talk = said.talk.split_inclusive('\n').filter(|line| !is_progress(line)).collect();
    Said { talk, ..said }
}

/// The jobs that match `query`.
async fn jobs(daemon: &Daemon, query: &str) -> Vec<Value> {
    let page = daemon.operator().get(&format!("/api/v1/jobs?limit=500&{query}")).await.json();
    page["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_webhook_brought_is_recorded_once() {
    let server = FakeStripe::start().await;
    let url = server.url();
    let asking = [("KEEPWELL_STRIPE__API_KEY", API_KEY), ("KEEPWELL_STRIPE__API_BASE", &url)];
    on_both(&asking, async |daemon| {
        server.lists_nothing();
        let of = |person| made("customer.subscription.created", person, 60);
        let (brought, missed) = (of("brought"), of("missed"));
        let old = made("customer.subscription.created", "old", 3 * 3_600);
        for event in [&old, &brought, &missed] {
            server.lists((**event).clone());
        }
        stripe(daemon, &brought).await;
        let done = says(daemon, &["--since", "1h", "--json"]).json();
        assert_eq!(
            (&done["after"]["events"], &done["after"]["recorded"]),
            (&2.into(), &1.into()),
            "{done:#}"
        );
        nothing_owed(daemon).await;
        assert_eq!(access(daemon, "cus_missed").await["tier"], "premium");
        assert_ne!(access(daemon, "cus_old").await["tier"], "premium");
        // Late, a webhook brings it all the same; and it is asked for again.
        assert_eq!(taken(daemon.stripe(&missed).await)["duplicate"], true);
        let again = says(daemon, &["--since", "1h"]).done();
        assert_eq!(again, "Stripe shows 2 events; none had been missed\n");
        assert_eq!(jobs(daemon, "kind=stripe.subscription_changed&subject=cus_missed").await.len(), 1);
        let metrics = daemon.public().get("/metrics").await.text();
        for line in
            ["stripe_backfilled_total{result=\"recorded\"} 1", "stripe_backfilled_total{result=\"known\"} 3"]
        {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let asked = daemon.operator().get("/api/v1/audit?action=stripe.backfill").await.json();
        assert_eq!((&asked["total"], &asked["items"][0]["actor"]["kind"]), (&2.into(), &"operator".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_goes_on_where_it_was() {
    let server = FakeStripe::start().await;
    for number in 0..250 {
        server.lists((*made("setup_intent.succeeded", &format!("n{number}"), 60)).clone());
    }
    // The first page comes, and the second does not.
    server.next([Manner::Answers]);
    server.always(Manner::Hangs);
    let mut daemon = daemon_asking(&server, &[]).await;
    says(&daemon, &["--since", "1h", "--no-wait"]).done();
    eventually("the second page is asked for", async || (server.asked().len() == 2).then_some(())).await;
    daemon.kill();
    server.let_go();
    daemon.start_again().await;
    eventually("it is through", async || {
        let entries = daemon.operator().get("/api/v1/audit?action=stripe.backfilled").await.json();
        let after = &entries["items"][0]["after"];
        (after["pages"] == 3 && after["events"] == 250 && after["recorded"] == 250).then_some(())
    })
    .await;
    nothing_owed(&daemon).await;
    assert_eq!(jobs(&daemon, "kind=stripe.payment_method_saved&state=done").await.len(), 250);
    let first_pages = server.asked().iter().filter(|asked| !asked.path.contains("starting_after")).count();
    assert_eq!(first_pages, 1, "what was on disk is not asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfilled_crisis_relevant_event_goes_through_its_lane() {
    let server = FakeStripe::start().await;
    let daemon = daemon_asking(&server, &[]).await;
    app(&daemon, &signal("crisis.signal", "cus_marked", json!({ "severity": "high" }))).await;
    let said = made("invoice.payment_failed", "said", 60);
    let said = said.with("/data/object/metadata", json!({ "crisisMode": "true" }));
    for event in
        [said, made("invoice.payment_failed", "marked", 60), made("invoice.payment_failed", "calm", 60)]
    {
        server.lists((*event).clone());
    }
    says(&daemon, &["--since", "1h", "--type", "invoice.payment_failed"]).done();
    nothing_owed(&daemon).await;
    for (customer, lane) in [("cus_said", "crisis"), ("cus_marked", "crisis"), ("cus_calm", "therapeutic")] {
        let jobs = jobs(&daemon, &format!("kind=stripe.invoice_payment_failed&subject={customer}")).await;
        assert_eq!((&jobs[0]["lane"], jobs.len()), (&lane.into(), 1), "{customer}");
    }
    assert_eq!(access(&daemon, "cus_said").await["crisis"]["active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_connected_account_is_the_same_by_either_way() {
    let server = FakeStripe::start().await;
    let daemon = daemon_asking(&server, &[("KEEPWELL_STRIPE__ACCOUNT", "acct_1")]).await;
    let event = made("customer.subscription.created", "connected", 60);
    server.lists((*event).clone());
    says(&daemon, &["--since", "1h"]).done();
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_connected").await["tier"], "premium");
    assert_eq!(server.asked()[0].account.as_deref(), Some("acct_1"));
    let mut brought = event;
    brought.insert("account", "acct_1");
    assert_eq!(taken(daemon.stripe(&brought).await)["duplicate"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_webhooks_miss_is_asked_for_by_itself_if_there_is_a_key() {
    let server = FakeStripe::start().await;
    let mut delivered = made("customer.subscription.created", "delivered", 60);
    delivered.insert("pending_webhooks", 0);
    for event in [delivered, made("customer.subscription.created", "pending", 60)] {
        server.lists((*event).clone());
    }
    let daemon = daemon_asking(&server, &[]).await;
    let listed = Said::of(&daemon.keepwell(&["schedule", "list"])).done();
    for name in ["stripe-backfill ", "stripe-backfill-all ", "stripe-reconcile "] {
        assert!(listed.contains(name), "{name} is not in {listed}");
    }
    Said::of(&daemon.keepwell(&["schedule", "run", "stripe-backfill"])).done();
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_pending").await["tier"], "premium");
    assert_ne!(access(&daemon, "cus_delivered").await["tier"], "premium");

    // The night finds what was delivered and never came.
    server.knows(made("customer.subscription.created", "delivered", 60)["data"]["object"].clone());
    Said::of(&daemon.keepwell(&["schedule", "run", "stripe-reconcile"])).done();
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_delivered").await["tier"], "premium");
    let metrics = daemon.public().get("/metrics").await.text();
    assert!(metrics.contains("stripe_reconciled_total{result=\"unknown\"} 1"), "{metrics}");

    let checked = Said::of(&daemon.keepwell(&["check"])).warned("care.crisis_response_ms");
    assert!(checked.contains("stripe-backfill: stripe.backfill every hour"), "{checked}");
    assert!(!checked.contains(API_KEY) && !daemon.log().contains(API_KEY), "the key is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_night_finds_what_stripe_takes_for_delivered_and_nobody_here_has_recorded() {
    let server = FakeStripe::start().await;
    let daemon = daemon_asking(&server, &[]).await;
    // More than a page of them came here, and one was answered by somebody else in our place, three weeks ago.
    let three_weeks_s = 21 * 24 * 3_600;
    for number in 0..130 {
        let mut event = made("setup_intent.succeeded", &format!("n{number}"), 60);
        event.insert("pending_webhooks", 0);
        taken(daemon.stripe(&event).await);
        server.lists((*event).clone());
    }
    let mut elsewhere = made("invoice.payment_failed", "elsewhere", three_weeks_s);
    elsewhere.insert("pending_webhooks", 0);
    server.lists((*elsewhere).clone());
    nothing_owed(&daemon).await;
    Said::of(&daemon.keepwell(&["schedule", "run", "stripe-backfill"])).done();
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_elsewhere").await["grace"]["active"], false);
    for _ in 0..2 {
        Said::of(&daemon.keepwell(&["schedule", "run", "stripe-backfill-all"])).done();
        nothing_owed(&daemon).await;
        assert_eq!(access(&daemon, "cus_elsewhere").await["grace"]["active"], true);
    }
    assert_eq!(jobs(&daemon, "kind=stripe.invoice_payment_failed").await.len(), 1, "once");
    let metrics = daemon.public().get("/metrics").await.text();
    for line in
        ["stripe_backfilled_total{result=\"recorded\"} 1", "stripe_backfilled_total{result=\"known\"} 261"]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_night_opens_nobodys_crisis_of_three_weeks_ago_and_says_so_and_one_of_an_hour_ago_it_opens() {
    let server = FakeStripe::start().await;
    let daemon = daemon_asking(&server, &[]).await;
    let saying = |person: &str, ago_s: i64| {
        let said = made("invoice.payment_failed", person, ago_s);
        said.with("/data/object/metadata", json!({ "crisisMode": "true" }))
    };
    let three_weeks_s = 21 * 24 * 3_600;
    for event in [saying("over", three_weeks_s + 60), saying("recent", 3_600)] {
        server.lists((*event).clone());
    }
    Said::of(&daemon.keepwell(&["schedule", "run", "stripe-backfill-all"])).done();
    nothing_owed(&daemon).await;
    for (customer, lane, active) in [("cus_over", "therapeutic", false), ("cus_recent", "crisis", true)] {
        let jobs = jobs(&daemon, &format!("kind=stripe.invoice_payment_failed&subject={customer}")).await;
        assert_eq!((&jobs[0]["lane"], jobs.len()), (&lane.into(), 1), "{customer}");
        let document = access(&daemon, customer).await;
        let said = (&document["crisis"]["active"], &document["emergency"]["active"]);
        assert_eq!(said, (&active.into(), &active.into()), "{document:#}");
        assert_eq!(document["grace"]["active"], true, "the payment failed all the same");
        let path = format!("/api/v1/audit?action=crisis.signalled&subject={customer}");
        let entries = daemon.operator().get(&path).await.json();
        let entry = &entries["items"][0]["after"];
        assert_eq!((&entries["total"], &entry["active"]), (&1.into(), &active.into()), "{entries:#}");
    }
    let filled = daemon.operator().get("/api/v1/audit?action=stripe.backfilled").await.json();
    let after = &filled["items"][0]["after"];
    assert_eq!((&after["recorded"], &after["crises_over"]), (&2.into(), &1.into()), "{filled:#}");
    let metrics = daemon.public().get("/metrics").await.text();
    let line = "stripe_backfilled_total{result=\"crisis_over\"} 1";
    assert!(metrics.contains(line), "{line} is not in {metrics}");
    let log = daemon.log();
    assert!(log.contains("tells of a crisis that is over") && !log.contains("cus_over"), "{log}");

    // A webhook that brings such an event is believed as of now, and a back-fill by hand is one of history as well.
    stripe(&daemon, &saying("brought", three_weeks_s + 60)).await;
    assert_eq!(access(&daemon, "cus_brought").await["crisis"]["active"], true);
    server.lists((*saying("byhand", three_weeks_s + 60)).clone());
    let said = says(&daemon, &["--since", "29d"]).done();
    assert!(said.contains("1 of these tells of a crisis that is over by now"), "{said}");
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_byhand").await["crisis"]["active"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_asked_for_and_it_is_said() {
    let daemon = Daemon::start().await;
    says(&daemon, &["--since", "1h"]).refused(1, &["stripe.api_key"]);
    assert!(!Said::of(&daemon.keepwell(&["schedule", "list"])).done().contains("stripe-"));
    let checked = Said::of(&daemon.keepwell(&["check"])).warned("care.crisis_response_ms");
    assert!(checked.contains("no `stripe.api_key`"), "{checked}");
    assert!(daemon.log().contains("no `stripe.api_key`"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_read_events_is_told_which_leave_it_needs() {
    let server = FakeStripe::start().await;
    server.always(Manner::Says(403, vec![], r#"{"error":{"type":"invalid_request_error"}}"#.to_owned()));
    let daemon = daemon_asking(&server, &[]).await;
    says(&daemon, &["--since", "1h"]).refused(1, &["leave to read events"]);
    says(&daemon, &["--since", "31d"]).refused(2, &["30 days"]);
    says(&daemon, &["--since", "1h", "--type", "a b"]).refused(2, &["`a b` is no type"]);
}
