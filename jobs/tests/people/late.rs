//! What is applied long after it was recorded, because its job had died and somebody had it run again.

use bytes::Bytes;
use keepwell_jobs::{
    grace_watch::GraceWatch,
    intake::{privacy::DropPaths, read_app, read_fetched, read_stripe},
    kinds,
    store::audit::{AuditFilter, list},
};
use keepwell_workers::{clock::UnixMs, database::turn::Urgency, job::NewJob, outcome::Outcome};
use serde_json::Value;

use crate::{
    contacts::{PATIENT_MS, agree},
    support::{
        DAY_MS, NOW_MS, Room, event, gateway::Gateway, invoice, on_each_database, signal, subscription,
    },
};

/// The job of an event of Stripe's.
fn job(room: &Room, body: &str) -> NewJob {
    read_stripe(&Bytes::from(body.to_owned()), &room.care.marks, &room.care.event_types)
        .expect("an event")
        .job
}

/// What follows from what was learned, by the begins of its keys.
fn follows(room: &Room) -> Vec<String> {
    let key = |job: NewJob| job.dedupe_key.unwrap_or_default();
    let first = |key: String| key.split(":cus_1").next().unwrap_or_default().to_owned();
    room.follow_ups().into_iter().map(key).map(first).collect()
}

async fn subscribed(room: &Room) {
    room.stripe(&event("evt_0", "customer.subscription.created", 60, &subscription("cus_1", "active"))).await;
}

/// What grace is left at `now_ms`: of which tier, for how many days, and whether any.
async fn left(room: &Room, now_ms: UnixMs) -> (String, i64, bool) {
    let document = room.access("cus_1", now_ms).await;
    (document.tier, document.grace.remaining_days, document.grace.active)
}

async fn see_to_ends(room: &Room, now_ms: UnixMs) {
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    let due = GraceWatch::default().due(&mut reader, now_ms).await.unwrap().jobs;
    drop(reader);
    for job in due {
        assert_eq!(room.run(job, now_ms).await, Outcome::Done);
    }
}

#[tokio::test]
async fn an_end_that_is_applied_late_leaves_seven_days_from_then_and_is_told() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        subscribed(&room).await;
        let canceled = subscription("cus_1", "canceled");
        let ended = job(&room, &event("evt_1", "customer.subscription.deleted", 0, &canceled));
        let now_ms = NOW_MS + 8 * DAY_MS;
        assert_eq!(room.access("cus_1", now_ms).await.tier, "premium");
        assert_eq!(room.run_late(ended.clone(), NOW_MS, now_ms).await, Outcome::Done);
        assert_eq!(left(&room, now_ms).await, ("grace_period".to_owned(), 7, true));
        assert_eq!(follows(&room), ["message:subscription_canceled"]);
        // Told again it grants nothing more, neither while it lasts nor when it is over.
        let ends_ms = now_ms + 7 * DAY_MS;
        room.run_late(ended.clone(), NOW_MS, now_ms + DAY_MS).await;
        assert_eq!(left(&room, ends_ms - 1).await, ("grace_period".to_owned(), 1, true));
        see_to_ends(&room, ends_ms).await;
        assert_eq!(follows(&room), ["message:grace_ended"]);
        for learned_ms in [NOW_MS, ends_ms] {
            room.run_late(ended.clone(), learned_ms, ends_ms + 1).await;
            assert_eq!(left(&room, ends_ms + 1).await, ("floor".to_owned(), 0, false));
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_payment_and_a_crisis_that_are_applied_late_leave_all_of_their_days() {
    on_each_database(async |room| {
        subscribed(room).await;
        let failed = job(room, &event("evt_1", "invoice.payment_failed", 0, &invoice("cus_1")));
        let now_ms = NOW_MS + 5 * DAY_MS;
        assert_eq!(room.run_late(failed, NOW_MS, now_ms).await, Outcome::Done);
        assert_eq!(left(room, now_ms).await, ("premium".to_owned(), 7, true));

        let pressed = Bytes::from(signal("crisis.signal", "cus_2", 0, r#","severity":"high""#));
        let pressed =
            read_app("msg_1", &pressed, &room.care.marks, &room.care.definitions).expect("a signal");
        let now_ms = NOW_MS + 20 * DAY_MS;
        assert_eq!(room.run_late(pressed.job, NOW_MS, now_ms).await, Outcome::Done);
        let document = room.access("cus_2", now_ms).await;
        assert!(document.crisis.active, "its day is not over");
        assert_eq!(document.grace.remaining_days, 21);
    })
    .await;
}

#[tokio::test]
async fn what_takes_a_subscription_away_when_its_grace_is_over_begins_it_anew() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        subscribed(&room).await;
        let past_due = subscription("cus_1", "past_due");
        let changed = job(&room, &event("evt_2", "customer.subscription.updated", 5, &past_due));
        // The failure was heard of in time, and what follows from it was not.
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let now_ms = NOW_MS + 8 * DAY_MS;
        see_to_ends(&room, now_ms).await;
        follows(&room);
        assert_eq!(left(&room, now_ms).await, ("premium".to_owned(), 0, false));
        assert_eq!(room.run_late(changed.clone(), NOW_MS, now_ms).await, Outcome::Done);
        assert_eq!(left(&room, now_ms).await, ("grace_period".to_owned(), 7, true));
        assert_eq!(follows(&room), ["message:payment_failure"]);
        // Told again when that is over too, it takes nothing away any more, and grants nothing.
        let ends_ms = now_ms + 7 * DAY_MS;
        see_to_ends(&room, ends_ms).await;
        room.run_late(changed, NOW_MS, ends_ms).await;
        assert_eq!(left(&room, ends_ms).await, ("floor".to_owned(), 0, false));
    })
    .await;
}

#[tokio::test]
async fn an_elevated_score_that_is_told_late_leads_to_a_look_whom_to_tell() {
    on_each_database(async |room| {
        let contacts = r#","automatic_notification":true,"crisis_level_triggers":["moderate"],
            "contacts":[{"id":"c-1","phone":"+43 1","consent_to_contact":true,"preferred_contact_method":"call"}]"#;
        agree(room, "cus_1", contacts).await;
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        assert!(room.follow_ups().is_empty());
        room.app(&signal("assessment.completed", "cus_1", 86_400, r#","instrument":"phq9","score":16"#)).await;
        assert!(room.access("cus_1", NOW_MS).await.crisis.active);
        let [look] = &room.follow_ups()[..] else { panic!("one look") };
        assert_eq!((&*look.kind, look.dedupe_key.as_deref()), (kinds::CONTACTS_DUE, Some(LOOK)));
    })
    .await;
}

/// The failure led to no look by itself; if it had, this would be another one.
const LOOK: &str = "contacts:cus_1:late:moderate:evt_1";

/// The job of an event of Stripe's that was fetched at `now_ms`.
fn fetched(room: &Room, body: &str, now_ms: UnixMs) -> NewJob {
    let (body, paths) = (Bytes::from(body.to_owned()), DropPaths::default());
    read_fetched(&body, (&room.care.marks, &room.care.event_types), &paths, now_ms)
        .expect("an event")
        .intake
        .job
}

/// What the trail says of signs of a crisis of `customer`, the newest first.
async fn signalled(room: &Room, customer: &str) -> Vec<Value> {
    let filter = AuditFilter {
        action: Some("crisis.signalled".to_owned()),
        subject: Some(customer.to_owned()),
        ..AuditFilter::default()
    };
    let page = list(&room.database, &room.care.keys, &filter, None, 10).await.unwrap();
    page.items.into_iter().map(|entry| entry.after.unwrap()).collect()
}

#[tokio::test]
async fn a_crisis_of_stripes_history_counts_when_it_was_and_one_that_is_over_opens_nothing() {
    const DAY_S: i64 = DAY_MS / 1_000;
    on_each_database(async |room| {
        let saying = |customer: &str, ago_s: i64| {
            let object = invoice(customer).replacen('{', r#"{"metadata":{"crisisMode":"true"},"#, 1);
            event(&format!("evt_{customer}"), "invoice.payment_failed", ago_s, &object)
        };
        // The limit of a crisis of this severity is 21 days.
        for (customer, ago_s, active) in
            [("recent", 3_600, true), ("nearly", 21 * DAY_S - 60, true), ("over", 21 * DAY_S, false)]
        {
            let body = saying(customer, ago_s);
            assert_eq!(room.run(fetched(room, &body, NOW_MS), NOW_MS).await, Outcome::Done);
            let document = room.access(customer, NOW_MS).await;
            assert_eq!(document.crisis.active, active, "{customer}");
            assert_eq!(document.emergency.active, active, "{customer}");
            assert_eq!(room.care.marks.contains(customer), active, "{customer}");
            let told = signalled(room, customer).await;
            assert_eq!((told.len(), &told[0]["active"]), (1, &active.into()), "{customer}: {told:?}");
            // What is left of it is what is left of its 21 days.
            let ends_ms = NOW_MS + (21 * DAY_S - ago_s) * 1_000;
            assert_eq!(room.access(customer, ends_ms - 1).await.crisis.active, active, "{customer}");
            assert!(!room.access(customer, ends_ms).await.crisis.active, "{customer}");
        }
        // By the webhooks' road it counts as of now, as before.
        assert_eq!(room.stripe(&saying("brought", 21 * DAY_S)).await, Outcome::Done);
        assert!(room.access("brought", NOW_MS + 21 * DAY_MS - 1_000).await.crisis.active);
        // Somebody has said since that it is over.
        room.app(&signal("crisis.resolved", "resolved", 3_600, "")).await;
        room.run(fetched(room, &saying("resolved", 7_200), NOW_MS), NOW_MS).await;
        assert!(!room.access("resolved", NOW_MS).await.crisis.active);
        assert_eq!(signalled(room, "resolved").await[0]["active"], false);
    })
    .await;
}
