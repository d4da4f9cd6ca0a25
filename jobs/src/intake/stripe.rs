//! Stripe's events at the door.

use bytes::Bytes;
use keepwell_workers::{clock::UnixMs, lane::Lane};

use super::{Intake, IntakeError, Route, event_types::EventTypes, job, privacy::DropPaths};
use crate::{
    care::crisis::{Road, Signal, counts_until_ms},
    kinds,
    marks::Marks,
    stripe::{
        envelope::{Envelope, Shape},
        extract::{crisis_mode, customer_of},
    },
};

/// Reads a verified body of Stripe's.
///
/// The dedupe key holds the type beside the id: Stripe's own published examples share one placeholder id among all
/// types, and an event never changes its type.
pub fn read_stripe(body: &Bytes, marks: &Marks, types: &EventTypes) -> Result<Intake, IntakeError> {
    let event = Envelope::parse(body)?;
    let tells_of_crisis = event.object.is_some_and(crisis_mode);
    Ok(read(event, body, (marks, types), tells_of_crisis))
}

/// An event that no webhook has brought.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What records it.
    pub intake: Intake,
    /// Its metadata tell of a crisis that is over by now, which nobody waits for any more.
    pub tells_of_crisis_over: bool,
}

/// Reads an event that Stripe has shown at `now_ms`, and drops of it what `paths` do. It is the same as if a webhook
/// had brought it, but for what its metadata say of a crisis ([`Signal::of_metadata`]); the job carries that with it.
pub fn read_fetched(
    body: &Bytes,
    (marks, types): (&Marks, &EventTypes),
    paths: &DropPaths,
    now_ms: UnixMs,
) -> Result<Fetched, IntakeError> {
    let event = Envelope::parse(body)?;
    let is_over =
        |created_s| counts_until_ms(&Signal::of_metadata(Road::Fetched, created_s, now_ms)) <= now_ms;
    let tells_of_crisis = event.object.is_some_and(crisis_mode);
    let tells_of_crisis_over = tells_of_crisis && event.created_s.is_some_and(is_over);
    let intake = read(event, body, (marks, types), tells_of_crisis && !tells_of_crisis_over);
    let tells_of_crisis_over = tells_of_crisis_over && intake.handled;
    Ok(Fetched { intake: intake.without(paths).fetched(), tells_of_crisis_over })
}

/// The intake of `event`, which is the one in `body`.
fn read(
    event: Envelope<'_>,
    body: &Bytes,
    (marks, types): (&Marks, &EventTypes),
    tells_of_crisis: bool,
) -> Intake {
    let customer = event.object.and_then(customer_of);
    let is_marked = customer.as_deref().is_some_and(|customer| marks.contains(customer));
    let is_at_risk = customer.as_deref().is_some_and(|customer| marks.is_at_risk(customer));
    let in_crisis = is_marked || tells_of_crisis;
    // A thin event has no object; until the object can be fetched it is kept and changes nothing.
    let route = if event.shape == Shape::Thin { None } else { route(types.handled_as(&event.event_type)) };
    let handled = route.is_some();
    let mut route = route.unwrap_or(Route { kind: kinds::EVENT_RECORDED, lane: Lane::Background });
    // In a high-risk period a payment that fails is a crisis (003).
    let may_be_crisis = in_crisis || is_at_risk && route.kind == kinds::INVOICE_PAYMENT_FAILED;
    if may_be_crisis && handled {
        route.lane = Lane::Crisis;
    }
    let account = event.account.as_deref();
    let dedupe_key = format!("stripe:{}:{}:{}", account.unwrap_or("-"), event.id, event.event_type);
    Intake {
        job: job(&route, body, dedupe_key, customer.as_deref()),
        handled,
        livemode: event.livemode,
        account: account.map(str::to_owned),
        event_type: event.event_type.into_owned(),
        event_id: event.id.into_owned(),
    }
}

/// Which events change something, what handles them, and where they wait.
fn route(event_type: &str) -> Option<Route> {
    let (kind, lane) = match event_type {
        "customer.subscription.created" | "customer.subscription.updated" => {
            (kinds::SUBSCRIPTION_CHANGED, Lane::Realtime)
        }
        "customer.subscription.deleted" => (kinds::SUBSCRIPTION_ENDED, Lane::Therapeutic),
        "invoice.payment_failed" => (kinds::INVOICE_PAYMENT_FAILED, Lane::Therapeutic),
        "invoice.payment_succeeded" => (kinds::INVOICE_PAID, Lane::Realtime),
        "setup_intent.succeeded" => (kinds::PAYMENT_METHOD_SAVED, Lane::Standard),
        _ => return None,
    };
    Some(Route { kind, lane })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(event_type: &str, object: &str, marks: &Marks) -> Intake {
        let body = format!(
            r#"{{"id":"evt_1","object":"event","type":"{event_type}","livemode":false,"data":{{"object":{object}}}}}"#
        );
        read_stripe(&Bytes::from(body), marks, &EventTypes::default()).unwrap()
    }

    #[test]
    fn every_type_waits_in_its_lane() {
        for (event_type, lane, handled) in [
            ("customer.subscription.created", Lane::Realtime, true),
            ("customer.subscription.updated", Lane::Realtime, true),
            ("customer.subscription.deleted", Lane::Therapeutic, true),
            ("invoice.payment_failed", Lane::Therapeutic, true),
            ("invoice.payment_succeeded", Lane::Realtime, true),
            ("setup_intent.succeeded", Lane::Standard, true),
            ("charge.refunded", Lane::Background, false),
        ] {
            let intake = read(event_type, r#"{"id":"x","customer":"cus_1"}"#, &Marks::default());
            assert_eq!((intake.job.lane, intake.handled), (lane, handled), "{event_type}");
            assert_eq!(EventTypes::default().all().any(|known| known == event_type), handled, "{event_type}");
            assert_eq!(intake.job.subject.as_deref(), Some("cus_1"));
            assert_eq!(intake.job.dedupe_key.unwrap(), format!("stripe:-:evt_1:{event_type}"));
        }
    }

    #[test]
    fn a_type_that_is_handled_as_another_one_is_recorded_under_its_own_name_and_waits_where_that_one_does() {
        let types = EventTypes::new([("invoice.paid", "invoice.payment_succeeded")]).unwrap();
        let body = Bytes::from_static(
            br#"{"id":"evt_1","object":"event","type":"invoice.paid","data":{"object":{"customer":"cus_1"}}}"#,
        );
        let intake = read_stripe(&body, &Marks::default(), &types).unwrap();
        assert_eq!((&*intake.job.kind, intake.job.lane), (kinds::INVOICE_PAID, Lane::Realtime));
        assert_eq!((intake.handled, intake.event_type.as_str()), (true, "invoice.paid"));
        assert_eq!(intake.job.dedupe_key.as_deref(), Some("stripe:-:evt_1:invoice.paid"));
        let fetched = read_fetched(&body, (&Marks::default(), &types), &DropPaths::default(), 0).unwrap();
        assert_eq!(&*fetched.intake.job.kind, kinds::INVOICE_PAID);
        assert!(!read_stripe(&body, &Marks::default(), &EventTypes::default()).unwrap().handled);
    }

    #[test]
    fn events_of_people_in_a_crisis_go_first() {
        let marks = Marks::default();
        marks.set("cus_marked", 1, Some(1));
        let of = |object| read("invoice.payment_failed", object, &marks).job.lane;
        assert_eq!(of(r#"{"customer":"cus_1","metadata":{"crisisMode":"true"}}"#), Lane::Crisis);
        assert_eq!(of(r#"{"customer":"cus_marked"}"#), Lane::Crisis);
        assert_eq!(of(r#"{"customer":"cus_1","metadata":{"crisisMode":"false"}}"#), Lane::Therapeutic);
    }

    #[test]
    fn an_event_that_was_fetched_is_the_same_and_its_job_knows_by_which_road_it_came() {
        let body = |created_s: i64, metadata: &str| {
            Bytes::from(format!(
                r#" {{"id":"evt_1","object":"event","type":"invoice.payment_failed","created":{created_s},"data":
                {{"object":{{"id":"in_1","customer":"cus_1","card":{{"last4":"4242"}},"metadata":{metadata}}}}}}}"#
            ))
        };
        let (marks, types, paths) =
            (Marks::default(), EventTypes::default(), DropPaths::new(["card"]).unwrap());
        let day_s = 24 * 60 * 60;
        let (yes, created_s) = (r#"{"crisisMode":"true"}"#, 1_700_000_000);
        for (metadata, ago_s, lane, is_over) in [
            (yes, 21 * day_s - 1, Lane::Crisis, false),
            (yes, 21 * day_s, Lane::Therapeutic, true),
            (yes, -day_s, Lane::Crisis, false),
            ("{}", 21 * day_s, Lane::Therapeutic, false),
        ] {
            let (body, now_ms) = (body(created_s, metadata), (created_s + ago_s) * 1_000);
            let brought = read_stripe(&body, &marks, &types).unwrap().without(&paths);
            let fetched = read_fetched(&body, (&marks, &types), &paths, now_ms).unwrap();
            let job = &fetched.intake.job;
            assert_eq!((job.lane, fetched.tells_of_crisis_over), (lane, is_over), "{ago_s}");
            assert_eq!(job.dedupe_key, brought.job.dedupe_key);
            let roads = [&brought.job, job].map(|job| Envelope::parse(&job.payload).unwrap().road);
            assert_eq!(roads, [Road::Brought, Road::Fetched]);
            let [mut was, is] =
                [&brought.job, job].map(|job| serde_json::from_slice::<Value>(&job.payload).unwrap());
            was["keepwell_fetched"] = true.into();
            assert_eq!(was, is, "everything else is as it was");
        }
        let marked = Marks::default();
        marked.set("cus_1", 1, Some(UnixMs::MAX));
        let long_after_ms = (created_s + 30 * day_s) * 1_000;
        let fetched = read_fetched(&body(created_s, yes), (&marked, &types), &paths, long_after_ms).unwrap();
        assert_eq!((fetched.intake.job.lane, fetched.tells_of_crisis_over), (Lane::Crisis, true));
    }

    #[test]
    fn a_thin_event_is_kept_and_changes_nothing_by_itself() {
        let body = br#"{"id":"evt_2","object":"v2.core.event","type":"v1.customer.subscription.updated","context":"acct_9",
            "related_object":{"id":"sub_2","type":"subscription","url":"/v1/subscriptions/sub_2"}}"#;
        let intake =
            read_stripe(&Bytes::from_static(body), &Marks::default(), &EventTypes::default()).unwrap();
        assert!(!intake.handled);
        assert_eq!(intake.account.as_deref(), Some("acct_9"));
    }
}
