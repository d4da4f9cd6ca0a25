//! The receiver of reports: an address to which every report that is made on schedule is posted, as JSON with its
//! signature.
//!
//! ```text
//! POST <reports.url>
//! Authorization: Bearer <reports.token>
//! Idempotency-Key: 0199…-…            the same for every attempt
//! {"id", "report": "0199…", "kind", "format": "json", "content", "signature": {…}}
//! ```
//!
//! Answers are read as those of the notification gateway are (see [`super::notify`]).

use keepwell_workers::{id::JobId, outcome::Outcome};
use serde_json::Value;

use super::{
    http::HttpError,
    notify::{NotSent, Notifier},
};

/// Posts reports. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Courier(Notifier);

impl Courier {
    /// One that goes where `notifier` goes.
    pub fn new(notifier: Notifier) -> Self {
        Self(notifier)
    }

    /// Posts `document` under the key `id`. An `Err` is how the run ends.
    pub async fn post(&self, id: JobId, document: &Value) -> Result<(), Outcome> {
        self.0.post(id, document).await.map_err(outcome)
    }
}

fn outcome(not_sent: NotSent) -> Outcome {
    match not_sent {
        NotSent::Silent(HttpError::Address) => Outcome::dead("`reports.url` cannot be used"),
        NotSent::Silent(error) => Outcome::retry(format!("the receiver of reports did not answer: {error}")),
        NotSent::Busy { status, after } => {
            Outcome::Retry { error: format!("the receiver of reports asks to try again ({status})"), after }
        }
        NotSent::Setup(status) => Outcome::dead(format!(
            "the receiver of reports refuses us ({status}): check `reports.url` and `reports.token`, then retry the job"
        )),
        NotSent::Refused(status) => {
            Outcome::dead(format!("the receiver of reports refuses the report ({status})"))
        }
    }
}
