//! What operators ask and do, under `/api/v1/`.

mod alerts;
mod audit;
mod backups;
mod bulk;
mod contacts;
mod filter;
mod jobs;
mod keys;
mod lanes;
mod noted;
mod operator_log;
mod rebuild;
mod reports;
mod schedules;
mod stripe;
mod view;
mod waiting;
mod workers;

use std::{error::Error, fmt::Display, sync::Arc};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

pub(super) use rebuild::Rebuild;

use super::{guard::keep_pages_out, not_found, public::watching, state::ApiState, wrong_method};
use crate::receiver::problem::Problem;

/// Everything on the operators' listener.
pub fn operators(state: Arc<ApiState>) -> Router {
    Router::new()
        .merge(watching())
        .route("/api/v1/lanes", get(lanes::list))
        .route("/api/v1/lanes/rebuild", get(rebuild::show).post(rebuild::start))
        .route("/api/v1/lanes/{name}/pause", post(lanes::pause))
        .route("/api/v1/lanes/{name}/resume", post(lanes::resume))
        .route("/api/v1/lanes/{name}/clear", post(bulk::clear))
        .route("/api/v1/jobs", get(jobs::list))
        .route("/api/v1/jobs/cancel", post(bulk::cancel))
        .route("/api/v1/jobs/retry", post(bulk::retry))
        .route("/api/v1/jobs/{id}", get(jobs::show))
        .route("/api/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/api/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/v1/schedules", get(schedules::list))
        .route("/api/v1/schedules/{name}", get(schedules::show))
        .route("/api/v1/schedules/{name}/run", post(schedules::run))
        .route("/api/v1/schedules/{name}/pause", post(schedules::pause))
        .route("/api/v1/schedules/{name}/resume", post(schedules::resume))
        .route("/api/v1/stripe/backfill", post(stripe::backfill))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/rules", get(alerts::rules))
        .route("/api/v1/alerts/rules/{name}/silence", post(alerts::silence))
        .route("/api/v1/alerts/rules/{name}/unsilence", post(alerts::unsilence))
        .route("/api/v1/alerts/test", post(alerts::test))
        .route("/api/v1/alerts/{id}", get(alerts::show))
        .route("/api/v1/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/api/v1/workers", get(workers::list))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/audit/verify", get(audit::verify))
        .route("/api/v1/audit/findings/{fingerprint}/acknowledge", post(audit::acknowledge))
        .route("/api/v1/audit/export", get(audit::export))
        .route("/api/v1/backups", post(backups::note_taken))
        .route("/api/v1/keys", get(keys::list))
        .route("/api/v1/keys/rotation", get(keys::rotation))
        .route("/api/v1/keys/rotate", post(keys::rotate))
        .route("/api/v1/reports", get(reports::list).post(reports::make))
        .route("/api/v1/reports/{id}", get(reports::show))
        .route("/api/v1/reports/{id}/deliver", post(reports::deliver))
        .route("/api/v1/contacts", get(contacts::counts))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(keep_pages_out))
        .with_state(state)
}

/// 400, and what would have been right.
fn bad_request(code: &'static str, detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail.to_string())
}

/// The longest reason for holding something up, in characters.
const REASON_CHARACTERS_MAX: usize = 200;

/// As much of a `reason` as belongs into a log.
fn plain_reason(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(REASON_CHARACTERS_MAX).collect()
}

/// What stands in `body`; nothing there is the same as `{}`. `example` shows what would have been right.
fn read_body<T: DeserializeOwned + Default>(body: &Bytes, example: &str) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|_| bad_request("bad_body", format!("the body is JSON such as {example}")))
}

/// 503 for want of Redis. The error goes to the log; it may name an address.
fn lanes_away(error: &(dyn Error + 'static)) -> Problem {
    tracing::warn!(error, "the lanes cannot be asked");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "lanes_unavailable", "Redis does not answer.")
}

/// 503 for want of a database.
fn ledger_away(error: &(dyn Error + 'static)) -> Problem {
    tracing::warn!(error, "the ledger cannot be asked");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ledger_unavailable", "The database does not answer.")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use keepwell_workers::{id::JobId, job::NewJob, lane::Lane};

    use super::super::support::{Answer, Api, Reader, get, post};

    async fn enqueue(api: &Api, kind: &str, subject: &str) -> JobId {
        let job =
            NewJob::new(kind, Lane::Standard, "{}").subject(subject).dedupe_key(format!("{kind}:{subject}"));
        api.state.engine.enqueue(job).await.unwrap().id
    }

    fn is_problem(answer: &Answer, status: StatusCode, code: &str) {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.json()["code"], code);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn jobs_are_listed_newest_first_page_by_page() {
        let api = Api::start(Reader::Answers).await;
        let mut ids = Vec::new();
        for subject in ["cus_1", "cus_2", "cus_3"] {
            ids.push(enqueue(&api, "a", subject).await.to_string());
        }
        ids.sort();
        let page = api.operator(get("/api/v1/jobs?limit=2")).await.json();
        assert_eq!(page["total"], 3);
        assert_eq!(
            (&page["items"][0]["id"], &page["items"][1]["id"]),
            (&ids[2].clone().into(), &ids[1].clone().into())
        );
        assert_eq!(page["items"][0]["waiting_because"], "redis does not answer");
        let next = format!("/api/v1/jobs?limit=2&cursor={}", page["next"].as_str().unwrap());
        let page = api.operator(get(&next)).await.json();
        assert_eq!(
            (&page["items"][0]["id"], &page["next"]),
            (&ids[0].clone().into(), &serde_json::Value::Null)
        );
    }

    #[tokio::test]
    async fn a_list_is_narrowed_down_by_its_filters() {
        let api = Api::start(Reader::Answers).await;
        enqueue(&api, "a", "cus_1").await;
        enqueue(&api, "b", "cus_1").await;
        for (query, total) in [
            ("kind=a", 1),
            ("subject=cus_1", 2),
            ("q=B%3ACUS", 1),
            ("state=dead", 0),
            ("lane=standard&state=owed", 2),
            ("until=1h", 0),
        ] {
            let page = api.operator(get(&format!("/api/v1/jobs?{query}"))).await.json();
            assert_eq!(page["total"], total, "{query}: {page}");
        }
        is_problem(&api.operator(get("/api/v1/jobs?state=x")).await, StatusCode::BAD_REQUEST, "bad_filter");
    }

    #[tokio::test]
    async fn a_job_is_shown_with_its_history() {
        let api = Api::start(Reader::Answers).await;
        let id = enqueue(&api, "a", "cus_1").await;
        let job = api.operator(get(&format!("/api/v1/jobs/{id}"))).await.json();
        assert_eq!((&job["id"], &job["attempts_history"]), (&id.to_string().into(), &serde_json::json!([])));
        let missing = api.operator(get(&format!("/api/v1/jobs/{}", JobId::new(1)))).await;
        is_problem(&missing, StatusCode::NOT_FOUND, "no_such_job");
        is_problem(&api.operator(get("/api/v1/jobs/7")).await, StatusCode::BAD_REQUEST, "bad_job_id");
    }

    #[tokio::test]
    async fn only_what_was_given_up_on_is_retried() {
        let api = Api::start(Reader::Answers).await;
        let id = enqueue(&api, "a", "cus_1").await;
        let owed = api.operator(post(&format!("/api/v1/jobs/{id}/retry"), "")).await;
        is_problem(&owed, StatusCode::CONFLICT, "not_retryable");
        let missing = api.operator(post(&format!("/api/v1/jobs/{}/retry", JobId::new(1)), "")).await;
        is_problem(&missing, StatusCode::NOT_FOUND, "no_such_job");
    }

    #[tokio::test]
    async fn the_crisis_lane_is_not_held_up_without_an_override() {
        let api = Api::start(Reader::Answers).await;
        for body in ["", "{}", r#"{"reason":"because"}"#] {
            let answer = api.operator(post("/api/v1/lanes/crisis/pause", body)).await;
            is_problem(&answer, StatusCode::CONFLICT, "crisis_needs_override");
        }
        let answer = api.operator(post("/api/v1/lanes/crisis/pause", r#"{"overide":true}"#)).await;
        is_problem(&answer, StatusCode::BAD_REQUEST, "bad_body");
        let answer = api.operator(post("/api/v1/lanes/express/pause", "")).await;
        is_problem(&answer, StatusCode::BAD_REQUEST, "bad_lane");
    }

    #[tokio::test]
    async fn what_is_changed_in_bulk_is_counted_first_and_crisis_work_is_left_alone() {
        let api = Api::start(Reader::Answers).await;
        for subject in ["cus_1", "cus_2"] {
            enqueue(&api, "a", subject).await;
        }
        api.state.engine.enqueue(NewJob::new("a", Lane::Crisis, "{}")).await.unwrap();
        for (path, body, matching, crisis) in [
            ("/api/v1/jobs/cancel?kind=a", r#"{"dry_run":true}"#, 2, 1),
            ("/api/v1/jobs/cancel?kind=a", r#"{"dry_run":true,"override":true}"#, 3, 0),
            ("/api/v1/jobs/cancel?kind=a&subject=cus_2", r#"{"dry_run":true}"#, 1, 0),
            ("/api/v1/lanes/standard/clear", r#"{"dry_run":true}"#, 2, 0),
            ("/api/v1/lanes/crisis/clear", r#"{"dry_run":true,"override":true}"#, 1, 0),
            ("/api/v1/jobs/retry", r#"{"dry_run":true}"#, 0, 0),
        ] {
            let counted = api.operator(post(path, body)).await.json();
            let told = (&counted["matching"], &counted["crisis_left_alone"]);
            assert_eq!(told, (&matching.into(), &crisis.into()), "{path}");
            // The clock stands still: what was recorded at this very instant is counted.
            assert_eq!(counted["until"], "2023-11-14T22:13:20.001Z");
        }
    }

    #[tokio::test]
    async fn nothing_is_cancelled_by_accident() {
        let api = Api::start(Reader::Answers).await;
        let id = enqueue(&api, "a", "cus_1").await;
        let crisis = api.state.engine.enqueue(NewJob::new("a", Lane::Crisis, "{}")).await.unwrap().id;
        let (bad, conflict) = (StatusCode::BAD_REQUEST, StatusCode::CONFLICT);
        for (path, body, status, code) in [
            ("/api/v1/jobs/cancel", "", bad, "filter_needed"),
            ("/api/v1/jobs/cancel?state=owed", "", bad, "filter_needed"),
            ("/api/v1/jobs/cancel?kind=a&state=dead", "", bad, "bad_filter"),
            ("/api/v1/jobs/cancel?kind=a&limit=5", "", bad, "bad_filter"),
            ("/api/v1/jobs/cancel?kind=a", r#"{"dryrun":true}"#, bad, "bad_body"),
            ("/api/v1/jobs/retry?state=owed", "", bad, "bad_filter"),
            ("/api/v1/lanes/standard/clear?lane=realtime", "", bad, "bad_filter"),
            ("/api/v1/lanes/express/clear", "", bad, "bad_lane"),
            ("/api/v1/jobs/cancel?lane=crisis", "", conflict, "crisis_needs_override"),
            ("/api/v1/lanes/crisis/clear", "{}", conflict, "crisis_needs_override"),
            (&format!("/api/v1/jobs/{crisis}/cancel"), "", conflict, "crisis_needs_override"),
            // Without Redis nobody knows what is running.
            ("/api/v1/jobs/cancel?kind=a", "", StatusCode::SERVICE_UNAVAILABLE, "lanes_unavailable"),
            (&format!("/api/v1/jobs/{id}/cancel"), "", StatusCode::SERVICE_UNAVAILABLE, "lanes_unavailable"),
        ] {
            is_problem(&api.operator(post(path, body)).await, status, code);
        }
        assert_eq!(api.operator(get("/api/v1/jobs?state=owed")).await.json()["total"], 2);
    }

    #[tokio::test]
    async fn without_redis_a_rebuild_ends_and_says_why() {
        let api = Api::start(Reader::Answers).await;
        let nothing = api.operator(get("/api/v1/lanes/rebuild")).await.json();
        assert_eq!((&nothing["running"], &nothing["started_at"]), (&false.into(), &serde_json::Value::Null));
        let begun = api.operator(post("/api/v1/lanes/rebuild", "")).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let ended = loop {
            let now = api.operator(get("/api/v1/lanes/rebuild")).await.json();
            if now["running"] == false {
                break now;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(ended["error"], "Redis does not answer.");
        assert!(ended["started_at"].is_string() && ended["finished_at"].is_string(), "{ended}");
        api.state.rebuild.stop().await;
        api.operator(post("/api/v1/lanes/rebuild", "")).await;
        let after = api.operator(get("/api/v1/lanes/rebuild")).await.json();
        assert_eq!(after, ended, "none begins after the end");
    }

    #[tokio::test]
    async fn without_redis_the_lanes_say_so_in_time() {
        let api = Api::start(Reader::Answers).await;
        for path in ["/api/v1/lanes", "/api/v1/workers"] {
            is_problem(&api.operator(get(path)).await, StatusCode::SERVICE_UNAVAILABLE, "lanes_unavailable");
        }
    }

    #[tokio::test]
    async fn without_redis_a_lane_is_paused_or_goes_on_from_its_return_on() {
        let api = Api::start(Reader::Answers).await;
        for (done, body, paused) in [("pause", r#"{"reason":"a bad release"}"#, true), ("resume", "", false)]
        {
            let answer = api.operator(post(&format!("/api/v1/lanes/standard/{done}"), body)).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
            let expected = serde_json::json!({ "name": "standard", "paused": paused, "waits_for": "redis" });
            assert_eq!(answer.json(), expected);
        }
    }

    #[tokio::test]
    async fn foreign_pages_are_kept_out() {
        let api = Api::start(Reader::Answers).await;
        let mut request = post("/api/v1/lanes/standard/pause", "");
        request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
        is_problem(&api.operator(request).await, StatusCode::FORBIDDEN, "foreign_page");
    }
}
