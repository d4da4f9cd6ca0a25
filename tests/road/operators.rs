//! What operators are told: the shapes that people and scripts rely on, word for word.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    assert_problem,
    event::{Event, SHAPES},
    on_both, stripe, taken,
};

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_job_has_the_shape_that_clients_rely_on() {
    on_both(&[], async |daemon| {
        let event = Event::of(SHAPES[0], "invoice.payment_failed", "shape");
        let job = stripe(daemon, &event).await;
        let expected = [
            "id",
            "kind",
            "lane",
            "state",
            "subject",
            "attempts",
            "max_attempts",
            "created_at",
            "run_at",
            "finished_at",
            "last_error",
            "dedupe_key",
            "waiting_because",
            "attempts_history",
        ];
        assert_eq!(fields(&job), BTreeSet::from(expected));
        for instant in ["created_at", "run_at", "finished_at"] {
            let text = job[instant].as_str().expect("an instant");
            assert!(text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok(), "{text}");
        }
        let event_id = event["id"].as_str().unwrap();
        let told = json!({
            "id": job["id"], "kind": "stripe.invoice_payment_failed", "lane": "therapeutic", "state": "done",
            "subject": "cus_shape", "attempts": 1, "max_attempts": 20, "created_at": job["created_at"],
            "run_at": job["run_at"], "finished_at": job["finished_at"], "last_error": null,
            "dedupe_key": format!("stripe:-:{event_id}:invoice.payment_failed"), "waiting_because": null,
            "attempts_history": [],
        });
        assert_eq!(job, told);
        let page = daemon.operator().get("/api/v1/jobs").await.json();
        assert_eq!(fields(&page), BTreeSet::from(["items", "next", "total"]));
        let mut listed = told;
        listed.as_object_mut().unwrap().remove("attempts_history");
        assert_eq!(page["items"], json!([listed]));
    })
    .await;
}

#[tokio::test]
async fn a_list_is_read_to_its_end_page_by_page_while_it_grows() {
    on_both(&[], async |daemon| {
        let mut recorded = BTreeSet::new();
        for number in 0..25 {
            let event = Event::of(SHAPES[0], "setup_intent.succeeded", &format!("page_{number}"));
            recorded.insert(taken(daemon.stripe(&event).await)["job"].as_str().unwrap().to_owned());
        }
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/api/v1/jobs?limit=10&kind=stripe.payment_method_saved&cursor={cursor}");
            let page = daemon.operator().get(&path).await.json();
            pages += 1;
            assert_eq!(page["total"], 25);
            let ids = page["items"].as_array().expect("a list").iter();
            seen.extend(ids.map(|job| job["id"].as_str().unwrap().to_owned()));
            // What comes meanwhile is newer than the first page, and of another kind.
            stripe(daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "meanwhile")).await;
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(pages, 3);
        assert!(seen.is_sorted_by(|one, next| one > next), "the newest first");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), recorded);
    })
    .await;
}

#[tokio::test]
async fn a_list_is_narrowed_down_and_a_filter_that_is_none_is_refused() {
    on_both(&[], async |daemon| {
        stripe(daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
        stripe(daemon, &Event::of(SHAPES[0], "setup_intent.succeeded", "two")).await;
        for (query, total) in [
            ("state=done", 2),
            ("state=dead", 0),
            ("lane=standard", 1),
            ("kind=stripe.invoice_payment_failed", 1),
            ("subject=cus_two", 1),
            ("q=payment_failed", 1),
            ("since=1h", 2),
            ("until=1h", 0),
            ("since=2026-01-01T00%3A00%3A00Z&lane=therapeutic&state=done", 1),
        ] {
            let page = daemon.operator().get(&format!("/api/v1/jobs?{query}")).await.json();
            assert_eq!(page["total"], total, "{query}: {page}");
        }
        for query in [
            "state=sleeping",
            "lane=fast",
            "limit=0",
            "limit=501",
            "since=yesterday",
            "cursor=7",
            "colour=red",
        ] {
            let answer = daemon.operator().get(&format!("/api/v1/jobs?{query}")).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "bad_filter");
        }
        let missing = "/api/v1/jobs/01890000-0000-7000-8000-000000000000";
        assert_problem(&daemon.operator().get(missing).await, StatusCode::NOT_FOUND, "no_such_job");
        assert_problem(&daemon.operator().get("/api/v1/nothing").await, StatusCode::NOT_FOUND, "not_found");
    })
    .await;
}
