//! `/api/v1/contacts`: what became of emergency contacts, as numbers. Who they are, nobody sees here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use keepwell_jobs::store::NoticeCount;
use serde::Serialize;
use tokio::time::timeout;

use super::{super::state::ApiState, ledger_away};
use crate::receiver::problem::Problem;

/// How long the database may take.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(5);

/// How many contacts had which result in the last ninety days.
#[derive(Debug, Default, Serialize)]
pub(super) struct ContactsBody {
    /// To be told when their hours begin.
    later: i64,
    /// About to be told: see the jobs of the kind `care.contact_told`.
    queued: i64,
    /// Told.
    notified: i64,
    /// Words were on their way to the gateway, and nobody knows that it took them.
    perhaps_told: i64,
    /// Not told, by reason.
    skipped: BTreeMap<String, i64>,
}

impl ContactsBody {
    fn of(counts: Vec<NoticeCount>) -> Self {
        let mut body = Self::default();
        for NoticeCount { result, reason, count } in counts {
            match (result.as_str(), reason) {
                ("later", _) => body.later += count,
                ("queued", _) => body.queued += count,
                ("notified", _) => body.notified += count,
                ("perhaps_told", _) => body.perhaps_told += count,
                (_, reason) => *body.skipped.entry(reason.unwrap_or_default()).or_default() += count,
            }
        }
        body
    }
}

pub(super) async fn counts(State(state): State<Arc<ApiState>>) -> Result<Json<ContactsBody>, Problem> {
    match timeout(COUNTS_TIMEOUT, state.access.contact_counts()).await {
        Ok(Ok(counts)) => Ok(Json(ContactsBody::of(counts))),
        Ok(Err(error)) => Err(ledger_away(error.as_ref())),
        Err(elapsed) => Err(ledger_away(&elapsed)),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::super::support::{Api, Reader, get};

    #[tokio::test]
    async fn what_became_of_contacts_is_told_as_numbers() {
        let api = Api::start(Reader::Answers).await;
        let expected = serde_json::json!({
            "later": 0, "queued": 0, "notified": 2, "perhaps_told": 0, "skipped": { "severity": 3 },
        });
        assert_eq!(api.operator(get("/api/v1/contacts")).await.json(), expected);
        // It is nothing for the public.
        assert_eq!(api.public(get("/api/v1/contacts")).await.status, StatusCode::NOT_FOUND);
        let answer = Api::start(Reader::Fails).await.operator(get("/api/v1/contacts")).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"ledger_unavailable".into())
        );
    }
}
