//! What would be taken away, on real databases and against a Stripe that can be asked.

use std::sync::Arc;

use bytes::Bytes;
use keepwell_jobs::{
    intake::read_stripe,
    kinds,
    outbound::stripe::{StripeClient, StripeOptions},
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock, SharedClock, UnixMs},
    job::NewJob,
    outcome::Outcome,
};
use serde_json::{Value, json};

use crate::support::{
    DAY_MS, NOW_MS, NOW_S, Room, event, invoice, on_each_database, signal,
    stripe::{API_KEY, FakeStripe, Manner},
    subscription,
};

/// A room that asks, and the Stripe that it asks.
pub struct House {
    pub room: Room,
    pub stripe: FakeStripe,
    pub clock: Arc<ManualClock>,
}

impl House {
    pub async fn of(room: &Room) -> Self {
        let (stripe, clock) = (FakeStripe::start().await, ManualClock::at(NOW_MS));
        let url = stripe.url();
        let shared: SharedClock = clock.clone();
        let options = StripeOptions {
            api_base: &url,
            api_key: API_KEY,
            account: None,
            in_flight_max: 4,
            clock: shared,
        };
        let client = StripeClient::new(&options).expect("a client");
        let room = room.caring(room.care.clone().with_stripe(client));
        let house = Self { room, stripe, clock };
        house.hear("evt_0", "customer.subscription.created", 600, &subscription("cus_1", "active")).await;
        house
    }

    /// Hears an event about the subscription; answers with the confirmations that follow.
    pub async fn hear(&self, id: &str, event_type: &str, ago_s: i64, object: &str) -> Vec<NewJob> {
        let body = Bytes::from(event(id, event_type, ago_s, object));
        let intake =
            read_stripe(&body, &self.room.care.marks, &self.room.care.event_types).expect("an event");
        let (outcome, mut transaction) = self.room.apply(intake.job, self.clock.now_ms()).await;
        assert_eq!(outcome, Outcome::Done);
        let jobs = transaction.take_follow_ups();
        transaction.commit().await.expect("a commit");
        let asks = |job: &NewJob| &*job.kind == kinds::CONFIRM_SUBSCRIPTION;
        jobs.into_iter().filter(asks).collect()
    }

    /// Hears that the subscription is now `status`.
    pub async fn becomes(&self, id: &str, status: &str, ago_s: i64) -> Vec<NewJob> {
        self.hear(id, "customer.subscription.updated", ago_s, &subscription("cus_1", status)).await
    }

    /// Has Stripe say that the subscription is `status`.
    pub fn is(&self, status: &str) {
        self.stripe.knows(serde_json::from_str(&subscription("cus_1", status)).expect("an object"));
    }

    /// Runs a confirmation that was recorded now, five seconds later.
    pub async fn confirm(&self, jobs: Vec<NewJob>) -> Outcome {
        let recorded_ms = self.clock.now_ms();
        self.clock.advance_ms(5_000);
        let [job] = <[NewJob; 1]>::try_from(jobs).expect("one confirmation");
        self.room.run(job, recorded_ms).await
    }

    async fn tier(&self) -> String {
        self.room.access("cus_1", NOW_MS + DAY_MS).await.tier
    }
}

#[tokio::test]
async fn a_cancellation_that_stripe_denies_takes_nothing_away() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let jobs = house
            .hear("evt_1", "customer.subscription.deleted", 60, &subscription("cus_1", "canceled"))
            .await;
        let waiting = house.room.access("cus_1", NOW_MS).await;
        assert_eq!((waiting.tier.as_str(), waiting.grace.active), ("premium", false));
        assert_eq!(jobs[0].turn.as_deref(), Some("confirm:sub_1"), "one at a time for each subscription");

        house.is("active");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS + DAY_MS).await;
        assert_eq!((document.tier.as_str(), document.grace.active), ("premium", false));
        assert_eq!(document.subscription.unwrap().status, "active");

        // Told again, it is old news; Stripe is asked, and denies it again.
        let again = house
            .hear("evt_1", "customer.subscription.deleted", 60, &subscription("cus_1", "canceled"))
            .await;
        assert_eq!(house.tier().await, "premium");
        assert_eq!(house.confirm(again).await, Outcome::Done);
        assert_eq!(house.tier().await, "premium");
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_that_stripe_confirms_begins_grace_when_it_does() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let jobs = house
            .hear("evt_1", "customer.subscription.deleted", 60, &subscription("cus_1", "canceled"))
            .await;
        house.is("canceled");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS).await;
        assert_eq!((document.tier.as_str(), document.grace.remaining_days), ("grace_period", 7));
        assert_eq!(document.grace.reason, Some("subscription_canceled"));
        // What is told late about a time before is old, whatever it says.
        let late = house.becomes("evt_2", "active", 90).await;
        assert_eq!(house.tier().await, "grace_period");
        assert_eq!(house.confirm(late).await, Outcome::Done);
        assert_eq!(house.tier().await, "grace_period");
    })
    .await;
}

#[tokio::test]
async fn a_lesser_tier_waits_for_stripe_and_a_better_one_does_not() {
    let of = |price: &str| subscription("cus_1", "active").replace("price_premium_monthly", price);
    on_each_database(async |room| {
        let house = House::of(room).await;
        let updated = "customer.subscription.updated";
        let down = house.hear("evt_1", updated, 60, &of("price_basic_monthly")).await;
        assert_eq!(house.tier().await, "premium");
        house.stripe.knows(serde_json::from_str(&of("price_basic_monthly")).unwrap());
        assert_eq!(house.confirm(down).await, Outcome::Done);
        assert_eq!(house.tier().await, "basic");
        assert!(house.hear("evt_2", updated, -30, &of("price_premium_yearly")).await.is_empty());
        assert_eq!(house.tier().await, "premium");
    })
    .await;
}

#[tokio::test]
async fn an_end_that_was_asked_for_is_told_and_changes_nothing_before_it_comes() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let mut object: Value = serde_json::from_str(&subscription("cus_1", "active")).expect("an object");
        object["cancel_at_period_end"] = true.into();
        let updated = "customer.subscription.updated";
        assert!(house.hear("evt_1", updated, 60, &object.to_string()).await.is_empty());
        let document = serde_json::to_value(house.room.access("cus_1", NOW_MS).await).expect("JSON");
        let period_end = "2027-01-15T08:00:00.000Z";
        assert_eq!(
            document["subscription"],
            json!({ "id": "sub_1", "status": "active", "period_end": period_end, "cancel_at": period_end })
        );
        assert_eq!((&document["tier"], &document["message"]), (&"premium".into(), &Value::Null));
        // Somebody has thought better of it.
        assert!(house.becomes("evt_2", "active", 30).await.is_empty());
        let document = serde_json::to_value(house.room.access("cus_1", NOW_MS).await).expect("JSON");
        assert_eq!(document["subscription"].get("cancel_at"), None);
    })
    .await;
}

#[tokio::test]
async fn events_in_a_burst_are_settled_by_one_answer() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.is("unpaid");
        let mut jobs = Vec::new();
        for (id, status) in [("evt_1", "past_due"), ("evt_2", "unpaid"), ("evt_3", "past_due")] {
            jobs.extend(house.becomes(id, status, 60).await);
        }
        assert_eq!(jobs.len(), 3);
        house.clock.advance_ms(500);
        for job in jobs {
            assert_eq!(house.room.run(job, NOW_MS).await, Outcome::Done);
        }
        assert_eq!(house.stripe.asked().len(), 1);
        assert_eq!(house.room.access("cus_1", NOW_MS).await.subscription.unwrap().status, "unpaid");
    })
    .await;
}

#[tokio::test]
async fn while_stripe_does_not_answer_nothing_is_taken_away() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.is("past_due");
        let forbidden = json!({ "error": { "type": "invalid_request_error" } }).to_string();
        for (manner, ends) in [
            (Manner::HangsUp, "retry"),
            (Manner::Says(500, vec![], String::new()), "retry"),
            (Manner::Says(403, vec![], forbidden), "dead"),
        ] {
            let jobs = house.becomes("evt_1", "past_due", 60).await;
            house.stripe.next([manner]);
            assert_eq!(house.confirm(jobs).await.name(), ends);
            let document = house.room.access("cus_1", NOW_MS + DAY_MS).await;
            assert_eq!((document.tier.as_str(), document.grace.active), ("premium", false));
        }
        let jobs = house.becomes("evt_1", "past_due", 60).await;
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS + DAY_MS).await;
        assert_eq!(
            (document.tier.as_str(), document.grace.reason),
            ("grace_period", Some("payment_failure"))
        );
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_asked_for_too_early_is_asked_for_again() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.is("past_due");
        let jobs = house.becomes("evt_1", "past_due", 60).await;
        // The clock stands still: the answer might be older than the event.
        let outcome = house.room.run(jobs[0].clone(), NOW_MS - 1).await;
        assert!(matches!(outcome, Outcome::Snooze { .. }), "{outcome:?}");
        assert_eq!(house.tier().await, "premium");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        assert_eq!((house.tier().await.as_str(), house.stripe.asked().len()), ("grace_period", 2));
    })
    .await;
}

#[tokio::test]
async fn what_may_be_old_news_counts_at_once_and_is_confirmed() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.is("past_due");
        let jobs = house.becomes("evt_1", "past_due", 60).await;
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        // Made in the second in which Stripe was asked: before or after that, nobody can say.
        let at = NOW_S + 5;
        let body = subscription("cus_1", "active");
        let jobs = house.hear("evt_2", "customer.subscription.updated", NOW_S - at, &body).await;
        assert_eq!(house.tier().await, "premium");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        assert_eq!(house.tier().await, "grace_period");
    })
    .await;
}

#[tokio::test]
async fn a_payment_makes_up_for_it_at_once_and_is_confirmed() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.is("past_due");
        let jobs = house.becomes("evt_1", "past_due", 60).await;
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let jobs = house.hear("evt_2", "invoice.payment_succeeded", -30, &invoice("cus_1")).await;
        assert_eq!(house.tier().await, "premium");
        house.is("active");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS + DAY_MS).await;
        assert_eq!((document.tier.as_str(), document.grace.active), ("premium", false));
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_in_a_crisis_makes_it_graver_before_anything_is_confirmed() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        room.app(&signal("crisis.signal", "cus_1", 80, r#","severity":"moderate""#)).await;
        house.hear("evt_1", "customer.subscription.deleted", 60, &subscription("cus_1", "canceled")).await;
        let document = house.room.access("cus_1", NOW_MS).await;
        assert_eq!((document.tier.as_str(), document.crisis.severity), ("premium", Some("high")));
        assert_eq!(document.subscription.unwrap().status, "active");
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_stripe_survives_a_restart_and_a_key_that_was_taken_out() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let jobs = house.becomes("evt_1", "unpaid", 60).await;
        let claim = house.room.facts("cus_1").await.confirmations["sub_1"].claim.clone();
        assert_eq!(claim.map(|claim| claim.status.name().to_owned()).as_deref(), Some("unpaid"));
        // Without a key, what was told is all there is.
        let [job] = <[NewJob; 1]>::try_from(jobs).expect("one confirmation");
        let told_ms: UnixMs = NOW_MS + 1;
        assert_eq!(room.beside().run(job, told_ms).await, Outcome::Done);
        assert_eq!(house.tier().await, "grace_period");
        assert_eq!(house.stripe.asked(), []);
    })
    .await;
}

#[tokio::test]
async fn a_pause_without_service_is_confirmed_and_any_other_changes_nothing() {
    let paused = |behavior: &str| {
        let mut object: Value = serde_json::from_str(&subscription("cus_1", "active")).expect("an object");
        object["pause_collection"] = json!({ "behavior": behavior, "resumes_at": null });
        object.to_string()
    };
    on_each_database(async |room| {
        let house = House::of(room).await;
        let updated = "customer.subscription.updated";
        for behavior in ["keep_as_draft", "mark_uncollectible"] {
            assert!(house.hear("evt_1", updated, 60, &paused(behavior)).await.is_empty());
            assert_eq!(house.tier().await, "premium");
        }
        let jobs = house.hear("evt_2", updated, 30, &paused("void")).await;
        house.stripe.knows(serde_json::from_str(&paused("void")).unwrap());
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS).await;
        assert_eq!(
            (document.tier.as_str(), document.subscription.unwrap().status.as_str()),
            ("grace_period", "paused")
        );
        // Resumed: at once.
        assert!(house.becomes("evt_3", "active", -30).await.is_empty());
        assert_eq!(house.tier().await, "premium");
    })
    .await;
}

#[tokio::test]
async fn of_several_subscriptions_the_best_counts_until_stripe_says_that_it_ended() {
    let other = |status: &str| {
        subscription("cus_1", status)
            .replace("sub_1", "sub_2")
            .replace("price_premium_monthly", "price_basic_monthly")
    };
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.hear("evt_1", "customer.subscription.created", 90, &other("active")).await;
        assert_eq!(house.tier().await, "premium");
        house.is("canceled");
        let jobs = house
            .hear("evt_2", "customer.subscription.deleted", 60, &subscription("cus_1", "canceled"))
            .await;
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", NOW_MS).await;
        assert_eq!((document.tier.as_str(), document.grace.active), ("basic", false));
        assert_eq!(document.subscription.unwrap().id, "sub_2");
    })
    .await;
}

#[tokio::test]
async fn somebody_elses_subscription_takes_nothing_away() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let jobs = house.becomes("evt_1", "unpaid", 60).await;
        house.stripe.knows(serde_json::from_str(&subscription("cus_2", "unpaid")).unwrap());
        assert_eq!(house.confirm(jobs).await.name(), "dead");
        assert_eq!(house.tier().await, "premium");
    })
    .await;
}
