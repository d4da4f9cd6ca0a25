//! What Stripe's list shows, compared with what is known, on real databases and against a Stripe that can be asked.

use std::sync::Arc;

use keepwell_jobs::{
    kinds,
    outbound::stripe::{StripeClient, StripeOptions},
    reconcile::Reconciled,
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock, SharedClock},
    job::NewJob,
    lane::Lane,
    outcome::Outcome,
};
use serde_json::{Value, json};

use crate::support::{
    DAY_MS, NOW_MS, Room, event, on_each_database, signal,
    stripe::{API_KEY, FakeStripe, Manner},
    subscription,
};

/// A room that compares, and the Stripe whose list it compares with.
struct Night {
    room: Room,
    stripe: FakeStripe,
    clock: Arc<ManualClock>,
}

/// The subscription of `person`, which is `status`.
fn of(person: &str, status: &str) -> String {
    subscription(&format!("cus_{person}"), status).replace("sub_1", &format!("sub_{person}"))
}

impl Night {
    async fn of(room: &Room) -> Self {
        let (stripe, clock) = (FakeStripe::start().await, ManualClock::at(NOW_MS));
        let (url, shared): (String, SharedClock) = (stripe.url(), clock.clone());
        let options = StripeOptions {
            api_base: &url,
            api_key: API_KEY,
            account: None,
            in_flight_max: 4,
            clock: shared,
        };
        let client = StripeClient::new(&options).expect("a client");
        let room = room.caring(room.care.clone().with_stripe(client));
        Self { room, stripe, clock }
    }

    /// Hears that `person`'s subscription is `status`.
    async fn hear(&self, person: &str, status: &str) {
        let body = event(
            &format!("evt_{person}_{status}"),
            "customer.subscription.created",
            60,
            &of(person, status),
        );
        assert_eq!(self.room.stripe(&body).await, Outcome::Done);
        self.room.follow_ups();
    }

    /// Has Stripe know that `person`'s subscription is `status`.
    fn is(&self, person: &str, status: &str) {
        let mut object: Value = serde_json::from_str(&of(person, status)).expect("an object");
        object["livemode"] = false.into();
        self.stripe.knows(object);
    }

    /// Compares, and answers with the pages and the questions that followed.
    async fn compare(&self) -> (u32, u32) {
        let (mut pages, mut questions) = (0, 0);
        let mut jobs = vec![NewJob::new(kinds::STRIPE_RECONCILE, Lane::Background, "{}")];
        while let Some(job) = jobs.pop() {
            match &*job.kind {
                kinds::STRIPE_RECONCILE => pages += 1,
                kinds::CONFIRM_SUBSCRIPTION => questions += 1,
                _ => continue,
            }
            let recorded_ms = self.clock.now_ms();
            self.clock.advance_ms(1_000);
            assert_eq!(self.room.run(job, recorded_ms).await, Outcome::Done);
            jobs.extend(self.room.follow_ups());
        }
        (pages, questions)
    }

    async fn tier(&self, person: &str) -> String {
        self.room.access(&format!("cus_{person}"), NOW_MS + DAY_MS).await.tier
    }

    fn found(&self, found: Reconciled) -> u64 {
        self.room.care.tallies.reconciliations(found)
    }
}

#[tokio::test]
async fn reconciling_takes_nothing_from_anybody_whom_stripe_still_knows() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        for person in ["ada", "ben", "gone"] {
            night.hear(person, "active").await;
        }
        night.is("ada", "active");
        night.is("ben", "active");
        let before = night.found(Reconciled::Same);
        assert_eq!(night.compare().await, (1, 0), "where nothing differs, nothing is asked");
        assert_eq!(night.found(Reconciled::Same) - before, 2);
        for person in ["ada", "ben", "gone"] {
            assert_eq!(night.tier(person).await, "premium", "{person}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_that_nobody_told_of_is_found_and_begins_grace_like_one_that_was_told() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        night.hear("ada", "active").await;
        night.is("ada", "canceled");
        assert_eq!(night.compare().await, (1, 1));
        let document = night.room.access("cus_ada", night.clock.now_ms()).await;
        assert_eq!((document.tier.as_str(), document.grace.remaining_days), ("grace_period", 7));
        assert_eq!(night.compare().await, (1, 0), "the next night there is nothing more to ask");
    })
    .await;
}

#[tokio::test]
async fn an_end_in_a_crisis_has_the_grace_of_a_crisis() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        night.hear("ada", "active").await;
        let pressed = signal("crisis.signal", "cus_ada", 30, r#","severity":"critical""#);
        assert_eq!(night.room.app(&pressed).await, Outcome::Done);
        night.room.follow_ups();
        night.is("ada", "canceled");
        night.compare().await;
        let document = night.room.access("cus_ada", night.clock.now_ms()).await;
        assert_eq!((document.crisis.active, document.grace.active), (true, true));
        assert!(document.grace.remaining_days >= 29, "{:?}", document.grace);
        assert_eq!(document.subscription.expect("it ended").status, "canceled");
    })
    .await;
}

#[tokio::test]
async fn whoever_bought_something_that_nobody_told_of_has_it_after_the_night() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        night.is("new", "active");
        night.is("ended", "canceled");
        assert_eq!(night.compare().await, (1, 1), "what ended before is nobody's concern");
        assert_eq!(night.tier("new").await, "premium");
        let ended = night.room.access("cus_ended", night.clock.now_ms()).await;
        assert!(!ended.grace.active, "an end of long ago begins nothing");
        assert_eq!(night.compare().await, (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_long_list_is_gone_through_page_by_page_and_what_cannot_be_read_holds_nothing_up() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        for number in 0..150 {
            night.is(&format!("n{number:03}"), "canceled");
        }
        night.hear("last", "active").await;
        night.is("last", "past_due");
        night.stripe.knows(json!({ "id": "sub_odd", "object": "subscription" }));
        let before = (night.found(Reconciled::Unknown), night.found(Reconciled::Failed));
        assert_eq!(night.compare().await, (2, 1));
        let after = (night.found(Reconciled::Unknown), night.found(Reconciled::Failed));
        assert_eq!((after.0 - before.0, after.1 - before.1), (150, 1));
        assert!(night.room.access("cus_last", night.clock.now_ms()).await.grace.active);
    })
    .await;
}

#[tokio::test]
async fn a_night_in_which_stripe_is_away_changes_nothing() {
    on_each_database(async |room| {
        let night = Night::of(room).await;
        night.hear("ada", "active").await;
        night.is("ada", "canceled");
        night.stripe.always(Manner::Says(500, vec![], "{}".into()));
        let job = NewJob::new(kinds::STRIPE_RECONCILE, Lane::Background, "{}");
        let outcome = night.room.run(job, NOW_MS).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        assert!(night.room.follow_ups().is_empty());
        assert_eq!(night.tier("ada").await, "premium");
    })
    .await;
}
