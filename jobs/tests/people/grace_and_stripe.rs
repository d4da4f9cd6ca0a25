//! Grace of those whom Stripe shows without what they had: nobody falls at once, however long asking took.

use keepwell_workers::{clock::Clock as _, outcome::Outcome};

use super::confirmations::House;
use crate::support::{DAY_MS, NOW_MS, invoice, on_each_database, subscription};

#[tokio::test]
async fn whom_only_a_payment_kept_is_not_dropped_at_once_when_stripe_says_that_another_is_due() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        let another = invoice("cus_1").replace("in_1", "in_2");
        house.hear("evt_1", "invoice.payment_failed", 30, &invoice("cus_1")).await;
        house.hear("evt_2", "invoice.payment_failed", 20, &another).await;
        let past_due = subscription("cus_1", "past_due").replace("in_1", "in_2");
        let jobs = house.hear("evt_3", "customer.subscription.updated", 20, &past_due).await;
        house.stripe.knows(serde_json::from_str(&past_due).expect("an object"));
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        house.clock.advance_ms(8 * DAY_MS);
        let now_ms = house.clock.now_ms();
        assert_eq!(house.room.access("cus_1", now_ms).await.tier, "floor");
        let ago_s = -(now_ms - NOW_MS) / 1_000;
        let jobs = house.hear("evt_4", "invoice.payment_succeeded", ago_s, &invoice("cus_1")).await;
        assert_eq!(house.room.access("cus_1", now_ms).await.tier, "premium");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", now_ms + 5_000).await;
        assert_eq!((document.tier.as_str(), document.grace.remaining_days), ("grace_period", 7));
    })
    .await;
}

#[tokio::test]
async fn what_stripe_confirms_when_the_grace_is_over_begins_it_anew() {
    on_each_database(async |room| {
        let house = House::of(room).await;
        house.hear("evt_1", "invoice.payment_failed", 5, &invoice("cus_1")).await;
        let jobs = house.becomes("evt_2", "past_due", 5).await;
        house.is("past_due");
        // Stripe could not be asked for longer than the grace period lasted, and nothing was missing meanwhile.
        house.clock.advance_ms(8 * DAY_MS);
        let now_ms = house.clock.now_ms();
        assert_eq!(house.room.access("cus_1", now_ms).await.tier, "premium");
        assert_eq!(house.confirm(jobs).await, Outcome::Done);
        let document = house.room.access("cus_1", now_ms + 5_000).await;
        assert_eq!((document.tier.as_str(), document.grace.remaining_days), ("grace_period", 7));
    })
    .await;
}
